"""Names that Numba keeps to itself, and what each saves; a test tells when one has gone.

Measured on 2026-11-25 with Numba 0.68.1, in processor time, on one core of an Intel Xeon with AVX-512.
"""

from collections.abc import Iterator
from contextlib import contextmanager

from numba.core import entrypoints

# For `numba.njit`: without Numba's counting of references, which compiled code that makes no array does not need.
# Saves 11 % of an optimizer step of jsc-tiny and jsc-medium at batch 64, 4 % at 256.
UNCOUNTED = {"_nrt": False}


@contextmanager
def without_extensions() -> Iterator[None]:
    """Put off the packages that extend Numba, all of which it imports before it compiles or loads anything.

    Saves 0.65 of 3.8 s of the default run where awkward and vector are installed (the extra `simulate`), whose types
    nothing here knows. A function of the user's own still gets them.
    """
    before = entrypoints._already_initialized
    entrypoints._already_initialized = True
    try:
        yield
    finally:
        entrypoints._already_initialized = before
