"""What was varied, found from the runs: configurations (runs that differ in their seed alone) and their questions.

A line is a set of configurations that differ in one setting, a plane one that differs in two and holds a full
rectangle of values, without the lines that cross it. One report asks each setting once, on its longest line, and each
pair of settings once, on its fullest plane; of equals, the one with the lowest validation loss.
"""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from jsc.reporting.runs import SETTINGS_OF_RESULT, Run, Setting
from jsc.reporting.sample import Sample
from jsc.reporting.wording import capitalised, join, label, named, shown
from jsc.results import RunResult

BUDGET = "max_epochs"
MAX_NAMED = 12  # configurations in one sentence


@dataclass(frozen=True, order=True)
class DataIdentity:
    """Runs whose scores may stand in one table trained, validated and tested on the very same rows."""

    dataset: str
    variant: str | None  # None, like all below, if the runs failed before they had read it
    sha256: str | None
    num_train: int | None
    num_val: int | None
    num_test: int | None

    def __str__(self) -> str:
        if self.sha256 is None:
            return f"{self.dataset} (never read)"
        numbers = ("?" if n is None else f"{n:,}" for n in (self.num_train, self.num_val, self.num_test))
        counts = "{} training, {} validation and {} test jets".format(*numbers)
        return f"{self.dataset} (variant {self.variant}; {counts}; SHA-256 {self.sha256[:8]})"


@dataclass(frozen=True)
class Configuration:
    """Runs with the same settings on the same data. `runs` holds one run a seed; `repeats` the others."""

    settings: Mapping[str, Setting]
    runs: tuple[Run, ...]
    repeats: tuple[Run, ...] = ()

    @cached_property
    def counted(self) -> tuple[Run, ...]:
        return tuple(run for run in self.runs if run.counts)

    @property
    def results(self) -> list[RunResult]:
        """The records of the runs that count."""
        return [run.record for run in self.counted]

    def scores(self, name: str) -> Sample:
        """The values of a field of `result.json` over the runs that count."""
        return Sample.of(getattr(result, name) for result in self.results)

    def over_seeds(self, name: str) -> str:
        """The same for a table: mean ± standard deviation."""
        return self.scores(name).shown(name, len(self.counted))

    def shown(self, setting: str) -> str:
        """The value of a setting."""
        return shown(setting, self.settings[setting])

    @property
    def num_parameters(self) -> int:
        """0 if no run got as far as building the network."""
        return next((run.record.num_parameters for run in self.runs if run.record.num_parameters), 0)

    @property
    def epochs(self) -> int:
        """The budget of epochs asked for."""
        return int(self.settings[BUDGET] or 0)

    @cached_property
    def val_loss(self) -> float:
        """The mean lowest validation loss, by which settings are chosen; infinite where no run counts."""
        scores = self.scores("val_loss")
        return scores.mean if scores.n else math.inf


@dataclass(frozen=True)
class Question:
    """Configurations that differ in the settings `varied` (none: a configuration that stands alone).

    `confounded`: the varied settings change together, so that no difference can be put down to one of them.
    `others` counts the lines or planes that the same settings also vary along.
    """

    varied: tuple[str, ...]
    configurations: tuple[Configuration, ...]
    confounded: bool = False
    others: int = 0
    data: DataIdentity | None = field(default=None, compare=False)

    @property
    def is_plane(self) -> bool:
        return len(self.varied) == 2 and not self.confounded

    @property
    def title(self) -> str:
        if not self.varied:
            return f"One configuration: {self.configurations[0].settings['model']}"
        names = [label(name) for name in self.varied]
        title = capitalised(join(names) if self.confounded else " x ".join(names))
        return f"{title}, varied together" if self.confounded else title

    @property
    def fixed(self) -> dict[str, Setting]:
        """The settings that all configurations share."""
        settings = [c.settings for c in self.configurations]
        return {name: value for name, value in settings[0].items() if all(s[name] == value for s in settings)}

    @property
    def budget(self) -> int | None:
        """The epochs that most configurations were given, the larger of equals; None where epochs are the question."""
        if BUDGET in self.varied and not self.confounded:
            return None
        epochs = [c.epochs for c in self.configurations]
        return max(epochs, key=lambda value: (epochs.count(value), value))

    @cached_property
    def named_by(self) -> tuple[str, ...]:
        """The settings that tell the configurations apart: what was varied, and the epochs where those are unequal."""
        unequal = any(c.epochs != self.configurations[0].epochs for c in self.configurations)
        return (*self.varied, BUDGET) if unequal and BUDGET not in self.varied else self.varied or ("model",)

    @cached_property
    def names(self) -> list[str]:
        """The configurations' names in sentences, by position: learning rate 0.1, batch size 64."""
        return [", ".join(named(name, c.settings[name]) for name in self.named_by) for c in self.configurations]

    @cached_property
    def values(self) -> list[str]:
        """Their names in legends under the title `legend_title`: 0.1, 64."""
        return [", ".join(map(c.shown, self.named_by)) for c in self.configurations]

    @property
    def legend_title(self) -> str:
        return ", ".join(label(name) for name in self.named_by)

    def say(self, positions: Sequence[int], notes: Sequence[str] = ()) -> str:
        """Some configurations in a sentence, each with its note: batch size 64 (a), 128 (b) and 256 (c).

        Of many the first MAX_NAMED are named.
        """
        names = self.values if len(self.named_by) == 1 else self.names
        told = [names[i] for i in positions][:MAX_NAMED]
        if notes:
            told = [f"{name} {note}".rstrip() for name, note in zip(told, notes, strict=False)]
        more = len(positions) - MAX_NAMED
        if len(self.named_by) > 1:
            text = "; ".join(told)
        else:
            text = ("" if self.named_by == ("model",) else f"{label(self.named_by[0])} ") + join(told)
        return f"{text}; and {more} more (see the table)" if more > 0 else text


