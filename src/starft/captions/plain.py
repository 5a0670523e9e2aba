"""Captions that no CLIP tokenizer mixes up or cuts, which is known without loading one."""

import re
from collections.abc import Iterable, Sequence

from starft.captions.templates import caption
from starft.files.shipped import listed_model

PLAIN = re.compile(r"[A-Za-z0-9 .,'()-]*")
"""Text that the tokenizer's cleaning leaves as it is, but for case and spaces."""
CONTEXT = 77
OTHERS = {"hf_tokenizer_name", "hf_model_name", "tokenizer_kwargs"}
"""Keys of a model's text tower that say that its tokenizer isn't CLIP's own."""


def are_plain(model_name: str, class_names: Sequence[str], templates: Sequence[str]) -> bool:
    """Return whether a model surely gets captions whole and apart; False where its tokenizer must be asked.

    CLIP's tokenizer loses case and spaces and nothing else of plain text, and a token is at least a byte.

    Args:
        model_name: As `starft.clip.build_clip` takes it.
        class_names: In label order.
        templates: Caption templates, each with ``{}`` once.
    """
    if not class_names:
        return True
    context = _context(model_name)
    squeezed = [{text.lower().replace(" ", "") for text in texts} for texts in (class_names, templates)]
    return (
        len(class_names) > 1
        and [*map(len, squeezed)] == [len(class_names), len(templates)]
        and all(template.count("{}") == 1 for template in templates)
        and all(PLAIN.fullmatch(text.replace("{}", "")) for text in (*class_names, *templates))
        and len(caption(max(templates, key=len, default=""), max(class_names, key=len))) + 2 <= context
    )


def surely_fit(model_name: str, captions: Iterable[str]) -> bool:
    """Return whether a model surely gets captions of images' own whole; False where its tokenizer must be asked.

    Args:
        model_name: As `starft.clip.build_clip` takes it.
        captions: Of images.
    """
    context = _context(model_name)
    return all(len(text) + 2 <= context and PLAIN.fullmatch(text) for text in captions)


def _context(model_name: str) -> int:
    """Return how many tokens of CLIP's own tokenizer a listed model takes; 0 where it has another one."""
    model = listed_model(model_name)
    if model is None or "siglip" in model_name.lower():
        return 0
    text = model.get("text_cfg", {})
    return 0 if OTHERS & text.keys() else int(text.get("context_length", CONTEXT))
