"""Images in shards: tar files in WebDataset's layout, Parquet and Arrow tables in that of Hugging Face ``datasets``."""

from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd

from starft.data.datasets.cells import canonical
from starft.data.datasets.class_names import texts
from starft.data.datasets.csv_file import LABEL, CSVSource, Ints
from starft.data.datasets.table_file import Rows
from starft.data.packed.description import Description, read_description
from starft.data.packed.index import PackedBytes, PackedIndex
from starft.data.packed.samples import NOWHERE, Flaws
from starft.data.packed.scan import open_index
from starft.data.packed.shard_files import Shards, find_shards, is_hub_name, lines_beside
from starft.data.problem_texts import some
from starft.data.source import ImageTable
from starft.data.split_names import Given
from starft.errors import DataError
from starft.files.addresses import address_of, shown
from starft.types import EvalSet
from starft.wording import shortened

NAMES = {
    "label": ("cls", "label"),
    "attribute": ("attribute",),
    "group": ("group",),
    "split": ("split",),
    "caption": ("caption", "txt"),
}
"""What columns, fields and endings are called where nobody says otherwise."""
NAMES_BESIDE, TEMPLATES_BESIDE = "classnames.txt", "zeroshot_classification_templates.txt"
"""Files beside the shards that CLIP_benchmark writes; templates have ``{c}`` for the name."""
TEMPLATE = "a photo of a {}."


