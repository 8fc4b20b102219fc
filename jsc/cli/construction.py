"""From a section's `_target_` and its other keys to the object that they name."""

from typing import Any

import hydra.utils
from hydra.errors import HydraException

from jsc.cli.settings import Built
from jsc.errors import CommandError


def construct(section: Built, **arguments: Any) -> Any:
    """Call a section's target with its own arguments and these. Raises CommandError with the target's own words."""
    try:
        return hydra.utils.get_object(section.target)(**section.arguments, **arguments)
    except (HydraException, ImportError, TypeError, ValueError) as error:
        raise CommandError(f"{section.target}: {error}") from error
