"""The lab report of a set of runs: what was varied, a table and figures a question, and what may be concluded."""

import re
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from jsc.reporting import claims
from jsc.reporting.charts import (
    confusion_map,
    heat_map,
    loss_chart,
    size_chart,
    time_chart,
    training_chart,
    validation_chart,
)
from jsc.reporting.claims import SCORE_NAMES, Tolerances
from jsc.reporting.document import Block, Bullets, Command, Document, Figure, Paragraph, Section
from jsc.reporting.drawing import draw
from jsc.reporting.markdown import to_markdown
from jsc.reporting.page import to_html
from jsc.reporting.questions import (
    Configuration,
    DataIdentity,
    Question,
    find_configurations,
    find_questions,
    group_by_data,
)
from jsc.reporting.references import LabTable, beside, introduction
from jsc.reporting.runs import REPORT_FILE, SETTINGS_OF_RESULT, Run
from jsc.reporting.tables import class_table, configuration_table, problem_table, table_csv, tests_of
from jsc.reporting.wording import count, join, label, named, percent, score, shown
from jsc.results import write_atomically

PAGE_FILE = "report.html"
TABLE_FILE = "table.csv"
FIGURE_FOLDER = "figures"

MAX_LOSS_CURVES = 4
MAX_CONFUSION_MAPS = 12


def make_report(
    runs: Sequence[Run],
    *,
    tolerances: Tolerances,
    title: str = "Lab report",
    lab_tables: Sequence[LabTable] = (),
) -> Document:
    """Everything that the runs' files say, and nothing else.

    `lab_tables`: the labs' own figures, each shown under the question that varies the same settings.
    """
    groups = group_by_data(runs)
    sections = [_summary(runs, groups, tolerances)]
    names = _Names()
    for identity, members in groups.items():
        configurations = find_configurations(members)
        questions = find_questions(configurations, identity)
        where = f", on {identity.dataset} ({identity.variant})" if len(groups) > 1 else ""
        for question in questions:
            tables = [table for table in lab_tables if set(table.varied) == set(question.varied)]
            sections.append(_question(question, where, tolerances, names, tables))
        told = {tuple(c.settings.items()) for question in questions for c in question.configurations}
        if len(told) < len(configurations):
            sections.append(_all_configurations(configurations, where))
    faults = problem_table(runs)
    if faults is not None:
        sections.append(Section("Runs that failed, and faults in files", (faults,)))
    return Document(title, tuple(sections))


class _Names:
    """File names for figures: readable, and each given once."""

    def __init__(self) -> None:
        self._given: set[str] = set()

    def __call__(self, *words: str) -> str:
        stem = re.sub(r"[^a-z0-9]+", "_", " ".join(words).lower()).strip("_")
        name, number = stem, 2
        while name in self._given:
            name, number = f"{stem}_{number}", number + 1
        self._given.add(name)
        return name


def _summary(runs: Sequence[Run], groups: dict[DataIdentity, list[Run]], tolerances: Tolerances) -> Section:
    states = [run.state.replace("_", " ") for run in runs]
    tally = join(
        [f"{states.count(state)} {state}" for state in sorted(set(states), key=lambda s: (-states.count(s), s))]
    )
    num_counted = sum(run.counts for run in runs)
    blocks: list[Block] = [
        Paragraph(
            f"{count(len(runs), 'run')} read: {tally}. {num_counted} of them are counted in means and claims; the "
            "others are listed at the end."
            if num_counted < len(runs)
            else f"{count(len(runs), 'run')} read: {tally}. All are counted in means and claims."
        )
    ]
    if len(groups) == 1:
        blocks.append(Paragraph(f"Data: {next(iter(groups))}."))
    elif groups:
        blocks.append(
            Paragraph(
                f"The runs did not all see the same jets: there are {len(groups)} data sets, variants or splits. "
                "Scores of one are never compared with those of another; each has sections of its own."
            )
        )
        blocks.append(
            Bullets(tuple(f"{identity}: {count(len(members), 'run')}" for identity, members in groups.items()))
        )
    counted = [run for run in runs if run.counts and run.result is not None]
    for members in groups.values():
        blocks += _best([run for run in members if run in counted], several=len(groups) > 1)
    blocks.append(
        Paragraph(
            "How to read this: values are mean ± standard deviation over seeds (n in the last column), or a single "
            "value "
            'where the column says "one seed". Losses are mean cross-entropies in nats, accuracies fractions, seconds '
            "training time; test scores are those of the checkpoint with the lowest validation loss. Epochs are "
            "numbered as in `metrics.csv`. A difference is called one only where the "
            f"{percent(tolerances.confidence)} Student t intervals of two means do not overlap. `{TABLE_FILE}` holds "
            "every run with all digits."
        )
    )
    warnings = {warning for run in counted if run.result is not None for warning in run.result.warnings}
    if warnings:
        blocks.append(Paragraph("The runs warned:"))
        blocks.append(Bullets(tuple(sorted(warnings))))
    return Section("Summary", tuple(blocks))


