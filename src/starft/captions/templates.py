"""Caption templates: text with ``{}`` where the class name goes."""

from collections.abc import Sequence

from starft.errors import ConfigError


def caption(template: str, class_name: str) -> str:
    """Return ``template`` with ``class_name`` in the place of its ``{}``."""
    return template.replace("{}", class_name)


def is_template(text: object) -> bool:
    """Return whether something is a text that holds ``{}`` exactly once."""
    return isinstance(text, str) and text.count("{}") == 1


def check_templates(templates: Sequence[str] | None, each: str = "Each template") -> None:
    """Refuse caption templates that can't be used.

    Args:
        templates: Those that were given; None for the data's.
        each: What a message calls one of them.

    Raises:
        ConfigError: There is none, or one doesn't hold ``{}`` exactly once.
    """
    if templates is not None and not templates:
        raise ConfigError("templates must hold at least one caption template, or be null; got an empty list.")
    for template in templates or []:
        if not is_template(template):
            raise ConfigError(f"{each} must hold {{}} exactly once; got {template!r}.")
