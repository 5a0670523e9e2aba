"""``starft fit | validate | test | predict``: LightningCLI around `FinetuneModule` and any DataModule."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

import lightning as L
from jsonargparse import ArgumentError, Namespace
from jsonargparse.typing import PositiveInt
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger

import starft.group_dro
import starft.mini
import starft.regularizers  # noqa: F401  # configs may name its classes without their module
from starft.checkpoints import CheckpointFacts, WholeCheckpointIO, check_checkpoint, match_model, unlike_classes
from starft.class_paths import import_prefix, make_importable
from starft.config_parser import prepare_parser
from starft.continuing import check_same
from starft.data.datamodules import BaseDataModule
from starft.data.from_config import check_there, keys_of
from starft.early_checks import check_words, config_paths
from starft.errors import ConfigError, RunFolderError, StarftError
from starft.finetune import FinetuneModule
from starft.launch import is_first_process, keep_memory
from starft.loggers import TellLoggers, close, foreign, place, read_ids
from starft.losses import Term
from starft.noise import without_noise
from starft.option_checks import check_options
from starft.parser_errors import keys_of_parser, one_sentence, refusal
from starft.pools import pool_text
from starft.predicting.run_writer import PredictionWriter
from starft.reporting.results import write_results
from starft.reporting.sample_writer import check_format, keep_samples
from starft.reporting.summary import print_results
from starft.results_reading import RESULTS
from starft.run_folder import (
    CHECKPOINTS,
    CONFIG,
    LAST,
    LOGS,
    POOL,
    BestCheckpoint,
    StopSafely,
    Traces,
    check_writable,
    checkpoint_callbacks,
    claim,
    save_config,
)
from starft.sharding import check_strategy
from starft.training_cost import TrainingCost, peak_memory_bytes
from starft.unfinished import MarkUnfinished, unfinished_note
from starft.untuned import check_checkpoint_given
from starft.yaml_files import load_yaml

DEFAULT_FOLDER = "runs/latest"

CLASSES = {"model.objective": Term, "model.regularizers": Term, "data": BaseDataModule, "trainer.callbacks": L.Callback}
"""What is given to these keys by its name derives from these classes."""


class StarftCLI(LightningCLI):
    """LightningCLI with run folders that are never overwritten, and errors that come before long work."""

    _traces: Traces | None = None
    """What this run has left so far."""

    _facts: CheckpointFacts | None = None
    """What the checkpoint that was given says of itself."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._words = kwargs["args"]
        self._verb = self._words[0]
        super().__init__(*args, **kwargs)

    def subcommands(self) -> dict[str, set[str]]:  # type: ignore[override]  # static in Lightning
        """Return the verb that was given: the parsers of all four take a second to build."""
        return {self._verb: super().subcommands()[self._verb]}

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what a run has beyond trainer, model and data."""
        parser.add_argument(
            "--checkpoint.monitor",
            type=str | None,
            default=None,
            help="Validation metric that best.ckpt is chosen by, such as val/id/acc; null keeps last.ckpt only.",
        )
        parser.add_argument(
            "--checkpoint.mode", type=Literal["max", "min"], default="max", help="Whether it should be max or min."
        )
        parser.add_argument(
            "--checkpoint.every_n_train_steps",
            type=PositiveInt | None,
            default=None,
            help="Write last.ckpt this often too, and not only after each epoch.",
        )
        parser.add_argument(
            "--save_samples",
            type=Literal["npz", "parquet"] | None,
            default=None,
            help="Let `starft test` keep what became of each sample in this format, and pictures of the worst "
            "mistakes: a report compares runs sample by sample then.",
        )
        parser.link_arguments("seed_everything", "model.seed", compute_fn=_seed)
        parser.link_arguments("seed_everything", "data.init_args.seed", compute_fn=_seed)

    def parse_arguments(self, parser: LightningArgumentParser, args: ArgsType) -> None:
        """Parse; what can't be used is told in one sentence, with the nearest key there is."""
        self._start = time.monotonic()
        words = [str(word) for word in args] if isinstance(args, list) else []
        configs = check_words(words)
        try:
            super().parse_arguments(parser, args)
        except (ArgumentError, ValueError, TypeError) as error:
            keys = keys_of_parser(self._parser(self._verb))
            raise ConfigError(one_sentence(error, [*keys, *keys_of(words, configs)], CLASSES)) from error

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
        """Check checkpoint, data file and run folder before anything is built."""
        check_options(str(self.subcommand), self.config[str(self.subcommand)].as_dict(), FinetuneModule)
        check_strategy(self._get(self.config, "trainer.strategy"))
        given = self._get(self.config, "ckpt_path")
        checkpoint = Path(given) if given is not None else None
        max_epochs, fits = self._get(self.config, "trainer.max_epochs"), self.subcommand == "fit"
        if checkpoint is not None:
            self._facts = check_checkpoint(checkpoint, fits, None if self._is_trial else max_epochs)
            match_model(self._facts, *(self._get(self.config, f"model.{key}") for key in ("model_name", "head")))
            if fits:
                check_same(checkpoint, load_yaml(self.resolved_config()))
        elif not fits and not self._is_trial:
            check_checkpoint_given(self._words, self.folder)
        if self.subcommand != "predict":  # new images need no training data
            check_there(self._get(self.config, "data"))
        if self._is_trial or not is_first_process():
            return
        check_format(self._get(self.config, "save_samples"))
        traces = Traces(self.folder)
        if fits:
            claim(self.folder, checkpoint)
        else:
            output = {"test": RESULTS, "predict": PredictionWriter.FILE}.get(self.subcommand or "")
            if output is not None and (self.folder / output).exists():
                raise RunFolderError(
                    f"{self.folder / output} exists already; move it away or give another --trainer.default_root_dir."
                )
            check_writable(self.folder)
        self._traces = traces

    def instantiate_classes(self) -> None:
        """Build model, data and trainer; a value that one of them refuses is a person's mistake."""
        given, self.config = self.config, self.config.clone()  # what is saved is what was given
        with self._leaving_no_trace(ValueError, TypeError):
            place(self._get(self.config, "trainer.logger"), self.folder, read_ids(self.folder))
            super().instantiate_classes()
        self.config = given
        if self.trainer.strategy.root_device.type == "cpu":
            keep_memory()
        if foreign(self.trainer):
            self._tell_loggers()
        if self.subcommand == "predict" and self._facts is not None:
            self.datamodule.take_classes(self._facts.class_names, self._facts.templates)

    def _tell_loggers(self) -> None:
        """Keep the CSV log beside other loggers, and give all of them the whole config instead of the model's part."""
        if not any(isinstance(one, CSVLogger) for one in self.trainer.loggers):
            self.trainer.loggers = [CSVLogger(self.folder, name=LOGS), *self.trainer.loggers]
        self.model._log_hyperparams = False
        config = load_yaml(self.resolved_config())
        self.trainer.callbacks.append(TellLoggers(self.folder, config, read_ids(self.folder)))  # type: ignore[attr-defined]

    def _set_seed(self) -> None:
        try:
            super()._set_seed()
        except ValueError as error:
            raise ConfigError(f"seed_everything can't be used: {error}.") from error

    def _run_subcommand(self, subcommand: str) -> None:
        if subcommand != "fit" and self._get(self.config, "ckpt_path") is None and self.trainer.is_global_zero:
            doing = "predicts" if subcommand == "predict" else "is scored"
            print(f"Note: No --ckpt_path is given: the pre-trained model {doing}.", file=sys.stderr)
        try:
            with self._leaving_no_trace():
                super()._run_subcommand(subcommand)
        finally:
            close(self.trainer)

    @contextmanager
    def _leaving_no_trace(self, *mistakes: type[Exception]) -> Iterator[None]:
        """Tell a mistake in one sentence; give the folder back if the run leaves no checkpoint."""
        expected: tuple[type[Exception], ...] = (StarftError, MisconfigurationException, *mistakes)
        try:
            yield
        except Exception as error:
            if not isinstance(error, expected) and "`val_check_interval`" not in str(error):
                raise  # a bug; but Lightning tells so of an interval longer than an epoch
            trainer = getattr(self, "trainer", None)
            if self._traces is not None:
                self._traces.remove(logs=trainer is not None and trainer.global_step > 0)
            if isinstance(error, StarftError):
                raise
            raise refusal(error) from error
        except SystemExit as error:
            if isinstance(error.__context__, KeyboardInterrupt):  # Lightning makes an exit of it
                raise error.__context__ from None
            raise

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Build the trainer with its logger and callbacks in the run folder."""
        self._cost = TrainingCost()
        extra: list[Any] = [self._cost]
        if self.subcommand == "fit":
            monitor, mode, every = (
                self._get(self.config, f"checkpoint.{key}") for key in ("monitor", "mode", "every_n_train_steps")
            )
            extra += [*checkpoint_callbacks(self.folder, monitor, mode, every), StopSafely(self.folder)]
            extra += [] if self._is_trial else [MarkUnfinished(self.folder)]
        if self.subcommand == "predict" and not self._is_trial:
            extra += [PredictionWriter(self.folder)]
        config: Namespace = self._get(self.config_init, "trainer")
        plugins = config.get("plugins") or []
        kwargs = {"plugins": [*(plugins if isinstance(plugins, list) else [plugins]), WholeCheckpointIO()], **kwargs}
        if config.get("logger") in (None, True):
            kwargs = {"logger": CSVLogger(self.folder, name=LOGS), **kwargs}
        return super().instantiate_trainer(callbacks=[*(config.get("callbacks") or []), *extra], **kwargs)

    def before_fit(self) -> None:
        """Save the resolved config and the pool, with its provenance, beside the checkpoints."""
        if not self._is_trial and self.trainer.is_global_zero:
            save_config(self.folder, self.resolved_config())
            if self.model.pool is not None:
                save_config(self.folder, pool_text(self.model.pool), POOL)

    def before_test(self) -> None:
        """Tell of a checkpoint of a run that hasn't ended, or that is tested on other classes than its own."""
        given = self._get(self.config, "ckpt_path")
        if given is not None and self.trainer.is_global_zero and (note := unfinished_note(Path(given))):
            print(f"Note: {note}", file=sys.stderr)
        with suppress(StarftError):  # what is wrong with the data is told by their check, with all else
            note = unlike_classes(self._facts, self.datamodule.class_names) if self._facts is not None else ""
            if note and self.trainer.is_global_zero:
                print(f"Note: {note}", file=sys.stderr)

    def resolved_config(self) -> str:
        """Return the whole config of this run as YAML, defaults included."""
        config = self.config.get(str(self.subcommand), self.config)
        return str(self._parser(self.subcommand).dump(config, skip_none=False, skip_link_targets=False))

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        """Leave the table of a test to us: Lightning's would say the same without groups."""
        ours = {"verbose": False} if subcommand == "test" and not self._is_trial else {}
        return super()._prepare_subcommand_kwargs(subcommand) | ours

    def after_fit(self) -> None:
        """Tell the best validation value, where its checkpoint is, and how to test it."""
        if self._is_trial or not self.trainer.is_global_zero:
            return
        checkpoint = self.folder / CHECKPOINTS / LAST
        for callback in self.trainer.checkpoint_callbacks:
            if isinstance(callback, BestCheckpoint) and callback.best_model_score is not None:
                checkpoint = self.folder / CHECKPOINTS / "best.ckpt"
                print(f"Best {callback.monitor}: {float(callback.best_model_score):.4f} ({checkpoint})")
            elif isinstance(callback, BestCheckpoint):
                print(f"Note: {callback.why_none(self.trainer)}", file=sys.stderr)
        needed = import_prefix(config_paths(self._words))
        print(f"Next: {needed}starft test --config {self.folder / CONFIG} --ckpt_path {checkpoint}")

    def after_predict(self) -> None:
        """Tell where the predictions are."""
        for writer in self.trainer.callbacks:  # type: ignore[attr-defined]
            if isinstance(writer, PredictionWriter):
                writer.tell()

    def after_test(self) -> None:
        """Write results.json and print what is in it."""
        evaluator = self.model.evaluator
        groups, samples = evaluator.groups(), evaluator.samples()  # of all processes, so all take part
        if self.trainer.is_global_zero and not self._is_trial:
            config = load_yaml(self.resolved_config())
            metrics, sets = self.trainer.callback_metrics, evaluator.eval_sets
            kind = self._get(self.config, "save_samples")
            if kind is not None:
                keep_samples(self.folder, kind, sets, samples, self.datamodule, self.model.preprocessing)
            cost = {"seconds": round(time.monotonic() - self._start, 1), "peak_memory_bytes": peak_memory_bytes()}
            path = write_results(self.folder, config, metrics, sets, groups, cost, self._cost.told, samples)
            print_results(path, sets if self._get(self.config, "ckpt_path") is None else ())


