"""Hydra's sweeper for jsc's searches: hparams_search=optuna."""