class PackedSource(CSVSource):
    """Images in shards below a folder: ``.tar`` in WebDataset's layout, ``.parquet`` or ``.arrow`` as of ``datasets``.

    Args:
        root: Folder that holds the shards; or its address, ``s3://``, ``gs://``, ``https://`` or
            ``hf://datasets/OWNER/NAME``, from which they are fetched once; or ``hf://OWNER/NAME[@REVISION][:CONFIG]``,
            a data set of the Hugging Face Hub, which the library ``datasets`` downloads.
        shards: Which files below the folder, such as ``data/*.tar`` or ``train-{0000..0012}.tar``, one pattern or
            several; null takes all, of a web server those that ``packed.json`` names.
        image_column: Column, or ending of a tar file's members, of the images; null finds it.
        label_column: Column of the labels, a field of the ``.json``, or an ending such as ``cls``; null takes ``cls``,
            ``label`` or the only column of classes, "" none. Captions without labels are paired with their images.
        split_column: Column of ``train``, ``val`` and ``test``; null takes what the shards are called, or else
            ``split`` where it is there, "" none.
        attribute_column: Column of the spurious attribute; null takes ``attribute`` where it is there, "" none.
        group_column: Column of group names; null takes ``group`` where it is there, "" none.
        caption_column: Column of captions; null takes ``caption`` or ``txt`` where it is there, "" none.
        class_names: Names in label order; or what the label column says for each of them (``{0: cat, 1: dog}``); or a
            text file with a name a line. Null takes those that the shards tell, or a ``classnames.txt`` beside them,
            or else the labels, sorted.
        templates: Caption templates, each with ``{}`` once, or a text file with one a line; null takes those of
            `starft data pack`, or "a photo of a {}.".
        splits: What shards are called, or the split column has, for each split: ``{train: train, test: validation}``.
        on_bad_image: ``stop`` refuses shards in which images or labels are missing; ``skip`` leaves these out, and
            tells how many.
        **kwargs: ``test_fraction``, ``val_fraction``, ``split_seed``, ``equal_groups`` and ``label_map`` as of `CSV`;
            an eval set without fractions is all test.
    """

    title = "Packed"
    tree = "ROOT/\n  train-000000.tar  (KEY.jpg with KEY.cls, KEY.json or KEY.txt)\n  test-000000.tar"

    def __init__(
        self,
        root: str,
        shards: list[str] | str | None = None,
        image_column: str | None = None,
        label_column: str | None = None,
        split_column: str | None = None,
        attribute_column: str | None = None,
        group_column: str | None = None,
        caption_column: str | None = None,
        class_names: dict[str, str] | list[str] | str | None = None,
        templates: list[str] | str | None = None,
        splits: Given | None = None,
        on_bad_image: Literal["stop", "skip"] = "stop",
        **kwargs: Any,
    ) -> None:
        self.columns = {
            "label": label_column,
            "split": split_column,
            "attribute": attribute_column,
            "group": group_column,
            "caption": caption_column,
        }
        none = {f"{kind}_column": "" if given == "" else None for kind, given in self.columns.items()}
        super().__init__(
            Path(root),
            Path(root),
            label_column="" if label_column == "" else LABEL,
            split_column=none["split_column"],
            attribute_column=none["attribute_column"],
            group_column=none["group_column"],
            caption_column=none["caption_column"],
            class_names=class_names,
            splits=splits,
            templates=templates if templates is not None else TEMPLATE,
            **kwargs,
        )
        self.address = address_of(root) or str(root)
        self.image_column, self.on_bad_image = image_column, on_bad_image
        self.patterns = [shards] if isinstance(shards, str) else shards or []
        self._own_templates = templates is None

    @cached_property
    def templates(self) -> tuple[str, ...]:
        """Given, or of `starft data pack`, or those that lie beside the shards."""
        packed = self._description.templates if self._own_templates and self._description else ()
        if self._own_templates and self._names_beside:
            packed = tuple(line.replace("{c}", "{}") for line in lines_beside(self.address, TEMPLATES_BESIDE))
        return packed or texts(self.given_templates, "templates")

    @property
    def notes(self) -> tuple[str, ...]:
        """Those of a table, and how many images are left out."""
        flaws = self._flaws()
        return (*super().notes, *(f"{flaw}; left out, as on_bad_image is skip" for flaw in flaws))

    def check_there(self) -> None:
        """Refuse a folder that is missing or holds no shards; the Hub is asked later."""
        if not is_hub_name(self.address):
            _ = self._shards

    def table(self, split: str) -> ImageTable:
        """List one split."""
        return replace(super().table(split), file_bytes=self._bytes, packed=True)

    def eval_set(self, name: str, split: str, ood: bool = False) -> EvalSet:
        """Return how a model is scored on a split, as the packed data set was."""
        made = super().eval_set(name, split, ood)
        return made if self._description is None else replace(made, **self._description.scoring.get(split, {}))

    @cached_property
    def _shards(self) -> Shards:
        return find_shards(self.address, self.patterns, self.given_splits if not self.columns["split"] else None)

    @cached_property
    def _description(self) -> Description | None:
        """What `starft data pack` wrote beside its shards."""
        return None if is_hub_name(self.address) else read_description(Path(self.address))

    @cached_property
    def _names_beside(self) -> tuple[str, ...]:
        """Class names in a file beside shards that have numbers for labels and tell no names, as CLIP_benchmark's."""
        if is_hub_name(self.address) or self._description or self._index.class_names or not self._is_labelled():
            return ()
        numbers = all(text.isdigit() for text in self._index.columns["label"].texts)
        return lines_beside(self.address, NAMES_BESIDE) if numbers else ()

    @cached_property
    def _index(self) -> PackedIndex:
        columns = {kind: (given,) if given else NAMES[kind] for kind, given in self.columns.items() if given != ""}
        columns.setdefault("label", ())
        _ = self._description  # half a pack is told first
        index = open_index(self._shards.root, self._shards.files, columns, self.image_column)
        there = [kind for kind, column in index.columns.items() if (column.codes >= 0).any()]
        needed = {kind for kind, given in self.columns.items() if given}
        needed |= {"caption"} if self.columns["label"] == "" else set() if "caption" in there else {"label"}
        for kind, names in columns.items():
            if kind in needed and kind not in there:
                if kind == "label" and (first := index.flaws.first.get("unlabelled")):
                    raise DataError(
                        f"Each label of {shown(self.address)} is -1, first {first}: nobody says what these images "
                        "show; take shards with labels, as by data.init_args.splits or shards."
                    )
                raise DataError(
                    f"No image of {shown(self.address)} has a {' or '.join(names)}; name what holds the {kind}s with "
                    f"{self.option.format(f'{kind}_column')}."
                )
        return index

    @cached_property
    def _bytes(self) -> PackedBytes:
        return PackedBytes(self._index)

    def _is_labelled(self) -> bool:
        return self.columns["label"] != "" and bool((self._index.columns["label"].codes >= 0).any())

    def _flaws(self) -> list[str]:
        """Return what is wrong with samples; where there are no labels, those without a caption say nothing."""
        index = self._index
        if self._is_labelled():
            return index.flaws.sentences()
        flaws = Flaws(dict(index.flaws.counts), dict(index.flaws.first))
        silent = np.flatnonzero((index.offsets != NOWHERE) & (index.columns["caption"].codes < 0))
        if len(silent):
            flaws.add("caption", index.paths(silent)[0], len(silent))
        return flaws.sentences(("label", "unlabelled"))

    def _rows(self) -> Rows:
        flaws = self._flaws()
        if flaws and self.on_bad_image == "stop":
            skip = f"{self.option.format('on_bad_image')} to skip"
            raise DataError(f"{shown(self.address)}: {'; '.join(flaws)}; mend the shards, or set {skip}.")
        self.root = self._index.root
        splits = self._shards.splits if self.columns["split"] is None else None
        return _PackedRows(self._index, splits, self._is_labelled())

    def _labels(self, cells: Any, file: Rows, problems: list[str]) -> tuple[Ints, tuple[str, ...]]:
        """Return the class of each image: positions among the names, where the shards tell these."""
        names = self._description.class_names if self._description else self._index.class_names or self._names_beside
        if not names:
            return super()._labels(cells, file, problems)
        values = cells.cat.categories
        at = {str(number): number for number in range(len(names))}
        unknown = [value for value in values if value not in at]
        for value in unknown[:5]:
            rows = file.where(np.flatnonzero(cells == value).tolist())
            problems.append(
                f"the label {shortened(value)} ({rows}) is none of the {len(names)} classes that the shards name, "
                f"{some(names)}; mend it, or take these images out"
            )
        if self.label_map is not None or isinstance(self.given_names, dict):
            renamed = cells.cat.rename_categories([names[at[v]] if v in at else v for v in values])
            return super()._labels(renamed, file, problems)
        if self.given_names is not None:
            return super()._labels(cells, file, problems)
        positions = np.array([*(at.get(value, -1) for value in values), -1], dtype=np.int64)
        return positions[cells.cat.codes], names

    def _groups(
        self, labels: Ints, class_names: tuple[str, ...], column: Any
    ) -> tuple[Ints | None, tuple[str, ...], tuple[str, ...]]:
        """Return group ids and names as `starft data pack` wrote them, or else as of a table."""
        about = self._description
        if about is None or not about.group_names or "group" not in column or self.columns["group"]:
            return super()._groups(labels, class_names, column)
        cells = column["group"]
        ids = np.array([*(int(canonical(value)) for value in cells.cat.categories), -1], dtype=np.int64)
        return ids[cells.cat.codes], about.group_names, about.attribute_names


