"""How long a caption may be: text beyond a model's context is cut off in silence, so it is measured before."""

from collections.abc import Sequence

from torch import Tensor

from starft.clip.build import load_tokenizer

CHUNK = 4096


class CaptionRuler:
    """Counts the tokens of captions for one model, without building it.

    Args:
        model_name: As `build_clip` takes it.

    Raises:
        ConfigError: There is no such model, or it needs an extra that isn't installed.
        WeightsError: Its tokenizer can't be had.
    """

    def __init__(self, model_name: str) -> None:
        self._tokenize = load_tokenizer(model_name)
        self.context: int = self._tokenize.context_length
        """How many tokens fit, start and end included."""

    def tokens(self, captions: Sequence[str]) -> list[int]:
        """Return the number of tokens of each caption, start and end included; ``context + 1`` stands for all more.

        Args:
            captions: Any texts.
        """
        counts: list[int] = []
        for at in range(0, len(captions), CHUNK):
            counts += self._count(list(captions[at : at + CHUNK]))
        return counts

    def _count(self, captions: list[str]) -> list[int]:
        rows: Tensor = self._tokenize([*captions, ""], context_length=self.context + 1)
        padding = rows[-1, -1]
        filled = (rows[:-1] != padding).long()
        return [int(length) for length in self.context + 1 - filled.flip(1).argmax(dim=1)]
