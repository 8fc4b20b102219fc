"""What `--help` says of a command: its own words, and its settings from conf/ and from the types of settings.py."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from omegaconf import OmegaConf
from pydantic import BaseModel

from jsc.cli.command import CONFIG_FOLDER, compose, plain_value
from jsc.cli.console import table

# What a JSON schema says, in words: "whole number, from 1".
KINDS = {"integer": "whole number", "number": "number", "boolean": "true, false", "string": "text", "null": "null"}
BOUNDS = {"minimum": "from", "exclusiveMinimum": "above", "maximum": "to", "exclusiveMaximum": "below"}


def answers_help(arguments: Sequence[str], about: str | None, config_name: str, schema: type[BaseModel]) -> bool:
    """Whether a command's words ask for help; then `about` and the settings of conf/<config_name>.yaml are printed."""
    if not {"-h", "--help"} & set(arguments):
        return False
    rows = list(_settings(config_name, schema))
    print(f"{about}\n{table('Settings, given as key=value', ('key', 'default', 'allowed', 'what'), rows)}")
    return True


def _settings(config_name: str, schema: type[BaseModel]) -> Iterator[tuple[str, str, str, str]]:
    """A row each; a group of files is one row, and so is a section."""
    config, whole, comments = compose(config_name, []), schema.model_json_schema(), _comments(config_name)
    for key, field in whole["properties"].items():
        section = whole.get("$defs", {}).get(field.get("$ref", "").rpartition("/")[2], {})
        if choices := sorted(file.stem for file in (CONFIG_FOLDER / key).glob("*.yaml")):
            chosen = config.hydra.runtime.choices[key]
            yield key, _typed(chosen), ", ".join(choices), comments[key]
        elif section:
            yield f"{key}.KEY", "", ", ".join(section["properties"]), comments[key]
        else:
            default = "(needed)" if OmegaConf.is_missing(config, key) else _typed(plain_value(config, key))
            yield key, default, _allowed(field), comments[key]


def _allowed(field: Mapping[str, Any]) -> str:
    if "anyOf" in field:
        return " or ".join(_allowed(one) for one in field["anyOf"])
    if "enum" in field:
        return ", ".join(field["enum"])
    if field["type"] == "array":
        return f"[{_allowed(field['items'])}, ...]"
    bounds = " ".join(f"{word} {field[bound]:.10g}" for bound, word in BOUNDS.items() if bound in field)
    return f"{KINDS[field['type']]} {bounds}".rstrip()


def _typed(value: Any) -> str:
    """As on a command line."""
    if isinstance(value, list):
        return f"[{', '.join(map(_typed, value))}]"
    return "null" if value is None else str(value)


def _comments(config_name: str) -> dict[str, str]:
    """What conf/<config_name>.yaml says behind each key, on its line and the next."""
    comments: dict[str, str] = {}
    key = ""
    for line in (CONFIG_FOLDER / f"{config_name}.yaml").read_text().splitlines():
        if match := re.match(r"(?:  - )?(\w+):[^#]*(?:# (.*))?$", line):
            key = match[1]
            comments[key] = match[2] or comments.get(key, "")
        elif match := re.match(r" +# (.*)", line):
            comments[key] += f" {match[1]}"
    return comments
