"""Which templates fit: the longest caption of a data set, with the template in it, against a CLIP's context."""

from collections.abc import Sequence

from starft.captions.pools import inject
from starft.captions.templates import caption
from starft.clip import CaptionRuler
from starft.config.prompts import MODEL, TEMPLATE, RunConfig

SOME_NAME = "thing"


class LengthLimit:
    """Measures templates with the longest class name and the longest caption of a data set.

    Args:
        model_name: The CLIP architecture; None takes the config's.
        config: Tells class names and caption templates; None for no data set.

    Raises:
        ConfigError: There is no such model, or its tokenizer can't be had.
    """

    def __init__(self, model_name: str | None, config: RunConfig | None) -> None:
        self.model_name = model_name or (config.model_name if config is not None else MODEL)
        self.ruler = CaptionRuler(self.model_name)
        class_names = config.class_names() if config is not None else ()
        templates = config.templates() if config is not None else (TEMPLATE,)
        self.context = self.ruler.context
        names = [*dict.fromkeys(class_names)] or [SOME_NAME]
        self.class_name = self._longest(names, [caption(templates[0], name) for name in names])
        captions = [caption(template, self.class_name) for template in templates]
        self._caption = self._longest(captions, captions)

    def too_long(self, templates: Sequence[str]) -> list[bool]:
        """Tell of each template whether its longest caption would be cut off.

        Args:
            templates: With ``{}`` once each.
        """
        return self.ruler.too_long([inject(self._caption, template) for template in templates])

    def same_tokens(self, templates: Sequence[str]) -> list[int | None]:
        """Return for each template the first one before it that makes the same tokens of the longest caption, or None.

        Args:
            templates: With ``{}`` once each.
        """
        rows = self.ruler.rows([inject(self._caption, template) for template in templates])
        first: dict[bytes, int] = {}
        return [at if (at := first.setdefault(row, index)) != index else None for index, row in enumerate(rows)]

    def _longest(self, names: Sequence[str], captions: Sequence[str]) -> str:
        counts = self.ruler.tokens(captions)
        return names[max(range(len(names)), key=lambda index: counts[index])]
