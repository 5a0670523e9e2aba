"""CLIP models: building them, encoding with them, their frozen twins and zero-shot heads."""

from starft.clip.build import build_clip
from starft.clip.encoder import ClipEncoder, Twin
from starft.clip.length import CaptionRuler
from starft.clip.preprocessing import image_preprocessing
from starft.clip.rebuild import rebuild_clip
from starft.clip.recomputing import checkpoint_activations, update_statistics_once
from starft.clip.towers import compile_towers, encode_in_chunks, freeze, freeze_unread
from starft.clip.zeroshot import zero_shot_head

__all__ = [
    "CaptionRuler",
    "ClipEncoder",
    "Twin",
    "build_clip",
    "checkpoint_activations",
    "compile_towers",
    "encode_in_chunks",
    "freeze",
    "freeze_unread",
    "image_preprocessing",
    "rebuild_clip",
    "update_statistics_once",
    "zero_shot_head",
]