class _ParsedCLI(StarftCLI):
    """Parses a command and does nothing of it."""

    def _set_seed(self) -> None:
        pass

    def before_instantiate_classes(self) -> None:
        """Leave folders and checkpoints alone."""

    def instantiate_classes(self) -> None:
        """Build nothing."""

    def _run_subcommand(self, subcommand: str) -> None:
        pass


class _BuiltCLI(StarftCLI):
    """Builds model, data and trainer, runs nothing and leaves the run folder alone."""

    def before_instantiate_classes(self) -> None:
        """Leave folders alone."""

    def _run_subcommand(self, subcommand: str) -> None:
        pass


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


def check_command(words: Sequence[str]) -> None:
    """Parse a command as far as keys and types go; nothing is built or written.

    Args:
        words: The verb and its options.

    Raises:
        ConfigError: Options or config can't be used.
    """
    main(words, _ParsedCLI)


def build(words: Sequence[str]) -> StarftCLI:
    """Parse a command and build its model, data and trainer; nothing is run or written.

    Args:
        words: The verb and its options.

    Raises:
        ConfigError: Options or config can't be used.
    """
    return main(words, _BuiltCLI)


def main(words: Sequence[str], kind: type[StarftCLI] = StarftCLI) -> StarftCLI:
    """Parse, build and run; return the CLI with its model, data and trainer.

    Args:
        words: The verb and its options.
        kind: What parses and runs.

    Raises:
        ConfigError: Options or config can't be used.
    """
    prepare_parser()
    make_importable(config_paths(words))
    with without_noise():
        return kind(
            FinetuneModule,
            BaseDataModule,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            save_config_callback=None,
            seed_everything_default=0,
            parser_kwargs={"exit_on_error": False, "allow_abbrev": False},
            args=list(words),
        )