class _PackedRows:
    """An index, read as a table is; images that can't be used are left out.

    Args:
        index: Of the shards.
        splits: What names the split of each shard; None where nothing does.
        labelled: Whether images without a label are left out, or else those without a caption.
    """

    def __init__(self, index: PackedIndex, splits: Sequence[str] | None, labelled: bool) -> None:
        self.index, self.splits = index, splits
        usable = index.offsets != NOWHERE
        said = index.columns["label" if labelled else "caption"].codes >= 0
        self.chosen = np.flatnonzero(usable & said)
        named = [kind for kind, column in index.columns.items() if (column.codes >= 0).any()]
        self.header = [kind for kind in named if kind != "label" or labelled]

    def has_all(self, named: Any) -> None:
        """Do nothing: the source has looked."""

    def read(self, named: Any, optional: Sequence[str] = ()) -> pd.DataFrame:
        """Return what is said of the images; the path is their place in the index."""
        columns: dict[str, Any] = {"path": self.chosen}
        for kind in dict.fromkeys(("label", *optional)):
            if kind not in self.index.columns:
                continue
            codes, values = self.index.columns[kind].codes[self.chosen], self.index.columns[kind].texts
            if kind == "split" and self.splits is not None:
                of_shard, names = pd.factorize(np.array(self.splits, dtype=object))
                sizes = np.diff(self.index.starts)
                columns[kind] = pd.Categorical.from_codes(np.repeat(of_shard, sizes)[self.chosen], pd.Index(names))
            elif kind == "caption" and (codes >= 0).any():  # hardly one comes twice
                columns[kind] = np.array([values[code] if code >= 0 else None for code in codes], dtype=object)
            elif (codes >= 0).any():
                columns[kind] = pd.Categorical.from_codes(codes, pd.Index([*values]))
        return pd.DataFrame(columns)

    def where(self, rows: Sequence[int]) -> str:
        """Return the paths of some images."""
        return some(self.index.paths(self.chosen[np.array(rows, dtype=np.int64)]))

    def paths(self, column: "pd.Series[Any]", root: Path) -> Sequence[str]:
        """Return the paths of all images."""
        return self.index.paths(self.chosen)

    def common_root(self, column: "pd.Series[Any]") -> None:
        """Return nothing: the index knows its root."""
