"""Messages for a command that cannot be carried out: what came, what is allowed, what to do; on one screen."""

import contextlib
import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError

from jsc.cli.construction import arguments_of


def explain(error: Exception, overrides: Sequence[str], compose_choices: Callable[[], DictConfig]) -> str:
    """Put an error between the command line and the checked settings into the command line's terms."""
    if isinstance(error, ValidationError):
        faults = [dict(fault) for fault in error.errors(include_url=False)]
        return "\n".join(dict.fromkeys(_explain_value(fault, overrides, compose_choices) for fault in faults))
    if isinstance(error, MissingConfigException) and error.options is not None and error.missing_cfg_file is not None:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        return f"{group}={choice}: there is no such choice. {nearest(choice, error.options)}"
    if isinstance(error, OverrideParseException):
        advice = "Settings are given as key=value, and --help lists them; quote a value with odd characters."
        return f"{error.override}: not understood. {advice}"
    if isinstance(error, ConfigCompositionException) and "--multirun" in str(error):
        several = " ".join(str(o.input_line) for o in _parsed(overrides) if o.is_sweep_override())
        return f"{several}: several values: for a sweep add -m; a text with a comma goes in quotes: \"key='a,b'\""
    if isinstance(error, (ConfigCompositionException, OmegaConfBaseException)) or type(error) is ValueError:
        with contextlib.suppress(ConfigCompositionException, ValueError):  # a group's choice may be what is wrong
            return _explain_key(error, overrides, compose_choices())
        return f"{' '.join(overrides)}: {error}"
    return str(error)


def _explain_value(fault: dict[str, Any], overrides: Sequence[str], compose_choices: Callable[[], DictConfig]) -> str:
    """One of pydantic's findings."""
    key = ".".join(str(part) for part in fault["loc"] if not _is_union_member(part))
    if fault["type"] == "missing":
        is_added = key.endswith("._target_")
        return f"{key}: needs a value; give {'+' if is_added else ''}{key}={'CLASS' if is_added else '...'}"
    if fault["type"] == "extra_forbidden":
        override = next((o for o in overrides if o.lstrip("+").startswith(f"{key}=")), key)
        return no_such_key(override, key, compose_choices(), overrides)  # composing takes long: only this needs it
    if fault["type"] == "list_type":
        return f"{key}={fault['input']}: must be a list; give {key}=[{fault['input']}]"
    if fault["type"] in ("dict_type", "model_type"):
        return f"{key}={fault['input']}: must be a section; give {key}.KEY=VALUE for each of its keys"
    if fault["type"] == "int_type" and (
        override := next((o for o in overrides if o.startswith(f"{key}=interval(")), "")
    ):
        return f"{override}: must be whole numbers; give {key}=int({override.partition('=')[2]})"
    given = key if isinstance(fault["input"], dict) else f"{key}={fault['input']}"
    return f"{given}: {re.sub(r'^Input should be', 'must be', fault['msg']).removeprefix('Value error, ')}"


def _is_union_member(part: object) -> bool:
    """Pydantic adds to a fault's place which member of a union it tried: 'int', 'constrained-int'."""
    return isinstance(part, str) and re.fullmatch(r"(constrained-)?(int|float|str)|list\[.*\]|Built", part) is not None


def _explain_key(error: Exception, overrides: Sequence[str], composed: DictConfig) -> str:
    """Name the override whose key does not exist, and the nearest that does."""
    known = known_keys(composed)
    for parsed in _parsed(overrides):
        key, override = parsed.get_key_element().lstrip("+~"), str(parsed.input_line)
        if parsed.is_add() and key in composed.hydra.runtime.choices:
            return f"{override}: {key} is chosen already; give {override.lstrip('+')}"
        if key not in known and not parsed.is_add() and not parsed.is_force_add():
            return no_such_key(override, key, composed, overrides)
    cause = error.__cause__  # OmegaConf's, where a value is of the wrong type
    return ": ".join(str(e).splitlines()[0].rstrip(".") for e in (error, cause) if e is not None)