def _best(runs: Sequence[Run], *, several: bool) -> list[Block]:
    """The run with the lowest validation loss, and the command that repeats it."""
    results = [(run.result.val_loss, run, run.result) for run in runs if run.result is not None]
    scored = [(loss, run, result) for loss, run, result in results if loss is not None]
    if not scored:
        return []
    loss, run, result = min(scored, key=lambda item: item[0])
    where = f" on {result.dataset} ({result.dataset_variant})" if several else ""
    tested = f" and test accuracy {score(result.test_acc)}" if result.test_acc is not None else ""
    return [
        Paragraph(
            f"The run with the lowest validation loss{where} is `{run.name}`: {result.model}, validation loss "
            f"{score(loss)}{tested}, seed {result.seed}. The command that repeats it:"
        ),
        Command(result.command),
    ]


def _question(
    question: Question, where: str, tolerances: Tolerances, names: _Names, lab_tables: Sequence[LabTable]
) -> Section:
    title = f"{question.title}{where}"
    blocks: list[Block] = [Paragraph(_setting_out(question))]
    what = join([label(name) for name in question.varied]) if question.varied else "configuration"
    blocks.append(
        configuration_table(
            question.configurations,
            question.varied,
            f"{what[0].upper()}{what[1:]}: scores and cost.",
            folded=len(question.configurations) > 30,
        )
    )
    findings = claims.curves(question, tolerances)
    said = [*claims.comparison(question, tolerances.confidence), *claims.cost(question), *claims.dead_classes(question)]
    said += findings.sentences
    if said:
        blocks.append(Bullets(tuple(said)))
    if lab_tables:
        blocks += [Paragraph(introduction(question)), *(beside(table, question) for table in lab_tables)]
    blocks += _figures(question, names, title)
    if findings.overfitted:
        shown_runs = findings.overfitted[:MAX_LOSS_CURVES]
        blocks.append(
            Figure(
                names(title, "loss"),
                "Training loss (dashed) and validation loss (solid) of "
                f"{_some(len(shown_runs), len(findings.overfitted))} "
                "that overfit.",
                loss_chart(shown_runs),
            )
        )
    if findings.table is not None:
        blocks.append(findings.table)
    if question.varied in (("model",), ()) and (by_class := class_table(question)) is not None:
        blocks.append(by_class)
    return Section(title, tuple(blocks))


def _some(shown_number: int, number: int) -> str:
    return f"the {count(number, 'run')}" if shown_number == number else f"{shown_number} of the {number} runs"


def _setting_out(question: Question) -> str:
    """What was varied, what was held, and how this slice of the runs was chosen."""
    fixed = {name: value for name, value in question.fixed.items() if name not in question.varied}
    names = sorted(fixed, key=lambda name: name != "model")  # the network first
    held = []
    for name in names:
        value = fixed[name]
        held.append(named(name, value) if name in SETTINGS_OF_RESULT else f"`{name}={shown(name, value)}`")
    if question.varied:
        what = join([label(name) for name in question.varied])
        number = count(len(question.configurations), "configuration")
        text = f"Varied: {what}, in {number}. The same for all: {join(held)}."
    else:
        text = f"Settings: {join(held)}."
    repeats = sum(len(c.repeats) for c in question.configurations)
    if repeats:
        text += (
            f" {count(repeats, 'run')} repeated a seed with the same settings; of each seed one stands here, from the "
            "sweep that holds most of these or the latest, because repeats of a seed are no independent values."
        )
    differing = _differing_repeats(question)
    if differing:
        text += (
            f" Repeats of a seed do not give the same test accuracy with {differing}: something else changed between "
            "them."
        )
    if question.others:
        text += (
            f" The same was varied at {count(question.others, 'other combination')} of the remaining settings; shown "
            "is the one with the most values and, of equals, the lowest validation loss."
        )
    return text


