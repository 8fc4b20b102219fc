"""A patch of lightning-utilities for the time of an import, and what it saves; a test names what is gone of it.

Lightning imports torchmetrics, which imports matplotlib for its plots and SciPy to mend a package of audio if
lightning-utilities says that they are there. Told that they are not, the import of `jsc.run.training` takes 1.5 s
instead of 2.4 (2026-11-25, lightning-utilities 0.15.3, torchmetrics 1.9.0), of a default run's 3.1.
"""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PATCHED = ("RequirementCache", "package_available")  # of lightning_utilities.core.imports


@contextmanager
def plots_put_off() -> Iterator[None]:
    """Within this context torchmetrics is imported without matplotlib and SciPy; it has both when it needs them."""
    try:
        installed: Any = importlib.import_module("lightning_utilities.core.imports")
        requirement, package_available = (getattr(installed, name) for name in PATCHED)
    except (ImportError, AttributeError):  # another version of it: then the import takes longer
        yield
        return
    put_off = {"matplotlib", "scipy"}

    class Requirement(requirement):  # type: ignore[valid-type, misc]
        def __bool__(self) -> bool:
            return self.requirement not in put_off and bool(super().__bool__())

    installed.RequirementCache = Requirement
    installed.package_available = lambda name: name not in put_off and package_available(name)
    try:
        yield
    finally:
        installed.RequirementCache, installed.package_available = requirement, package_available
        put_off.clear()
        plot: Any = sys.modules.get("torchmetrics.utilities.plot")
        if plot is not None:
            plot.matplotlib, plot.plt = _Later("matplotlib"), _Later("matplotlib.pyplot")


class _Later:
    """A module that is imported when something of it is asked for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, attribute: str) -> Any:
        return getattr(importlib.import_module(self._name), attribute)
