"""Composes a sweep's jobs. Those that differ in values alone are composed once, for Hydra reads all of conf/ for each.

Hydra takes a tenth of a second of a core for a job's configuration, and does it three times: for our check, for the
sweeper's, and for the launcher; that is minutes for a thousand jobs. A copy of another job's, given this one's values,
takes a few milliseconds.
"""

import pickle
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from hydra._internal.config_loader_impl import get_overrides_dirname  # there is no public name
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override, OverrideType, QuotedString
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException


@dataclass
class Composer:
    """A call returns what `compose` does; `is_group` tells the keys that choose a file of conf/."""

    compose: Callable[[list[str]], DictConfig]
    is_group: Callable[[str], bool]
    _composed: dict[tuple[str, ...], bytes] = field(default_factory=dict)
    _parsed: dict[str, tuple[Override, bool]] = field(default_factory=dict)  # by word; whether it is a plain value

    def __call__(self, words: Sequence[str]) -> DictConfig:
        """Raises what `compose` raises."""
        parsed = [self._parse(word) for word in words]
        overrides = [override for override, _ in parsed]
        kind = tuple(str(o.get_key_element()) if is_value else str(o.input_line) for o, is_value in parsed)
        if kind in self._composed:
            config: DictConfig = pickle.loads(self._composed[kind])
            try:
                _give(config, overrides, [override for override, is_value in parsed if is_value])
            except OmegaConfBaseException:
                pass  # Hydra has its own words for it
            else:
                return config
        config = self.compose(list(words))
        self._composed[kind] = pickle.dumps(config)
        return config

    def _parse(self, word: str) -> tuple[Override, bool]:
        if word not in self._parsed:
            (override,) = OverridesParser.create().parse_overrides([word])
            self._parsed[word] = override, self._is_value(override)
        return self._parsed[word]

    def _is_value(self, override: Override) -> bool:
        """Whether it gives one key of the job's one plain value."""
        plain = override.type in (OverrideType.CHANGE, OverrideType.ADD) and isinstance(
            override.value(), (bool, int, float, str, QuotedString, type(None))
        )
        if not plain or override.package is not None or override.is_hydra_override():
            return False
        return not self.is_group(override.key_or_group)


def install_composer(loader: ConfigLoader) -> None:
    """For sweepers and launchers, who ask the loader."""
    by_hydra = loader.load_sweep_config
    if getattr(by_hydra, "composes_once", False):
        return
    master: list[DictConfig] = []  # of the one sweep
    composer = Composer(lambda words: by_hydra(master[0], words), lambda key: bool(loader.get_group_options(key)))

    def load_sweep_config(master_config: DictConfig, sweep_overrides: list[str]) -> DictConfig:
        master[:] = [master_config]
        config = composer(sweep_overrides)
        OmegaConf.copy_cache(from_config=master_config, to_config=config)
        return config

    load_sweep_config.composes_once = True  # type: ignore[attr-defined]
    loader.load_sweep_config = load_sweep_config  # type: ignore[method-assign]


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
