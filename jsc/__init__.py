"""jsc: fast, trustworthy training and sweeps of tiny networks for jet-substructure classification."""

__version__ = "0.1.0"
