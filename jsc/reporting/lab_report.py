"""The lab report of a set of runs: what was varied, a table and figures a question, and what may be concluded."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from jsc.reporting import claims, figures
from jsc.reporting.curves import Curve, Tolerances, curve_table, findings, read_curves
from jsc.reporting.document import Block, Bullets, Command, Document, Figure, Paragraph, Section
from jsc.reporting.drawing import save
from jsc.reporting.markdown import to_markdown
from jsc.reporting.page import to_html
from jsc.reporting.questions import (
    Configuration,
    DataIdentity,
    Question,
    find_configurations,
    find_questions,
    group_by_data,
    varied_settings,
)
from jsc.reporting.references import THE_LABS, LabTable, beside, introduction
from jsc.reporting.runs import REPORT_FILE, SETTINGS_OF_RESULT, Run
from jsc.reporting.tables import class_table, configuration_table, problem_table, table_csv, tests_of
from jsc.reporting.wording import SCORE_NAMES, capitalised, count, join, label, named, percent, score, shown, state_name
from jsc.results import write_atomically

PAGE_FILE = "report.html"
TABLE_FILE = "table.csv"
FIGURE_FOLDER = "figures"

MAX_LOSS_CURVES = 4
MAX_CONFUSION_MAPS = 12


def make_report(
    runs: Sequence[Run], *, tolerances: Tolerances, title: str = "Lab report", lab_tables: Sequence[LabTable] = ()
) -> Document:
    """Everything that the runs' files say, and nothing else.

    `lab_tables`: the labs' own figures, each shown under the question that varies the same settings.
    """
    groups = group_by_data(runs)
    sections = [_summary(runs, groups, tolerances, has_labs=bool(lab_tables))]
    for identity, members in groups.items():
        configurations = find_configurations(members)
        questions = find_questions(configurations, identity)
        where = f", on {identity.dataset} ({identity.variant})" if len(groups) > 1 else ""
        for question in questions:
            beside_it = [table for table in lab_tables if set(table.varied) == set(question.varied)]
            blocks = _question(question, tolerances, beside_it)
            sections.append(Section(f"{question.title}{where}", tuple(blocks)))
        told = {tuple(c.settings.items()) for question in questions for c in question.configurations}
        if len(told) < len(configurations):
            sections.append(Section(f"All configurations{where}", _all_configurations(configurations)))
    faults = problem_table(runs)
    if faults is not None:
        sections.append(Section("Runs that failed, and faults in files", (faults,)))
    return Document(title, tuple(_with_figure_names(sections)))


def _summary(
    runs: Sequence[Run], groups: Mapping[DataIdentity, Sequence[Run]], tolerances: Tolerances, *, has_labs: bool
) -> Section:
    states = Counter(sorted(state_name(run.state) for run in runs)).most_common()
    read = f"{count(len(runs), 'run')} read: {join([f'{number} {state}' for state, number in states])}."
    num_counted = sum(run.counts for run in runs)
    counted = "All are counted in means and claims."
    if num_counted < len(runs):
        counted = f"{num_counted} of them are counted in means and claims; the others are listed at the end."
    blocks: list[Block] = [Paragraph(f"{read} {counted}")]
    if len(groups) == 1:
        blocks.append(Paragraph(f"Data: {next(iter(groups))}."))
    elif groups:
        blocks += [
            Paragraph(
                f"The runs did not all see the same jets: there are {len(groups)} data sets, variants or splits. "
                "Scores of one are never compared with those of another; each has sections of its own."
            ),
            Bullets(tuple(f"{identity}: {count(len(members), 'run')}" for identity, members in groups.items())),
        ]
    for members in groups.values():
        blocks += _best(members, several=len(groups) > 1)
    blocks.append(
        Paragraph(
            "How to read this: values are mean ± standard deviation over seeds (n in the last column), or a single "
            'value where the column says "one seed". Losses are mean cross-entropies in nats, accuracies fractions, '
            "seconds training time; test scores are those of the checkpoint with the lowest validation loss. Epochs "
            "are numbered from 0, as in `metrics.csv`. A difference is claimed only where the "
            f"{percent(tolerances.confidence)} Student t intervals of two means do not overlap. `{TABLE_FILE}` holds "
            "every run with all digits."
        )
    )
    if has_labs:
        blocks.append(Paragraph(THE_LABS))
    warnings = sorted({warning for run in runs if run.result and run.counts for warning in run.result.warnings})
    if warnings:
        blocks += [Paragraph("The runs warned:"), Bullets(tuple(warnings))]
    return Section("Summary", tuple(blocks))


def _best(runs: Sequence[Run], *, several: bool) -> list[Block]:
    """The run with the lowest validation loss, and the command that repeats it."""
    losses = [(loss, run) for run in runs if run.counts and (loss := run.record.val_loss) is not None]
    if not losses:
        return []
    loss, run = min(losses, key=lambda item: item[0])
    result = run.record
    where = f" on {result.dataset} ({result.dataset_variant})" if several else ""
    tested = f" and test accuracy {score(result.test_acc)}" if result.test_acc is not None else ""
    return [
        Paragraph(
            f"The run with the lowest validation loss{where} is `{run.name}`: {result.model}, validation loss "
            f"{score(loss)}{tested}, seed {result.seed}. The command that repeats it:"
        ),
        Command(result.command),
    ]


def _question(question: Question, tolerances: Tolerances, lab_tables: Sequence[LabTable]) -> Iterator[Block]:
    yield Paragraph(_setting_out(question))
    what = join([label(name) for name in question.varied]) if question.varied else "configuration"
    yield configuration_table(question.configurations, question.varied, f"{capitalised(what)}: scores and cost.")
    curves = read_curves(question, tolerances)
    said = [*claims.comparison(question, tolerances.confidence), *claims.cost(question), *claims.dead_classes(question)]
    said += findings(question, curves, tolerances)
    if said:
        yield Bullets(tuple(said))
    if lab_tables:
        yield Paragraph(introduction(question))
        yield from (beside(table, question) for table in lab_tables)
    yield from _figures(question)
    yield from _loss_curves(question, curves)
    further = [curve_table(question, curves, tolerances)]
    if question.varied in (("model",), ()):
        further.append(class_table(question))
    yield from (table for table in further if table is not None)


def _setting_out(question: Question) -> str:
    """What was varied, what was held, and how this slice of the runs was chosen."""
    fixed = {name: value for name, value in question.fixed.items() if name not in question.varied}
    held = join(
        [
            named(name, value) if name in SETTINGS_OF_RESULT else f"`{name}={shown(name, value)}`"
            for name, value in sorted(fixed.items(), key=lambda item: item[0] != "model")  # the network first
        ]
    )
    text = f"Settings: {held}."
    if question.varied:
        what = join([label(name) for name in question.varied])
        number = count(len(question.configurations), "configuration")
        text = f"Varied: {what}, in {number}. The same for all: {held}."
    repeats = sum(len(c.repeats) for c in question.configurations)
    if repeats:
        text += (
            f" {count(repeats, 'run')} repeated a seed with the same settings. Repeats of a seed are no independent "
            "values, so one run of each seed stands here: that of the sweep that holds most of these runs, or the "
            "latest."
        )
    differing = [i for i, c in enumerate(question.configurations) if _repeats_differ(c)]
    if differing:
        text += (
            f" Repeats of a seed do not give the same test accuracy with {question.say(differing)}: something else "
            "changed between them."
        )
    if question.others:
        text += (
            f" The same was varied at {count(question.others, 'other combination')} of the remaining settings. Shown "
            "is the combination with the most values and, of equals, the lowest validation loss."
        )
    return text


def _repeats_differ(configuration: Configuration) -> bool:
    """Whether two runs of one seed that count have different scores."""
    scores = {
        (run.record.seed, run.record.test_acc) for run in (*configuration.runs, *configuration.repeats) if run.counts
    }
    return len(scores) > len({seed for seed, _ in scores})


def _figures(question: Question) -> Iterator[Figure]:
    if question.is_plane:
        across, down = (label(setting) for setting in question.varied)
        caption = f"Mean validation accuracy by {across} and {down}; a dash was not run."
        yield Figure("heat map", caption, partial(figures.score_map, question=question, score="val_acc"))
    if any(run.epochs for c in question.configurations for run in c.runs):
        lines = _lines(question)
        curves = partial(figures.learning_curves, question=question)
        caption = f"Training accuracy against optimizer steps{lines}."
        yield Figure("train acc", caption, partial(curves, x="step", y="train_acc"))
        caption = f"Validation accuracy against epochs{lines}."
        yield Figure("val acc", caption, partial(curves, x="epoch", y="val_acc"))
    counted = sum(bool(c.counted) for c in question.configurations)
    if question.varied == ("batch_size",) and counted > 1:
        caption = "Training time against batch size: mean and, where there are seeds, standard deviation."
        yield Figure("time", caption, partial(figures.training_time, question=question))
    networks = "model" in question.varied and not question.is_plane
    if networks and counted > 1:
        name, front = claims.score_of(question), "the Pareto front"
        if len({c.epochs for c in question.configurations}) > 1:
            front += f" of those with {count(question.budget or 0, 'epoch')} (the networks had unequal epochs)"
        caption = f"Mean {SCORE_NAMES[name]} against the number of parameters, with {front}."
        yield Figure("size", caption, partial(figures.accuracy_by_size, question=question, score=name))
    if networks or not question.varied:
        for name, c in list(zip(question.names, question.configurations, strict=True))[:MAX_CONFUSION_MAPS]:
            if tests := tests_of(c):
                of = "one seed" if len(tests) == 1 else f"all {len(tests)} seeds together"
                caption = (
                    f"Confusion matrix of {name} on the test jets, {of}: the share of each true class (row) that was "
                    "predicted as each class (column)."
                )
                yield Figure(f"confusion {name}", caption, partial(figures.confusion_map, tests=tests))


def _lines(question: Question) -> str:
    """What the lines of learning curves are."""
    text = ", one line a run"
    if any(len(c.runs) > 1 for c in question.configurations):
        text = ", one line a configuration: the mean over its seeds, in a band from the lowest seed to the highest"
    if len(question.configurations) > figures.MAX_CURVES:
        text += f". Of {len(question.configurations):,} configurations the {figures.MAX_CURVES} with the lowest "
        text += "validation losses are shown"
    return text


def _loss_curves(question: Question, curves: Sequence[Curve]) -> Iterator[Figure]:
    """Those of the runs that overfit, as many as can be seen."""
    overfitted = [curve for curve in curves if curve.over is not None]
    runs = {f"{question.names[c.position]}, seed {c.run.record.seed}": c.run for c in overfitted[:MAX_LOSS_CURVES]}
    if runs:
        number = f"{len(runs)} of {len(overfitted)}"
        caption = f"Training loss (dashed) and validation loss (solid) of runs that overfit ({number})."
        yield Figure("loss", caption, partial(figures.loss_curves, runs=runs))


def _all_configurations(configurations: Sequence[Configuration]) -> tuple[Block, ...]:
    best_first = sorted(configurations, key=lambda c: c.val_loss)
    text = (
        "The sections above hold the questions that these runs answer on their fullest line or plane of values; "
        f"this table holds all {count(len(best_first), 'configuration')}."
    )
    caption = "Every configuration, lowest validation loss first."
    return Paragraph(text), configuration_table(best_first, varied_settings(configurations), caption)


def _with_figure_names(sections: Sequence[Section]) -> Iterator[Section]:
    """Each figure named for its section, for a file: readable, and no two alike."""
    given: set[str] = set()
    for section in sections:
        blocks = []
        for block in section.blocks:
            if isinstance(block, Figure):
                name = re.sub(r"[^a-z0-9]+", "_", f"{section.title} {block.name}".lower()).strip("_")
                while name in given:
                    name += "_"
                given.add(name)
                block = replace(block, name=name)
            blocks.append(block)
        yield replace(section, blocks=tuple(blocks))


def write_report(document: Document, runs: Sequence[Run], folder: Path) -> None:
    """Write report.md, report.html, figures/ and table.csv; figures of an earlier report there are removed."""
    write_document(document, folder, table=table_csv(runs))


def write_document(document: Document, folder: Path, *, table: str) -> None:
    """Write a document with its figures, and `table` as table.csv."""
    figure_folder = folder / FIGURE_FOLDER
    if (folder / REPORT_FILE).exists():
        for old in (*figure_folder.glob("*.png"), *figure_folder.glob("*.svg")):
            old.unlink()
    drawings = {figure.name: save(figure.draw) for figure in document.figures}
    for name, drawing in drawings.items():
        write_atomically(figure_folder / f"{name}.png", drawing.png)
        write_atomically(figure_folder / f"{name}.svg", drawing.svg)
    write_atomically(folder / PAGE_FILE, to_html(document, drawings))
    write_atomically(folder / TABLE_FILE, table)
    write_atomically(folder / REPORT_FILE, to_markdown(document))
