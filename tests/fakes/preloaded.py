"""What each process of the tests has behind it: the imports of a command, and what every command would make anew.

The tiny CLIP's tokenizer and ViT-B-16's take a tenth of a second, the list of installed plug-ins half of that, the
parser of a verb an eighth of its smallest run, and a run syncs two dozen files to a disk whose power no test cuts.
"""

import importlib.metadata
import os
from functools import lru_cache
from typing import Any

import open_clip
from jsonargparse import ArgumentParser
from lightning.fabric.utilities import registry

from starft.cli.fit import StarftCLI

_make = open_clip.get_tokenizer
_made_once = lru_cache(_make)


def _get_tokenizer(model_name: str = "", **given: Any) -> Any:
    often = model_name in ("starft-mini", "ViT-B-16") and not given
    return _made_once(model_name) if often else _make(model_name, **given)


_prepare = StarftCLI._prepare_subcommand_parser
_parsers: dict[str, tuple[ArgumentParser, list[str]]] = {}


def _prepare_once(cli: StarftCLI, trainer: type, verb: str, **given: Any) -> ArgumentParser:
    if verb not in _parsers:
        _parsers[verb] = _prepare(cli, trainer, verb, **given), cli._subcommand_method_arguments[verb]
    parser, cli._subcommand_method_arguments[verb] = _parsers[verb]
    return parser


open_clip.get_tokenizer = _get_tokenizer
StarftCLI._prepare_subcommand_parser = _prepare_once  # type: ignore[assignment,method-assign]
registry.entry_points = lru_cache(importlib.metadata.entry_points)  # type: ignore[attr-defined]
os.fsync = lambda handle: None
