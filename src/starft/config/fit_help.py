"""The help of ``fit``, ``validate``, ``test`` and ``predict --config``: what people change, told without torch."""

from collections.abc import Sequence

ALL = "--help-all"
"""Asks for every option, which takes the parser and with it all that a run loads."""

OPTIONS = (
    ("--config csv/starft", "the config: a file or a shipped name; several are laid over each other"),
    ("--ckpt_path runs/a/checkpoints/last.ckpt", "the checkpoint to go on with, or to score"),
    ("--seed_everything 1", "seed of data, captions and new weights"),
    ("--save_samples null", "what `test` keeps of each sample: auto, npz, parquet or null for nothing"),
    ("--checkpoint.monitor val/id/acc", "the validation metric that best.ckpt is chosen by"),
    ("--checkpoint.every_n_train_steps 500", "write last.ckpt this often too"),
    ("--model.model_name ViT-B-32", "an open_clip architecture, hf-hub:ORG/NAME or local-dir:PATH"),
    ("--model.pretrained openai", "its weights: a tag of open_clip or a file; null draws them"),
    ("--model.lr 1e-5", "peak learning rate"),
    ("--model.weight_decay 0.1", "of AdamW"),
    ("--model.warmup_steps 500", "steps of linear warm-up, before the cosine"),
    ("--model.objective starft.losses.CrossEntropy", "the objective: or Contrastive, GroupDRO, ReCalCon"),
    ("--model.regularizers+=starft.losses.KD", "add a regularizer"),
    ("--model.head linear", "text: made of captions; linear: trained from there"),
    ("--model.pool backgrounds", "where spurious captions come from: a shipped name or a file"),
    ("--data.init_args.batch_size 64", "training images a step and device"),
    ("--data.init_args.num_workers 8", "processes that read images"),
    ("--trainer.max_epochs 10", "how long; --trainer.max_steps counts steps"),
    ("--trainer.accelerator gpu", "auto, cpu or gpu"),
    ("--trainer.devices 2", "how many of them"),
    ("--trainer.precision bf16-mixed", "or 32-true, 16-mixed"),
    ("--trainer.accumulate_grad_batches 4", "batches an optimizer step"),
    ("--trainer.default_root_dir runs/mine", "the run folder; none is ever overwritten"),
    ("--trainer.fast_dev_run true", "one batch of everything; nothing is written"),
    ("--print_config", "print the config as it would be run, and end"),
)
"""An option with a value to show how it is written -> what it means."""


def asks_for_help(words: Sequence[str]) -> bool:
    """Return whether a command asks for the short help.

    Args:
        words: The verb and its options.
    """
    return bool({"--help", "-h"} & {*words})


def short_help(verb: str) -> str:
    """Return the short help of a verb.

    Args:
        verb: ``fit``, ``validate``, ``test`` or ``predict``.
    """
    width = max(len(option) for option, _ in OPTIONS)
    listed = "\n".join(f"  {option:<{width}}  {meaning}" for option, meaning in OPTIONS)
    return (
        f"usage: starft {verb} --config CONFIG [options]\n\n"
        "All that a config says can be changed by an option; --safe takes classes of starft, lightning and torch\n"
        f"alone. Those that people change, each with an example:\n\n{listed}\n\n"
        f"`starft {verb} {ALL}` tells all of them, `starft {verb} --data.help starft.data.CSV` those of one kind of\n"
        "data.\n"
    )
