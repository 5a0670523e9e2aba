"""``starft fit | validate | test | predict``: LightningCLI around `FinetuneModule` and any DataModule."""

import logging
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning as L
import yaml
from jsonargparse import ArgumentError, Namespace
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger

import starft.mini
import starft.regularizers  # noqa: F401  # configs may name its classes without their module
from starft.checkpoints import check_checkpoint
from starft.data.datamodules import BaseDataModule
from starft.errors import ConfigError, RunFolderError
from starft.finetune import FinetuneModule
from starft.pools import pool_text
from starft.reporting.predictions import PredictionWriter
from starft.reporting.results import RESULTS, write_results
from starft.run_folder import POOL, StopSafely, check_writable, checkpoint_callbacks, claim, save_config

DEFAULT_FOLDER = "runs/latest"

# Lightning advertises other products once a run.
logging.getLogger("lightning.pytorch.utilities.rank_zero").addFilter(lambda record: "Tip:" not in record.getMessage())


class StarftCLI(LightningCLI):
    """LightningCLI with run folders that are never overwritten, and errors that come before long work."""

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what a run has beyond trainer, model and data."""
        parser.add_argument(
            "--checkpoint.monitor",
            type=str | None,
            default=None,
            help="Validation metric that best.ckpt is chosen by, such as val/id/acc; null keeps last.ckpt only.",
        )
        parser.add_argument("--checkpoint.mode", type=str, default="max", help="Whether it should be max or min.")
        parser.add_argument(
            "--checkpoint.every_n_train_steps",
            type=int | None,
            default=None,
            help="Write last.ckpt this often too, and not only after each epoch.",
        )
        parser.link_arguments("seed_everything", "model.seed", compute_fn=_seed)
        parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=_seed)

    @property
    def folder(self) -> Path:
        """The run folder."""
        return Path(self._get(self.config, "trainer.default_root_dir") or DEFAULT_FOLDER)

    @property
    def _is_trial(self) -> bool:
        """Whether this is ``fast_dev_run``, which writes nothing."""
        return bool(self._get(self.config, "trainer.fast_dev_run"))

    def _parse_ckpt_path(self) -> None:
        """Leave config and flags as given: Lightning would lay the checkpoint's hyper-parameters over them."""

    def before_instantiate_classes(self) -> None:
        """Check checkpoint and run folder before anything is built."""
        given = self._get(self.config, "ckpt_path")
        checkpoint = Path(given) if given is not None else None
        if checkpoint is not None:
            check_checkpoint(checkpoint)
        if self._is_trial:
            return
        if self.subcommand == "fit":
            claim(self.folder, checkpoint)
        else:
            output = {"test": RESULTS, "predict": PredictionWriter.FILE}.get(self.subcommand or "")
            if output is not None and (self.folder / output).exists():
                raise RunFolderError(
                    f"{self.folder / output} exists already; move it away or give another --trainer.default_root_dir."
                )
            check_writable(self.folder)

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Build the trainer with its logger and callbacks in the run folder."""
        extra: list[Any] = []
        if self.subcommand == "fit":
            monitor, mode, every = (
                self._get(self.config, f"checkpoint.{key}") for key in ("monitor", "mode", "every_n_train_steps")
            )
            extra = [*checkpoint_callbacks(self.folder, monitor, mode, every), StopSafely(self.folder)]
        if self.subcommand == "predict":
            extra = [PredictionWriter(self.folder)]
        config: Namespace = self._get(self.config_init, "trainer")
        if config.get("logger") in (None, True):
            kwargs = {"logger": CSVLogger(self.folder, name="logs"), **kwargs}
        return super().instantiate_trainer(callbacks=[*(config.get("callbacks") or []), *extra], **kwargs)

    def before_fit(self) -> None:
        """Save the resolved config and the pool, with its provenance, beside the checkpoints."""
        if not self._is_trial and self.trainer.is_global_zero:
            save_config(self.folder, self.resolved_config())
            if self.model.pool is not None:
                save_config(self.folder, pool_text(self.model.pool), POOL)

    def resolved_config(self) -> str:
        """Return the whole config of this run as YAML, defaults included."""
        config = self.config.get(str(self.subcommand), self.config)
        return str(self._parser(self.subcommand).dump(config, skip_none=False))

    def after_test(self) -> None:
        """Write results.json."""
        if self.trainer.is_global_zero and not self._is_trial:
            config = yaml.safe_load(self.resolved_config())
            evaluator = self.model.evaluator
            write_results(self.folder, config, self.trainer.callback_metrics, evaluator.eval_sets, evaluator.groups())


def _seed(value: Any) -> int:
    """Return the seed that data and captions start from; ``true`` and null mean 0."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def run(words: Sequence[str]) -> int:
    """Run one of the LightningCLI verbs.

    Args:
        words: The verb and its options.

    Raises:
        ConfigError: Options or config can't be used.
    """
    main(words)
    return 0


def main(words: Sequence[str]) -> StarftCLI:
    """Parse, build and run; return the CLI with its model, data and trainer.

    Args:
        words: The verb and its options.

    Raises:
        ConfigError: Options or config can't be used.
    """
    with warnings.catch_warnings():
        # The twin is in eval mode for good, and labels are noted in the module's hook: both on purpose.
        warnings.filterwarnings("ignore", message=r"Found \d+ module\(s\) in eval mode")
        warnings.filterwarnings("ignore", message="You have overridden `on_before_batch_transfer`")
        # Lightning 2.6.6 calls what jsonargparse 4.53 deprecates; nothing of ours, and nothing a user can mend.
        warnings.filterwarnings("ignore", category=DeprecationWarning, module="lightning.*")
        # Lightning suspects a mistake where words are handed over in a process that has words of its own.
        warnings.filterwarnings("ignore", message="LightningCLI's args parameter is intended")
        try:
            return StarftCLI(
                FinetuneModule,
                BaseDataModule,
                subclass_mode_data=True,
                auto_configure_optimizers=False,
                save_config_callback=None,
                seed_everything_default=0,
                parser_kwargs={"exit_on_error": False},
                args=list(words),
            )
        except ArgumentError as error:
            raise ConfigError(one_sentence(error)) from error


def one_sentence(error: ArgumentError) -> str:
    """Return the heart of a parser's error: which key, what is wrong with it.

    Args:
        error: As jsonargparse raises it, often many lines long.
    """
    lines = [line.strip(" -") for line in str(error).splitlines() if line.strip(" -")]
    return " ".join(lines)
