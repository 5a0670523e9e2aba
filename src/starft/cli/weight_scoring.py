"""Score one model at many places in weight space, on the validation or test sets of a config."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from starft.cli.fit import build
from starft.cli.library_messages import without_noise
from starft.errors import ConfigError
from starft.runs.manifest_callback import Manifest
from starft.training.averaging import BIAS, Member
from starft.types import EvalSet

Stage = Literal["test", "validate"]
PREFIX = {"test": "test/", "validate": "val/"}


class Scorer:
    """A model, its data and its trainer, built once; weights come and go.

    Args:
        config: The config of the model and of the data.
        member: A checkpoint of this model.
        stage: Which eval sets.
        options: Of the command line, beside the config.

    Raises:
        ConfigError: The config can't be used, or is of another model than the checkpoint.
    """

    def __init__(self, config: Path, member: Member, stage: Stage, options: Sequence[str] = ()) -> None:
        quiet = (f"--trainer.{what}=false" for what in ("logger", "enable_progress_bar", "enable_model_summary"))
        self.cli = build([stage, f"--config={config}", *quiet, *options])
        self.stage = stage
        module, facts = self.cli.model, member.facts
        same = (module.model_name, module.head, module.twin_fingerprint) == (facts.model_name, facts.head, member.twin)
        if not same:
            raise ConfigError(
                f"{config} is of {module.model_name} with head {module.head}, {member.path} of {facts.model_name} with "
                f"head {facts.head}, or of other pre-trained weights; give its own config."
            )
        module.describe(facts.class_names, facts.templates)
        if module.adapter is not None:
            module.take_whole_weights()
        for callback in self.cli.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(callback, Manifest):
                callback.checkpoint = member.path

    @property
    def eval_sets(self) -> tuple[EvalSet, ...]:
        """What is scored, known after the first time."""
        return tuple(self.cli.model.evaluator.eval_sets)

    @property
    def monitor(self) -> str | None:
        """The metric that the config chooses its best checkpoint by, without ``val/``."""
        name = self.cli._get(self.cli.config, "checkpoint.monitor")
        return str(name).removeprefix(PREFIX["validate"]) if name is not None else None

    @property
    def mode(self) -> str:
        """Whether the config wants that metric ``max`` or ``min``."""
        return str(self.cli._get(self.cli.config, "checkpoint.mode"))

    def __call__(self, state: Mapping[str, Tensor]) -> dict[str, float]:
        """Return every metric of the model with these weights, ``{eval set}/{metric}`` and ``ood_acc``.

        Args:
            state: The student's weights, its linear head and the head's bias.
        """
        self._load(state)
        evaluate = self.cli.trainer.test if self.stage == "test" else self.cli.trainer.validate
        with without_noise():
            evaluate(self.cli.model, datamodule=self.cli.datamodule, verbose=False)
        start = PREFIX[self.stage]
        metrics = self.cli.trainer.callback_metrics
        return {name.removeprefix(start): float(value) for name, value in metrics.items() if name.startswith(start)}

    @torch.no_grad()
    def logits(self, which: int, state: Mapping[str, Tensor], rows: Tensor) -> Tensor:
        """Return what the model with these weights makes of some images of an eval set, (n, L); after a first call.

        Args:
            which: Position of the set.
            state: The student's weights, its linear head and the head's bias.
            rows: Which images, bool (N,), in the order of the loader.
        """
        self._load(state)
        module, data = self.cli.model, self.cli.datamodule
        module.to(self.cli.trainer.strategy.root_device).eval()
        module.on_validation_epoch_start()
        loader = (data.test_dataloader() if self.stage == "test" else data.val_dataloader())[which]
        parts: list[Tensor] = []
        seen = 0
        for batch in loader:
            mine = rows[seen : seen + len(batch["label"])]
            seen += len(mine)
            if mine.any():
                features = module.features(module.clip, {**batch, "image": batch["image"][mine]})
                parts.append(module.evaluator.logits(which, features).cpu())
        return torch.cat(parts)

    def _load(self, state: Mapping[str, Tensor]) -> None:
        if BIAS in state:
            self.cli.model.head_bias = torch.zeros_like(state[BIAS])  # a place to load it to
        unknown = self.cli.model.load_state_dict(dict(state), strict=False).unexpected_keys
        assert not unknown, unknown
