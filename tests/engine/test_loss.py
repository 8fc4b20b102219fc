from typing import Any

import pytest
import torch

from jsc.engine import CrossEntropy


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"label_smoothing": 1.5}, "label_smoothing is 1.5; it lies between 0 and 1"),
        ({"class_weights": (1.0, -1.0)}, r"class_weights are \[1.0, -1.0\]"),
        ({"class_weights": (1.0, float("nan"))}, "finite and not negative"),
        ({"class_weights": (0.0, 0.0)}, r"class_weights are \[0.0, 0.0\]; one of them at least is above 0"),
    ],
)
def test_impossible_values_are_refused(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        CrossEntropy(**arguments)


def test_labels_of_any_integer_type() -> None:
    loss = CrossEntropy(class_weights=[1, 3])
    logits = torch.tensor([[0.0, 1.0], [2.0, 0.0]])
    labels = torch.tensor([1, 0], dtype=torch.int8)
    expected = (3 * torch.log1p(torch.exp(torch.tensor(-1.0))) + torch.log1p(torch.exp(torch.tensor(-2.0)))) / 4
    assert loss(logits, labels).item() == pytest.approx(expected.item())
    assert hash(loss) == hash(CrossEntropy(class_weights=(1.0, 3.0)))
