"""What was varied, found from the runs: configurations (runs that differ in their seed alone) and their questions.

A line is a set of configurations that differ in one setting, a plane one that differs in two and holds a full
rectangle of values, without the lines that cross it. One report asks each setting once, on its longest line, and each
pair of settings once, on its fullest plane; of equals, the one with the lowest validation loss.
"""

import itertools
import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from jsc.reporting.runs import SETTINGS_OF_RESULT, Run, Setting
from jsc.reporting.sample import Sample, sample
from jsc.reporting.wording import join, label, named, shown
from jsc.results import RunResult

BUDGET = "max_epochs"


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

    @property
    def counted(self) -> tuple[Run, ...]:
        return tuple(run for run in self.runs if run.counts)

    @property
    def results(self) -> tuple[RunResult, ...]:
        """The records of the runs that count."""
        return tuple(run.result for run in self.counted if run.result is not None)

    def scores(self, name: str) -> Sample:
        """The values of a field of `result.json` over the runs that count."""
        return sample([getattr(result, name) for result in self.results])

    @property
    def num_parameters(self) -> int:
        """0 if no run got as far as building the network."""
        return next((r.result.num_parameters for r in self.runs if r.result and r.result.num_parameters), 0)

    @property
    def epochs(self) -> int:
        """The budget of epochs asked for."""
        return int(self.settings[BUDGET] or 0)

    @property
    def val_loss(self) -> float:
        """The mean lowest validation loss, by which settings are chosen; infinite where no run counts."""
        scores = self.scores("val_loss")
        return scores.mean if scores.n else math.inf

    def named(self, settings: Iterable[str]) -> str:
        """The values of some settings with their names, for sentences."""
        return ", ".join(named(name, self.settings[name]) for name in settings)


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
    def title(self) -> str:
        if not self.varied:
            return f"One configuration: {self.configurations[0].settings['model']}"
        names = [label(name) for name in self.varied]
        joined = join(names) if self.confounded else " x ".join(names)
        title = joined[0].upper() + joined[1:]
        return f"{title}, varied together" if self.confounded else title

    @property
    def fixed(self) -> dict[str, Setting]:
        """The settings that all configurations share."""
        first = self.configurations[0].settings
        return {
            name: value for name, value in first.items() if all(c.settings[name] == value for c in self.configurations)
        }

    @property
    def budget(self) -> int | None:
        """The epochs that most configurations were given, the larger of equals; None where epochs are the question."""
        if BUDGET in self.varied and not self.confounded:
            return None
        epochs = [c.epochs for c in self.configurations]
        return max(epochs, key=lambda value: (epochs.count(value), value))

    @property
    def named_by(self) -> tuple[str, ...]:
        """The settings that tell the configurations apart: what was varied, and the epochs where those are unequal."""
        unequal = any(c.epochs != self.configurations[0].epochs for c in self.configurations)
        return (*self.varied, BUDGET) if unequal and BUDGET not in self.varied else self.varied or ("model",)

    @property
    def names(self) -> list[str]:
        """What sentences call each configuration, by its position: learning rate 0.1, batch size 64."""
        return [c.named(self.named_by) for c in self.configurations]

    @property
    def values(self) -> list[str]:
        """What legends under the title `named_by` call each configuration: 0.1, 64."""
        return [", ".join(shown(name, c.settings[name]) for name in self.named_by) for c in self.configurations]

    def say(self, positions: Sequence[int], notes: Sequence[str] = ()) -> str:
        """Some configurations in a sentence, each with its note: batch size 64 (a), 128 (b) and 256 (c)."""
        behind = [f" {note}" if note else "" for note in notes] or [""] * len(positions)
        if len(self.named_by) == 1:
            names = [self.values[i] for i in positions]
            head = "" if self.named_by == ("model",) else f"{label(self.named_by[0])} "
            return head + join([name + note for name, note in zip(names, behind, strict=True)])
        return "; ".join(self.names[i] + note for i, note in zip(positions, behind, strict=True))


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
    options = _varied_options(runs)
    groups: dict[tuple[Setting, ...], list[Run]] = defaultdict(list)
    names = (*SETTINGS_OF_RESULT, *options)
    for run in runs:
        groups[(*_settings(run), *(run.options.get(option) for option in options))].append(run)
    configurations = []
    for values, members in groups.items():
        by_seed: dict[int, list[Run]] = defaultdict(list)
        for run in sorted(members, key=lambda run: (run.counts, _record(run).started_at)):
            by_seed[_record(run).seed].append(run)
        configurations.append(
            Configuration(
                settings=dict(zip(names, values, strict=True)),
                runs=tuple(by_seed[seed][-1] for seed in sorted(by_seed)),
                repeats=tuple(run for seed in sorted(by_seed) for run in by_seed[seed][:-1]),
            )
        )
    return configurations


def _record(run: Run) -> RunResult:
    assert run.result is not None, "only runs with a record are grouped"
    return run.result


def _settings(run: Run) -> tuple[Setting, ...]:
    return tuple(getattr(_record(run), name) for name in SETTINGS_OF_RESULT)


def _varied_options(runs: Sequence[Run]) -> list[str]:
    """Keys of the configuration that vary beside what `result.json` holds.

    A key that only some runs have comes with a choice that result.json names (Adam has betas, SGD has momentum); it is
    left out unless it varies among runs that are otherwise equal.
    """
    configured = [run for run in runs if run.options]
    varied = []
    for key in dict.fromkeys(key for run in configured for key in run.options):
        values = {run.options.get(key) for run in configured}
        if len(values) < 2:
            continue
        if all(key in run.options for run in configured) or _differs_among_equals(configured, key):
            varied.append(key)
    return varied


