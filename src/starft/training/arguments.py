"""What the arguments of the module must be, as far as it is known before a model is loaded for them."""

from collections.abc import Mapping, Sequence
from typing import Any

from starft.captions.pool_files import load_pools
from starft.captions.pools import Pool
from starft.captions.templates import check_templates
from starft.losses.base import Term, check_forward_is_defined
from starft.training.adapters import adapter_of
from starft.training.gradients import check_accumulation, check_pool_is_there
from starft.training.keeping import check_keeping
from starft.training.linear_head import check_head
from starft.training.optim import check_recipe
from starft.training.probe import STRENGTHS, check_strengths

RECIPE = ("lr", "weight_decay", "warmup_steps", "betas", "layer_decay")
WITHOUT_MODEL = (*RECIPE, "decay_one_dimensional", "pool", "templates", "head_start", "probe_strengths", "seed")
"""Arguments whose values are all checked here; the others have limits in the model, such as its blocks."""


def check_arguments(options: Mapping[str, Any], terms: Sequence[Term]) -> Pool | None:
    """Refuse arguments that nothing could be trained with, and return the pool that they name.

    Args:
        options: Of the module, by their names there; ``adapter`` as it was given.
        terms: The objective and the regularizers.

    Raises:
        ConfigError: One is out of its range, or doesn't go with another.
        PoolError: The pool can't be used.
    """
    check_recipe(*(options[name] for name in RECIPE))
    check_templates(options["templates"])
    check_head(options["head"], options["head_start"], options["unscaled_head"])
    check_strengths(STRENGTHS if options["probe_strengths"] is None else options["probe_strengths"])
    frozen = {tower: options[f"freeze_{tower}_tower"] for tower in ("text", "image")}
    check_keeping(options, adapter_of(options["adapter"], options["twin_precision"], frozen))
    check_forward_is_defined(terms)
    return load_pools(options["pool"]) if options["pool"] is not None else None


def check_training(options: Mapping[str, Any], terms: Sequence[Term], batches: int) -> None:
    """Refuse arguments as `check_arguments` does, and terms that can't do with the pool or the batches of a run.

    Args:
        options: Of the module, by their names there.
        terms: The objective and the regularizers.
        batches: ``trainer.accumulate_grad_batches``.

    Raises:
        ConfigError: So it is.
        PoolError: The pool can't be used.
    """
    check_pool_is_there(terms, check_arguments(options, terms))
    check_accumulation(terms, batches)