def group_by_data(runs: Iterable[Run]) -> dict[DataIdentity, list[Run]]:
    """The runs that have a record, by the jets that they saw; the largest group first."""
    groups: dict[DataIdentity, list[Run]] = defaultdict(list)
    for run in runs:
        if run.result is not None:
            r = run.result
            identity = DataIdentity(r.dataset, r.dataset_variant, r.dataset_sha256, r.num_train, r.num_val, r.num_test)
            groups[identity].append(run)
    return dict(sorted(groups.items(), key=lambda group: (-len(group[1]), str(group[0]))))


def find_configurations(runs: Sequence[Run]) -> list[Configuration]:
    """Group runs on the same data by their settings; of one seed run twice, the later counts, if it finished."""
    options = varied_options(runs)
    groups: dict[tuple[Setting, ...], list[Run]] = defaultdict(list)
    for run in runs:
        groups[(*_settings(run), *(run.options.get(option) for option in options))].append(run)
    names = (*SETTINGS_OF_RESULT, *options)
    return [
        _configuration(dict(zip(names, values, strict=True)), members, lambda run: run.record.started_at)
        for values, members in groups.items()
    ]


def _configuration(
    settings: Mapping[str, Setting], runs: Iterable[Run], preference: Callable[[Run], str | int]
) -> Configuration:
    """Of each seed the run that counts stands, and of several the one with the highest `preference`."""
    by_seed: dict[int, list[Run]] = defaultdict(list)
    for run in sorted(runs, key=lambda run: (run.counts, preference(run))):
        by_seed[run.record.seed].append(run)
    return Configuration(
        settings,
        runs=tuple(by_seed[seed][-1] for seed in sorted(by_seed)),
        repeats=tuple(run for seed in sorted(by_seed) for run in by_seed[seed][:-1]),
    )


def _settings(run: Run) -> tuple[Setting, ...]:
    return tuple(getattr(run.record, name) for name in SETTINGS_OF_RESULT)


def varied_options(runs: Iterable[Run]) -> list[str]:
    """Keys of the configuration that vary beside what `result.json` holds.

    A key that only some runs have comes with a choice that result.json names (Adam has betas, SGD has momentum); it is
    left out unless it varies among runs that are otherwise equal.
    """
    configured = [run for run in runs if run.options]
    varied = []
    for key in dict.fromkeys(key for run in configured for key in run.options):
        is_everywhere = all(key in run.options for run in configured)
        equals = [() if is_everywhere else _settings(run) for run in configured]
        if len(set(zip(equals, (run.options.get(key) for run in configured), strict=True))) > len(set(equals)):
            varied.append(key)
    return varied


