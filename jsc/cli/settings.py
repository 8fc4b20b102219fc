"""What a run is told, typed and checked. The default values are in conf/, types and ranges here.

A section with a `_target_` builds that class or function with its other keys, so it may hold keys that are not listed
here; every other section takes the listed keys alone. What a setting changes is marked here, once.
"""

from collections.abc import Callable, Iterator, Mapping
from enum import Flag, auto
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt, model_validator

Precision = Literal["64-true", "32-true", "16-true", "bf16-true", "16-mixed", "bf16-mixed"]
BatchSize = Annotated[int, Field(ge=2, le=2**31 - 1)]  # BatchNorm cannot train on one jet
PositiveFraction = Annotated[float, Field(gt=0, le=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]  # as NumPy's generator takes them, which Lightning seeds too


class Mark(Flag):
    """What a setting of a run changes. Every field of TrainSettings bears one; a section's holds for all its keys."""

    OUTCOME = auto()  # weights and scores: a resumed run keeps it
    LENGTH = auto()  # how far the fit goes, and nothing of the way there: a resumed run may go further
    EPOCH_COST = auto()  # the time that an epoch takes
    SHOWN = auto()  # runs are compared by it: in reports and on TensorBoard's HParams page
    IN_RESULT = auto()  # result.json holds it


NOTHING = Mark(0)
OUTCOME, LENGTH, EPOCH_COST, SHOWN, IN_RESULT = Mark


PLACES = ("dirpath", "filename", "save_dir")  # keys of callbacks: where they write, by which runs are not compared


class Section(BaseModel):
    """A group of keys, all of them known. `unlisted`: the marks of keys that are no fields of the class."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)

    unlisted: ClassVar[Mapping[str, Mark]] = {}


class Built(Section):
    """A group of keys that builds an object: `_target_` is called with all keys that are not fields of the class."""

    model_config = ConfigDict(extra="allow")

    target: Annotated[str, Field(alias="_target_"), OUTCOME]

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for the target."""
        return dict(self.model_extra or {})


class ModelSettings(Section):
    name: Annotated[str, OUTCOME | EPOCH_COST | SHOWN | IN_RESULT]
    options: Annotated[dict[str, Any], OUTCOME | EPOCH_COST | SHOWN]


class DatasetSettings(Built):
    name: Annotated[str, OUTCOME | EPOCH_COST | SHOWN | IN_RESULT]
    batch_size: Annotated[BatchSize, OUTCOME | EPOCH_COST | SHOWN | IN_RESULT]

    # Results hold the SHA-256 of the jets, wherever they lie and however they come.
    unlisted = dict.fromkeys(("md5", "url", "timeout_seconds", "num_tries"), NOTHING) | {
        "": OUTCOME | EPOCH_COST | SHOWN,
        "path": EPOCH_COST,
    }


class OptimizerSettings(Built):
    name: Annotated[str, OUTCOME | EPOCH_COST | SHOWN | IN_RESULT]
    partial: Annotated[Literal[True], Field(alias="_partial_"), OUTCOME]
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False), OUTCOME | SHOWN | IN_RESULT]
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False), OUTCOME | SHOWN | IN_RESULT]

    unlisted = {"": OUTCOME | SHOWN}

    @property
    def arguments(self) -> dict[str, Any]:
        return {"lr": self.lr, "weight_decay": self.weight_decay, **super().arguments}


class SchedulerSettings(Section):
    """`name: none` alone, or a target that takes the optimizer first."""

    model_config = ConfigDict(extra="allow")

    name: Annotated[str, OUTCOME | SHOWN | IN_RESULT]
    target: Annotated[str | None, Field(alias="_target_"), OUTCOME] = None
    partial: Annotated[Literal[True] | None, Field(alias="_partial_"), OUTCOME] = None
    interval: Annotated[Literal["epoch", "step"], OUTCOME | SHOWN] = "epoch"
    monitor: Annotated[str | None, OUTCOME | SHOWN] = None
    needs_total_steps: Annotated[bool, OUTCOME | SHOWN] = False

    unlisted = {"": OUTCOME | SHOWN}

    @model_validator(mode="after")
    def _no_dead_options(self) -> "SchedulerSettings":
        if self.target is None and self.model_extra:
            unknown = ", ".join(self.model_extra)
            raise ValueError(f"{self.name} takes no {unknown}; choose another, such as scheduler=step")
        return self


