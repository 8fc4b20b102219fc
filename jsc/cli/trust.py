"""What a file may ask for. The record of a run, of a sweep and a checkpoint are data, and may be a stranger's.

Settings that are read back from one build what jsc itself writes there: classes of TRUSTED packages, and of those that
the user names on this very command line, `trusted=[my_package]`. Plugins are imported, programs and addresses of a file
used, only if the user names them too. What the user types is the user's own, and is not looked at here.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, QuotedString
from hydra.errors import HydraException

from jsc.cli.settings import DatasetSettings
from jsc.errors import CommandError

TRUSTED = ("jsc", "torch.optim", "pytorch_lightning")
# Of Hydra's own keys those with which a sweep is recorded; others start programs, log into files, search for code.
HYDRAS = ("launcher", "sweeper", "sweep.subdir", "job.chdir", "job.name", "verbose", "callbacks.jsc")
COMMANDS_OF_LAUNCHERS = ("setup", "additional_parameters")  # lines of shell, options of sbatch
_ADDRESS = re.compile(r"^[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def check_recorded(recorded: Sequence[str], typed: Sequence[str], source: Path) -> list[str]:
    """The overrides that a file records, `trusted` left out, if they ask for nothing that its reader has not named.

    `typed`: this command's own, which replace those of the same key. Raises CommandError, with the target, the file
    and the way to allow it.
    """
    parse = OverridesParser.create().parse_overrides
    try:
        own = {o.key_or_group: o.value() for o in parse([o for o in typed if not o.startswith("-")])}
        overrides = [(text, override) for text in recorded for override in parse([text])]
    except HydraException as error:
        raise CommandError(f"{source}: {' '.join(str(error).split())}") from error
    kept = []
    for text, override in overrides:
        key = str(override.key_or_group)
        if key == "trusted":
            continue
        kept.append(text)
        value = override.value()
        if key not in own:
            for one in value.list if isinstance(value, ChoiceSweep) else [value]:
                _check(key, _plain(one), _plain(own.get("trusted")) or [], source)
    return kept


def to_name_again(overrides: Sequence[str]) -> str:
    """Of a run's own overrides those that must be typed again to go on with it, each behind a space."""
    return "".join(f" {o}" for o in overrides if o.startswith(("plugins=", "trusted=")) and not o.endswith("=[]"))


def _check(key: str, value: Any, trusted: Sequence[str], source: Path) -> None:
    for target in targets_in({key.rpartition(".")[2]: value}):
        check_target(key, target, trusted, source)
    group = key.replace("/", ".").removeprefix("hydra.")
    if key.startswith("hydra") and not any(f"{group}.".startswith(f"{name}.") for name in HYDRAS):
        raise CommandError(f"{source} records {key}={value}, which jsc did not write there: {_allowed(key, value)}")
    if group.startswith("launcher.") and group.split(".")[1] in COMMANDS_OF_LAUNCHERS:
        raise CommandError(f"{source} records {key}={value}, which runs on the cluster's nodes: {_allowed(key, value)}")
    if key == "plugins" and value:
        raise CommandError(
            f"{source} records plugins={_listed(value)}, code that would be imported: {_allowed(key, _listed(value))}"
        )
    if any(isinstance(leaf, str) and _ADDRESS.match(leaf) for leaf in _leaves(value)):
        raise CommandError(f"{source} records the address {key}={value}: {_allowed(key, value)}")


def _allowed(key: str, value: Any) -> str:
    return f"to allow it give {key}={value} yourself"


def check_target(key: str, target: str, trusted: Sequence[str], source: Path) -> None:
    """Raises CommandError if a file names a target of another package than these and TRUSTED ones."""
    if not any(f"{target}.".startswith(f"{package}.") for package in (*TRUSTED, *trusted)):
        raise CommandError(
            f"{source} names {key}: _target_={target}. A file may only name what lies in {', '.join(TRUSTED)}; "
            f"if you know and trust this one, give trusted=[{target.partition('.')[0]}]"
        )


def check_recorded_dataset(
    section: DatasetSettings, known: Mapping[str, Any], trusted: Sequence[str], source: Path
) -> None:
    """Raises CommandError if a checkpoint's data set is another package's, or lies where its reader's own does not.

    `known`: the data set of that name in the reader's own configuration; empty if it has none.
    """
    check_target("dataset", section.target, trusted, source)
    for name, value in section.arguments.items():
        is_place = isinstance(value, str) and (name == "path" or _ADDRESS.match(value))
        if is_place and value != known.get(name):
            raise CommandError(
                f"{source} was trained on dataset.{name}={value}, which is not read because a file says so. "
                f"If that is the data set, give it yourself: dataset={section.name} dataset.{name}={value}"
            )


def targets_in(value: Any) -> Iterator[str]:
    """Whatever stands under `_target_`, or under what logging.config calls, at any depth."""
    if isinstance(value, Mapping):
        for name, inner in value.items():
            if name in ("_target_", "()", "class") and isinstance(inner, str):
                yield inner
            yield from targets_in(inner)
    elif isinstance(value, (list, tuple)):
        for inner in value:
            yield from targets_in(inner)


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, (Mapping, list, tuple)):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _leaves(inner)
    else:
        yield value


def _plain(value: Any) -> Any:
    """What Hydra's parser made of a value, its quoted texts as texts."""
    if isinstance(value, QuotedString):
        return value.text
    if isinstance(value, Mapping):
        return {str(_plain(name)): _plain(inner) for name, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, (list, tuple)) else value


def _listed(value: Any) -> str:
    return f"[{','.join(map(str, value))}]" if isinstance(value, list) else str(value)
