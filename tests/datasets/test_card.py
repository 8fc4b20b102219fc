import numpy as np
import pytest
from matplotlib.image import imread
from rich.console import Console

from jsc.datasets import CLASS_NAMES, FEATURE_NAMES, JetTable, prepare
from jsc.datasets.card import data_card
from jsc.datasets.distributions import draw_distributions


def text_of(table: JetTable) -> str:
    console = Console(width=80)  # a terminal's, less than a line with the sum takes
    with console.capture() as capture:
        console.print(data_card(prepare(table)), crop=False)
    return capture.get()


def test_the_card_says_what_the_jets_are(features, labels) -> None:
    features[0, 15] = 1234.5
    text = text_of(JetTable(features, labels, FEATURE_NAMES, CLASS_NAMES, "made [here]", "ab" * 32, 3, 4))
    lines = [line.replace("│", " ").split() for line in text.splitlines()]
    assert ["variant", "made", "[here]"] in lines
    assert ["sha256", "ab" * 32] in lines
    assert ["duplicates", "left", "out", "3"] in lines
    assert ["undefined", "class,", "left", "out", "4"] in lines
    assert ["all", "144", "16", "40", "200"] in lines
    for i, name in enumerate(CLASS_NAMES):
        counts = next(line for line in lines if line[:1] == [name])
        assert sum(map(int, counts[1:4])) == int(counts[4]) == (labels == i).sum()
    multiplicity = next(line for line in lines if line[:1] == ["j_multiplicity"])
    assert multiplicity[-1] == "1234.5"
    assert float(multiplicity[-2]) == pytest.approx(features[:, 15].min(), rel=1e-4)  # five digits are shown


@pytest.mark.parametrize(("num_features", "num_rows"), [(1, 1), (4, 1), (5, 2), (16, 4)])
def test_every_feature_is_drawn(tmp_path, features, labels, num_features: int, num_rows: int) -> None:
    features[:, 0] = 1.0  # constant
    features[:, 1] = np.rint(features[:, 1] * 30)  # counts
    names = tuple(f"f{i}" for i in range(num_features))
    table = JetTable(features[:, :num_features], labels % 3, names, ("a", "b", "z"), "made", "0" * 64)
    draw_distributions(prepare(table), tmp_path / "new" / "a.png")
    picture = imread(tmp_path / "new" / "a.png")
    assert picture.shape[:2] == (round(150 * (2.2 * num_rows + 0.8)), 150 * 12)
    assert picture.std() > 0.02  # something is on it
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["a.png"]
