"""A checkpoint and its scores on the test split."""

import sys
from pathlib import Path

import torch

from jsc.cli import console
from jsc.cli.command import own_dataset
from jsc.cli.settings import DatasetSettings, ModelSettings, TestSettings, TrainSettings
from jsc.cli.trust import check_recorded_dataset
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
    model_settings, dataset_settings = described(settings, stored, path)
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


def described(settings: TestSettings, stored: StoredModel, path: Path) -> tuple[ModelSettings, DatasetSettings]:
    """The model and the data set: the command's, else those that the checkpoint was trained with.

    Raises CommandError where these are nothing that a file alone may name (`jsc.cli.trust`).
    """
    if stored.hyper_parameters is not None:
        trained = TrainSettings.model_validate(stored.hyper_parameters["settings"])
        model, dataset = settings.model or trained.model, settings.dataset or trained.dataset
        if model.name not in model_names() and not settings.plugins:
            plugins = ",".join(trained.plugins)
            raise CommandError(
                f"{path} was trained with model.name={model.name} of plugins=[{plugins}], code that is not imported "
                f"because a file says so. If you know it, give plugins=[{plugins}]"
            )
        if settings.dataset is None:
            check_recorded_dataset(dataset, own_dataset(dataset.name), settings.trusted, path)
        return model, dataset
    if settings.model is None or settings.dataset is None:
        raise CommandError(
            f"{settings.checkpoint} holds weights alone, so say what they belong to: "
            f"python -m jsc.test checkpoint={settings.checkpoint} model=jsc_tiny dataset=jsc_sample"
        )
    return settings.model, settings.dataset
