import pytest

from jsc.cli import console
from jsc.cli.console import WIDTH, counted, table

LONG = "/".join(["a_folder"] * 30)


@pytest.mark.parametrize(
    "rows",
    [
        [(1, LONG, 2.5)],
        [(1, LONG, LONG)],
        [(1, "many words " * 30, LONG), (2, "x" * 500, 0.5)],
        [(1, LONG, "1,234"), (2, LONG, "False")],
        [(1, LONG, "two\nlines"), (2, LONG, "1e5")],
        [],
    ],
)
def test_a_table_is_no_wider_than_the_log_and_keeps_every_character(rows: list[tuple[object, ...]]) -> None:
    title, *lines = table("Title", ("num", "what", "validation accuracy"), rows).splitlines()
    assert title == "Title"
    assert {len(line) for line in lines} == {len(lines[0])}
    assert len(lines[0]) <= WIDTH
    shown = [line.split("│")[1:-1] for line in lines if line.startswith("│")]
    for column in range(3):
        text = "".join("".join(cells[column].split()) for cells in shown)
        assert text.endswith("".join("".join(str(row[column]).split()) for row in rows))


def test_words_are_folded_between_them_where_they_can_be() -> None:
    lines = table("", ("num", "what"), [(1, "validation " * 30)]).splitlines()
    assert "│   1 │ " + ("validation " * 10).strip() in lines[4]


def test_numbers_stand_to_the_right_and_a_table_without_names_has_no_heading() -> None:
    assert table("T", ("name", "jets"), [("g", 1234567), ("top", 8)]).splitlines()[2:] == [
        "│ name │      jets │",
        "├──────┼───────────┤",
        "│ g    │ 1,234,567 │",
        "│ top  │         8 │",
        "╰──────┴───────────╯",
    ]
    assert table("T", ("", ""), [("a", None)]).splitlines()[1:] == ["╭───┬───╮", "│ a │ - │", "╰───┴───╯"]


def test_long_work_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    assert list(counted(range(3), "{} done", said.append)) == [0, 1, 2]
    assert said == []
    monkeypatch.setattr(console, "SECONDS_OF_SILENCE", -1.0)
    assert list(counted(range(3), "{} done", said.append)) == [0, 1, 2]
    assert said == ["1 done", "2 done"]