def find_questions(configurations: Sequence[Configuration], data: DataIdentity | None = None) -> list[Question]:
    """The questions that configurations on the same data answer; those on no line or plane come last."""
    varied = varied_settings(configurations)
    questions: list[Question] = []
    asked: set[int] = set()  # the ids of configurations on any line, shown or not
    pairs = [(across, down) for down, across in itertools.combinations(varied, 2)]
    for settings in [*((name,) for name in varied if name != "model"), *pairs, ("model",)]:  # in the labs' order
        families = [_without_lines(family, settings) for family in _families(configurations, settings)]
        families = [family for family in families if _is_full(family, settings)]
        if families:
            family = _with_other_budgets(max(families, key=_rank), configurations, settings)
            if len(settings) == 1:
                asked |= {id(c) for members in (*families, family) for c in members}
            members = _sorted(_from_one_sweep(family), settings)
            questions.append(Question(settings, members, others=len(families) - 1, data=data))
    left = [c for c in configurations if id(c) not in asked]
    if left:
        together = varied_settings(left)
        questions.append(Question(together, _sorted(left, together), confounded=len(together) > 1, data=data))
    return questions


def varied_settings(configurations: Sequence[Configuration]) -> tuple[str, ...]:
    """The settings that not all configurations share."""
    names = configurations[0].settings if configurations else ()
    return tuple(name for name in names if len({c.settings[name] for c in configurations}) > 1)


def _from_one_sweep(configurations: Sequence[Configuration]) -> list[Configuration]:
    """Of the repeats of a seed, those of the sweep that holds most of these configurations: their times compare.

    Of several that hold as many the latest stays.
    """
    sweeps = Counter(run.folder.parent for c in configurations for run in (*c.runs, *c.repeats) if run.counts)
    return [
        _configuration(c.settings, (*c.repeats, *c.runs), lambda run: sweeps[run.folder.parent]) for c in configurations
    ]


def _families(configurations: Sequence[Configuration], settings: tuple[str, ...]) -> list[list[Configuration]]:
    """The configurations, grouped by everything but `settings`."""
    families: dict[tuple[Setting, ...], list[Configuration]] = defaultdict(list)
    for c in configurations:
        families[tuple(value for name, value in c.settings.items() if name not in settings)].append(c)
    return list(families.values())


def _rank(family: Sequence[Configuration]) -> tuple[int, float]:
    return len(family), -min(c.val_loss for c in family)


def _is_full(family: Sequence[Configuration], settings: tuple[str, ...]) -> bool:
    """Whether a line has two values, or two values of each setting of a plane were run in all four combinations."""
    columns: dict[Setting, set[tuple[Setting, ...]]] = defaultdict(set)
    for c in family:
        value, *others = (c.settings[name] for name in settings)
        columns[value].add(tuple(others))
    return any(len(one & other) >= len(settings) for one, other in itertools.combinations(columns.values(), 2))


def _without_lines(family: list[Configuration], settings: tuple[str, ...]) -> list[Configuration]:
    """A plane without the rows and columns of one value beside others of three or more; a line as it is.

    Those belong to lines that cross it, and would leave it full of holes: of four learning rates by four batch sizes,
    and six of each at one value of the other, the four by four stay.
    """
    counts = {name: Counter(c.settings[name] for c in family) for name in settings}
    inside = [
        c for c in family if not any(n[c.settings[name]] == 1 and max(n.values()) > 2 for name, n in counts.items())
    ]
    return inside if len(inside) == len(family) else _without_lines(inside, settings)


def _with_other_budgets(
    family: list[Configuration], configurations: Sequence[Configuration], settings: tuple[str, ...]
) -> list[Configuration]:
    """A line, and configurations with further values of its setting that differ from it in their epochs too.

    They belong into the table, where they are marked, and into no claim. A plane, and a line of epochs, as it is.
    """
    if len(settings) > 1 or BUDGET in settings:
        return family
    (name,) = settings
    values = {c.settings[name] for c in family}
    shared = {key: value for key, value in family[0].settings.items() if key not in (name, BUDGET)}
    return family + [
        c
        for c in configurations
        if c.settings[name] not in values and all(c.settings[key] == value for key, value in shared.items())
    ]


def _sorted(configurations: Iterable[Configuration], by: tuple[str, ...]) -> tuple[Configuration, ...]:
    return tuple(sorted(configurations, key=lambda c: [_order(c, name) for name in by]))


def _order(c: Configuration, name: str) -> tuple[int, float, str]:
    """Models by size, numbers by value, words by the alphabet."""
    value = c.settings[name]
    if name == "model":
        return 0, c.num_parameters, str(value)
    if isinstance(value, int | float):
        return 0, value, ""
    return 1, 0.0, str(value)


def sort_values(configurations: Sequence[Configuration], name: str) -> list[Setting]:
    """The values that a setting takes, in the order of tables and axes."""
    return list(dict.fromkeys(c.settings[name] for c in _sorted(configurations, (name,))))
