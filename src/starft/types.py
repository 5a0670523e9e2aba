"""What the data side and the training side agree on."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, NotRequired, Protocol, TypedDict, runtime_checkable

if TYPE_CHECKING:
    from torch import Tensor


class Batch(TypedDict):
    """One batch, as every DataModule yields it.

    Shapes: ``image`` float (B, 3, H, W), ``label`` int64 (B,), ``index`` int64 (B,) (position in its data set),
    ``group`` int64 (B,) where the set has groups. No text: captions are drawn inside the step. Where images are decoded
    fast, a loader gives uint8, and the DataModule's ``on_after_batch_transfer`` makes the floats on the device.
    """

    image: "Tensor"
    label: "Tensor"
    index: "Tensor"
    group: NotRequired["Tensor"]


@dataclass(frozen=True)
class EvalSet:
    """One named evaluation loader and all that is needed to score it.

    Args:
        name: Stands in metric names, ``test/{name}/acc``.
        class_names: One name a class, in label order.
        templates: Caption templates of the zero-shot head, each with ``{}`` once.
        group_names: One name a group, in the order of group ids; empty where the set has no groups.
        group_weights: Share of each group in the *training* set, for adjusted accuracy; empty where unknown.
        ood: Whether the set counts in ``ood_acc``.
        merge: Label projection: for each label of the set the positions in ``class_names`` that mean it, whose highest
            logit is its own (ImageNet-R: one position each of 200; ObjectNet: several of 113); empty where the labels
            are the classes.
        accepted: For each label the predictions that count as right, where a picture may show several things
            (ImageNet-Vid-Robust); labels past those of ``merge`` stand for several things at once. Empty where only the
            label itself is right.
        metrics: Names of what is computed beside ``acc``, of ``starft.evaluation``; empty takes the group metrics where
            there are groups.
        num_attributes: How many values the spurious attribute has where group ids are label * their number + attribute;
            0 where groups are something else.
        frame_sets: Sets of neighbouring frames, each the positions (``index`` of a batch) of an anchor and, behind it,
            its neighbours; ``pm0`` and ``pm10`` are computed of them. Empty elsewhere, and never together with groups.
        captions: Text of each image, by its ``index``, where images are paired with texts and have no classes: the set
            is scored by retrieval. Empty elsewhere.
        pictures: Path of each image of such a set; equal ones are one image with several captions.
    """

    name: str
    class_names: tuple[str, ...]
    templates: tuple[str, ...]
    group_names: tuple[str, ...] = ()
    group_weights: tuple[float, ...] = ()
    ood: bool = False
    merge: tuple[tuple[int, ...], ...] = ()
    accepted: tuple[tuple[int, ...], ...] = ()
    metrics: tuple[str, ...] = ()
    num_attributes: int = 0
    frame_sets: tuple[tuple[int, ...], ...] = ()
    captions: tuple[str, ...] = ()
    pictures: tuple[str, ...] = ()

    @property
    def num_labels(self) -> int:
        """How many labels there are to be right or wrong about, those that stand for several things included."""
        return len(self.accepted) or len(self.merge) or len(self.class_names)

    @property
    def prediction_names(self) -> tuple[str, ...]:
        """One name for each label that can be predicted: the class names that it stands for."""
        if not self.merge:
            return self.class_names
        return tuple(" or ".join(self.class_names[position] for position in positions) for positions in self.merge)

    @property
    def typical_groups(self) -> tuple[bool | None, ...]:
        """For each group whether it pairs a label with its usual attribute, the most frequent one in training.

        None for the groups of a label without a usual attribute: no training image has it, or two attributes tie.
        Empty where groups aren't pairs of label and attribute, or the training set's shares aren't known.
        """
        if self.num_attributes < 2 or not self.group_weights:
            return ()
        flags: list[bool | None] = []
        for start in range(0, len(self.group_weights), self.num_attributes):
            shares = self.group_weights[start : start + self.num_attributes]
            usual = shares.count(max(shares)) == 1
            flags += [share == max(shares) if usual else None for share in shares]
        return tuple(flags) if True in flags else ()


@dataclass(frozen=True)
class ImagePreprocessing:
    """How a model wants its images.

    Args:
        size: Height and width in pixels.
        mean: Of each channel, in 0..1; subtracted.
        std: Of each channel, in 0..1; divided by.
        interpolation: ``bicubic``, ``bilinear`` or ``nearest``.
        resize_mode: ``shortest`` side to size and crop the middle, ``longest`` and pad, or ``squash``.
        fill_color: Grey level of the padding, in 0..255.
    """

    size: tuple[int, int] = (224, 224)
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    interpolation: str = "bicubic"
    resize_mode: Literal["shortest", "longest", "squash"] = "shortest"
    fill_color: int = 0


@runtime_checkable
class PreprocessingModel(Protocol):
    """What the data side asks of the model it feeds, ``trainer.lightning_module``."""

    @property
    def preprocessing(self) -> ImagePreprocessing:
        """How the model wants its images."""
        ...


@runtime_checkable
class PlainTrainingData(Protocol):
    """What is asked of a DataModule where something is fitted on the features of the training images."""

    def plain_train_dataloader(self) -> Iterable[Batch]:
        """Return every training image once, prepared as in evaluation."""
        ...

    def val_dataloader(self) -> Sequence[Iterable[Batch]]:
        """Return one loader for each of ``val_sets``."""
        ...


@runtime_checkable
class GroupedData(Protocol):
    """What is asked of a DataModule where training itself goes by groups."""

    @property
    def train_group_counts(self) -> dict[str, int]:
        """Training images of each group, by name, in the order of group ids; empty where they have no groups."""
        ...

    @property
    def val_group_counts(self) -> tuple[dict[str, int], ...]:
        """The same of each validation set."""
        ...


@runtime_checkable
class CountedData(Protocol):
    """What is asked of a DataModule where a loss goes by how many training images a class has."""

    @property
    def train_class_counts(self) -> tuple[int, ...]:
        """Training images of each class, in label order."""
        ...


@runtime_checkable
class CaptionedData(Protocol):
    """What is asked of a DataModule where training images may have captions of their own."""

    @property
    def train_captions(self) -> Sequence[str] | None:
        """Caption of each training image, by its ``index``; None where captions are made of class names."""
        ...


@runtime_checkable
class WeighingData(PlainTrainingData, Protocol):
    """What is asked of a DataModule where some training images are to count more in the middle of a run."""

    def upsample(self, chosen: Sequence[int], factor: int) -> None:
        """From the next epoch on, let the images at these positions count several times; an epoch keeps its length."""
        ...

    def weigh(self, weights: Sequence[float]) -> None:
        """From the next epoch on, draw images by these weights, with replacement; an epoch keeps its length."""
        ...


@runtime_checkable
class FinetuneData(Protocol):
    """What the training side asks of a DataModule beyond its loaders.

    The eval sets come in the order of the loaders: ``val_sets`` of ``val_dataloader``, ``test_sets`` of
    ``test_dataloader``, ``predict_sets`` of ``predict_dataloader``.
    """

    @property
    def class_names(self) -> tuple[str, ...]:
        """Names of the training classes, in label order."""
        ...

    @property
    def templates(self) -> tuple[str, ...]:
        """Caption templates of the training classes."""
        ...

    @property
    def val_sets(self) -> tuple[EvalSet, ...]:
        """What is validated."""
        ...

    @property
    def test_sets(self) -> tuple[EvalSet, ...]:
        """What is tested."""
        ...

    @property
    def predict_sets(self) -> tuple[EvalSet, ...]:
        """What is predicted."""
        ...
