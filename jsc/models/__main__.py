"""What networks there are: python -m jsc.models [plugins=[my_models]] [num_features=16] [num_classes=5]"""

import sys

from jsc.cli.command import compose_command, explained_errors
from jsc.cli.console import table
from jsc.cli.settings import ModelsSettings
from jsc.models import build_model, find_model, is_traceable, model_names, num_macs, num_parameters
from jsc.models.plugins import import_plugins


def main(settings: ModelsSettings) -> None:
    """Print a table of the registry; fx-traceability is found out by tracing."""
    import_plugins(settings.plugins)
    rows = []
    for name in model_names():
        model = build_model(name, num_features=settings.num_features, num_classes=settings.num_classes)
        source = find_model(name).constructor.__module__
        macs = num_macs(model, num_features=settings.num_features)
        rows.append((name, num_parameters(model), macs, "yes" if is_traceable(model) else "no", source))
    columns = ("model.name", "parameters", "multiply-accumulates a jet", "fx-traceable", "source")
    print(table(f"Networks for {settings.num_features} features and {settings.num_classes} classes", columns, rows))


if __name__ == "__main__":
    with explained_errors("models", sys.argv[1:]):
        main(compose_command("models", sys.argv[1:], ModelsSettings))
