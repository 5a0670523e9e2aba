"""What a model's tokenizer makes of captions: the rows of token ids that the model gets, and what is cut off.

Text beyond a model's context is cut off in silence, and texts that differ may end as the same tokens: letters' case,
accents in one character or two, curly quotes, HTML entities, punctuation for some models.
"""

from collections.abc import Sequence
from typing import Any

from open_clip import SimpleTokenizer
from open_clip.tokenizer import HFTokenizer, SigLipTokenizer, basic_clean, canonicalize_text
from torch import Tensor

from starft.clip.build import load_tokenizer
from starft.clip.encoder import Tokenize

CHUNK = 4096
CLASS_TOKENS = 3
"""Of the context, what the mode ``clips`` of open_clip keeps for start, end and class token."""


class CaptionRuler:
    """Reads captions as one model's tokenizer does, without building the model.

    Args:
        model_name: As `build_clip` takes it.
        tokenize: Its tokenizer, where that is at hand; None loads it.

    Raises:
        ConfigError: There is no such model, or it needs an extra that isn't installed.
        WeightsError: Its tokenizer can't be had.
    """

    def __init__(self, model_name: str, tokenize: Tokenize | None = None) -> None:
        self.model_name = model_name
        self._tokenize: Any = load_tokenizer(model_name) if tokenize is None else tokenize
        self.context: int = getattr(self._tokenize, "context_length", 0)
        """How many tokens fit, start and end included; 0 for a tokenizer that isn't one of open_clip's."""

    def rows(self, captions: Sequence[str]) -> list[bytes]:
        """Return the token ids of each caption as the model gets them, cut and padded; equal captions give equal bytes.

        Args:
            captions: Any texts.
        """
        rows: list[bytes] = []
        for at in range(0, len(captions), CHUNK):
            tokens: Tensor = self._tokenize(list(captions[at : at + CHUNK]))
            rows += [row.tobytes() for row in tokens.numpy()]
        return rows

    def tokens(self, captions: Sequence[str]) -> list[int]:
        """Return how many tokens each caption has before it is cut, start and end included.

        A tokenizer that isn't one of open_clip's doesn't tell; its captions count 0.

        Args:
            captions: Any texts.
        """
        return [len(ids) + added for ids, added in map(self._ids, captions)]

    def too_long(self, captions: Sequence[str]) -> list[bool]:
        """Tell of each caption whether the model gets a part of it only.

        Args:
            captions: Any texts.
        """
        return [count > self.context for count in self.tokens(captions)]

    def remains(self, caption: str) -> str:
        """Return what the model reads of a caption, in the tokenizer's spelling.

        Args:
            caption: Any text.
        """
        tokenize = self._tokenize
        ids, added = self._ids(caption)
        kept = ids[: max(0, self.context - added)]
        if isinstance(tokenize, SimpleTokenizer):
            return str(tokenize.decode(kept)).strip()
        if isinstance(tokenize, HFTokenizer | SigLipTokenizer):
            if getattr(tokenize, "tokenizer_mode", "") != "clips":  # it may cut at its own end, or at the beginning
                cut = {"max_length": self.context, "truncation": True}
                kept = tokenize.tokenizer(_cleaned(tokenize, caption), **cut).input_ids
            return str(tokenize.tokenizer.decode(kept, skip_special_tokens=True)).strip()
        return caption

    def _ids(self, caption: str) -> tuple[list[int], int]:
        """Return a caption's token ids before it is cut, and how many more the tokenizer adds."""
        tokenize = self._tokenize
        if isinstance(tokenize, SimpleTokenizer):
            return tokenize.encode(caption), 2
        if isinstance(tokenize, HFTokenizer | SigLipTokenizer):
            is_clips = getattr(tokenize, "tokenizer_mode", "") == "clips"
            ids: list[int] = tokenize.tokenizer(
                _cleaned(tokenize, caption), add_special_tokens=not is_clips, verbose=False
            ).input_ids
            return ids, CLASS_TOKENS if is_clips else 0
        return [], 0


def _cleaned(tokenize: HFTokenizer | SigLipTokenizer, caption: str) -> str:
    if isinstance(tokenize, HFTokenizer):
        return str(tokenize.clean_fn(caption))
    return str(canonicalize_text(basic_clean(caption)))
