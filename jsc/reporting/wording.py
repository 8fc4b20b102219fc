"""How names, values and counts are written, in every table, figure and sentence alike."""

from collections import Counter
from collections.abc import Iterable, Sequence

from jsc.reporting.runs import Setting

NONE = "\N{EN DASH}"
SCORE_NAMES = {
    "train_loss": "training loss",
    "train_acc": "training accuracy",
    "val_loss": "validation loss",
    "val_acc": "validation accuracy",
    "test_acc": "test accuracy",
    "test_loss": "test loss",
    "fit_seconds": "seconds",
}
_LABELS = {"lr": "learning rate", "weight_decay": "weight decay", "batch_size": "batch size", "max_epochs": "epochs"}


def label(setting: str) -> str:
    """A setting's name for readers; keys of the configuration keep their own."""
    return _LABELS.get(setting, setting)


def shown(setting: str, value: Setting) -> str:
    """A setting's value."""
    if setting == "max_epochs" and isinstance(value, int):
        return f"{value:,}"
    if isinstance(value, float):
        return format(value, "g")
    return "none" if value is None else str(value)


def named(setting: str, value: Setting) -> str:
    """A setting's value with its name: jsc-tiny, 20 epochs, learning rate 0.001."""
    if setting == "model":
        return shown(setting, value)
    if setting == "max_epochs" and isinstance(value, int):
        return count(value, "epoch")
    return f"{label(setting)} {shown(setting, value)}"


def figure(name: str, value: float) -> str:
    """The value of a score or a duration of `result.json`."""
    return seconds(value) if name == "fit_seconds" else score(value)


def score(value: float) -> str:
    """A loss or an accuracy."""
    return f"{value:.4f}"


def seconds(value: float) -> str:
    """A duration, to about three digits."""
    return f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 1000 else f"{value:,.0f}"


def percent(fraction: float) -> str:
    """0.95 as 95 %."""
    return f"{100 * fraction:g} %"


def class_symbol(name: str) -> str:
    """W and Z for w and z; other names as they are."""
    return {"w": "W", "z": "Z"}.get(name, name)


def state_name(state: str) -> str:
    """`stopped_early` in words."""
    return state.replace("_", " ")


def tally(states: Iterable[str]) -> list[str]:
    """5 completed, 1 failed: how often each state occurs, in the order of the alphabet."""
    return [f"{number} {state_name(state)}" for state, number in sorted(Counter(states).items())]


def capitalised(text: str) -> str:
    """Batch size for batch size."""
    return text[:1].upper() + text[1:]


def join(names: Sequence[str]) -> str:
    """A, B and C."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def count(number: int, noun: str) -> str:
    """1 run, 2 runs."""
    return f"{number:,} {noun if number == 1 else f'{noun}s'}"


def span(values: Sequence[int]) -> str:
    """12 to 17, or 12 where all are equal."""
    if not values:
        return NONE
    low, high = min(values), max(values)
    return str(low) if low == high else f"{low} to {high}"
