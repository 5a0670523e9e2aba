"""What each process of the tests has behind it: the imports of a command, and what every command would make anew.

CLIP's vocabulary takes a tenth of a second, the list of installed plug-ins half of that, the parser of a verb an eighth
of its smallest run, and a run syncs two dozen files to a disk whose power no test cuts.
"""

import importlib.metadata
import os
from functools import lru_cache
from typing import Any

from jsonargparse import ArgumentParser
from lightning.fabric.utilities import registry
from open_clip import SimpleTokenizer

from starft.cli.fit import StarftCLI

_read_vocabulary = SimpleTokenizer.__init__
_vocabularies: dict[str, dict[str, Any]] = {}


def _read_once(tokenizer: SimpleTokenizer, *args: Any, **given: Any) -> None:
    key = repr((args, sorted(given.items())))
    if key not in _vocabularies:
        _read_vocabulary(tokenizer, *args, **given)
        _vocabularies[key] = dict(vars(tokenizer))
    vars(tokenizer).update(_vocabularies[key])


_prepare = StarftCLI._prepare_subcommand_parser
_parsers: dict[str, tuple[ArgumentParser, list[str]]] = {}


def _prepare_once(cli: StarftCLI, trainer: type, verb: str, **given: Any) -> ArgumentParser:
    if verb not in _parsers:
        _parsers[verb] = _prepare(cli, trainer, verb, **given), cli._subcommand_method_arguments[verb]
    parser, cli._subcommand_method_arguments[verb] = _parsers[verb]
    return parser


SimpleTokenizer.__init__ = _read_once
StarftCLI._prepare_subcommand_parser = _prepare_once  # type: ignore[assignment,method-assign]
registry.entry_points = lru_cache(importlib.metadata.entry_points)  # type: ignore[attr-defined]
os.fsync = lambda handle: None
