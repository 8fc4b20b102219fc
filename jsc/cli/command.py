"""The door of every command: from the words on the command line to checked settings, or a message and exit code 2.

Hydra composes the configuration from conf/; everything that can be known to be wrong is said before a run's folder is
made. With HYDRA_FULL_ERROR=1 the traceback is shown as well.
"""

import argparse
import atexit
import contextlib
import gc
import os
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import hydra
from hydra._internal.utils import get_args_parser  # Hydra gives its argument parser no public name
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel

import jsc.cli.run_names  # noqa: F401  # registers the resolvers that conf/train.yaml uses
from jsc.cli.composer import Composer
from jsc.cli.explanation import dotted_keys, explain, no_such_key
from jsc.errors import CommandError, JobFailed

DONE, FAILED, WRONG_COMMAND, INTERRUPTED = 0, 1, 2, 130

# Inside an installed package, or beside it in a checkout.
CONFIG_FOLDER = next(
    folder
    for folder in (Path(__file__).parents[1] / "conf", Path(__file__).parents[2] / "conf")
    if (folder / "train.yaml").is_file()
)

Settings = TypeVar("Settings", bound=BaseModel)


def compose_command(config_name: str, overrides: Sequence[str], schema: type[Settings]) -> Settings:
    """Compose conf/<config_name>.yaml with `overrides` and check it; for commands that need no folder of Hydra's.

    Exits with code 2 and a one-screen message if that cannot be done.
    """
    with_literal_paths = [quote_path(o) for o in overrides]
    with explained_errors(config_name, with_literal_paths):
        return check(compose(config_name, with_literal_paths), schema)


def run_hydra(
    main: Callable[[DictConfig], Any], config_name: str, *, check_jobs: Callable[[Iterable[DictConfig]], None]
) -> NoReturn:
    """Run `main` once, or with -m once a job, each in the folder that Hydra makes for it; then exit.

    `check_jobs` is called beforehand with the jobs' configurations, for its errors; they exit with code 2. A job whose
    `main` raises makes the exit code 1.
    """
    atexit.register(_skip_last_collections)
    sys.argv[1:] = [a if a.startswith("-") else quote_path(a) for a in sys.argv[1:]]
    arguments = get_args_parser().parse_args()
    hydra_main = hydra.main(version_base="1.3", config_path=str(CONFIG_FOLDER), config_name=config_name)(main)
    only_asks = (arguments.help, arguments.hydra_help, arguments.cfg, arguments.shell_completion, arguments.info)
    try:
        if not any(only_asks):
            with explained_errors(config_name, arguments.overrides):
                check_jobs(job_variants(config_name, arguments))
        with contextlib.nullcontext() if any(only_asks) else _errors_let_through():
            hydra_main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except JobFailed:
        sys.exit(FAILED)
    except CommandError as error:  # found by the launcher, which alone knows the whole sweep
        print(error, file=sys.stderr)
        sys.exit(WRONG_COMMAND)
    except Exception:
        traceback.print_exc()
        sys.exit(FAILED)
    sys.exit(DONE)


def _skip_last_collections() -> None:
    """Python's end would look through all configurations for garbage: a fifth of a second, as long as a job.

    Not where jobs may have run: a file that one of them left open is written to its end when it is found there.
    """
    if "torch" not in sys.modules:
        gc.freeze()


@contextlib.contextmanager
def _errors_let_through() -> Iterator[None]:
    """Within this context a job's own error comes through Hydra, which else makes a message of it and exits."""
    before = os.environ.get("HYDRA_FULL_ERROR", "0")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    finally:
        os.environ["HYDRA_FULL_ERROR"] = before


def shows_full_error() -> bool:
    """Whether the user asked for tracebacks."""
    return os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0")


@contextlib.contextmanager
def explained_errors(config_name: str, overrides: Sequence[str]) -> Iterator[None]:
    """Within this context an error of the command becomes a message and exit code 2."""
    try:
        yield
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        if shows_full_error():
            traceback.print_exception(error)
        print(explain(error, overrides, lambda: compose_choices(config_name, overrides)), file=sys.stderr)
        sys.exit(WRONG_COMMAND)


def compose(config_name: str, overrides: Sequence[str], *, config_dir: str | None = None) -> DictConfig:
    """The configuration that `overrides` make, Hydra's own node included. May be called within a job of Hydra's."""
    if config_dir is not None:
        overrides = [*overrides, f"hydra.searchpath=[{quoted(str(Path(config_dir).absolute()))}]"]
    current = GlobalHydra.instance()
    outer = current.hydra
    current.clear()
    try:
        with hydra.initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3", job_name=config_name):
            config = hydra.compose(config_name, list(overrides), return_hydra_config=True)
    finally:
        current.hydra = outer
    for word in overrides:
        if word.startswith("+") and not may_be_added(config_name, key_of(word), config):
            raise CommandError(no_such_key(word, key_of(word), compose_choices(config_name, overrides), overrides))
    return config


def may_be_added(config_name: str, key: str, config: DictConfig) -> bool:
    """Whether something reads a key that `+` adds: a group's section is checked or built, the others are listed."""
    groups = [str(choice) for choice in config.hydra.runtime.choices]
    section = key.partition(".")[0]
    if key in groups or section in ("hydra", *(group.rpartition("@")[2] for group in groups)):
        return True
    return key in _keys_of_file(config_name)


