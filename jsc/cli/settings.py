"""What a run is told, typed and checked. The default values are in conf/, types and ranges here.

A section with a `_target_` builds that class or function with its other keys, so it may hold keys that are not listed
here; every other section takes the listed keys alone.
"""

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, NonNegativeInt, PositiveInt

Precision = Literal["64-true", "32-true", "16-true", "bf16-true", "16-mixed", "bf16-mixed"]
Fraction = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, le=2**32 - 1)]  # as NumPy's generator takes them, which Lightning seeds too


class Section(BaseModel):
    """A group of keys, all of them known."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, populate_by_name=True)


class Built(Section):
    """A group of keys that builds an object: `_target_` is called with all keys that are not fields of the class."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, populate_by_name=True)

    target: str = Field(alias="_target_")

    @property
    def arguments(self) -> dict[str, Any]:
        """Keyword arguments for the target."""
        return dict(self.model_extra or {})


class ModelSettings(Section):
    name: str
    options: dict[str, Any]


class DatasetSettings(Built):
    name: str
    batch_size: Annotated[int, Field(ge=2, le=2**31 - 1, description="BatchNorm cannot train on one jet")]


class OptimizerSettings(Built):
    name: str
    partial: Literal[True] = Field(alias="_partial_")
    lr: Annotated[float, Field(gt=0, allow_inf_nan=False)]
    weight_decay: Annotated[float, Field(ge=0, allow_inf_nan=False)]

    @property
    def arguments(self) -> dict[str, Any]:
        return {"lr": self.lr, "weight_decay": self.weight_decay, **super().arguments}


class SchedulerSettings(Section):
    """`name: none` alone, or a target that takes the optimizer first."""

    model_config = ConfigDict(extra="allow", frozen=True, strict=True, populate_by_name=True)

    name: str
    target: str | None = Field(alias="_target_", default=None)
    partial: Literal[True] | None = Field(alias="_partial_", default=None)
    interval: Literal["epoch", "step"] = "epoch"
    monitor: str | None = None
    needs_total_steps: bool = False


class EngineSettings(Section):
    name: Literal["auto", "fused", "torch"]


class LossSettings(Section):
    label_smoothing: Annotated[float, Field(ge=0, lt=1)]
    class_weights: list[Annotated[float, Field(ge=0, allow_inf_nan=False)]] | None


class TrainerSettings(Section):
    accelerator: Literal["auto", "cpu", "gpu"]
    devices: PositiveInt
    strategy: Literal["auto", "ddp", "ddp_spawn"]
    precision: Precision
    max_epochs: PositiveInt
    max_steps: Annotated[int, Field(ge=-1)]
    num_threads: PositiveInt
    log_every_n_steps: PositiveInt
    val_check_interval: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, le=1)]
    check_val_every_n_epoch: PositiveInt
    limit_train_batches: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, le=1)]
    limit_val_batches: Annotated[int, Field(ge=1)] | Annotated[float, Field(gt=0, le=1)]
    gradient_clip_val: Annotated[float, Field(gt=0)] | None
    gradient_clip_algorithm: Literal["norm", "value"]
    accumulate_grad_batches: PositiveInt
    deterministic: bool
    detect_anomaly: bool


class TrainSettings(Section):
    """Everything that `python -m jsc.train` is told, but for where it writes."""

    model: ModelSettings
    dataset: DatasetSettings
    optimizer: OptimizerSettings
    scheduler: SchedulerSettings
    engine: EngineSettings
    trainer: TrainerSettings
    loss: LossSettings
    callbacks: dict[str, Built | None]
    logger: dict[str, Built | None]
    seed: Seed
    plugins: list[str]


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
    """Words for every sweep of a lab."""

    name: str
    words: list[str]


class LabSettings(Section):
    """What `python -m jsc.lab` is told, besides words for its sweeps."""

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
