"""Timings and one-off scripts, run by hand from a checkout: `python -m benchmarks.<name>`."""
