"""``starft export CKPT --to DIR``: a trained model for other programs."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from starft.config.command import run_command
from starft.exporting.card import card
from starft.exporting.folder import check_free, whole
from starft.exporting.formats import FORMATS, write_about
from starft.exporting.hub import check_name, push
from starft.exporting.origin import origin_of
from starft.inference.classifier import load
from starft.safe_text import say


def run(words: Sequence[str]) -> int:
    """Run ``starft export``: `command` tells its options."""
    return run_command(command, "starft export", words[1:])


def command(
    ckpt: Path,
    *,
    to: Path,
    format: Literal["open_clip", "hf", "onnx", "head"] = "open_clip",
    push_to_hub: str | None = None,
    private: bool = False,
) -> int:
    """Write the model of a checkpoint for other programs, with a README.md that tells its run's results.

    Args:
        ckpt: A checkpoint, or an export of the format open_clip.
        to: Folder to make; nothing may be in it.
        format: open_clip are weights and config, which open_clip.create_model_and_transforms("local-dir:DIR") and
            starft.load("DIR") take; hf is transformers' CLIPModel with its processor, for ViT CLIPs; onnx has image
            tower and head as model.onnx, images in, features and logits out; head is class weights alone.
        push_to_hub: Send the folder there too, as ORG/NAME, logged in by `hf auth login`.
        private: Make the hub's repository private.

    Raises:
        ConfigError: An option can't be used, or the format doesn't fit the model.
        RunFolderError: Something lies at the folder.
        WeightsError: The checkpoint can't be used, or the hub didn't take the export.
    """
    if push_to_hub is not None:
        check_name(push_to_hub)
    check_free(to)
    model = load(ckpt, "cpu")
    refuse, write = FORMATS[format]
    refuse(model)
    with whole(to) as folder:
        write(model, folder)
        write_about(model, folder, format)
        name, on_hub = push_to_hub or to.name, push_to_hub is not None
        origin = origin_of(ckpt)
        text = card(model, format, name, origin, on_hub)
        (folder / "README.md").write_text(text, encoding="utf-8")
    say(f"{format}: {to}")
    if origin.problem is not None:
        say(f"Note: The model card tells no results. {origin.problem}.", file=sys.stderr)
    if push_to_hub is not None:
        say(f"Sent to {push(to, push_to_hub, private)}")
    return 0
