"""Composes a sweep's jobs. Those that differ in values alone are composed once, for Hydra reads all of conf/ for each.

Hydra takes 62 ms of a core for a job's configuration, a minute for a thousand jobs. A copy of another job's, given this
one's values, takes 1.8 (2026-11-25).
"""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, QuotedString
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from jsc.cli.hydra_internals import get_overrides_dirname


@dataclass
class Composer:
    """A call returns what `compose` does; `is_group` tells the keys that choose a file of conf/."""

    compose: Callable[[list[str]], DictConfig]
    is_group: Callable[[str], bool]
    _composed: dict[tuple[str, ...], bytes] = field(default_factory=dict)
    _groups: dict[str, bool] = field(default_factory=dict)  # Hydra copies all it has read before it answers

    def __call__(self, words: Sequence[str]) -> DictConfig:
        """Raises what `compose` raises."""
        read = [self._parse(word) for word in words]
        overrides = [override for override, _ in read]
        kind = tuple(str(o.get_key_element()) if is_value else str(o.input_line) for o, is_value in read)
        if kind in self._composed:
            config: DictConfig = pickle.loads(self._composed[kind])
            try:
                _give(config, overrides, [override for override, is_value in read if is_value])
            except OmegaConfBaseException:
                pass  # Hydra has its own words for it
            else:
                return config
        config = self.compose(list(words))
        self._composed[kind] = pickle.dumps(config)
        return config

    def _parse(self, word: str) -> tuple[Override, bool]:
        """And whether it is a plain value."""
        override = parsed(word)
        return override, self._is_value(override)

    def _is_value(self, override: Override) -> bool:
        """Whether it gives one key of the job's one plain value."""
        plain = override.type in (OverrideType.CHANGE, OverrideType.ADD) and isinstance(
            override.value(), (bool, int, float, str, QuotedString, type(None))
        )
        if not plain or override.package is not None or override.is_hydra_override():
            return False
        key = override.key_or_group
        if key not in self._groups:
            self._groups[key] = self.is_group(key)
        return not self._groups[key]


@lru_cache(maxsize=10_000)
def parsed(word: str) -> Override:
    """Hydra's parser takes a millisecond, and meets a job's words more than once."""
    (override,) = OverridesParser.create().parse_overrides([word])
    return override


def job_composer(loader: ConfigLoader, master: DictConfig) -> Callable[[Sequence[str]], DictConfig]:
    """What a sweep's launcher composes its jobs with: `loader.load_sweep_config(master, overrides)`, in less time."""

    def by_hydra(overrides: list[str]) -> DictConfig:
        return loader.load_sweep_config(master, overrides)

    composer = Composer(by_hydra, lambda key: bool(loader.get_group_options(key)))

    def compose(overrides: Sequence[str]) -> DictConfig:
        config = composer([o for o in overrides if not o.startswith("sweep.")])  # these are the sweep's, not a job's
        OmegaConf.copy_cache(from_config=master, to_config=config)
        return config

    return compose


def _give(config: DictConfig, overrides: Sequence[Override], values: Sequence[Override]) -> None:
    for override in values:
        OmegaConf.update(
            config, override.key_or_group, override.value(), merge=True, force_add=override.type == OverrideType.ADD
        )
    of_job = [override for override in overrides if not override.is_hydra_override()]
    dirname = config.hydra.job.config.override_dirname
    with open_dict(config.hydra):
        config.hydra.overrides.task = [override.input_line for override in of_job]
        config.hydra.job.override_dirname = get_overrides_dirname(
            of_job, kv_sep=dirname.kv_sep, item_sep=dirname.item_sep, exclude_keys=dirname.exclude_keys
        )
