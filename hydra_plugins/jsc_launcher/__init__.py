"""Hydra's launcher for jsc's sweeps: hydra/launcher=jsc."""
