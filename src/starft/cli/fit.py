"""``starft fit | validate | test | predict``: LightningCLI around `FinetuneModule` and any DataModule."""

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import lightning as L
from jsonargparse import ArgumentError, Namespace
from jsonargparse.typing import PositiveInt
from lightning.fabric.utilities.exceptions import MisconfigurationException
from lightning.pytorch.cli import ArgsType, LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import CSVLogger

from starft.captions.pool_files import pool_text
from starft.cli.launch import keep_memory
from starft.cli.library_messages import PlainHelp, without_noise
from starft.cli.processes import is_first_process
from starft.config.class_paths import import_prefix, make_importable
from starft.config.data import keys_of
from starft.config.early_checks import check_words, config_paths
from starft.config.option_checks import check_options
from starft.config.own_data import check_there
from starft.config.parser import integers_first, prepare_parser
from starft.config.parser_errors import is_mistake, one_sentence, refusal
from starft.config.scored_model import check_what_is_scored
from starft.data.datamodules import BaseDataModule
from starft.errors import ConfigError, StarftError
from starft.files.yaml_reader import load_yaml
from starft.inference.run_writer import PredictionWriter
from starft.losses.base import Term
from starft.reporting.data_report import unmeasured_note
from starft.reporting.summary import print_results
from starft.runs.checkpoint_files import WholeCheckpointIO
from starft.runs.checkpoints import CheckpointFacts, check_checkpoint, match_model, unlike_classes
from starft.runs.continuing import check_going_on
from starft.runs.ending import MarkUnfinished, notes_of_training, set_aside, tell_end
from starft.runs.environment import TrainingCost, peak_memory_bytes
from starft.runs.folder import Traces, check_writable, claim, lock_folder, refuse_output, save_config
from starft.runs.kept_checkpoints import checkpoint_callbacks
from starft.runs.layout import CONFIG, LOGS, POOL, PREDICTIONS, RESULTS, SAMPLES
from starft.runs.limits import limits
from starft.runs.local_copy import local_folder
from starft.runs.loggers import close, foreign, place, read_ids, tell_loggers
from starft.runs.manifest_callback import Manifest, check_run_files
from starft.runs.remote_folder import RemoteFolder, remote_folder
from starft.runs.results_writer import write_results
from starft.runs.sample_writer import check_format, keep_samples
from starft.safe_text import say
from starft.training.fsdp import check_strategy
from starft.training.module import FinetuneModule
from starft.training.stopping import StopBetweenBatches, StopSafely

DEFAULT_FOLDER = "runs/latest"

CLASSES = {"model.objective": Term, "model.regularizers": Term, "data": BaseDataModule, "trainer.callbacks": L.Callback}
"""What is given to these keys by its name derives from these classes."""


