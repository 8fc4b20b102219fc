"""Modules of a user's own that register models."""

import importlib
import os
import sys
from collections.abc import Sequence

from jsc.errors import CommandError
from jsc.models import load_entry_points


def import_plugins(modules: Sequence[str]) -> None:
    """Import modules that register models, from the Python path or the current folder. Raises CommandError."""
    load_entry_points()
    if os.getcwd() not in sys.path:  # noqa: PTH109  # sys.path holds strings
        sys.path.insert(0, os.getcwd())  # noqa: PTH109
    for module in modules:
        try:
            importlib.import_module(module)
        except Exception as error:  # a plug-in is the user's code and may raise anything
            raise CommandError(f"plugins=[{module}]: {type(error).__name__}: {error}") from error
