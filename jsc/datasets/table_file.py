"""Jets of the user's own."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from jsc.datasets.column_files import read_columns
from jsc.datasets.columns import make_table
from jsc.datasets.jets import FileSource, JetTable
from jsc.datasets.source_file import check_md5, named_file
from jsc.errors import DatasetError


@dataclass(frozen=True)
class JetFile(FileSource):
    """A file of your own: .npz, .csv, .parquet, .h5 or .hdf5, with named feature columns and a class column.

    - .csv, .parquet: one column a feature.
    - .npz, .h5, .hdf5: `X` [N, F], `y` [N] (or one-hot [N, C]), `feature_names` [F] and, if y holds numbers,
      `class_names` [C]; or one array a column; or one structured array.

    The class is a column called class, label, labels, target or y, or `class_column`; or the five one-hot columns j_g,
    j_q, j_w, j_z, j_t (then rows that are not one-hot are left out, and counted). It holds names, or whole numbers from
    0: an index into `classes`, or the file's `class_names`, or, with the sixteen features, g, q, w, z, t.

    Features are `features`; else the file's `feature_names`; else the sixteen of the design, with or without "j_", if
    they are there; else every column but the class. The sixteen come in the design's order, others in the order given.

    `classes` says which classes there are, two to five; `deduplicate` keeps the first of equal rows; `variant` is what
    results call the data, by default what an .npz or .h5 says in `variant`, or "file:" and the file's name without its
    ending; `md5` is the file's sum, None: not checked.
    """

    path: str | None
    md5: str | None
    features: Sequence[str] | None
    classes: Sequence[str] | None
    class_column: str | None
    deduplicate: bool
    variant: str | None

    def __post_init__(self) -> None:
        for key, names in (("features", self.features), ("classes", self.classes)):
            if isinstance(names, str):
                raise DatasetError(f"dataset.{key}={names}: write a list, dataset.{key}=[{names}]")

    def locate(self) -> Path:
        if self.path is None:
            raise DatasetError("which file? dataset=jsc_file needs dataset.path=FILE (.npz, .csv, .parquet or .h5)")
        path = named_file(self.path)
        check_md5(path, self.md5)
        return path

    def settings(self) -> Mapping[str, object]:
        path = self.locate()
        return {
            "name": path.name,  # its ending decides how it is read, and its stem is the default variant
            "features": None if self.features is None else list(self.features),
            "classes": None if self.classes is None else list(self.classes),
            "class_column": self.class_column,
            "deduplicate": self.deduplicate,
            "variant": self.variant,
        }

    def read(self) -> JetTable:
        path = self.locate()
        columns = read_columns(path)
        return make_table(
            columns,
            path,
            variant=self.variant or columns.variant or f"file:{path.stem}",
            features=self.features,
            classes=None if self.classes is None else [str(name) for name in self.classes],
            class_column=self.class_column,
            deduplicate=self.deduplicate,
        )
