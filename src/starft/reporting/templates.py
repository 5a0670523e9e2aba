"""Jinja's environment of the pages: every name is escaped and shown as the text that it is."""

from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from starft.reporting.methods import between
from starft.reporting.table import percent, points
from starft.runs.run_reader import shortened
from starft.safe_text import visible, visible_lines


def page_environment() -> Environment:
    """Return the environment that pages are made in."""
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        finalize=lambda part: visible_lines(part) if isinstance(part, str) and not isinstance(part, Markup) else part,
    )  # fmt: skip
    environment.filters |= {"percent": percent, "points": points, "between": lambda ends: between(ends, "acc")}
    environment.filters |= {"breakable": breakable, "shortened": lambda path: shortened(Path(path))}
    environment.filters |= {"options": lambda line: line.replace(" --", "\n--").split("\n")}
    return environment


def breakable(name: str) -> Markup:
    """Return a name that may go on in a new line after its underscores and slashes.

    Args:
        name: Any.
    """
    return escape(visible(name)).replace("_", Markup("_<wbr>")).replace("/", Markup("/<wbr>"))
