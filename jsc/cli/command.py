"""The door of every command: from the overrides on the command line to checked settings, or a message and exit code 2.

Hydra composes the configuration from conf/; everything that can be known to be wrong is said before a run's folder is
made. With HYDRA_FULL_ERROR=1 the traceback is shown as well.
"""

import contextlib
import itertools
import os
import shlex
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, TypeVar

import hydra
from hydra.core.config_loader import ConfigLoader
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import BaseModel, ValidationError

import jsc.cli.run_names  # noqa: F401  # registers the resolvers that conf/train.yaml uses
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


def run_hydra(main: Callable[[DictConfig], Any], config_name: str) -> NoReturn:
    """Run `main` once, or with -m once a job, each in the folder that Hydra makes for it; then exit.

    A command that cannot be carried out makes the exit code 2, a job whose `main` raises 1.
    """
    sys.argv[1:] = [a if a.startswith("-") else quote_path(a) for a in sys.argv[1:]]
    overrides = [a for a in sys.argv[1:] if a.startswith("~") or ("=" in a and not a.startswith("-"))]
    hydra_main = hydra.main(version_base="1.3", config_path=str(CONFIG_FOLDER), config_name=config_name)(main)
    wrong_command = (HydraException, OmegaConfBaseException, ValidationError, CommandError)  # others are a job's
    try:
        with explained_errors(config_name, overrides, wrong_command), _errors_let_through():
            hydra_main()
    except KeyboardInterrupt:
        sys.exit(INTERRUPTED)
    except JobFailed:
        sys.exit(FAILED)
    except Exception:
        traceback.print_exc()
        sys.exit(FAILED)
    sys.exit(DONE)


@contextlib.contextmanager
def _errors_let_through() -> Iterator[None]:
    """Within this context errors come through Hydra, which else makes a message of a job's own error and exits."""
    before = os.environ.get("HYDRA_FULL_ERROR", "0")
    os.environ["HYDRA_FULL_ERROR"] = "1"
    try:
        yield
    except _Carried as carried:
        raise carried.error from None
    finally:
        os.environ["HYDRA_FULL_ERROR"] = before


class _Carried(BaseException):
    def __init__(self, error: Exception) -> None:
        self.error = error


@contextlib.contextmanager
def carried_out_of_a_callback() -> Iterator[None]:
    """Within this context errors come through Hydra, which makes a warning of a callback's Exception and goes on."""
    try:
        yield
    except Exception as error:
        raise _Carried(error) from error


def shows_full_error() -> bool:
    """Whether the user asked for tracebacks."""
    return os.environ.get("HYDRA_FULL_ERROR", "0") not in ("", "0")


@contextlib.contextmanager
def explained_errors(
    config_name: str,
    overrides: Sequence[str],
    errors: tuple[type[Exception], ...] = (HydraException, OmegaConfBaseException, ValueError),
) -> Iterator[None]:
    """Within this context an error of the command becomes a message and exit code 2."""
    try:
        yield
    except errors as error:
        if shows_full_error():
            traceback.print_exception(error)
        print(explain(error, overrides, lambda: compose_choices(config_name, overrides)), file=sys.stderr)
        sys.exit(WRONG_COMMAND)


def compose(config_name: str, overrides: Sequence[str]) -> DictConfig:
    """The configuration that `overrides` make, Hydra's own node included. May be called within a job of Hydra's."""
    current = GlobalHydra.instance()
    outer = current.hydra
    current.clear()
    try:
        with hydra.initialize_config_dir(str(CONFIG_FOLDER), version_base="1.3", job_name=config_name):
            config = hydra.compose(config_name, list(overrides), return_hydra_config=True)
    finally:
        current.hydra = outer
    check_added(config_name, overrides, config)
    return config


def check_added(config_name: str, overrides: Sequence[str], config: DictConfig) -> None:
    """Raises CommandError for a key that `+` adds where nothing reads it."""
    for override in overrides:
        if override.startswith("+") and not may_be_added(config_name, key_of(override), config):
            choices = compose_choices(config_name, overrides)
            raise CommandError(no_such_key(override, key_of(override), choices, overrides))


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


def own_dataset(name: str) -> dict[str, Any]:
    """The keys of conf/dataset/<name>.yaml, where there is such a file: of the user's own configuration."""
    files = {file.stem: file for file in (CONFIG_FOLDER / "dataset").glob("*.yaml")}
    section = OmegaConf.to_container(OmegaConf.load(files[name])) if name in files else {}
    assert isinstance(section, dict)
    return {str(key): value for key, value in section.items()}


def plain_value(config: DictConfig, key: str) -> Any:
    """A node of the configuration as dicts, lists and scalars, its interpolations resolved."""
    node = config[key]
    return OmegaConf.to_container(node, resolve=True) if OmegaConf.is_config(node) else node


def fixed_and_swept(
    overrides: Sequence[str], params: Mapping[str, Any], config_loader: ConfigLoader | None = None
) -> tuple[list[str], list[Override]]:
    """What `overrides` and the sweeper's `params` hold fixed, as typed, and what they vary.

    The last override of a key counts, and a param where there is none. `config_loader` knows what glob(...) stands for.
    """
    parse = OverridesParser.create(config_loader=config_loader).parse_overrides
    told = {o.get_key_element(): o for o in parse(list(overrides))}
    defaults = {o.get_key_element(): o for o in parse([f"{key}={value}" for key, value in params.items()])}
    read = (told | {key: o for key, o in defaults.items() if key not in told}).values()
    fixed = [str(o.input_line) for o in read if not o.is_sweep_override()]
    return fixed, [o for o in read if o.is_sweep_override()]


def combinations(
    overrides: Sequence[str], params: Mapping[str, Any], config_loader: ConfigLoader | None = None
) -> list[list[str]]:
    """The overrides of each job of a sweep over all that these vary, in the order of Hydra's own sweeper: params first.

    Raises CommandError for an interval, and Hydra's errors.
    """
    values: dict[str, list[str]] = {}
    parse = OverridesParser.create(config_loader=config_loader).parse_overrides
    for override in parse([*(f"{key}={value}" for key, value in params.items()), *overrides]):
        key = override.get_key_element()
        if override.is_discrete_sweep():
            values[key] = [f"{key}={value}" for value in override.sweep_string_iterator()]
        elif override.is_sweep_override():
            raise CommandError(f"{override.input_line}: an interval is searched, not swept: add hparams_search=optuna")
        else:
            values[key] = [f"{key}={override.get_value_element_as_str()}"]
    return [list(job) for job in itertools.product(*values.values())]


def command_of(overrides: Sequence[str]) -> str:
    """What a user types to repeat a run."""
    return shlex.join(["python", "-m", "jsc.train", *overrides])


def key_of(override: str) -> str:
    """`optimizer.lr` of `optimizer.lr=0.1`, `+optimizer.lr=0.1` and `~optimizer.lr`."""
    return override.lstrip("+~").partition("=")[0]


def last_value(arguments: Sequence[str], key: str) -> str | None:
    """The last value that the command line gives a key, if it is not null."""
    values = [a.partition("=")[2].strip("'") for a in arguments if "=" in a and key_of(a) == key]
    return values[-1] if values and values[-1] != "null" else None


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
