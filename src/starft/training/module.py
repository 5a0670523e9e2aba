"""The LightningModule: a CLIP model, its frozen twin, and the terms that train it."""

from copy import deepcopy
from functools import partial
from typing import Any, Literal

import torch
from lightning.pytorch.plugins.precision import DoublePrecision, MixedPrecision
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.utilities import rank_zero_info
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from starft.captions.sampler import CaptionSampler
from starft.clip import (
    CaptionRuler,
    build_clip,
    image_preprocessing,
    update_statistics_once,
)
from starft.clip.kept_activations import KeptActivations
from starft.clip.lora import LoRA, draw
from starft.clip.sharing import part_thawed_beginnings, share_beginnings
from starft.clip.token_checks import check_captions
from starft.distributed import broadcast_from_first
from starft.errors import ConfigError
from starft.evaluation.evaluator import Evaluator, described_data, eval_sets_for_stage
from starft.losses import Contrastive, Term
from starft.losses.base import by_name
from starft.losses.context import Progress, StepContext
from starft.losses.teachers import Teacher
from starft.runs.adapted import match_adapter, refill_base, strip_base
from starft.runs.checkpoints import CheckpointFacts, fingerprint, match_classes, match_teachers, refill_twin, strip_twin
from starft.runs.manifest import checked_pretrained
from starft.training.adapters import adapter_of, as_options, check_frozen
from starft.training.arguments import check_arguments
from starft.training.encoders import freeze_and_prepare, make_twin, remember_captions
from starft.training.gradients import (
    check_batches,
    check_rows,
    check_terms,
    idle_parameters,
    reads_logits,
    start_terms,
    zero_gradients_for_idle_parameters,
)
from starft.training.guards import GuardedModule
from starft.training.keeping import keep_activations
from starft.training.layer_decay import layer_rates
from starft.training.linear_head import with_unscaled_head
from starft.training.notes import tell_doubled_articles, tell_notes
from starft.training.optim import adamw, parameter_groups, warmup_cosine
from starft.training.probe import STRENGTHS, probe_of
from starft.types import Batch, CaptionedData, ImagePreprocessing


