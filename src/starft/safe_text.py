r"""Text of others made safe for each place it is shown in: terminal, page, Markdown, LaTeX, cells of CSV.

Class names, columns, file names, configs and answers of models may hold characters that steer a terminal, turn the
direction of a line, or mean something to the program that opens a file. Each place has one function here.
Files that programs read back (JSON, Parquet, YAML) hold the text as it is.
"""

import re
import sys
from typing import TextIO

_STEERING = "\x00-\x09\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff"
_IN_LINES = re.compile(f"[{_STEERING}]")
_IN_A_LINE = re.compile(f"[\n{_STEERING}]")
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}

_FORMULA = re.compile(r"'*\s*[=+\-@\t\r＝＋－＠]")
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?")

_MARKDOWN = re.compile(r"([\\|`*_\[\]#~$])")
_LATEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    "`": "{}`{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
}
_LIGATURE = re.compile(r"([-',])(?=\1)")


def visible(text: str) -> str:
    r"""Return text on one line, with each control character, bidi control and lone surrogate as an escape.

    Args:
        text: Any.

    Example:
        >>> print(visible("a\x1b[2J\nb\u202ec"))
        a\x1b[2J\nb\u202ec
    """
    return _IN_A_LINE.sub(_escape, text)


def visible_lines(text: str) -> str:
    """Return the same of text that may have several lines.

    Args:
        text: Any.
    """
    return _IN_LINES.sub(_escape, text)


def indented(text: str) -> str:
    """Return text that may have several lines with all but the first set in: no line of a name begins as ours do.

    Args:
        text: Any.
    """
    return visible_lines(text).replace("\n", "\n  ")


def _escape(match: re.Match[str]) -> str:
    sign = match[0]
    code = ord(sign)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that isn't UTF-8
        code -= 0xDC00
    return _SHORT.get(sign) or (f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}")


def say(text: str, file: TextIO | None = None, lines: bool = False) -> None:
    """Print a sentence that may hold text of others.

    Args:
        text: What to print.
        file: Where; None is standard output.
        lines: Whether line breaks in it are meant.
    """
    print(visible_lines(text) if lines else visible(text), file=sys.stdout if file is None else file)


def csv_cell(text: str) -> str:
    """Return text that a spreadsheet doesn't take for a formula: one apostrophe goes before what may be one.

    Plain numbers stay. Reading back, one apostrophe is taken off where it stands before ``=``, ``+``, ``-`` or ``@``,
    or before more apostrophes and one of these.

    Args:
        text: Of one cell.

    Example:
        >>> [csv_cell(text) for text in ("=1+1", "-2+3", "-2.5", "duck", "'tis", "'=1")]
        ["'=1+1", "'-2+3", '-2.5', 'duck', "'tis", "''=1"]
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def csv_path(path: str) -> str:
    """Return a path that a spreadsheet doesn't take for a formula, and that still names its file.

    Args:
        path: Of one cell; "" where there is none.
    """
    return f"./{path}" if _FORMULA.match(path) else path


def markdown_text(text: str) -> str:
    """Return text that Markdown, its tables and HTML in it show as it is, on one line.

    Args:
        text: Any.
    """
    text = visible(" ".join(text.split()))
    text = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN.sub(r"\\\1", text)


def markdown_code(text: str) -> str:
    """Return text as inline code of Markdown: its fence is longer than any run of backticks in it.

    Args:
        text: Any.
    """
    text = visible(text)
    longest = max(map(len, re.findall("`+", text)), default=0)
    return f"{'`' * (longest + 1)} {text} {'`' * (longest + 1)}" if longest else f"`{text}`"


def latex_text(text: str) -> str:
    """Return text that LaTeX sets as it is, on one line.

    Args:
        text: Any.
    """
    text = "".join(_LATEX.get(sign, sign) for sign in visible(" ".join(text.split())))
    option = "{}" if text.startswith(("[", "*")) else ""  # right behind the end of a row it would be an option of it
    return option + _LIGATURE.sub(r"\1{}", text)
