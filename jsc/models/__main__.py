"""List the networks: their sizes, and whether torch.fx can trace them.

python -m jsc.models
python -m jsc.models plugins=[my_models] num_features=3 num_classes=2
"""

import sys
from collections.abc import Sequence

from jsc.cli.command import compose_command, explained_errors
from jsc.cli.console import table
from jsc.cli.help import answers_help
from jsc.cli.settings import ModelsSettings


def main(arguments: Sequence[str]) -> None:
    """Print a table of the registry; fx-traceability is found out by tracing."""
    if answers_help(arguments, __doc__, "models", ModelsSettings):
        return
    settings = compose_command("models", arguments, ModelsSettings)
    with explained_errors("models", arguments):
        print(networks(settings))


def networks(settings: ModelsSettings) -> str:
    """A table with a row a network."""
    from jsc.models import build_model, find_model, is_traceable, model_names, num_macs, num_parameters
    from jsc.models.plugins import import_plugins

    import_plugins(settings.plugins)
    rows = []
    for name in model_names():
        model = build_model(name, num_features=settings.num_features, num_classes=settings.num_classes)
        source = find_model(name).constructor.__module__
        macs = num_macs(model, num_features=settings.num_features)
        rows.append((name, num_parameters(model), macs, "yes" if is_traceable(model) else "no", source))
    columns = ("model.name", "parameters", "multiply-accumulates a jet", "fx-traceable", "source")
    return table(f"Networks for {settings.num_features} features and {settings.num_classes} classes", columns, rows)


if __name__ == "__main__":
    main(sys.argv[1:])