def _differs_among_equals(runs: Sequence[Run], key: str) -> bool:
    seen: dict[tuple[Setting, ...], Setting] = {}
    return any(seen.setdefault(_settings(run), run.options.get(key)) != run.options.get(key) for run in runs)


def find_questions(configurations: Sequence[Configuration], data: DataIdentity | None = None) -> list[Question]:
    """The questions that configurations on the same data answer; those on no line or plane come last."""
    varied = [
        name
        for name in (configurations[0].settings if configurations else ())
        if len({c.settings[name] for c in configurations}) > 1
    ]
    lines_asked: list[Question] = []
    planes_asked: list[Question] = []
    asked: set[int] = set()  # the ids of configurations on any line, shown or not
    for name in varied:
        lines = [line for line in _families(configurations, (name,)) if len(line) > 1]
        asked |= {id(c) for line in lines for c in line}
        if lines:
            line = _with_other_budgets(max(lines, key=_rank), configurations, name)
            asked |= {id(c) for c in line}
            line = _from_one_sweep(line)
            lines_asked.append(Question((name,), _sorted(line, (name,)), others=len(lines) - 1, data=data))
    for down, across in itertools.combinations(varied, 2):
        pair = (across, down)
        planes = [_without_lines(plane, pair) for plane in _families(configurations, pair)]
        planes = [plane for plane in planes if _holds_rectangle(plane, pair)]
        if planes:
            plane = _from_one_sweep(max(planes, key=_rank))
            planes_asked.append(Question(pair, _sorted(plane, pair), others=len(planes) - 1, data=data))
    lines_asked.sort(key=lambda question: question.varied == ("model",))
    where = len(lines_asked) - (bool(lines_asked) and lines_asked[-1].varied == ("model",))
    questions = lines_asked[:where] + planes_asked + lines_asked[where:]  # networks come last, as in the labs
    left = [c for c in configurations if id(c) not in asked]
    if left:
        together = tuple(name for name in varied if len({c.settings[name] for c in left}) > 1)
        if len(left) == 1 or not together:
            questions += [Question((), (c,), data=data) for c in left]
        else:
            questions.append(Question(together, _sorted(left, together), confounded=len(together) > 1, data=data))
    return questions


def _from_one_sweep(configurations: Sequence[Configuration]) -> list[Configuration]:
    """Of the repeats of a seed, those of the sweep that holds most of these configurations: their times compare."""
    sweeps = Counter(run.folder.parent for c in configurations for run in (*c.runs, *c.repeats) if run.counts)
    chosen = []
    for c in configurations:
        by_seed: dict[int, list[Run]] = defaultdict(list)
        for run in (*c.repeats, *c.runs):  # the latest last: of equals, it stays
            by_seed[_record(run).seed].append(run)
        ordered = [sorted(by_seed[s], key=lambda r: (r.counts, sweeps[r.folder.parent])) for s in sorted(by_seed)]
        runs, repeats = [seed[-1] for seed in ordered], [run for seed in ordered for run in seed[:-1]]
        chosen.append(replace(c, runs=tuple(runs), repeats=tuple(repeats)))
    return chosen


def _families(configurations: Sequence[Configuration], settings: tuple[str, ...]) -> list[list[Configuration]]:
    """The configurations, grouped by everything but `settings`."""
    families: dict[tuple[Setting, ...], list[Configuration]] = defaultdict(list)
    for c in configurations:
        families[tuple(value for name, value in c.settings.items() if name not in settings)].append(c)
    return list(families.values())


def _rank(family: Sequence[Configuration]) -> tuple[int, float]:
    return len(family), -min(c.val_loss for c in family)


def _holds_rectangle(plane: Sequence[Configuration], pair: tuple[str, str]) -> bool:
    """Whether two values of each setting were run in all four combinations: a cross has none."""
    columns: dict[Setting, set[Setting]] = defaultdict(set)
    for c in plane:
        columns[c.settings[pair[0]]].add(c.settings[pair[1]])
    return any(len(one & other) > 1 for one, other in itertools.combinations(columns.values(), 2))


def _without_lines(plane: list[Configuration], pair: tuple[str, str]) -> list[Configuration]:
    """The plane without the rows and columns of one value beside others of three or more.

    Those belong to lines that cross it, and would leave it full of holes: of four learning rates by four batch sizes,
    and six of each at one value of the other, the four by four stay.
    """
    counts = [Counter(c.settings[name] for c in plane) for name in pair]
    crossed = [{value for value, n in count.items() if n == 1 and max(count.values()) > 2} for count in counts]
    inside = [c for c in plane if not any(c.settings[name] in out for name, out in zip(pair, crossed, strict=True))]
    return inside if len(inside) == len(plane) else _without_lines(inside, pair)


def _with_other_budgets(
    line: list[Configuration], configurations: Sequence[Configuration], name: str
) -> list[Configuration]:
    """The line, and configurations with further values of its setting that differ from it in their epochs too.

    They belong into the table, where they are marked, and into no claim.
    """
    if name == BUDGET:
        return line
    values = {c.settings[name] for c in line}
    shared = {key: value for key, value in line[0].settings.items() if key not in (name, BUDGET)}
    strangers = [
        c
        for c in configurations
        if c.settings[name] not in values and all(c.settings[key] == value for key, value in shared.items())
    ]
    return line + strangers


def _sorted(configurations: Iterable[Configuration], by: tuple[str, ...]) -> tuple[Configuration, ...]:
    def key(c: Configuration) -> list[tuple[int, float, str]]:
        return [_order(c, name) for name in by]

    return tuple(sorted(configurations, key=key))


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