@cache
def _keys_of_file(config_name: str) -> list[str]:
    """Those that conf/<config_name>.yaml itself has, without its groups."""
    file = OmegaConf.load(CONFIG_FOLDER / f"{config_name}.yaml")
    assert isinstance(file, DictConfig)
    return list(dotted_keys(file))


def compose_choices(config_name: str, overrides: Sequence[str]) -> DictConfig:
    """The configuration with the groups' choices that `overrides` name, the first of several, and nothing else."""
    groups = compose(config_name, []).hydra.runtime.choices
    chosen = OverridesParser.create().parse_overrides([o for o in overrides if o.partition("=")[0] in groups])
    fixed = [str(o.input_line) for o in chosen if not o.is_sweep_override()]
    firsts = [f"{o.key_or_group}={next(o.sweep_string_iterator())}" for o in chosen if o.is_choice_sweep()]
    return compose(config_name, [*fixed, *firsts])


def check(config: DictConfig, schema: type[Settings]) -> Settings:
    """The keys of `config` that `schema` has, as plain typed values. Raises pydantic's ValidationError."""
    plain = {name: plain_value(config, name) for name in schema.model_fields if name in config}
    return schema.model_validate(plain)


@cache
def default_settings(config_name: str, schema: type[BaseModel]) -> dict[str, Any]:
    """What a command without any override is told."""
    return check(compose(config_name, []), schema).model_dump(by_alias=True)


def plain_value(config: DictConfig, key: str) -> Any:
    """A node of the configuration as dicts, lists and scalars, its interpolations resolved."""
    node = config[key]
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def job_variants(config_name: str, arguments: argparse.Namespace) -> Iterator[DictConfig]:
    """As many jobs as it takes to see every value of a sweep once, each beside the others' first."""

    def compose_whole(words: list[str]) -> DictConfig:
        return compose(config_name, words, config_dir=arguments.config_dir)

    if not arguments.multirun:
        yield compose_whole(arguments.overrides)
        return
    told, _ = fixed_and_swept(arguments.overrides, {})
    config = compose_whole(told)
    fixed, swept = fixed_and_swept(arguments.overrides, config.hydra.sweeper.get("params") or {})
    for override in swept:
        if override.is_interval_sweep() and config.hydra.sweeper._target_.endswith(".BasicSweeper"):
            raise CommandError(f"{override.input_line}: an interval is searched, not swept: add hparams_search=optuna")
    composer = composer_like(config, compose_whole)
    choices = [values_of(o) for o in swept]
    first = [c[0] for c in choices if c]
    yield composer(fixed + first)
    for index, values in enumerate(c for c in choices if c):
        for value in values[1:]:
            yield composer(fixed + first[:index] + [value] + first[index + 1 :])


def composer_like(config: DictConfig, compose_whole: Callable[[list[str]], DictConfig]) -> Composer:
    """For configurations with the groups of this one."""
    groups = config.hydra.runtime.choices
    # Any other word without a dot may be a group of the user's own.
    return Composer(compose_whole, lambda key: key in groups or ("." not in key and key not in config))


def fixed_and_swept(
    words: Sequence[str], params: Mapping[str, Any], config_loader: ConfigLoader | None = None
) -> tuple[list[str], list[Override]]:
    """What `words` and the sweeper's `params` hold fixed, as typed, and what they vary.

    The last word for a key counts, and a param where there is none. `config_loader` knows what glob(...) stands for.
    """
    parse = OverridesParser.create(config_loader=config_loader).parse_overrides
    told = {o.get_key_element(): o for o in parse(list(words))}
    defaults = {o.get_key_element(): o for o in parse([f"{key}={value}" for key, value in params.items()])}
    overrides = (told | {key: o for key, o in defaults.items() if key not in told}).values()
    fixed = [str(o.input_line) for o in overrides if not o.is_sweep_override()]
    return fixed, [o for o in overrides if o.is_sweep_override()]


def values_of(override: Override) -> list[str]:
    """The single overrides that a sweep over a list of values stands for; an interval's ends; none for a glob."""
    key, value = override.get_key_element(), override.value()
    if isinstance(value, IntervalSweep):
        return [f"{key}={value.start}", f"{key}={value.end}"]
    if "glob(" in str(override.input_line):
        return []
    return [f"{key}={value}" for value in override.sweep_string_iterator()]


def key_of(override: str) -> str:
    """`optimizer.lr` of `optimizer.lr=0.1`, `+optimizer.lr=0.1` and `~optimizer.lr`."""
    return override.lstrip("+~").partition("=")[0]


def quote_path(override: str) -> str:
    """Take a value that names an existing file or folder literally: run folders bear '=' and ',' in their names."""
    key, is_assignment, value = override.partition("=")
    if is_assignment and value and not value.startswith(("'", '"')) and _exists(value):
        return f"{key}={quoted(value)}"
    return override


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # a list of values may be longer than a name can be
        return False


def quoted(value: str) -> str:
    """A string in the quotes of Hydra's override grammar."""
    return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