def _differing_repeats(question: Question) -> str:
    """The configurations of which two runs of one seed have different scores, in words; empty if none."""
    positions = []
    for i, c in enumerate(question.configurations):
        scores: dict[int, set[float | None]] = defaultdict(set)
        for run in (*c.runs, *c.repeats):
            if run.counts and run.result is not None:
                scores[run.result.seed].add(run.result.test_acc)
        if any(len(values) > 1 for values in scores.values()):
            positions.append(i)
    return question.say(positions) if positions else ""


def _figures(question: Question, names: _Names, title: str) -> list[Block]:
    figures: list[Block] = []
    name = claims.score_of(question)
    if len(question.varied) == 2 and not question.confounded:
        across, down = (label(setting) for setting in question.varied)
        chart = heat_map(question, "val_acc")
        figures.append(
            Figure(
                names(title, "heat map"), f"Mean validation accuracy by {across} and {down}; a dash was not run.", chart
            )
        )
    with_curves = any(run.epochs for c in question.configurations for run in c.runs)
    if with_curves:
        lines = "one line a run"
        if any(len(c.runs) > 1 for c in question.configurations):
            lines += ", one colour a configuration"
        figures += [
            Figure(
                names(title, "train acc"),
                f"Training accuracy against optimizer steps, {lines}.",
                training_chart(question),
            ),
            Figure(
                names(title, "val acc"), f"Validation accuracy against epochs, {lines}.", validation_chart(question)
            ),
        ]
    counted = sum(bool(c.counted) for c in question.configurations)
    if question.varied == ("batch_size",) and counted > 1:
        figures.append(
            Figure(
                names(title, "time"),
                "Training time against batch size: mean and, where there are seeds, standard deviation.",
                time_chart(question),
            )
        )
    networks = "model" in question.varied and (len(question.varied) == 1 or question.confounded)
    if networks and counted > 1:
        unequal = len({c.epochs for c in question.configurations}) > 1
        budget = count(question.budget or 0, "epoch")
        front = (
            f"the Pareto front of those with {budget} (the networks had unequal epochs)"
            if unequal
            else "the Pareto front"
        )
        figures.append(
            Figure(
                names(title, "size"),
                f"Mean {SCORE_NAMES[name]} against the number of parameters, with {front}.",
                size_chart(question, name),
            )
        )
    if networks or not question.varied:
        figures += _confusions(question, names, title)
    return figures


def _confusions(question: Question, names: _Names, title: str) -> list[Block]:
    figures: list[Block] = []
    for i, c in enumerate(question.configurations[:MAX_CONFUSION_MAPS]):
        tests = tests_of(c)
        if tests:
            of = "one seed" if len(tests) == 1 else f"all {len(tests)} seeds together"
            figures.append(
                Figure(
                    names(title, "confusion", question.names[i]),
                    f"Confusion matrix of {question.names[i]} on the test jets, {of}: the share of each true class "
                    "(row) that was given each class (column).",
                    confusion_map(tests),
                )
            )
    return figures


def _all_configurations(configurations: Sequence[Configuration], where: str) -> Section:
    varied = [name for name in configurations[0].settings if len({c.settings[name] for c in configurations}) > 1]
    best_first = sorted(configurations, key=lambda c: c.val_loss)
    table = configuration_table(
        best_first, varied, "Every configuration, lowest validation loss first.", folded=len(best_first) > 30
    )
    text = (
        "The sections above hold the questions that these runs answer on their fullest line or plane of values; "
        f"this table holds all {count(len(best_first), 'configuration')}."
    )
    return Section(f"All configurations{where}", (Paragraph(text), table))


def write_report(document: Document, runs: Sequence[Run], folder: Path) -> None:
    """Write report.md, report.html, figures/ and table.csv; figures of an earlier report there are removed."""
    options = sorted(
        {
            name
            for members in group_by_data(runs).values()
            for name in find_configurations(members)[0].settings
            if name not in SETTINGS_OF_RESULT
        }
    )
    write_document(document, folder, table=table_csv(runs, options))


def write_document(document: Document, folder: Path, *, table: str) -> None:
    """Write a document with its figures, and `table` as table.csv."""
    figures = folder / FIGURE_FOLDER
    if (folder / REPORT_FILE).exists():
        for old in (*figures.glob("*.png"), *figures.glob("*.svg")):
            old.unlink()
    drawings = {figure.name: draw(figure.chart) for figure in document.figures}
    for name, drawing in drawings.items():
        write_atomically(figures / f"{name}.png", drawing.png)
        write_atomically(figures / f"{name}.svg", drawing.svg)
    write_atomically(folder / PAGE_FILE, to_html(document, drawings))
    write_atomically(folder / TABLE_FILE, table)
    write_atomically(folder / REPORT_FILE, to_markdown(document))