class StarftCLI(LightningCLI):
    """LightningCLI with run folders that are never overwritten, and errors that come before long work."""

    _traces: Traces | None = None
    """What this run has left so far."""

    _facts: CheckpointFacts | None = None
    """What the checkpoint that was given says of itself."""

    _remote: RemoteFolder | None = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self._words = kwargs["args"]
        self._verb = self._words[0]
        self._stops = StopBetweenBatches()
        with ExitStack() as self._at_end:
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
            type=Literal["auto", "npz", "parquet"] | None,
            default="auto",
            help="How `starft test` keeps what became of each sample, with pictures of the worst mistakes: a report "
            "compares runs sample by sample then. auto is npz for up to 250,000 samples; null keeps nothing.",
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
            keys = [action.dest for action in self._parser(self._verb)._actions]
            raise ConfigError(one_sentence(error, [*keys, *keys_of(words, configs)], CLASSES)) from error

    @property
    def folder(self) -> Path:
        """The run folder."""
        return local_folder(self._get(self.config, "trainer.default_root_dir") or DEFAULT_FOLDER)

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
        fits, trainer = self.subcommand == "fit", vars(self._get(self.config, "trainer"))
        notes, first = [] if self._is_trial else limits(trainer, str(self.subcommand)), is_first_process(trainer)
        self._remote = remote_folder(self._get(self.config, "trainer.default_root_dir"))
        if self._remote is not None:
            self._remote.begin(self.config[str(self.subcommand)], self._at_end, first, self._is_trial)
        given = self._get(self.config, "ckpt_path")
        checkpoint = Path(given) if given is not None else None
        if checkpoint is not None and checkpoint.is_file() and (fits or first):
            check_run_files(checkpoint, fits)
        if checkpoint is not None and fits:
            self._facts, changes = check_going_on(checkpoint, load_yaml(self.resolved_config), self._is_trial)
            notes += changes
        elif checkpoint is not None:
            self._facts = check_checkpoint(checkpoint)
        if not fits and not self._is_trial:
            check_what_is_scored(self._words, checkpoint, self.folder)
        if self._facts is not None:
            match_model(self._facts, *(self._get(self.config, f"model.{key}") for key in ("model_name", "head")))
        if self.subcommand != "predict":  # new images need no training data
            check_there(self._get(self.config, "data"))
        for note in notes if first else ():
            say(f"Note: {note}", file=sys.stderr)
        if self._is_trial or not first:
            return
        check_format(self._get(self.config, "save_samples"))
        traces = Traces(self.folder)
        self._at_end.enter_context(nullcontext() if self._remote else lock_folder(self.folder))  # a remote one has it
        if fits:
            claim(self.folder, checkpoint, self.resolved_config)
        else:
            output = {"test": RESULTS, "predict": PREDICTIONS}.get(self.subcommand or "")
            if output is not None:
                refuse_output(self.folder / output)
            check_writable(self.folder)
        self._traces = traces

    def instantiate_classes(self) -> None:
        """Build model, data and trainer; a value that one of them refuses is a person's mistake."""
        resolved = load_yaml(self.resolved_config)
        given, self.config = self.config, self.config.clone()  # what is saved is what was given
        with self._leaving_no_trace(ValueError, TypeError):
            place(self._get(self.config, "trainer.logger"), self.folder, read_ids(self.folder))
            self._get(self.config, "trainer")["default_root_dir"] = str(self.folder)
            super().instantiate_classes()
        self.config = given
        if self.trainer.strategy.root_device.type == "cpu":
            keep_memory()
        if foreign(self.trainer):
            tell_loggers(self.trainer, self.model, self.folder, resolved)
        if self.subcommand == "predict" and self._facts is not None:
            self.datamodule.take_classes(self._facts.class_names, self._facts.templates)

    def _set_seed(self) -> None:
        try:
            super()._set_seed()
        except ValueError as error:
            raise ConfigError(f"seed_everything can't be used: {error}.") from error

    def _run_subcommand(self, subcommand: str) -> None:
        if subcommand != "fit" and self._get(self.config, "ckpt_path") is None:
            doing = "predicts" if subcommand == "predict" else "is scored"
            self._tell([f"No --ckpt_path is given: the pre-trained model {doing}."])
        try:
            with self._stops.heard(self.trainer), self._leaving_no_trace():
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
            if not isinstance(error, expected) and not is_mistake(error):
                raise  # a bug
            trainer = getattr(self, "trainer", None)
            if self._traces is not None:
                self._traces.remove(logs=trainer is not None and trainer.global_step > 0)
            if isinstance(error, StarftError):
                raise
            raise refusal(error) from error

    def instantiate_trainer(self, **kwargs: Any) -> L.Trainer:
        """Build the trainer with its logger and callbacks in the run folder."""
        self._cost = TrainingCost()
        if self.subcommand == "fit":
            self._stops = StopSafely(self.folder)
        extra: list[Any] = [self._cost, self._stops]
        if self.subcommand == "fit":
            chosen = (self._get(self.config, f"checkpoint.{key}") for key in ("monitor", "mode", "every_n_train_steps"))
            extra += checkpoint_callbacks(self.folder, *chosen)
            extra += [] if self._is_trial else [MarkUnfinished(self.folder)]
        extra += [] if self._is_trial else [Manifest(self.folder, self._get(self.config, "ckpt_path"))]
        if self.subcommand == "predict" and not self._is_trial:
            extra += [PredictionWriter(self.folder)]
        config: Namespace = self._get(self.config_init, "trainer")
        asked = (config.get(key) or [] for key in ("plugins", "callbacks"))
        plugins, callbacks = (item if isinstance(item, list) else [item] for item in asked)
        plugins = [*plugins, WholeCheckpointIO(self.folder, self._remote.copy_or_tell if self._remote else None)]
        kwargs = {"plugins": plugins, **kwargs}
        if config.get("logger") in (None, True):
            kwargs = {"logger": CSVLogger(self.folder, name=LOGS), **kwargs}
        return super().instantiate_trainer(callbacks=[*callbacks, *extra], **kwargs)

    def before_fit(self) -> None:
        """Save the resolved config and the pool, with its provenance, beside the checkpoints."""
        if not self._is_trial and self.trainer.is_global_zero:
            save_config(self.folder, self.resolved_config)
            if self.model.pool is not None:
                save_config(self.folder, pool_text(self.model.pool), POOL)
        self._tell([self._unmeasured()])

    def before_test(self) -> None:
        """Tell of a checkpoint of an unfinished run or of other classes, and where no shortcut can be measured."""
        notes = [*self._notes_of_training(), self._unmeasured()]
        with suppress(StarftError):  # what is wrong with the data is told by their check, with all else
            notes += [unlike_classes(self._facts, self.datamodule.class_names)] if self._facts is not None else []
        self._tell(notes)

    def _tell(self, notes: Sequence[str]) -> None:
        for note in filter(None, notes) if self.trainer.is_global_zero else ():
            say(f"Note: {note}", file=sys.stderr)

    def _unmeasured(self) -> str:
        return unmeasured_note(self.datamodule, [self.folder / CONFIG, *config_paths(self._words)])

    def _notes_of_training(self) -> list[str]:
        given = self._get(self.config, "ckpt_path")
        return notes_of_training(Path(given)) if given is not None else []

    @cached_property
    def resolved_config(self) -> str:
        """The whole config of this run as YAML, defaults included; parsing has validated it."""
        config, parser = self.config.get(str(self.subcommand), self.config), self._parser(self.subcommand)
        return str(parser.dump(config, skip_none=False, skip_validation=True, skip_link_targets=False))

    def _dump_config(self) -> None:
        self.config_dump = load_yaml(self.resolved_config)  # Lightning would write and read another

    def _prepare_subcommand_kwargs(self, subcommand: str) -> dict[str, Any]:
        """Leave the table of a test to us: Lightning's would say the same without groups."""
        ours = {"verbose": False} if subcommand == "test" and not self._is_trial else {}
        return super()._prepare_subcommand_kwargs(subcommand) | ours

    def after_fit(self) -> None:
        """Tell the best validation value, where its checkpoint is, and how to test it."""
        if self._is_trial or not self.trainer.is_global_zero:
            return
        tell_end(self.trainer, self.folder, import_prefix(config_paths(self._words)))

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
            config = load_yaml(self.resolved_config)
            metrics, sets = self.trainer.callback_metrics, evaluator.eval_sets
            kind = self._get(self.config, "save_samples")
            if kind is not None and samples:  # retrieval keeps none
                set_aside(self.folder, SAMPLES)
                keep_samples(self.folder, kind, sets, samples, self.datamodule, self.model.preprocessing)
            cost = {"seconds": round(time.monotonic() - self._start, 1), "peak_memory_bytes": peak_memory_bytes()}
            notes = limits(config["trainer"], "test") + self._notes_of_training()
            told = self._cost.told, samples, notes, evaluator.recalls()
            path = write_results(self.folder, config, metrics, sets, groups, cost, *told)
            print_results(path, sets if self._get(self.config, "ckpt_path") is None else ())


class _BuiltCLI(StarftCLI):
    """Builds model, data and trainer, runs nothing and leaves folders and checkpoints alone."""

    def before_instantiate_classes(self) -> None:
        """Leave folders and checkpoints alone."""

    def _run_subcommand(self, subcommand: str) -> None:
        pass


class ParsedCLI(_BuiltCLI):
    """Parses a command and does nothing of it."""

    def _set_seed(self) -> None:
        pass

    def instantiate_classes(self) -> None:
        """Build nothing."""


def _seed(value: Any) -> int:
    """Return the seed that data and captions start from; ``true`` and None mean 0."""
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
    """Parse a command, its verb and its options, as far as keys and types go; nothing is built or written.

    Raises:
        ConfigError: Options or config can't be used.
    """
    main(words, ParsedCLI)


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
    integers_first(L.Trainer.__init__)
    make_importable(config_paths(words))
    with without_noise():
        return kind(
            FinetuneModule,
            BaseDataModule,
            subclass_mode_data=True,
            auto_configure_optimizers=False,
            save_config_callback=None,
            seed_everything_default=0,
            parser_kwargs={"exit_on_error": False, "allow_abbrev": False, "formatter_class": PlainHelp},
            args=list(words),
        )