class FinetuneModule(GuardedModule):
    """Fine-tune CLIP with one objective and any number of regularizers.

    Args:
        objective: The term that carries the supervision: ``Contrastive`` (FLYP), ``CrossEntropy`` (FT), ``GroupDRO``
            or ``ReCalCon``.
        model_name: An open_clip architecture, a ``hf-hub:`` or ``local-dir:`` name, or a model config (JSON path).
        pretrained: A tag of open_clip's weights, a local weight file, or null for random weights; ``hf-hub:`` and
            ``local-dir:`` models bring their own.
        head: ``text`` re-makes the zero-shot head from the tuned text tower; ``linear`` starts from the zero-shot head
            times exp(logit_scale) and is trained.
        head_start: What the linear head starts from: ``zero_shot``, or ``probe``, a logistic regression on the frozen
            features of the training images (LP-FT).
        unscaled_head: Train the linear head as one without exp(logit_scale), as Lipsum-FT does: AdamW's step then moves
            its logits exp(logit_scale) times as far. Checkpoints hold it scaled.
        probe_strengths: Values of C that the probe tries, inverse strengths of its L2 penalty; the first validation set
            that has the training classes and isn't OOD chooses. Null takes LP-FT's 100 from 1e-7 to 100.
        lr: Peak learning rate of AdamW.
        weight_decay: Weight decay of AdamW.
        layer_decay: Factor on the learning rate from each block of a tower to the one before, in (0, 1]; 1 is none.
        decay_one_dimensional: Decay vectors and scalars too, as the paper does.
        betas: AdamW's decay rates of the two moments.
        warmup_steps: Length of the linear warm-up in optimizer steps; cosine to 0 follows.
        regularizers: Terms added to the objective.
        pool: Name or path of the pool that spurious captions are drawn from, or a list of them; null for none.
        templates: Caption templates, each with ``{}`` once; null takes those of the data.
        trim: Compute nothing twice and nothing that reaches no feature: captions' equal beginnings and padding, and in
            the image tower's last block all but the class token. Same features, but for rounding. Off, a run agrees
            with one of the authors' code to the last digits that float32 has.
        freeze_text_tower: Leave the text tower as it is.
        freeze_image_tower: Leave the image tower as it is.
        freeze_text_blocks: Leave the text tower's embeddings and this many of its first blocks as they are.
        freeze_image_blocks: Leave the image tower's stem and this many of its first blocks as they are.
        adapter: Train low-rank updates of weights that stay, and are the twin's too; null trains the weights.
        twin_precision: Precision of the twin's weights: same, or ``bf16``, half the memory.
        gradient_checkpointing: Compute activations again on the way back: less memory, about a third more time.
        micro_batch_size: Images and captions that go through a tower at a time: a batch of any size in the memory of
            this one, with loss and gradients of the whole, for one more forward pass. Null takes the batch whole.
        compile: Compile both towers with torch.compile, when they are first used.
        seed: Start of the draws of captions and of dropout, whatever `seed_everything` says.
        share_frozen: Compute and hold once what is frozen from a tower's start on and is the twin's too; off, twice.
        keep_activations: Where to keep what the image tower's frozen beginning makes of each training image, for later
            epochs: ``ram``, ``disk``, or null for nowhere. Needs images that aren't varied (augmentation null).
    """

    def __init__(
        self,
        objective: Term | None = None,
        model_name: str = "ViT-B-16",
        pretrained: str | None = "openai",
        head: Literal["text", "linear"] = "text",
        head_start: Literal["zero_shot", "probe"] = "zero_shot",
        probe_strengths: list[float] | None = None,
        unscaled_head: bool = False,
        lr: float = 1e-5,
        weight_decay: float = 0.1,
        layer_decay: float = 1.0,
        decay_one_dimensional: bool = True,
        betas: tuple[float, float] = (0.9, 0.999),
        warmup_steps: int = 500,
        regularizers: list[Term] | None = None,
        pool: list[str] | str | None = None,
        templates: list[str] | None = None,
        trim: bool = True,
        freeze_text_tower: bool = False,
        freeze_image_tower: bool = False,
        freeze_text_blocks: int = 0,
        freeze_image_blocks: int = 0,
        adapter: LoRA | None = None,
        twin_precision: Literal["same", "bf16"] = "same",
        gradient_checkpointing: bool = False,
        micro_batch_size: int | None = None,
        compile: bool = False,
        seed: int = 0,
        share_frozen: bool = True,
        keep_activations: Literal["ram", "disk"] | None = None,
    ) -> None:
        super().__init__()
        terms = [objective or Contrastive(), *(regularizers or [])]
        self.save_hyperparameters(ignore=["objective", "regularizers", "adapter"])
        self.pool = check_arguments({**self.hparams, "adapter": adapter}, terms)
        self.adapter = adapter_of(adapter, twin_precision, {"text": freeze_text_tower, "image": freeze_image_tower})
        self.save_hyperparameters({"adapter": as_options(self.adapter)})
        self.probe_strengths = STRENGTHS if probe_strengths is None else tuple(probe_strengths)
        self.model_name, self.pretrained, self.head, self.head_start = model_name, pretrained, head, head_start
        self.lr, self.weight_decay, self.warmup_steps = lr, weight_decay, warmup_steps
        self.decay_one_dimensional, self.betas, self.seed = decay_one_dimensional, betas, seed
        self.clip = build_clip(model_name, checked_pretrained(pretrained), trim)
        self.twin_fingerprint = fingerprint(self.clip.state_dict())  # here, in float32, whatever the precision
        rules = dict.fromkeys(term.teacher for term in terms if term.teacher is not None)
        followers = {name: Teacher(self.clip, rule) for name, rule in by_name(rules).items()}  # have their own weights
        self.twin = make_twin(self.clip, self.adapter, twin_precision, seed)
        self.terms, self.teachers = nn.ModuleDict(by_name(terms)), nn.ModuleDict(followers)
        freeze_and_prepare(self.clip, [self.twin, *followers.values()], terms, self.hparams)
        self.class_names: tuple[str, ...] = ()
        self.templates: tuple[str, ...] = tuple(templates or ())
        self.linear_head: nn.Parameter | None
        self.register_parameter("linear_head", None)
        self.head_bias: Tensor | None
        self.register_buffer("head_bias", None)  # what DFR adds to the logits
        self.restart_epoch = 0  # where the learning rate starts anew, as JTT does; 0 for nowhere
        self.captions: CaptionSampler | None = None
        self.evaluator: Evaluator | None = None
        self.kept: KeptActivations | None = None
        self._host_labels, self._host_index = list[int](), list[int]()
        self._idle_parameters: list[nn.Parameter] = []

    @property
    def preprocessing(self) -> ImagePreprocessing:
        """How the model wants its images; DataModules ask for it."""
        return image_preprocessing(self.clip.model)

    def setup(self, stage: str) -> None:
        """Take class names, templates and eval sets from the DataModule; make the linear head."""
        data = described_data(self.trainer.datamodule)  # type: ignore[attr-defined]
        strategy = self.trainer.strategy
        if type(strategy) in (SingleDeviceStrategy, DDPStrategy):  # they move the whole model right after this
            self.to(strategy.root_device)  # a head of 1000 classes x 80 templates takes minutes on a CPU
        sets = eval_sets_for_stage(data, stage)
        names, templates = self.class_names or data.class_names, self.templates or data.templates
        captions = [(names, templates), *((item.class_names, item.templates) for item in sets)]
        ruler = CaptionRuler(self.model_name, self.clip.tokenize)
        own = data.train_captions if stage == "fit" and isinstance(data, CaptionedData) else None
        texts = [own or (), *(item.captions for item in sets)]
        check_captions(ruler, captions, self.pool if stage == "fit" else None, self.trainer.is_global_zero, texts)
        if not self.class_names:
            self.describe(names, templates)
        self.captions = CaptionSampler(self.class_names, self.templates, self.pool, self.seed, own)
        if stage == "fit":
            check_terms(self._terms(), self.pool, self.class_names)
            if self.hparams["templates"]:  # of the data's templates their check tells
                tell_doubled_articles(self.trainer, self.class_names, self.templates)
            check_batches(self._terms(), self.trainer, getattr(data, "batch_size", None))
            start_terms(self._terms(), data)
        self.evaluator = Evaluator(sets, keep_samples=stage == "test")

    def describe(self, class_names: tuple[str, ...], templates: tuple[str, ...]) -> None:
        """Set the training classes and, for the linear head, start it from the zero-shot head.

        Args:
            class_names: One name a class, in label order.
            templates: Caption templates of these classes.

        Raises:
            ConfigError: There are no classes, and the head is linear.
        """
        if self.head == "linear" and not class_names:
            raise ConfigError(
                "The linear head is of classes, and the data have captions and none; set model.head to text."
            )
        self.class_names, self.templates = class_names, templates
        if self.head == "linear":
            with torch.no_grad():
                rows = self.twin.class_head(class_names, templates).float()
            self.linear_head = nn.Parameter(rows.clone(), requires_grad=reads_logits(self._terms()))
            for teacher in self._followers():
                teacher.linear_head = rows.clone()

    def on_fit_start(self) -> None:
        """Start the linear head from a probe where that is asked for; a run that is continued has its head already."""
        if self.hparams["gradient_checkpointing"]:  # the strategy may have put other norms in
            update_statistics_once(self.clip.model)
        if self.head_start == "probe" and self.trainer.ckpt_path is None:
            self._start_from_probe()

    def on_train_start(self) -> None:
        """Let the twin share what is frozen and remember texts; tell of a run too short."""
        if self.hparams["share_frozen"]:
            share_beginnings(self.clip, [self.twin, *self._followers()], self.hparams["compile"])
        self.kept = keep_activations(self.hparams, self.clip, self.trainer)
        if self.captions is not None and any(term.reads_spurious for _, term in self._active_terms()):
            remember_captions(self.twin, self.captions, self.trainer)
        if self.head_bias is not None and self.global_step < self.trainer.estimated_stepping_batches:
            raise ConfigError(
                "The checkpoint's head was refitted by DFR at the end of its run, so training can't go on from it; "
                "give an earlier checkpoint, or start a new run."
            )
        steps = (self.warmup_steps, self.total_steps)
        tell_notes(self.trainer, self._terms(), self.class_names, self.templates, *steps)

    def _start_from_probe(self) -> None:
        data = self.trainer.datamodule  # type: ignore[attr-defined]
        probe = probe_of(data, self.class_names, partial(self.features, self.twin), self.probe_strengths)
        rank_zero_info(f"Linear probe: C {probe.strength:.3g}, validation accuracy {probe.accuracy:.3f}.")
        self.set_head(probe.head)

    @torch.no_grad()
    def set_head(self, rows: Tensor, bias: Tensor | None = None) -> None:
        """Put another linear head in the place of this one; averages of the student start from it too.

        Args:
            rows: (C, D).
            bias: (C,), added to the logits in evaluation, after the last step; None for none.
        """
        assert self.linear_head is not None, "describe comes first"
        self.linear_head.copy_(broadcast_from_first(rows.to(self.linear_head)))  # the same on all, to the last bit
        self.head_bias = None if bias is None else broadcast_from_first(bias.to(self.linear_head))
        for teacher in self._followers():
            teacher.linear_head = self.linear_head.detach().clone()

    def restart(self) -> None:
        """Put model and head back to where the run started."""
        rounded = self.hparams["twin_precision"] != "same"
        start = build_clip(self.model_name, checked_pretrained(self.pretrained)) if rounded else self.twin
        self.clip.model.load_state_dict(start.model.state_dict(), strict=self.adapter is None)
        draw(self.clip.model, self.seed)
        if self.head_start == "probe":
            self._start_from_probe()
        elif self.head == "linear":
            self.set_head(self.twin.class_head(self.class_names, self.templates))

    # --- training -----------------------------------------------------------------------------------------------------

    def on_before_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Note labels and places while they are still on the host: captions are drawn there, the step mustn't wait."""
        if self.trainer.training:
            self._host_labels, self._host_index = batch["label"].tolist(), batch["index"].tolist()
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
        if len(ctx.sizes) > 1:
            self._idle_parameters = idle_parameters(self.clip, self.linear_head, self._terms(), progress)
            total = zero_gradients_for_idle_parameters(self._idle_parameters, total)
        parts = {name: value for name, value in logs.items() if isinstance(value, Tensor)}
        self._losses.note(progress.step + 1, parts | {"train/loss": total.detach()})
        size = len(ctx.labels)
        if batch_idx == 0:
            check_rows(self._terms(), size)
        self.log("train/loss", total.detach(), prog_bar=True, batch_size=size)
        self.log_dict(logs, batch_size=size)
        return total

    def on_train_epoch_start(self) -> None:
        """Refuse, at the first epoch that would have it, what callbacks do that a run can't have."""
        check_batches(self._terms(), self.trainer, None)
        check_frozen(self.twin)

    def on_after_backward(self) -> None:
        """Let rest what rests, as a process alone does: it got gradients of 0 for DDP, which waits for some."""
        for parameter in self._idle_parameters:
            parameter.grad = None

    def _active_terms(self) -> list[tuple[str, Term]]:
        return [(name, term) for name, term in self.terms.items() if isinstance(term, Term)]

    def _terms(self) -> list[Term]:
        return [term for _, term in self._active_terms()]

    def _context(self, batch: Batch, progress: Progress) -> StepContext:
        assert self.captions is not None, "setup comes first"
        part_thawed_beginnings(self.clip, [self.twin, *self._followers()])
        kept = self.kept.begin_images if self.kept is not None else None
        clean, spurious, sizes = self.captions.draw_share(self._host_labels, progress.step, self._host_index)
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
            teachers={teacher.rule: teacher for teacher in self._followers() if teacher.rule is not None},
            pool=self.pool,
            sizes=sizes,
            begun=kept and partial(kept, self.clip, batch["image"], self._host_index),
            together=any(term.reads_spurious and term.weight_at(progress) > 0 for _, term in self._active_terms()),
        )

    def _followers(self) -> list[Teacher]:
        return [teacher for teacher in self.teachers.values() if isinstance(teacher, Teacher)]

    def optimizer_step(self, *args: Any, **kwargs: Any) -> None:
        """Make the optimizer's step, then let the teachers follow: before any checkpoint of this step is written."""
        super().optimizer_step(*args, **kwargs)
        for teacher in self._followers():
            teacher.follow(self.clip, self.linear_head, self.global_step + 1, self.total_steps)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW on all that is trained; linear warm-up, then cosine to 0, step by step."""
        rates = layer_rates(self.clip.model, self.hparams["layer_decay"])
        groups = parameter_groups(self, self.weight_decay, self.decay_one_dimensional, rates)
        if self.hparams["unscaled_head"] and self.linear_head is not None:
            groups = with_unscaled_head(groups, self.linear_head, float(self.twin.logit_scale))
        clips = bool(self.trainer.gradient_clip_val) and isinstance(self.trainer.precision_plugin, MixedPrecision)
        optimizer = adamw(groups, self.lr, self.betas, clips_mixed=clips)
        total = self.total_steps
        restart = total * self.restart_epoch // (self.trainer.max_epochs or 1) if self.restart_epoch else 0
        schedule = LambdaLR(optimizer, lambda step: warmup_cosine(step, self.warmup_steps, total, restart))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    # --- checkpoints --------------------------------------------------------------------------------------------------

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Leave the twin out: it is what ``pretrained`` names, and is refilled on load."""
        super().on_save_checkpoint(checkpoint)
        strip_twin(checkpoint, self.twin_fingerprint, self._facts())
        if (options := as_options(self.adapter)) is not None:
            strip_base(checkpoint, options, self.pretrained)

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Refuse a checkpoint of another model or twin; refill the twin; take class names and templates from it."""
        if self._trainer is not None and isinstance(self.trainer.precision_plugin, DoublePrecision):
            self.double()  # Lightning does so after it has read the weights, and would round them to float32
        facts = refill_twin(checkpoint, self.twin, self.twin_fingerprint, self._facts())
        if facts.adapter is None and self.adapter is not None and not self._is_fitting():  # an average, say
            self.take_whole_weights()
        match_adapter(facts, as_options(self.adapter))
        if self.adapter is not None:
            refill_base(checkpoint, self.clip.model)
        if not self.class_names or (self.head == "linear" and not self._is_fitting()):
            self.describe(facts.class_names, facts.templates)
        elif self._is_fitting():
            match_classes(facts, self.class_names, self.templates)
        bias = checkpoint["state_dict"].get("head_bias")
        self.head_bias = None if bias is None else torch.zeros_like(bias, device=self.device)
        match_teachers(checkpoint, self.teachers, self._is_fitting())

    def _facts(self) -> CheckpointFacts:
        options = (self.model_name, self.head, self.class_names, self.templates, self.clip.config)
        return CheckpointFacts(*options, pretrained=self.pretrained)

    def take_whole_weights(self) -> None:
        """Give the student weights of its own in the place of adapters, to be filled; it isn't trained any more."""
        self.clip.model = deepcopy(self.twin.model).float()
        self.clip.in_bfloat16, self.adapter = False, None
