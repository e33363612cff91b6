"""Purifiers: what a provider does to images before its model sees them, one small file each.

All work on bytes (height, width, 1 or 3) of any size. Those that are differentiable have `through`
for float batches in [0, 1]; an attack goes through it, and around the others (BPDA).
"""
