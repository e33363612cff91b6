"""Benchmarks: figures measured in one run on this machine; nothing here is asserted."""
