"""What can be refused of a training or a test before the first of many runs: all but what the weights would show."""

from collections.abc import Sequence

from starft.cli.fit import ParsedCLI, main
from starft.config.option_checks import check_options
from starft.config.own_data import check_there
from starft.errors import ConfigError
from starft.losses import Contrastive
from starft.training.arguments import check_training
from starft.training.fsdp import check_strategy
from starft.training.module import FinetuneModule


def check_run(words: Sequence[str]) -> None:
    """Refuse a run whose values can't be used, as the run itself would do; no model is loaded, nothing is written.

    Terms, data and callbacks are built, which refuse their own arguments.

    Args:
        words: The verb and its options.

    Raises:
        StarftError: Options or config can't be used.
    """
    main(words, _CheckedCLI)


def check_model(words: Sequence[str]) -> None:
    """Refuse a run as `check_run` does, and build its model, whose limits its weights know.

    Args:
        words: The verb and its options.

    Raises:
        StarftError: Options or config can't be used.
    """
    main(words, _ModelCLI)


class _ModelCLI(ParsedCLI):
    """Builds terms, data, callbacks and the model, and no trainer."""

    builds_model = True

    def before_instantiate_classes(self) -> None:
        """Check what is checked before a run builds anything, but for its folder."""
        config = self.config[str(self.subcommand)]
        if self._is_trial:
            raise ConfigError("trainer.fast_dev_run keeps no checkpoint, which would be scored; leave it out.")
        check_options(str(self.subcommand), config.as_dict(), FinetuneModule)
        check_strategy(self._get(self.config, "trainer.strategy"))
        check_there(self._get(self.config, "data"))

    def instantiate_classes(self) -> None:
        """Build what can be built."""
        # jsonargparse renamed the method; we take whichever it has
        build = getattr(self.parser, "instantiate", None) or self.parser.instantiate_classes
        config = self.config.clone()
        self._get(config, "trainer")["logger"] = False  # one may sign in somewhere
        with self._leaving_no_trace(ValueError, TypeError):
            built = build(config, instantiate_groups=self.builds_model)
            if not self.builds_model and self.subcommand == "fit":
                options = vars(self._get(built, "model"))
                terms = [options["objective"] or Contrastive(), *(options["regularizers"] or [])]
                check_training(options, terms, self._get(built, "trainer.accumulate_grad_batches"))


class _CheckedCLI(_ModelCLI):
    """Looks at the model's arguments in the place of building it."""

    builds_model = False