class EngineSettings(Section):
    name: Annotated[Literal["auto", "fused", "torch"], EPOCH_COST | SHOWN]


class LossSettings(Section):
    label_smoothing: Annotated[float, Field(ge=0, lt=1), OUTCOME | SHOWN]
    class_weights: Annotated[list[Annotated[float, Field(ge=0, allow_inf_nan=False)]] | None, OUTCOME | SHOWN]


class TrainerSettings(Section):
    accelerator: Annotated[Literal["auto", "cpu", "gpu"], EPOCH_COST | SHOWN]
    devices: Annotated[PositiveInt, EPOCH_COST | SHOWN]
    strategy: Annotated[Literal["auto", "ddp", "ddp_spawn"], EPOCH_COST | SHOWN]
    precision: Annotated[Precision, OUTCOME | EPOCH_COST | SHOWN]
    max_epochs: Annotated[PositiveInt, LENGTH | SHOWN | IN_RESULT]
    max_steps: Annotated[int, Field(ge=-1), LENGTH | SHOWN]
    num_threads: Annotated[PositiveInt, EPOCH_COST | SHOWN]
    log_every_n_steps: Annotated[PositiveInt, EPOCH_COST]
    val_check_interval: Annotated[PositiveInt | PositiveFraction, OUTCOME | EPOCH_COST | SHOWN]
    check_val_every_n_epoch: Annotated[PositiveInt, OUTCOME | EPOCH_COST | SHOWN]
    limit_train_batches: Annotated[PositiveInt | PositiveFraction, OUTCOME | EPOCH_COST | SHOWN]
    limit_val_batches: Annotated[PositiveInt | PositiveFraction, OUTCOME | EPOCH_COST | SHOWN]
    gradient_clip_val: Annotated[Annotated[float, Field(gt=0)] | None, OUTCOME | EPOCH_COST | SHOWN]
    gradient_clip_algorithm: Annotated[Literal["norm", "value"], OUTCOME | EPOCH_COST | SHOWN]
    accumulate_grad_batches: Annotated[PositiveInt, OUTCOME | EPOCH_COST | SHOWN]
    deterministic: Annotated[bool, OUTCOME | EPOCH_COST | SHOWN]
    detect_anomaly: Annotated[bool, EPOCH_COST | SHOWN]


class TrainSettings(Section):
    """Everything that `python -m jsc.train` is told, but for where it writes."""

    model: ModelSettings
    dataset: DatasetSettings
    optimizer: OptimizerSettings
    scheduler: SchedulerSettings
    engine: EngineSettings
    trainer: TrainerSettings
    loss: LossSettings
    callbacks: Annotated[dict[str, Built | None], SHOWN]
    logger: Annotated[dict[str, Built | None], NOTHING]
    seed: Annotated[Seed, OUTCOME | SHOWN | IN_RESULT]
    plugins: Annotated[list[str], NOTHING]


def marks_in(section: type[Section], prefix: str = "") -> Iterator[tuple[str, Mark]]:
    """The dotted keys of a section's fields, and the mark of each. Raises TypeError for a field without one."""
    for key, mark in section.unlisted.items():
        yield f"{prefix}{key}".rstrip("."), mark
    for name, field in section.model_fields.items():
        key, inner = f"{prefix}{field.alias or name}", field.annotation
        marks = [mark for mark in field.metadata if isinstance(mark, Mark)]
        if marks:
            yield key, marks[0]
        elif isinstance(inner, type) and issubclass(inner, Section):
            yield from marks_in(inner, f"{key}.")
        else:
            raise TypeError(f"{section.__name__}.{name} bears no Mark: say what this setting changes")


MARKS: Mapping[str, Mark] = dict(marks_in(TrainSettings))
"""By dotted key; a key that is not listed has the mark of the nearest section above it."""


def mark_of(key: str) -> Mark:
    """That of a dotted key, `optimizer.lr`; NOTHING for one that is no setting of a run, `hydra.run.dir`."""
    while key not in MARKS:
        key = key.rpartition(".")[0]
        if not key:
            return NOTHING
    return MARKS[key]


