"""An attack, a judge and a benchmark for threatspec."""
