"""The LightningModule: a CLIP model, its frozen twin, and the terms that train it."""

import math
import re
from typing import Any, Literal

import lightning as L
import torch
from lightning.pytorch.trainer.states import TrainerFn
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from starft.captions import CaptionSampler
from starft.checkpoints import CheckpointFacts, refill_twin, strip_twin
from starft.clip import Twin, build_clip, zero_shot_head
from starft.context import Progress, StepContext
from starft.errors import ConfigError, WeightsError
from starft.evaluation import Evaluator
from starft.losses import Contrastive, Term
from starft.optim import parameter_groups, warmup_cosine
from starft.pools import load_pools
from starft.types import Batch, FinetuneData, ImagePreprocessing


class FinetuneModule(L.LightningModule):
    """Fine-tune CLIP with one objective and any number of regularizers.

    Args:
        objective: The term that carries the supervision: ``Contrastive`` (FLYP) or ``CrossEntropy`` (FT).
        model_name: An open_clip architecture, a ``hf-hub:`` or ``local-dir:`` name, or a model config (JSON path).
        pretrained: A tag of open_clip's weights, a local weight file, or null for random weights.
        head: ``text`` re-makes the zero-shot head from the tuned text tower; ``linear`` starts from the zero-shot head
            times exp(logit_scale) and is trained.
        lr: Peak learning rate of AdamW.
        weight_decay: Weight decay of AdamW.
        decay_one_dimensional: Decay vectors and scalars too, as the paper does.
        betas: AdamW's decay rates of the two moments.
        warmup_steps: Length of the linear warm-up in optimizer steps; cosine to 0 follows.
        regularizers: Terms added to the objective.
        pool: Name or path of the pool that spurious captions are drawn from, or a list of them; null for none.
        templates: Caption templates, each with ``{}`` once; null takes those of the data.
        trim_captions: Cut padding off captions before the text tower: the same features but for rounding, in less time.
            Off, a run agrees with one of the authors' code to the last digits that float32 has.
        seed: Start of the caption draws.
    """

    def __init__(
        self,
        objective: Term | None = None,
        model_name: str = "ViT-B-16",
        pretrained: str | None = "openai",
        head: Literal["text", "linear"] = "text",
        lr: float = 1e-5,
        weight_decay: float = 0.1,
        decay_one_dimensional: bool = True,
        betas: tuple[float, float] = (0.9, 0.999),
        warmup_steps: int = 500,
        regularizers: list[Term] | None = None,
        pool: list[str] | str | None = None,
        templates: list[str] | None = None,
        trim_captions: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not (math.isfinite(lr) and lr >= 0):
            raise ConfigError(f"lr must be a finite number, at least 0; got {lr}.")
        if not (math.isfinite(weight_decay) and weight_decay >= 0):
            raise ConfigError(f"weight_decay must be a finite number, at least 0; got {weight_decay}.")
        if warmup_steps < 0:
            raise ConfigError(f"warmup_steps must be at least 0; got {warmup_steps}.")
        if not (len(betas) == 2 and all(0 <= beta < 1 for beta in betas)):
            raise ConfigError(f"betas must be two numbers in [0, 1); got {list(betas)}.")
        if templates is not None and not templates:
            raise ConfigError("templates must hold at least one caption template, or be null; got an empty list.")
        for template in templates or []:
            if template.count("{}") != 1:
                raise ConfigError(f"Each template must hold {{}} exactly once; got {template!r}.")
        self.save_hyperparameters(ignore=["objective", "regularizers"])
        self.model_name, self.pretrained, self.head = model_name, pretrained, head
        self.lr, self.weight_decay, self.warmup_steps = lr, weight_decay, warmup_steps
        self.decay_one_dimensional, self.betas, self.seed = decay_one_dimensional, betas, seed
        self.pool = load_pools(pool) if pool is not None else None
        self.clip = build_clip(model_name, pretrained, trim_captions)
        self.twin = Twin(self.clip)
        self.clip.train()
        self.terms = nn.ModuleDict(_by_name([objective or Contrastive(), *(regularizers or [])]))
        self.class_names: tuple[str, ...] = ()
        self.templates: tuple[str, ...] = tuple(templates or ())
        self.linear_head: nn.Parameter | None
        self.register_parameter("linear_head", None)
        self.captions: CaptionSampler | None = None
        self.evaluator: Evaluator | None = None
        self._host_labels: list[int] = []

    # --- what the data tell -------------------------------------------------------------------------------------------

    def setup(self, stage: str) -> None:
        """Take class names, templates and eval sets from the DataModule; make the linear head."""
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        if not isinstance(data, FinetuneData):
            raise ConfigError(
                f"{type(data).__name__} doesn't tell class_names, templates, val_sets, test_sets and predict_sets; "
                "give the trainer a DataModule of starft.data."
            )
        if not self.class_names:
            self.describe(data.class_names, self.templates or data.templates)
        self.captions = CaptionSampler(self.class_names, self.templates, self.pool, self.seed)
        sets = {"fit": data.val_sets, "validate": data.val_sets, "test": data.test_sets, "predict": data.predict_sets}
        self.evaluator = Evaluator(sets[stage])

    @property
    def preprocessing(self) -> ImagePreprocessing:
        """How the model wants its images."""
        return self.clip.preprocessing

    def describe(self, class_names: tuple[str, ...], templates: tuple[str, ...]) -> None:
        """Set the training classes and, for the linear head, start it from the zero-shot head.

        Args:
            class_names: One name a class, in label order.
            templates: Caption templates of these classes.
        """
        self.class_names, self.templates = class_names, templates
        if self.head == "linear":
            with torch.no_grad():
                rows = self.twin.logit_scale * zero_shot_head(self.twin, class_names, templates)
            self.linear_head = nn.Parameter(rows.float().clone())

    # --- training -----------------------------------------------------------------------------------------------------

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Note the labels while they are still on the host: captions are drawn there, and the step must not wait."""
        if self.trainer.training:
            self._host_labels = batch["label"].tolist()
        return batch

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Return the weighted sum of the terms; a term whose weight is 0 at this point isn't computed."""
        progress = self._progress()
        ctx = self._context(batch, progress)
        total = torch.zeros((), device=self.device)
        logs: dict[str, Tensor | float] = {}
        for name, term in self._active_terms():
            weight = term.weight_at(progress)
            if weight > 0:
                value = term(ctx)
                total = total + weight * value
                logs |= {f"train/{name}": value.detach(), f"train/{name}_weight": weight}
        size = len(batch["label"])
        self.log("train/loss", total.detach(), prog_bar=True, batch_size=size)
        self.log_dict(logs, batch_size=size)
        return total

    def _active_terms(self) -> list[tuple[str, Term]]:
        return [(name, term) for name, term in self.terms.items() if isinstance(term, Term)]

    def _context(self, batch: Batch, progress: Progress) -> StepContext:
        assert self.captions is not None, "setup comes first"
        clean, spurious = self.captions.draw(self._host_labels, progress.step, self.global_rank)
        return StepContext(
            batch=batch,
            captions=clean,
            spurious_captions=spurious,
            clip=self.clip,
            twin=self.twin,
            linear_head=self.linear_head,
            class_names=self.class_names,
            templates=self.templates,
            progress=progress,
        )

    def _progress(self) -> Progress:
        epochs = self.trainer.max_epochs
        return Progress(
            step=self.global_step,
            total_steps=int(self.trainer.estimated_stepping_batches),
            epoch=self.current_epoch,
            total_epochs=epochs if epochs is not None and epochs > 0 else None,
        )

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW on all that is trained; linear warm-up, then cosine to 0, step by step."""
        groups = parameter_groups(self, self.weight_decay, self.decay_one_dimensional)
        optimizer = AdamW(groups, lr=self.lr, betas=self.betas)
        total = int(self.trainer.estimated_stepping_batches)
        schedule = LambdaLR(optimizer, lambda step: warmup_cosine(step, self.warmup_steps, total))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # --- evaluation ---------------------------------------------------------------------------------------------------

    def on_validation_epoch_start(self) -> None:
        """Make the heads anew from the weights as they are."""
        self._evaluator().prepare(self.clip, self.class_names, self.linear_head)

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Count one batch of one eval set."""
        self._evaluator().update(dataloader_idx, self.clip.encode_image(batch["image"]), batch)

    def on_validation_epoch_end(self) -> None:
        """Log every metric of every eval set under ``val/``."""
        self.log_dict({f"val/{name}": value for name, value in self._evaluator().compute().items()})

    def on_test_epoch_start(self) -> None:
        """Make the heads anew from the weights as they are."""
        self.on_validation_epoch_start()

    def test_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Count one batch of one eval set."""
        self.validation_step(batch, batch_idx, dataloader_idx)

    def on_test_epoch_end(self) -> None:
        """Log every metric of every eval set under ``test/``."""
        self.log_dict({f"test/{name}": value for name, value in self._evaluator().compute().items()})

    def on_predict_epoch_start(self) -> None:
        """Make the heads anew from the weights as they are."""
        self.on_validation_epoch_start()

    def predict_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> dict[str, Tensor]:
        """Return ``index``, predicted ``label`` (both int64) and its ``probability``, each (B,)."""
        logits = self._evaluator().logits(dataloader_idx, self.clip.encode_image(batch["image"]))
        probability, label = logits.softmax(dim=-1).max(dim=-1)
        return {"index": batch["index"], "label": label, "probability": probability}

    def _evaluator(self) -> Evaluator:
        assert self.evaluator is not None, "setup comes first"
        return self.evaluator

    # --- checkpoints --------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the twin out: it is what ``pretrained`` names, and is refilled on load."""
        strip_twin(checkpoint, self.twin, self._facts())

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another model or twin; refill the twin; take class names and templates from it."""
        facts = refill_twin(checkpoint, self.twin, self._facts())
        if not self.class_names or (self.head == "linear" and not self._is_fitting()):
            self.describe(facts.class_names, facts.templates)
        elif self._is_fitting() and facts.class_names != self.class_names:
            raise WeightsError(
                f"The checkpoint was trained on the classes {_shorten(facts.class_names)}, the data have "
                f"{_shorten(self.class_names)}; continue it on its own data, or start a new run."
            )

    def _is_fitting(self) -> bool:
        return self._trainer is not None and self.trainer.state.fn == TrainerFn.FITTING

    def _facts(self) -> CheckpointFacts:
        return CheckpointFacts(self.model_name, self.head, self.class_names, self.templates)


def _by_name(terms: list[Term]) -> dict[str, Term]:
    """Name each term for its class in snake case, numbered where two are of one class."""
    named: dict[str, Term] = {}
    for term in terms:
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(term).__name__).lower()
        copies = sum(other == name or other.startswith(f"{name}_") for other in named)
        named[f"{name}_{copies + 1}" if copies else name] = term
    return named


def _shorten(names: tuple[str, ...]) -> str:
    return ", ".join(names[:4]) + (f", ... ({len(names)})" if len(names) > 4 else "")
