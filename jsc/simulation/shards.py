"""A data set in pieces: which jets a shard holds, its seeds, its file, and how shards become one `jets.npz`.

A shard is so many jets of one class. Its content follows from the run's seed, its class and its number alone, so that
it does not matter who makes it, when, or after which other shard. Shapes: N jets, O = 16 observables.
"""

import io
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from jsc.results import write_atomically
from jsc.simulation.observables import OBSERVABLE_NAMES
from jsc.simulation.processes import CLASS_NAMES

JETS_PER_SHARD = 5_000  # under a minute of one core, which is what a kill loses; Pythia's start is a second of it

NUM_PYTHIA_SEEDS = 900_000_000  # Pythia takes 1 to this
SEEDS_PER_SHARD = 2  # the events' and the undecayed boson pairs'
ZIP_TIME = (1980, 1, 1, 0, 0, 0)  # the earliest a zip file can hold: the same bytes whenever it is written


@dataclass(frozen=True)
class Shard:
    """Shard number `index` (from 0) of its class."""

    class_name: str
    index: int
    num_jets: int

    @property
    def file_name(self) -> str:
        return f"{self.class_name}-{self.index:05d}.npz"

    def seeds(self, run_seed: int) -> tuple[int, int]:
        """Pythia's seeds of the events and of the boson pairs.

        s = 2 (5 index + class), and the seeds are 1 + (offset + s) mod 9e8 and 1 + (offset + s + 1) mod 9e8, where
        offset is the first 64-bit word of `numpy.random.SeedSequence(run_seed)`. So no two streams of a run share a
        seed, and each of Pythia's 900 million seeds begins a sequence of its own.
        """
        offset = int(np.random.SeedSequence(run_seed).generate_state(1, np.uint64)[0])
        stream = SEEDS_PER_SHARD * (len(CLASS_NAMES) * self.index + CLASS_NAMES.index(self.class_name))
        first, second = (1 + (offset + stream + k) % NUM_PYTHIA_SEEDS for k in range(SEEDS_PER_SHARD))
        return first, second


def plan_shards(num_jets: int, jets_per_shard: int) -> list[Shard]:
    """Shards of `num_jets` jets in all, the classes taking turns.

    The first `num_jets` mod 5 classes get one jet more than the others; a class's last shard holds what is left over.
    """
    num_classes = len(CLASS_NAMES)
    wanted = {name: (num_jets + num_classes - 1 - c) // num_classes for c, name in enumerate(CLASS_NAMES)}
    return [
        Shard(name, index, min(jets_per_shard, wanted[name] - index * jets_per_shard))
        for index in range(-(-max(wanted.values()) // jets_per_shard))
        for name in CLASS_NAMES
        if wanted[name] > index * jets_per_shard
    ]


def write_shard(folder: Path, shard: Shard, x_NO: npt.NDArray[np.float32], pt_N: npt.NDArray[np.float32]) -> None:
    """Write a finished shard, atomically."""
    write_atomically(folder / shard.file_name, npz_bytes(X=x_NO, pt=pt_N))


def read_shard(folder: Path, shard: Shard) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]] | None:
    """Observables [N, 16] and transverse momenta [N], or None where the file is missing, damaged or another's.

    The zip file's checksums (CRC-32) of both arrays are verified.
    """
    try:
        with (folder / shard.file_name).open("rb") as file, np.load(file) as arrays:
            x_NO, pt_N = arrays["X"], arrays["pt"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None
    is_whole = x_NO.shape == (shard.num_jets, len(OBSERVABLE_NAMES)) and pt_N.shape == (shard.num_jets,)
    return (x_NO, pt_N) if is_whole and x_NO.dtype == pt_N.dtype == np.float32 else None


def merge_shards(folder: Path, shards: Sequence[Shard], *, run_seed: int) -> bytes:
    """The whole of `jets.npz`: all shards, in an order of the jets that `run_seed` fixes.

    Arrays: X float32 [N, 16], y int8 [N] (index into class_names), pt float32 [N] in GeV, feature_names, class_names.
    Raises FileNotFoundError if a shard is missing or damaged.
    """
    parts = []
    for shard in shards:
        arrays = read_shard(folder, shard)
        if arrays is None:
            raise FileNotFoundError(f"{folder / shard.file_name} is missing or damaged; run the command again")
        parts.append(arrays)
    order = np.random.default_rng(run_seed).permutation(sum(s.num_jets for s in shards))
    labels = [np.full(s.num_jets, CLASS_NAMES.index(s.class_name), np.int8) for s in shards]
    return npz_bytes(
        X=np.concatenate([x for x, _ in parts])[order],
        y=np.concatenate(labels)[order],
        pt=np.concatenate([pt for _, pt in parts])[order],
        feature_names=np.array(OBSERVABLE_NAMES),
        class_names=np.array(CLASS_NAMES),
    )


def npz_bytes(**arrays: npt.NDArray[np.generic]) -> bytes:
    """What `numpy.savez` would write, but with a fixed time in it: equal arrays give equal bytes."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, array in arrays.items():
            with archive.open(zipfile.ZipInfo(f"{name}.npy", ZIP_TIME), "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.ascontiguousarray(array), allow_pickle=False)
    return buffer.getvalue()