def no_such_key(override: str, key: str, composed: DictConfig, overrides: Sequence[str]) -> str:
    """What is said of an override whose key is not in `composed`: the nearest that is, or how to add it.

    `+key` is advised only where what the section builds takes the key.
    """
    section, _, name = key.rpartition(".")
    known = known_keys(composed)
    missing = f"{override}: there is no setting {key!r}."
    if section == "model.options":
        return f"{override}: {_about_option(name, override, composed, overrides)}"
    if (member := re.match(r"((callbacks|logger)\.[^.]+)\.", key)) and OmegaConf.select(composed, member[1]) is None:
        return f"{override}: {_about_member(member[1], override, known)}"
    if section in known and not OmegaConf.is_dict(OmegaConf.select(composed, section)):
        return f"{missing} {section} has no keys of its own: give {section}=VALUE"
    siblings = [k for k in known if k.rpartition(".")[0] == section and ("/" in k) == ("/" in key)]
    if nearest(key, siblings).startswith("Did"):
        return f"{missing} {nearest(key, siblings)}"
    built = OmegaConf.select(composed, f"{section}._target_") if section else None
    with contextlib.suppress(ImportError, AttributeError, TypeError, ValueError):
        if built is not None and name in (arguments_of(str(built)) or ()):
            return f"{override}: it is not in conf/, but {built} takes it: give +{override.lstrip('+')}"
    homes = [k for k in known if k.rpartition(".")[2] == name and not k.startswith("hydra")]
    if homes:
        return f"{missing} Did you mean {' or '.join(homes)}?"
    if section in known and not siblings:
        is_open = section.startswith("hydra.")
        return f"{missing} {section} has no keys" + (f"; add one with +{override.lstrip('+')}" if is_open else "")
    if siblings:
        return f"{missing} {nearest(key, siblings)}"
    return no_such_key(override, section, composed, overrides)


def _about_member(member: str, override: str, known: Sequence[str]) -> str:
    """How a callback or logger that is not there, `callbacks.mine`, is added."""
    group = member.partition(".")[0]
    others = [key for key in known if key.startswith(f"{group}.") and key.count(".") == 1]
    if member not in known and nearest(member, others).startswith("Did"):
        return f"there is no {member}. {nearest(member, others)}"
    added = override.lstrip("+") if override.partition("=")[0].endswith("._target_") else f"{member}._target_=CLASS"
    choice = f", or choose {member.replace('.', '=')}" if member in known else ""
    return f"there is no {member}; add it with +{added}{choice}"


def _about_option(name: str, override: str, composed: DictConfig, overrides: Sequence[str]) -> str:
    """Whether the chosen network has an option, and how it is given."""
    from jsc.models import find_model, option_names  # imports torch, which takes seconds
    from jsc.models.plugins import import_plugins

    told: dict[str, Any] = {o.get_key_element(): o.value() for o in _parsed(overrides) if not o.is_sweep_override()}
    model = str(told.get("model.name", composed.model.name))
    try:
        import_plugins(told.get("plugins", []))
        options = sorted(option_names(find_model(model).constructor))
    except ValueError as error:
        return str(error)
    if name in options:
        return f"give +{override.lstrip('+')}"
    has = f"its options are {', '.join(options)}, given as +model.options.OPTION=VALUE"
    return f"model {model!r} does not take {name}; {has if options else 'it has no options'}"


def _parsed(overrides: Sequence[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides(list(overrides))


def known_keys(composed: DictConfig) -> list[str]:
    """Every key of a whole configuration, Hydra's and the groups among them."""
    groups = [str(group) for group in composed.hydra.runtime.choices]
    return [*dotted_keys(composed), *(f"hydra.{k}" for k in dotted_keys(composed.hydra)), *groups]


def dotted_keys(config: DictConfig) -> Iterator[str]:
    """Every key a user may set, dotted; Hydra's own node left out."""

    def below(node: object, prefix: str) -> Iterator[str]:
        for name, inner in node.items() if isinstance(node, dict) else ():
            if name != "hydra" and not str(name).startswith("_"):
                yield f"{prefix}{name}"
                yield from below(inner, f"{prefix}{name}.")

    return below(OmegaConf.to_container(config), "")


def nearest(name: str, allowed: Sequence[str]) -> str:
    """'Did you mean x? Allowed: x, y.' Of dotted keys the last parts are compared."""
    allowed = sorted(set(allowed))
    names = {key.rpartition(".")[2]: key for key in allowed}
    close = difflib.get_close_matches(name.rpartition(".")[2].replace("-", "_"), names, n=1)
    return (f"Did you mean {names[close[0]]}? " if close else "") + f"Allowed: {', '.join(allowed)}."
