"""Scoring one model on many eval sets, each with its own class names, head and metrics."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchmetrics import MetricCollection

from starft.clip import ClipEncoder, zero_shot_head
from starft.clip.finite import first_message_of_any_process
from starft.distributed import is_own_row, world_size
from starft.errors import ConfigError, NotFiniteError
from starft.evaluation.metrics import eval_metrics, group_counts
from starft.evaluation.retrieval import RetrievalScorer
from starft.evaluation.sample_metrics import SampleRecord, Samples, accept, sample_scores, samples_of
from starft.losses.functional import class_logits
from starft.types import Batch, EvalSet, FinetuneData


@dataclass(frozen=True)
class GroupResult:
    """How one group of one eval set fared.

    Args:
        name: The group's name.
        correct: Predictions that were right.
        total: Predictions made.
    """

    name: str
    correct: int
    total: int


class Evaluator(nn.Module):
    """Heads and metrics of the eval sets of one stage.

    A set is scored by the trained linear head where there is one and the set has the training classes; by the zero-shot
    head of its own class names otherwise. Where the linear head scores, the text tower's head is scored beside it, as
    ``text_head_acc``. Sets of equal class names and templates share one zero-shot head. Where a set has a label
    projection (``EvalSet.merge``), either head's logits go through it. Sets of images that are paired with texts are
    scored by retrieval.

    Args:
        eval_sets: In the order of the loaders.
        keep_samples: Keep what became of each sample, and make the scores that need it: ``ece``, ``top5_acc``,
            ``macro_f1``.
    """

    def __init__(self, eval_sets: Sequence[EvalSet], keep_samples: bool = False) -> None:
        super().__init__()
        self.eval_sets, self.keep_samples = tuple(eval_sets), keep_samples
        self.records = nn.ModuleList(SampleRecord() for _ in self.eval_sets)
        self.metrics = nn.ModuleList(eval_metrics(eval_set) for eval_set in self.eval_sets)
        self.text_metrics = nn.ModuleList(eval_metrics(eval_set) for eval_set in self.eval_sets)
        self.retrieval = nn.ModuleList(
            RetrievalScorer(item) if item.captions else nn.Identity() for item in self.eval_sets
        )
        self._heads: list[Tensor | None] = []
        self._text_heads: list[Tensor | None] = [None for _ in self.eval_sets]
        self._biases: list[Tensor | None] = []
        self._finite: dict[str, Tensor] = {}

    @torch.no_grad()
    def prepare(
        self,
        clip: ClipEncoder,
        class_names: Sequence[str],
        linear_head: Tensor | None,
        head_bias: Tensor | None = None,
    ) -> None:
        """Make the heads from the weights as they are now, and forget earlier counts.

        Args:
            clip: The model that is scored.
            class_names: Training classes of the linear head.
            linear_head: Trained head (C, D), or None.
            head_bias: What is added to the trained head's logits (C,), or None.
        """
        self._heads, self._text_heads, self._biases = [], [], []
        self._finite = {}
        made: dict[tuple[tuple[str, ...], tuple[str, ...]], Tensor] = {}
        for which, eval_set in enumerate(self.eval_sets):
            if (scorer := self._retrieval(which)) is not None:
                scorer.prepare(clip)
                self._heads, self._text_heads = [*self._heads, None], [*self._text_heads, None]
                self._biases.append(None)
                continue
            words = (eval_set.class_names, eval_set.templates)
            if words not in made:
                made[words] = clip.logit_scale * zero_shot_head(clip, *words)
            text = made[words]
            trained = linear_head is not None and tuple(class_names) == eval_set.class_names
            self._heads.append(linear_head if trained and linear_head is not None else text)
            self._text_heads.append(text if trained else None)
            self._biases.append(head_bias if trained else None)
        for metrics in (*self.metrics, *self.text_metrics):
            _collection(metrics).reset()
        for record in self.records:
            _record(record).reset()

    def logits(self, which: int, image_features: Tensor) -> Tensor:
        """Return logits (B, L) of the eval set at position ``which``, scaled, in float32, one a label."""
        head = self._heads[which]
        assert head is not None, "a set without classes has no logits"
        return self._project(which, image_features, head, self._biases[which])

    def _project(self, which: int, image_features: Tensor, head: Tensor, bias: Tensor | None = None) -> Tensor:
        logits = class_logits(image_features.float(), head.float())
        return merge_logits(logits if bias is None else logits + bias.float(), self.eval_sets[which].merge)

    def _predictions(self, which: int, logits: Tensor, labels: Tensor) -> Tensor:
        """Return predicted labels (B,); one that counts as right is told as the true label."""
        return accept(logits.argmax(dim=-1), labels, self.eval_sets[which].accepted)

    def update(self, which: int, image_features: Tensor, batch: Batch) -> Tensor | None:
        """Count one batch of the eval set at position ``which``; image features (B, D) are unit rows.

        Rows that only fill up the last batch of one of several processes are another's, and aren't counted here.

        Returns:
            Logits of the rows that were counted, one a label; None for a set without classes.
        """
        if world_size() > 1:
            mine = is_own_row(batch["index"])
            image_features = image_features[mine]
            batch = cast(Batch, {key: rows[mine] for key, rows in cast(dict[str, Tensor], batch).items()})
        if (scorer := self._retrieval(which)) is not None:
            self._note_finite(self.eval_sets[which].name, image_features)
            scorer.update(image_features, batch)
            return None
        logits = self.logits(which, image_features)
        self.count(which, logits, batch)
        text_head = self._text_heads[which]
        if text_head is not None:
            group, labels = self._groups_of(which, batch), batch["label"]
            preds = self._predictions(which, self._project(which, image_features, text_head), labels)
            _collection(self.text_metrics[which]).update(preds, labels, group)
        return logits

    def count(self, which: int, logits: Tensor, batch: Batch) -> None:
        """Count logits (B, L) of one batch of the eval set at position ``which``."""
        eval_set, labels, group = self.eval_sets[which], batch["label"], self._groups_of(which, batch)
        self._note_finite(eval_set.name, logits)
        preds = self._predictions(which, logits, labels)
        _collection(self.metrics[which]).update(preds, labels, group)
        if self.keep_samples:
            _record(self.records[which]).update(samples_of(logits, labels, batch["index"], group, eval_set))

    def _groups_of(self, which: int, batch: Batch) -> Tensor:
        """Return the groups (B,) that metrics go by: 0 where there are none."""
        eval_set = self.eval_sets[which]
        if eval_set.group_names:
            return batch["group"]
        return batch["index"] if eval_set.frame_sets else torch.zeros_like(batch["label"])

    def _note_finite(self, name: str, values: Tensor) -> None:
        finite = values.isfinite().all()
        self._finite[name] = finite & self._finite.get(name, finite)

    def compute(self) -> dict[str, Tensor]:
        """Return every number, ``{eval set}/{metric}`` and ``ood_acc``; sums run over all processes.

        Raises:
            NotFiniteError: The model gave a NaN or an infinity for an image.
        """
        bad = first_message_of_any_process(next((name for name, finite in self._finite.items() if not finite), ""))
        if bad:
            raise NotFiniteError(
                f"The model's logits on the eval set {bad} aren't finite, so it can't be scored; check its weights, "
                "and set trainer.precision to bf16-mixed or 32-true."
            )
        numbers: dict[str, Tensor] = {}
        for which, eval_set in enumerate(self.eval_sets):
            if (scorer := self._retrieval(which)) is not None:
                numbers |= {f"{eval_set.name}/{name}": value for name, value in scorer.compute().items()}
                continue
            for name, value in _collection(self.metrics[which]).compute().items():
                if value.ndim == 0:
                    numbers[f"{eval_set.name}/{name}"] = value
            if self.keep_samples:
                scores = sample_scores(_record(self.records[which]).compute(), eval_set)
                numbers |= {f"{eval_set.name}/{name}": value for name, value in scores.items()}
            if self._text_heads[which] is not None:
                numbers[f"{eval_set.name}/text_head_acc"] = _collection(self.text_metrics[which])["acc"].compute()
        ood = [numbers[f"{eval_set.name}/acc"] for eval_set in self.eval_sets if eval_set.ood]
        if ood:
            numbers["ood_acc"] = torch.stack(ood).mean()
        return numbers

    def samples(self) -> dict[str, Samples]:
        """Return what became of each sample, by eval set; empty where it isn't kept. After `compute`."""
        if not self.keep_samples:
            return {}
        return {
            eval_set.name: _record(record).compute()
            for eval_set, record in zip(self.eval_sets, self.records, strict=True)
            if not eval_set.captions
        }

    def recalls(self) -> dict[str, dict[str, tuple[int, int]]]:
        """Return right answers and queries of each metric of the sets that are scored by retrieval. After `compute`."""
        scorers = {item.name: self._retrieval(which) for which, item in enumerate(self.eval_sets)}
        return {name: scorer.hits for name, scorer in scorers.items() if scorer is not None}

    def groups(self) -> dict[str, list[GroupResult]]:
        """Return the counts of every group, by eval set; a set without groups has one, named ``all``.

        Where retrieval scores, an image counts as right if its own caption is the likeliest.
        """
        results = {}
        for which, eval_set in enumerate(self.eval_sets):
            if (scorer := self._retrieval(which)) is not None:
                results[eval_set.name] = [GroupResult("all", *scorer.hits["i2t_r1"])]
                continue
            correct, total = group_counts(_collection(self.metrics[which]))
            names = eval_set.group_names
            if not names:
                names, correct, total = ("all",), [sum(correct)], [sum(total)]
            results[eval_set.name] = [GroupResult(*row) for row in zip(names, correct, total, strict=True)]
        return results

    def _retrieval(self, which: int) -> RetrievalScorer | None:
        scorer = self.retrieval[which]
        return scorer if isinstance(scorer, RetrievalScorer) else None


