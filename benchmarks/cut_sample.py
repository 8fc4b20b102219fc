"""How the bundled sample was cut from the full simulated set: the first 20,000 jets of each class, in file order.

    python -m benchmarks.cut_sample jets-1m.npz jsc/datasets/jsc_sample.npz

The full set is the output of `python -m jsc.simulate`, or any file of its layout. Prints the SHA-256 that
`jsc/datasets/sample.py` checks. The output depends on the input's arrays alone.
"""

import argparse
import hashlib
import io
import zipfile
from pathlib import Path

import numpy as np

JETS_PER_CLASS = 20_000


def cut(source: Path, target: Path) -> str:
    """Write the sample and return its SHA-256."""
    with np.load(source) as jets:
        arrays = {key: jets[key] for key in ("X", "y", "pt", "feature_names", "class_names")}
    first_of_each = [np.flatnonzero(arrays["y"] == c)[:JETS_PER_CLASS] for c in range(len(arrays["class_names"]))]
    rows = np.sort(np.concatenate(first_of_each))
    for key in ("X", "y", "pt"):
        arrays[key] = arrays[key][rows]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for key, array in arrays.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            # A fixed date keeps the file's hash a function of its arrays.
            member = zipfile.ZipInfo(f"{key}.npy", date_time=(1980, 1, 1, 0, 0, 0))
            archive.writestr(member, content.getvalue(), zipfile.ZIP_DEFLATED, 9)
    return hashlib.sha256(target.read_bytes()).hexdigest()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("source", type=Path)
    parser.add_argument("target", type=Path)
    arguments = parser.parse_args()
    print(cut(arguments.source, arguments.target))
