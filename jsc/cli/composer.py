"""Composes a sweep's jobs. Those that differ in values alone are composed once, for Hydra reads all of conf/ for each.

Hydra takes a tenth of a second of a core for a job's configuration, and would do it three times: for our check, for
the sweeper's, and for the launcher; that is minutes for a thousand jobs. A copy of another job's, given this one's
values, takes a few milliseconds.
"""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import lru_cache

from hydra._internal.config_loader_impl import get_overrides_dirname  # there is no public name
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, QuotedString
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

MAX_LOOKED_AT = 1000  # of some 140 kB each


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


class JobComposer:
    """Composes a sweep's jobs in its loader's place: for the sweeper, which looks at each, and for the launcher.

    What was composed for a look is what the launcher takes.
    """

    def __init__(self, loader: ConfigLoader) -> None:
        self._by_hydra = loader.load_sweep_config
        self._loader = loader
        self._master: DictConfig | None = None  # of the one sweep
        self._composer = Composer(self._compose_whole, self._is_group)
        self._looked_at: dict[tuple[str, ...], DictConfig] = {}

    def look(self, master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        """The loader's `load_sweep_config`, for callers who change nothing."""
        config = self._compose(master_config, sweep_overrides)
        if len(self._looked_at) < MAX_LOOKED_AT:
            self._looked_at[tuple(sweep_overrides)] = config
        return config

    def take(self, master_config: DictConfig, sweep_overrides: Sequence[str]) -> DictConfig:
        """The caller's own."""
        config = self._looked_at.pop(tuple(sweep_overrides), None)
        return config if config is not None else self._compose(master_config, sweep_overrides)

    def _compose(self, master_config: DictConfig, words: Sequence[str]) -> DictConfig:
        self._master = master_config
        config = self._composer([word for word in words if not word.startswith("sweep.")])  # of the sweep, not of a job
        OmegaConf.copy_cache(from_config=master_config, to_config=config)
        return config

    def _compose_whole(self, words: list[str]) -> DictConfig:
        assert self._master is not None
        return self._by_hydra(self._master, words)

    def _is_group(self, key: str) -> bool:
        return bool(self._loader.get_group_options(key))


def job_composer(loader: ConfigLoader) -> JobComposer:
    """The loader's, put in its place when it is first asked for."""
    composer = getattr(loader.load_sweep_config, "__self__", None)
    if not isinstance(composer, JobComposer):
        composer = JobComposer(loader)
        loader.load_sweep_config = composer.look  # type: ignore[method-assign]
    return composer


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
