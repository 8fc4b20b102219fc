"""From a section's `_target_` and its other keys to the object that they name."""

import inspect
import pkgutil
import typing
from typing import Any

from jsc.cli.settings import Built
from jsc.errors import CommandError


def construct(section: Built, kind: type, **arguments: Any) -> Any:
    """Call a section's target, which makes a `kind`, with its own arguments and these.

    Raises CommandError, before the call if the target makes none, else with what the target says.
    """
    try:
        check_kind(section.target, kind)
        takes = arguments_of(section.target)
    except (AttributeError, ImportError, TypeError, ValueError) as error:
        raise CommandError(f"{section.target}: {error}") from error
    unknown = [name for name in section.arguments if takes is not None and name not in takes]
    if unknown:
        allowed = ", ".join(name for name in takes or () if name not in arguments) or "nothing"
        raise CommandError(f"{section.target} does not take {', '.join(unknown)}; it takes {allowed}")
    try:
        return pkgutil.resolve_name(section.target)(**section.arguments, **arguments)
    except (ImportError, ValueError) as error:
        raise CommandError(f"{section.target}: {error}") from error
    except TypeError as error:  # says little of what it was given
        told = ", ".join(f"{name}={value}" for name, value in section.arguments.items())
        raise CommandError(f"{section.target}({told}): {error}") from error


def check_kind(target: str, kind: type) -> None:
    """Raises CommandError unless a target is a class of this kind, or a function annotated to return one.

    And ImportError, AttributeError or ValueError if there is no such thing. A kind that is a protocol asks for its
    methods alone.
    """
    found = pkgutil.resolve_name(target)
    made = found
    if not inspect.isclass(found) and inspect.isroutine(found):
        try:
            made = typing.get_type_hints(found).get("return")
        except (
            NameError,
            TypeError,
        ):  # of a function that is not written in Python, or annotated with what is not there
            made = None
    made = typing.get_origin(made) or made
    if not inspect.isclass(made) or not issubclass(made, kind):
        raise CommandError(
            f"_target_={target}: it makes no {kind.__name__}; name a class of that kind ({kind.__module__}."
            f"{kind.__qualname__}), or a function whose annotation says that it returns one"
        )


def arguments_of(target: str) -> list[str] | None:
    """The names of the arguments that a class or function takes, `torch.optim.Adam`; None if it takes any.

    Raises ImportError, AttributeError or ValueError if there is no such thing, and TypeError if it cannot be called.
    """
    parameters = inspect.signature(pkgutil.resolve_name(target)).parameters.values()
    return None if any(p.kind == p.VAR_KEYWORD for p in parameters) else [p.name for p in parameters]
