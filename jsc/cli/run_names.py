"""Names of run and sweep folders: readable, and never the same twice. conf/train.yaml uses them as `${jsc.<name>:}`."""

import functools
import hashlib
import re
import secrets
from collections.abc import Sequence
from datetime import datetime

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

_names_of_sweeps: dict[str, str] = {}

MAX_LENGTH = 120  # of a job's name; file systems take 255 bytes, and TensorBoard shows them whole


@functools.cache
def run_id() -> str:
    """`<date>_<time>_<id>`, the same within a process; the random part keeps runs of one instant apart."""
    return f"{datetime.now():%Y-%m-%d_%H-%M-%S}_{secrets.token_hex(4)}"


def job_name(overrides: Sequence[str]) -> str:
    """`lr=0.1,batch_size=64` from `optimizer.lr=0.1 dataset.batch_size=64`."""
    parts = []
    for override in overrides:
        key, _, value = override.partition("=")
        if key.lstrip("+") not in ("experiment", "hparams_search", "resume", "plugins"):
            parts.append(f"{short_key(key)}={value}")
    name = re.sub(r"[^\w.,=+-]", "_", ",".join(parts)) or "default"
    if len(name) <= MAX_LENGTH:
        return name
    return f"{name[: MAX_LENGTH - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def sweep_name(experiment: str | None, overrides: Sequence[str]) -> str:
    """`lr_x_batch_size` for a sweep over these two, unless its experiment gives a name.

    Each job asks again, with its own overrides; they get the name that the sweep got.
    """
    if run_id() not in _names_of_sweeps:
        parsed = OverridesParser.create().parse_overrides(list(overrides))
        swept = "_x_".join(short_key(o.get_key_element()) for o in parsed if o.is_sweep_override())
        _names_of_sweeps[run_id()] = experiment or swept or "sweep"
    return _names_of_sweeps[run_id()]


def short_key(key: str) -> str:
    """`lr` for `optimizer.lr`, `launcher` for `hydra/launcher`."""
    return re.split(r"[./]", key)[-1]


OmegaConf.register_new_resolver("jsc.run_id", run_id, replace=True)
OmegaConf.register_new_resolver("jsc.job_name", job_name, replace=True)
OmegaConf.register_new_resolver("jsc.sweep_name", sweep_name, replace=True)
