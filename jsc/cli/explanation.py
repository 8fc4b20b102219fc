"""Messages for a command that cannot be carried out: what came, what is allowed, what to do; on one screen."""

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import ConfigCompositionException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from pydantic import ValidationError


def explain(error: Exception, overrides: Sequence[str], compose_choices: Callable[[], DictConfig]) -> str:
    """Put an error between the command line and the checked settings into the command line's words."""
    if isinstance(error, ValidationError):
        faults = error.errors(include_url=False)
        # Composing takes long, and only a key that is not known needs it.
        known = known_keys(compose_choices()) if any(fault["type"] == "extra_forbidden" for fault in faults) else []
        return "\n".join(dict.fromkeys(_explain_value(dict(fault), overrides, known) for fault in faults))
    if isinstance(error, MissingConfigException) and error.options is not None and error.missing_cfg_file is not None:
        group, _, choice = error.missing_cfg_file.rpartition("/")
        return f"{group}={choice}: there is no such choice. {nearest(choice, error.options)}"
    if isinstance(error, OverrideParseException):
        return f"{error.override}: not understood. Settings are given as key=value; quote a value with odd characters."
    if isinstance(error, ConfigCompositionException) and "--multirun" in str(error):
        return _explain_sweep(overrides)
    if isinstance(error, (ConfigCompositionException, OmegaConfBaseException)):
        return _explain_key(error, overrides, compose_choices())
    return str(error)


def _explain_value(fault: dict[str, Any], overrides: Sequence[str], known: Sequence[str]) -> str:
    """One of pydantic's findings."""
    key = ".".join(str(part) for part in fault["loc"] if not _is_union_member(part))
    if fault["type"] == "missing":
        return f"{key}: needs a value; give {key}=..."
    if fault["type"] == "extra_forbidden":
        return no_such_key(next((o for o in overrides if o.lstrip("+").startswith(f"{key}=")), key), key, known)
    if fault["type"] == "list_type":
        return f"{key}={fault['input']}: must be a list; give {key}=[{fault['input']}]"
    if fault["type"] == "int_type" and (word := next((o for o in overrides if o.startswith(f"{key}=interval(")), None)):
        return f"{word}: must be whole numbers; give {key}=int({word.partition('=')[2]})"
    given = key if isinstance(fault["input"], dict) else f"{key}={fault['input']}"
    return f"{given}: {re.sub(r'^Input should be', 'must be', fault['msg'])}"


def _is_union_member(part: object) -> bool:
    """Pydantic adds to a fault's place which member of a union it tried: 'int', 'constrained-int'."""
    return isinstance(part, str) and re.fullmatch(r"(constrained-)?(int|float|str)|list\[.*\]|Built", part) is not None


def _explain_sweep(overrides: Sequence[str]) -> str:
    """Several values without -m."""
    several = [
        str(o.input_line) for o in OverridesParser.create().parse_overrides(list(overrides)) if o.is_sweep_override()
    ]
    return f"{' '.join(several)}: several values: for a sweep add -m; a text with a comma goes in quotes: \"key='a,b'\""


def _explain_key(error: Exception, overrides: Sequence[str], composed: DictConfig) -> str:
    """Name the override whose key does not exist, and the nearest that does."""
    known = known_keys(composed)
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        key = override.get_key_element().lstrip("+~")
        if key not in known and not override.is_add() and not override.is_force_add():
            return no_such_key(str(override.input_line), key, known)
    cause = error.__cause__  # OmegaConf's, where a value is of the wrong type
    return ": ".join(str(e).splitlines()[0] for e in (error, cause) if e is not None)


def no_such_key(word: str, key: str, known: Sequence[str]) -> str:
    """What is said of a word whose key is not among the `known` ones: the nearest that is."""
    section, _, name = key.rpartition(".")
    homes = [k for k in known if k.rpartition(".")[2] == name and not k.startswith("hydra")]
    if homes:
        return f"{word}: there is no setting {key!r}. Did you mean {' or '.join(homes)}?"
    if section in known and not any(k.startswith(f"{section}.") for k in known):
        return f"{word}: {section} is empty; add a key to it with +{word}"
    in_section = [k for k in known if k.rpartition(".")[0] == section]
    siblings = in_section or [k for k in known if "." not in k]
    return f"{word}: there is no setting {key!r}. {nearest(key, siblings)}"


def known_keys(composed: DictConfig) -> list[str]:
    """Every key of a whole configuration, Hydra's and the groups among them."""
    groups = [str(group) for group in composed.hydra.runtime.choices]
    return [*dotted_keys(composed), *(f"hydra.{k}" for k in dotted_keys(composed.hydra)), *groups]


def dotted_keys(config: DictConfig, prefix: str = "") -> Iterator[str]:
    """Every key a user may set, dotted; Hydra's own node left out."""
    for name in map(str, config):
        node = config._get_node(name)
        if name == "hydra" or name.startswith("_"):
            continue
        yield f"{prefix}{name}"
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
            yield from dotted_keys(node, f"{prefix}{name}.")


def nearest(word: str, allowed: Sequence[str]) -> str:
    """'Did you mean x? Allowed: x, y.'"""
    allowed = sorted(set(allowed))
    close = difflib.get_close_matches(word.replace("-", "_"), allowed, n=1)
    return (f"Did you mean {close[0]}? " if close else "") + f"Allowed: {', '.join(allowed)}."
