"""What the process imports that workers are forks of."""

from jsc.imports import spared_from_collection

with spared_from_collection():
    import jsc.training  # noqa: F401
