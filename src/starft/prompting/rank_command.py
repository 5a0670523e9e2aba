"""``starft prompts rank``: which shortcuts a training set offers, before anything is trained."""

import sys
from importlib import import_module
from pathlib import Path

from starft.captions.pool_files import LOCAL_POOLS, check_target, load_pool, save_pool
from starft.config.prompts import read_config
from starft.errors import PromptError
from starft.safe_text import say
from starft.wording import count_of


def rank(
    pool: str,
    *,
    config: str,
    top: int = 10,
    out: str | None = None,
    plot: str | None = None,
    images: int = 2000,
    permutations: int = 500,
    overwrite: bool = False,
    overrides: tuple[str, ...] = (),
) -> int:
    """Rank the phrases of a pool by how strongly they go with the labels of your training set.

    The frozen CLIP of the config scores each phrase on training images; the mutual information of score and label,
    less what shuffled labels give, is the rank. A phrase at the top is a shortcut that the data offer.

    Args:
        pool: Name of a pool or path of a pool file.
        config: A training config, for its data, model and seed.
        top: How many phrases the new pool gets.
        out: The pool to write; null writes prompts/pools/NAME-top.json.
        plot: The picture to write; null writes it beside the pool, as .png.
        images: Training images to look at, drawn at random by the config's seed; fewer if there are fewer.
        permutations: How often labels are shuffled to know chance.
        overwrite: Replace pool and picture if they are there already.
        overrides: Options that change the config, as ``--data.init_args.NAME=VALUE``.

    Raises:
        StarftError: Pool, config, model or output can't be used.
    """
    for name, value, least in (("top", top, 1), ("images", images, 2), ("permutations", permutations, 20)):
        if value < least:
            raise PromptError(f"--{name} must be at least {least}; got {value}.")
    given = load_pool(pool)
    target = Path(out) if out is not None else LOCAL_POOLS / f"{given.name}-top.json"
    picture = Path(plot) if plot is not None else target.with_suffix(".png")
    check_target(target, ".json", "out", overwrite)
    check_target(picture, ".png", "plot", overwrite)
    run = read_config(config, overrides)
    if run.section is None:
        raise PromptError(f"The config {config} has no 'data' section; rank needs images, as `starft fit` does.")
    say(f"Ranking the phrases of {given.name} on the training images of {config} ...", file=sys.stderr)
    kept = import_module("starft.prompting.ranking").rank_on(run, given, top, images, permutations, picture)
    save_pool(kept, target, overwrite)
    ranked = len(kept.provenance["ranked"]["bits"])
    best = f"{min(top, ranked)} of {count_of(ranked, 'phrase')}, the first"
    say(f"Wrote {target} with {best}, and {picture}; train with --model.pool {target}.")
    return 0
