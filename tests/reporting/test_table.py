"""The one table: the same cells in each format, any text in them shown as text."""

import csv
import io
import re
from html.parser import HTMLParser

import pytest
from markupsafe import Markup

from starft.reporting.console import Console
from starft.reporting.table import Number, Table, percent, points

EVIL = "[red]=1+1 & <b>|_x_\x1b[2J"
TABLE = Table(
    ["name", EVIL, "n"],
    [[EVIL, Number("80.0", "1.4", "77.4–82.4", best=True), 7], ["b", Number("-20.0", interval="-21.0 to -18.0"), -0.5]],
    title="one [table]",
)


def printed(table: Table) -> list[list[str]]:
    out = io.StringIO()
    Console(file=out, width=200).print(table)
    lines = [line.replace("┃", "│") for line in out.getvalue().splitlines()]
    return [[cell.strip() for cell in line.strip("│ ").split("│")] for line in lines if "│" in line]


def test_on_a_terminal() -> None:
    shown = EVIL.replace("\x1b", r"\x1b")
    assert printed(TABLE) == [
        ["name", shown, "n"],
        [shown, "80.0 ± 1.4 (77.4–82.4)", "7"],
        ["b", "-20.0 (-21.0 to -18.0)", "-0.5"],
    ]


def test_what_does_not_fit_goes_on_in_a_new_line() -> None:
    out = io.StringIO()
    Console(file=out, width=20).print(Table(["name", "n"], [["a" * 30, "1234567"]]))
    assert "…" not in out.getvalue()
    assert out.getvalue().count("a") - "name".count("a") == 30


def test_sums_are_bold() -> None:
    table = Table(["name", "n"], [["a", "1"], ["all", "2"]], sums=1).__rich__()
    assert [row.style for row in table.rows] == [None, "bold"]


def test_as_markdown() -> None:
    name = r"\[red\]=1+1 &amp; &lt;b&gt;\|\_x\_\\x1b\[2J"
    assert TABLE.markdown().splitlines() == [
        f"| name | {name} | n |",
        "| --- | ---: | ---: |",
        f"| {name} | **80.0** ± 1.4 (77.4–82.4) | 7 |",
        "| b | -20.0 (-21.0 to -18.0) | -0.5 |",
    ]


def test_as_latex() -> None:
    name = r"{}[red]=1+1 \& \textless{}b\textgreater{}\textbar{}\_x\_\textbackslash{}x1b[2J"
    assert TABLE.latex().splitlines() == [
        r"\begin{tabular}{lrr}",
        r"\hline",
        f"name & {name} & n " + r"\\ \hline",
        f"{name} & " + r"\textbf{80.0} $\pm$ 1.4 (77.4--82.4) & 7 \\",
        r"b & $-$20.0 ($-$21.0 to $-$18.0) & -0.5 \\",
        r"\hline",
        r"\end{tabular}",
    ]


def test_as_csv_texts_are_no_formulas_and_numbers_stay() -> None:
    rows = list(csv.reader(io.StringIO(Table(["a", "b", "c"], [["=1+1", -0.5, ""], ["x\x1b", 1, "-2"]]).csv())))
    assert rows == [["a", "b", "c"], ["'=1+1", "-0.5", ""], [r"x\x1b", "1", "-2"]]


def test_as_html() -> None:
    page = Table(
        ["name", "of", "n"], [[EVIL, Markup("<i>1</i>"), Number("80.0", "1.4", "77–82", best=True)]], align="llr"
    )
    found = page.html()
    assert '<th>name</th><th class="text">of</th><th>n</th>' in found
    assert "<td>[red]=1+1 &amp; &lt;b&gt;|_x_" + r"\x1b" + '[2J</td><td class="text"><i>1</i></td>' in found
    assert '<td><span class="best">80.0</span> ± 1.4<small>77–82</small></td>' in found
    tags: list[str] = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attrs: tags.append(tag)  # type: ignore[method-assign]
    parser.feed(found)
    assert tags == ["table", "tr", *["th"] * 3, "tr", "td", "td", "i", "td", "span", "small"]
    assert len(re.findall("</tr>", found)) == 2


def test_a_row_of_another_length_is_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        Table(["a", "b"], [["1"]]).html()


def test_shares_and_points_have_one_digit_and_no_negative_zero() -> None:
    assert [percent(share) for share in (None, 0.0, 0.1234, 1.0)] == ["–", "0.0", "12.3", "100.0"]
    given = (-0.0, -0.0004, 0.0004, -0.0006, 0.0123, -1.0)
    assert [points(one) for one in given] == ["0.0", "0.0", "0.0", "-0.1", "+1.2", "-100.0"]