def described_data(data: Any) -> FinetuneData:
    """Return a DataModule that tells its classes and eval sets.

    Args:
        data: The trainer's DataModule.

    Raises:
        ConfigError: It doesn't tell them.
    """
    # `isinstance` would ask for every set, and to predict new images the training data needn't be there
    messages = ("class_names", "templates", "val_sets", "test_sets", "predict_sets")
    if not all(hasattr(type(data), name) or name in vars(data) for name in messages):
        raise ConfigError(
            f"{type(data).__name__} doesn't tell class_names, templates, val_sets, test_sets and predict_sets; "
            "give the trainer a DataModule of starft.data."
        )
    described: FinetuneData = data
    return described


def eval_sets_for_stage(data: FinetuneData, stage: str) -> tuple[EvalSet, ...]:
    """Return what a stage scores; it alone is asked for: to predict new images, the others needn't be there.

    Args:
        data: The trainer's DataModule.
        stage: ``fit``, ``validate``, ``test`` or ``predict``.

    Raises:
        ConfigError: Predictions are asked for, and there are no classes.
    """
    if stage == "predict" and not all(item.class_names for item in data.predict_sets):
        raise ConfigError(
            "There is nothing to predict: the data have captions and no classes; give data with labels, or in Python "
            "`starft.load(CHECKPOINT, class_names=[...])`."
        )
    if stage in ("fit", "validate"):
        return data.val_sets
    return data.test_sets if stage == "test" else data.predict_sets


def merge_logits(logits: Tensor, merge: Sequence[Sequence[int]]) -> Tensor:
    """Return label logits (B, L): of each label the highest logit among its classes; no ``merge``, no change.

    Args:
        logits: Class logits (B, C).
        merge: For each of L labels the classes that mean it, one at least.
    """
    if not merge:
        return logits
    most = max(len(classes) for classes in merge)
    # Padded with its first class, which changes no maximum.
    padded = [[*classes, *[classes[0]] * (most - len(classes))] for classes in merge]
    return logits[:, torch.tensor(padded).to(logits.device, non_blocking=True)].amax(dim=-1)


def _collection(module: nn.Module) -> MetricCollection:
    assert isinstance(module, MetricCollection)
    return module


def _record(module: nn.Module) -> SampleRecord:
    assert isinstance(module, SampleRecord)
    return module
