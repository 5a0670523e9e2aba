"""``starft export CKPT --to DIR``: a trained model for other programs."""

import sys
from argparse import RawDescriptionHelpFormatter
from collections.abc import Sequence
from pathlib import Path

from starft.config.options import OptionParser
from starft.exporting.card import card
from starft.exporting.folder import check_free, whole
from starft.exporting.formats import FORMATS, write_about
from starft.exporting.hub import check_name, push
from starft.exporting.origin import origin_of
from starft.inference.classifier import load
from starft.safe_text import say

ABOUT = """Write the model of a checkpoint for other programs, with a README.md that tells its run's results.

  open_clip  weights and config; open_clip.create_model_and_transforms("local-dir:DIR") and starft.load("DIR") take it
  hf         transformers' CLIPModel with its processor, for ViT CLIPs
  onnx       image tower and head as model.onnx: images in, features and logits out
  head       class weights alone
"""


def parser() -> OptionParser:
    """Return the verb's parser."""
    made = OptionParser("starft export", ABOUT)
    made.formatter_class = RawDescriptionHelpFormatter
    made.add_argument(
        "checkpoint", metavar="CKPT", type=Path, help="a checkpoint, or an export of the format open_clip"
    )
    made.add_argument("--to", metavar="DIR", type=Path, required=True, help="folder to make; nothing may be in it")
    made.add_argument("--format", choices=list(FORMATS), default="open_clip", help="which (open_clip)")
    made.add_argument(
        "--push-to-hub", metavar="ORG/NAME", help="send the folder there too, logged in by `hf auth login`"
    )
    made.add_argument("--private", action="store_true", help="make the hub's repository private")
    return made


def run(words: Sequence[str]) -> int:
    """Run the verb.

    Args:
        words: "export" and what comes behind it.

    Raises:
        ConfigError: An option can't be used, or the format doesn't fit the model.
        RunFolderError: Something lies at the folder.
        WeightsError: The checkpoint can't be used, or the hub didn't take the export.
    """
    if {"--help", "-h"} & {*words[1:]}:
        parser().print_help()
        return 0
    options = parser().parse_args(list(words[1:]))
    if options.push_to_hub is not None:
        check_name(options.push_to_hub)
    check_free(options.to)
    model = load(options.checkpoint, "cpu")
    refuse, write = FORMATS[options.format]
    refuse(model)
    with whole(options.to) as folder:
        write(model, folder)
        write_about(model, folder, options.format)
        name, on_hub = options.push_to_hub or options.to.name, options.push_to_hub is not None
        origin = origin_of(options.checkpoint)
        text = card(model, options.format, name, origin, on_hub)
        (folder / "README.md").write_text(text, encoding="utf-8")
    say(f"{options.format}: {options.to}")
    if origin.problem is not None:
        say(f"Note: The model card tells no results. {origin.problem}.", file=sys.stderr)
    if options.push_to_hub is not None:
        say(f"Sent to {push(options.to, options.push_to_hub, options.private)}")
    return 0
