"""A checkpoint and its scores on the test split."""

import sys
from pathlib import Path

import torch

from jsc.cli import console
from jsc.cli.settings import DatasetSettings, ModelSettings, TestSettings, TrainSettings
from jsc.errors import CommandError
from jsc.fit.checkpoint import StoredModel, load_weights, read_checkpoint
from jsc.fit.engine import TorchEngine
from jsc.fit.tensorboard import RunLogger
from jsc.models import model_names
from jsc.models.plugins import import_plugins
from jsc.reporting.drawing import make_figure
from jsc.reporting.figures import confusion_map
from jsc.results import CHECKPOINT_FOLDER, beside, checkpoint_of
from jsc.run.assembly import build_network, jets_of
from jsc.run.testing import as_trained_on, score_model

CONFUSION_FILE = "confusion.png"


def score_checkpoint(settings: TestSettings) -> None:
    """Test, print the tables, and leave the scores, the predictions and CONFUSION_FILE `beside` the checkpoint."""
    path = checkpoint_of(Path(settings.checkpoint))
    import_plugins(settings.plugins)
    stored = read_checkpoint(path)
    model_settings, dataset_settings, plugins = described(settings, stored)
    if model_settings.name not in model_names():  # a network of jsc's is tested without the plugins that it came with
        try:
            import_plugins(plugins)
        except CommandError as error:
            raise CommandError(
                f"{path} was trained with {error}. Test it from that module's folder, or give plugins=[...]"
            ) from error
    jets = jets_of(dataset_settings)
    warnings: list[str] = []
    if stored.hyper_parameters is not None:
        jets, warnings = as_trained_on(jets, stored.hyper_parameters)
    network = build_network(model_settings, jets)
    load_weights(network, stored.weights, path)
    result = score_model(
        network,
        TorchEngine(network),
        jets,
        checkpoint=path,
        model_name=model_settings.name,
        dataset_name=dataset_settings.name,
        accelerator=settings.accelerator,
        precision="64-true" if next(network.parameters()).dtype == torch.float64 else "32-true",
        warnings=warnings,
    )
    print(console.test_tables(result))
    figure = make_figure(lambda figure: confusion_map(figure, [result]))
    figure.savefig(beside(path, CONFUSION_FILE), dpi=150)
    logger = RunLogger(path.parent.parent if path.parent.name == CHECKPOINT_FOLDER else path.parent)
    logger.experiment.add_figure("test_confusion", figure)
    logger.close()
    for warning in result.warnings:
        print(f"Warning: {warning}", file=sys.stderr)


def described(settings: TestSettings, stored: StoredModel) -> tuple[ModelSettings, DatasetSettings, list[str]]:
    """The model, the data set and the plugins: the command's, else those that the checkpoint was trained with."""
    if stored.hyper_parameters is not None:
        trained = TrainSettings.model_validate(stored.hyper_parameters["settings"])
        return settings.model or trained.model, settings.dataset or trained.dataset, settings.plugins or trained.plugins
    if settings.model is None or settings.dataset is None:
        raise CommandError(
            f"{settings.checkpoint} holds weights alone, so say what they belong to: "
            f"python -m jsc.test checkpoint={settings.checkpoint} model=jsc_tiny dataset=jsc_sample"
        )
    return settings.model, settings.dataset, settings.plugins
