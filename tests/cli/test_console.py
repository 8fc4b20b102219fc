import fcntl
import os
import pty
import struct
import subprocess
import sys
import termios

import pytest

from jsc.cli import console
from jsc.cli.console import counted, table

LONG = "/".join(["a_folder"] * 30)
WIDTHS = ("60", "80", "120")
SWEEP = ("job", "optimizer.lr", "dataset.batch_size", "validation accuracy", "test accuracy", "folder")
TABLES = {
    "settings": (("name", "what", "validation accuracy"), [(1, LONG, 2.5)]),
    "long": (("num", "what", "validation accuracy"), [(1, LONG, LONG)]),
    "words": (("num", "what", "other"), [(1, "many words " * 30, LONG), (2, "x" * 500, 0.5)]),
    "lines": (("num", "what", "other"), [(1, LONG, "two\nlines"), (2, LONG, "1e5")]),
    "markup": (("num", "what", "other"), [(1, "[bold]not markup[/bold]", ":smile: 'a' 1.5 True")]),
    "sweep": (SWEEP, [(n, f"1e-{n}", 64, "0.7432 ± 0.0012", 0.75, LONG) for n in range(12)]),
    "wide": ([f"column.number_{n}" for n in range(20)], [range(10**6, 10**6 + 20)]),
    "jobs": (("a", "b", *SWEEP), [("same", "same", n, 0.1, 64, 0.7, 0.7, "x") for n in range(3)]),
    "empty": (("num", "what"), []),
}


def boxes_of(text: str) -> list[list[str]]:
    """The lines of each box."""
    boxes: list[list[str]] = []
    for line in text.splitlines():
        if line.startswith("╭"):
            boxes.append([])
        if line.startswith(("╭", "│", "├", "╰")):
            boxes[-1].append(line)
    return boxes


def columns_of(box: list[str]) -> list[str]:
    """The text of each column, without the blanks and line breaks that a fold may put in or take away."""
    rows = [line[1:-1].split("│") for line in box if line.startswith("│")]
    return ["".join("".join(part.split()) for part in column) for column in zip(*rows, strict=True)]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_no_wider_than_the_terminal_and_keeps_every_character(
    name: str, width: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    headings, rows = TABLES[name]
    title, *lines = table("Title", headings, rows).splitlines()
    assert title == "Title"
    assert max(map(len, lines)) <= int(width)
    boxes = boxes_of("\n".join(lines))
    assert sum(map(len, boxes)) == len(lines)
    assert all(len({len(line) for line in box}) == 1 for box in boxes)
    shown = dict.fromkeys(column for box in boxes for column in columns_of(box))
    columns = [[heading, *(console.shown(row[i]) for row in rows)] for i, heading in enumerate(headings)]
    expected = dict.fromkeys("".join("".join(cells).split()) for cells in columns)
    assert list(shown) == list(expected)


@pytest.mark.parametrize("width", WIDTHS)
def test_columns_without_room_go_below_beside_those_that_tell_rows_apart(
    width: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", width)
    headings = ("lr", "seed", "what", *("validation accuracy",) * 6)
    rows = [(lr, seed, "text", *["0.7432 ± 0.0012"] * 6) for lr in (0.1, 0.2) for seed in (0, 1)]
    boxes = boxes_of(table("", headings, rows))
    assert len(boxes) == {"60": 3, "80": 2, "120": 2}[width]
    for box in boxes:
        beginnings = [line.split("│")[1:3] for line in box[-5:-1]]
        assert beginnings == [[f" {lr:g} ", f"    {seed} "] for lr in (0.1, 0.2) for seed in (0, 1)]
        assert all("0.7432 ± 0.0012" in line for line in box[-5:-1])


def test_words_are_folded_between_them_where_they_can_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    lines = table("", ("num", "what"), [(1, "validation " * 30)]).splitlines()
    assert "│   1 │ " + ("validation " * 10).strip() in lines[4]


def test_numbers_stand_to_the_right_and_a_table_without_names_has_no_heading() -> None:
    rows = [("g", 1234567, "1e-3", "12 of 13"), ("top", 8, "-", "-")]
    assert table("T", ("name", "jets", "rate", "done"), rows).splitlines()[2:] == [
        "│ name │      jets │ rate │ done     │",
        "├──────┼───────────┼──────┼──────────┤",
        "│ g    │ 1,234,567 │ 1e-3 │ 12 of 13 │",
        "│ top  │         8 │    - │ -        │",
        "╰──────┴───────────┴──────┴──────────╯",
    ]
    assert table("T", ("", ""), [("a", None)]).splitlines()[1:] == ["╭───┬───╮", "│ a │ - │", "╰───┴───╯"]


SAY = "from jsc.cli.console import table; print(table('T', ('a', 'b'), [('x' * 300, 'y' * 300)]))"


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_a_terminal_is_asked_for_its_width(columns: int) -> None:
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    process = subprocess.Popen([sys.executable, "-c", SAY], stdout=theirs, env=environment)
    os.close(theirs)
    said = b""
    try:
        while chunk := os.read(ours, 4096):
            said += chunk
    except OSError:  # the other end is closed
        pass
    assert process.wait() == 0
    lines = said.decode().splitlines()[1:]
    assert {len(line) for line in lines} == {columns}
    assert "\x1b" not in said.decode()


def test_a_pipe_gets_a_fixed_width_and_no_control_codes() -> None:
    environment = {name: value for name, value in os.environ.items() if name != "COLUMNS"}
    environment |= {"FORCE_COLOR": "1", "TERM": "xterm-256color"}
    done = subprocess.run([sys.executable, "-c", SAY], capture_output=True, text=True, env=environment, check=True)
    assert {len(line) for line in done.stdout.splitlines()[1:]} == {console.PIPED_WIDTH}
    assert done.stdout.count("x") == done.stdout.count("y") == 300
    assert "\x1b" not in done.stdout
    assert "…" not in done.stdout


def test_long_work_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    assert list(counted(range(3), "{} done", said.append)) == [0, 1, 2]
    assert said == []
    monkeypatch.setattr(console, "SECONDS_OF_SILENCE", -1.0)
    assert list(counted(range(3), "{} done", said.append)) == [0, 1, 2]
    assert said == ["1 done", "2 done"]