def changes_outcome(key: str) -> bool:
    """Whether other values give other weights or scores."""
    return OUTCOME in mark_of(key)


def changes_length(key: str) -> bool:
    """Whether other values make a fit longer or shorter, and change nothing of the part that both have."""
    return LENGTH in mark_of(key)


def changes_epoch_cost(key: str) -> bool:
    """Whether an epoch takes longer with other values."""
    return EPOCH_COST in mark_of(key)


def is_shown(key: str) -> bool:
    """Whether runs are compared by it."""
    return SHOWN in mark_of(key) and key.rpartition(".")[2] not in PLACES


def is_option(key: str) -> bool:
    """Whether runs are compared by it and `result.json` does not hold it."""
    return is_shown(key) and IN_RESULT not in mark_of(key)


def flat(settings: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """`{"trainer.max_epochs": 20}` from nested mappings."""
    leaves: dict[str, Any] = {}
    for key, value in settings.items():
        if isinstance(value, Mapping) and value:
            leaves |= flat(value, f"{prefix}{key}.")
        else:
            leaves[f"{prefix}{key}"] = value
    return leaves


def values_where(is_asked_for: Callable[[str], bool], settings: TrainSettings) -> dict[str, Any]:
    """The values of a run's settings by their dotted keys, of those keys alone: `values_where(is_shown, settings)`."""
    values = flat(settings.model_dump(by_alias=True))
    return {key: value for key, value in values.items() if is_asked_for(key)}


class TestSettings(Section):
    """What `python -m jsc.test` is told."""

    __test__: ClassVar[bool] = False  # not a test class, whatever pytest makes of its name

    checkpoint: str
    model: ModelSettings | None
    dataset: DatasetSettings | None
    accelerator: Literal["auto", "cpu", "gpu"]
    plugins: list[str]


class ModelsSettings(Section):
    """What `python -m jsc.models` is told."""

    num_features: PositiveInt
    num_classes: PositiveInt
    plugins: list[str]


class DatasetsSettings(Section):
    """What `python -m jsc.datasets` is told."""

    dataset: DatasetSettings
    out: str


class ReportSettings(Section):
    """What `python -m jsc.report` is told, besides paths."""

    out: str | None
    title: str
    confidence: Annotated[float, Field(gt=0, lt=1)]
    stagnation_tolerance: Annotated[float, Field(ge=0)]
    stagnation_epochs: Annotated[int, Field(ge=1)]
    overfitting_tolerance: Annotated[float, Field(ge=0)]


class ScaleSettings(Section):
    """Overrides for every sweep of a lab."""

    name: str
    overrides: list[str]


class LabSettings(Section):
    """What `python -m jsc.lab` is told, besides overrides for its sweeps."""

    out: Annotated[str, Field(min_length=1)]
    scale: ScaleSettings
    seeds: Annotated[list[Seed], Field(min_length=1)]
    questions: Annotated[list[str], Field(min_length=1)]
    report: ReportSettings


class SimulateSettings(Section):
    """What `python -m jsc.simulate` is told."""

    num_jets: Annotated[int, Field(ge=5, description="one of each class at least")]
    num_workers: PositiveInt
    seed: NonNegativeInt
    out: Annotated[str, Field(min_length=1)]


class CircuitSettings(Section):
    """How a circuit is made and proved; conf/hardware.yaml explains each."""

    backend: Literal["da4ml", "hls4ml"]
    latency_cutoff: NonNegativeInt
    delay_constraint: Annotated[int, Field(ge=-1)]
    random_vectors: Annotated[int, Field(ge=0, le=10_000_000)]
    simulator: Literal["auto", "verilator", "icarus"]
    synthesis: bool
    family: Literal["xcup", "xcu", "xc7"]
    part: Annotated[str, Field(pattern=r"^[A-Za-z0-9_-]+$")]
    clock_period_ns: Annotated[float, Field(gt=0, allow_inf_nan=False)]


class HardwareSettings(Section):
    """What `python -m jsc.hardware` is told."""

    checkpoint: str | None
    circuit: str | None
    dataset: DatasetSettings | None
    out: Annotated[str, Field(min_length=1)] | None
    hardware: CircuitSettings
