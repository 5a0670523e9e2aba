"""The documentation site: the Markdown pages as they are, and references made from the code. See `make docs`."""

import contextlib
import io
import os
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

from docutils import nodes
from docutils.utils.math import MathError
from docutils.utils.math.latex2mathml import tex2mathml
from sphinx.application import Sphinx
from sphinx.errors import ExtensionError
from sphinx.util.docutils import SphinxDirective

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "src"))
os.environ["COLUMNS"] = "84"  # of the help texts: what the theme's text column holds

from starft.__main__ import VERBS  # noqa: E402
from starft.__main__ import main as starft  # noqa: E402

project = "starft"
author = "the starft authors"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "README"
# The repository's own folders, so that a relative link means the same here and on a git host.
SHOWN = {"docs", "lightning_configs"}
include_patterns = ["README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/*.md", "lightning_configs/README.md"]
exclude_patterns = [path.name for path in ROOT.iterdir() if path.is_dir() and path.name not in SHOWN]

html_theme = "furo"
html_title = "starft"
html_copy_source = False
html_show_sphinx = False

myst_enable_extensions = ["dollarmath"]
myst_heading_anchors = 4
html_math_renderer = "mathml"
# Other lexers mark what isn't of their language: trees, YAML with notes, shell with placeholders.
suppress_warnings = ["misc.highlighting_failure"]

napoleon_google_docstring = True
toc_object_entries_show_parents = "hide"
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_class_signature = "mixed"
autodoc_default_options = {"members": True, "imported-members": True, "show-inheritance": True}

PAGES = {
    "Start": [
        *("docs/quickstart", "docs/data", "docs/runs", "docs/tuning", "docs/recipes"),
        *("docs/using", "docs/report", "docs/audit"),
    ],
    "Methods": [
        *("docs/method", "docs/rivals", "lightning_configs/README", "docs/mini"),
        *("docs/weights", "docs/adapters", "docs/prompts"),
    ],
    "Data and machines": ["docs/datasets", "docs/models", "docs/devices", "docs/loggers", "docs/benchmarks"],
    "Reference": ["docs/extending", "docs/cli", "docs/api", "CHANGELOG", "CONTRIBUTING"],
}
"""What stands in the site's menu, beside README, which is its first page."""

PUBLIC = [
    "starft",
    "starft.losses",
    "starft.callbacks",
    "starft.data",
    "starft.mini",
    "starft.losses.functional",
    "starft.losses.context",
    "starft.evaluation",
    "starft.clip",
    "starft.captions.pools",
    "starft.captions.pool_files",
    "starft.runs.loggers",
    "starft.types",
    "starft.errors",
]
"""Modules of the API reference, from what people use to what it stands on."""


LONGEST_USAGE = 12
"""Lines of a usage that is shown as it is."""


def with_menu(app: Sphinx, page: str, source: list[str]) -> None:
    """Append the menu to the first page: README itself stays plain Markdown."""
    if page == root_doc:
        source[0] += "".join(
            f"\n```{{toctree}}\n:hidden:\n:caption: {title}\n\n" + "\n".join(f"/{name}" for name in names) + "\n```\n"
            for title, names in PAGES.items()
        )


WITH_CONFIG = ("fit", "validate", "test")
CONFIGURED = "--config=mini/starft"
"""Verbs whose short help lists what people change; and what makes `predict` one of them."""


def help_of(words: list[str]) -> str:
    """Return what ``starft WORDS --help`` prints."""
    heard = io.StringIO()
    sys.argv = ["starft"]  # Lightning's parser names itself by it
    with contextlib.redirect_stdout(heard), contextlib.suppress(SystemExit):
        starft([*words, "--help-all" if words[0] in WITH_CONFIG or words[1:] == [CONFIGURED] else "--help"])
    told = heard.getvalue().replace(" \b", "")  # jsonargparse takes a space back, which a page can't
    assert told.startswith("usage:"), f"starft {' '.join(words)} --help says {told!r}"
    usage, _, rest = told.partition("\n\n")
    if usage.count("\n") > LONGEST_USAGE:  # all options in brackets, which are explained right below
        usage = f"usage: starft {words[0]} --config CONFIG [options]"
    return f"{usage}\n\n{rest}"


class Commands(SphinxDirective):
    """``{commands}``: a section for each verb, with its help."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        return [self._section(verb, told) for verb, (_, told) in VERBS.items()]

    def _section(self, verb: str, told: str) -> nodes.section:
        section = nodes.section(ids=[nodes.make_id(f"starft-{verb}")], names=[f"starft {verb}"])
        section += nodes.title(text=f"starft {verb}")
        section += nodes.paragraph(text=f"{told[:1].upper()}{told[1:]}.")
        nested = ("prompts", "audit")
        words = {name: [[name], *([name, one] for one in import_module(f"starft.cli.{name}").VERBS)] for name in nested}
        if verb == "data":
            words["data"] = [[verb, "check"], [verb, "pack"]]
        if verb == "predict":  # a checkpoint first, or options first
            words["predict"] = [[verb], [verb, CONFIGURED]]
        for one in words.get(verb, [[verb]]):
            section += nodes.literal_block(text=help_of(one), language="text")
        return section


class Modules(SphinxDirective):
    """``{modules}``: a section for each public module, from its docstrings."""

    def run(self) -> list[nodes.Node]:
        """Return the sections."""
        found: list[nodes.Node] = []
        for name in PUBLIC:
            section = nodes.section(ids=[nodes.make_id(name)], names=[name])
            section += nodes.title(text=name)
            listed = hasattr(import_module(name), "__all__")
            options = "" if listed else "   :no-imported-members:\n"
            section += self.parse_text_to_nodes(f"```{{eval-rst}}\n.. automodule:: {name}\n{options}```\n")
            found.append(section)
        return found


UNDER_ACCENT = re.compile(
    r'<munderover>\s*(<mi>\w</mi>)\s*(<mi>\w</mi>)\s*(<mo stretchy="false">[^<]*</mo>)\s*</munderover>'
)
"""How docutils writes a letter with an accent and an index: with the index below it, where it belongs beside it."""


def mathml(formula: str, as_block: bool = False) -> str:
    """Return a formula as MathML, which browsers draw by themselves, without a network."""
    try:
        return UNDER_ACCENT.sub(r"<msub><mover>\1\3</mover>\2</msub>", str(tex2mathml(formula, as_block=as_block)))
    except MathError as error:
        raise ExtensionError(f"The formula {formula!r} can't be written as MathML: {error}") from error


def show_inline(translator: Any, node: nodes.Element) -> None:
    """Write a formula within a line."""
    translator.body.append(mathml(node.astext()))
    raise nodes.SkipNode


def show_block(translator: Any, node: nodes.Element) -> None:
    """Write a formula on a line of its own."""
    translator.body.append(f"<div class='math'>{mathml(node.astext(), as_block=True)}</div>")
    raise nodes.SkipNode


def with_entry(app: Sphinx, error: Exception | None) -> None:
    """Let index.html lead to the first page."""
    if error is None and app.builder.format == "html":
        text = f'<!doctype html><meta charset="utf-8"><meta http-equiv="refresh" content="0; url={root_doc}.html">'
        (Path(app.outdir) / "index.html").write_text(f"{text}\n", encoding="utf-8")


def setup(app: Sphinx) -> dict[str, bool]:
    """Add what is ours."""
    app.add_directive("commands", Commands)
    app.add_directive("modules", Modules)
    app.add_html_math_renderer("mathml", (show_inline, None), (show_block, None))
    app.connect("source-read", with_menu)
    app.connect("build-finished", with_entry)
    return {"parallel_read_safe": False}
