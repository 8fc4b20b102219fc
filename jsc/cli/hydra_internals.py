"""Names of Hydra's that it does not promise to keep, and what each saves; a test names those that are gone.

`get_overrides_dirname` makes `hydra.job.override_dirname` of a job that the composer copies. Without it every job would
be composed whole: 62 ms instead of 1.8 (2026-11-25, hydra-core 1.3.8), a minute more where a thousand jobs of one epoch
take 48 s.
"""

from hydra._internal.config_loader_impl import get_overrides_dirname

__all__ = ["get_overrides_dirname"]
