"""Imported once by the process that the killed ones are forked from, so that a kill hits the asking, not an import."""

from functools import lru_cache

import open_clip

import starft.prompting.client
import starft.prompting.generate  # noqa: F401

open_clip.get_tokenizer = lru_cache(open_clip.get_tokenizer)
open_clip.get_tokenizer("ViT-B-16")
