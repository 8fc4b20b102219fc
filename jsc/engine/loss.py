"""The loss that both engines minimise."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class CrossEntropy:
    """Mean cross-entropy in nats, `torch.nn.functional.cross_entropy`'s.

    `label_smoothing` lies in [0, 1]; `class_weights`, one a class, none of them negative and not all 0, are 1 if None.

    Raises ValueError on other values.
    """

    label_smoothing: float = 0.0
    class_weights: Sequence[float] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "label_smoothing", float(self.label_smoothing))
        if not 0.0 <= self.label_smoothing <= 1.0:
            raise ValueError(f"label_smoothing is {self.label_smoothing}; it lies between 0 and 1")
        if self.class_weights is not None:
            object.__setattr__(self, "class_weights", tuple(float(w) for w in self.class_weights))
            if not all(0.0 <= w < float("inf") for w in self.class_weights):
                raise ValueError(f"class_weights are {list(self.class_weights)}; they are finite and not negative")
            if not any(self.class_weights):
                raise ValueError(f"class_weights are {list(self.class_weights)}; one of them at least is above 0")

    def __call__(self, logits_BC: Tensor, labels_B: Tensor) -> Tensor:
        """The loss in torch, for autograd."""
        weights = None if self.class_weights is None else logits_BC.new_tensor(self.class_weights)
        return functional.cross_entropy(
            logits_BC, labels_B.to(torch.int64), weight=weights, label_smoothing=self.label_smoothing
        )
