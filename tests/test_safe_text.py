"""Names that steer a terminal, look like markup or like a formula: each output shows them as the text that they are."""

import ast
import csv
import io
import json
import re
import sys
from pathlib import Path

import pytest
from rich.table import Table

from fakes import run_folders as fake
from fakes.sources import SRC, parsed
from starft.__main__ import main
from starft.cli.interpolate import sweep
from starft.errors import ConfigError, RunFolderError
from starft.exporting.folder import check_free
from starft.inference.rows import Output, checked_format
from starft.reporting.comparison import compare_markdown
from starft.reporting.console import Console
from starft.reporting.curve import curve_plot
from starft.reporting.data_report import data_tables
from starft.reporting.report_file import check_replaceable
from starft.reporting.summary import results_tables
from starft.safe_text import csv_cell, csv_path, latex_text, markdown_code, markdown_text, say, visible, visible_lines

STEERING = "".join(map(chr, [*range(0x20), *range(0x7F, 0xA0), 0x61C, 0x200E, 0x200F, *range(0x2028, 0x202F)]))
STEERING += "".join(map(chr, [*range(0x2066, 0x206A), 0xFEFF, 0xDC80, 0xD800]))
EVIL = "\x1b[31mduck\x9b2J\u202egib\r\n[/red] :duck: |x"


def steers(text: str) -> set[str]:
    return {sign for sign in text if sign in STEERING} - {"\n"}


@pytest.mark.parametrize("sign", STEERING)
def test_each_steering_character_is_shown_as_an_escape(sign: str) -> None:
    assert visible(f"a{sign}b").isprintable()
    assert visible_lines(f"a{sign}b") == (visible(f"a{sign}b") if sign != "\n" else "a\nb")


def test_letters_signs_and_emoji_stay() -> None:
    text = "naïve 鴨 🦆 👩‍🔬 “x” – ± हिन्दी שלום می‌خواهم \\ 'tis"
    assert visible(text) == text


def test_a_table_shows_markup_and_emoji_codes_as_text_and_escapes_the_rest() -> None:
    out = io.StringIO()
    table = Table(EVIL, title=EVIL)
    table.add_row(EVIL)
    console = Console(file=out, width=120)
    console.print(table)
    console.print(EVIL)
    assert not steers(out.getvalue())
    assert out.getvalue().count("[/red] :duck:") == 4


@pytest.mark.parametrize("kind", ["results", "data"])
def test_the_tables_of_the_verbs_take_any_name(kind: str) -> None:
    one = {
        "ood": False,
        "metrics": {"acc": 0.5, EVIL: 0.5},
        "groups": [{"name": EVIL, "n": 4, "acc": 1.0, "ci95": [0, 1]}] * 2,
    }

    class Split:
        name = title = split = example = EVIL
        images, published, classes = 3, None, (1, 1)
        class_names = templates = (EVIL,)
        groups, captions = ((EVIL, 3, None),), (EVIL,)

    out = io.StringIO()
    for table in results_tables({"eval_sets": {EVIL: one}}) if kind == "results" else data_tables([Split()], [EVIL]):
        Console(file=out, width=400).print(table)
    assert not steers(out.getvalue())
    assert "[/red] :duck:" in out.getvalue()


def test_an_error_has_no_line_that_begins_as_ours(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["report", "a\x1b[2Jb\nstarft: All is well."]) == 2
    told = capsys.readouterr().err
    assert not steers(told)
    assert [line for line in told.splitlines() if line.startswith("starft: ")] == [told.splitlines()[0]]


def test_a_note_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    say(f"Note: {EVIL}")
    assert capsys.readouterr().out.count("\n") == 1


def test_nothing_else_prints() -> None:
    """`say` and `Console` are the one way to the terminal."""
    for path in sorted(SRC.rglob("*.py")):
        if path.relative_to(SRC).as_posix() in ("safe_text.py", "reporting/console.py"):
            continue
        for node in ast.walk(parsed(path)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
                assert node.func.id != "print", f"{path}: print; take say of starft.safe_text"
            if isinstance(node, ast.ImportFrom):
                assert node.module not in ("rich", "rich.console"), f"{path}: take Console of starft.reporting.console"


def test_no_message_cites_a_file_that_an_installed_package_lacks() -> None:
    for path in sorted(SRC.rglob("*.py")):
        tree = parsed(path)
        comments = {node.value for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and node not in comments:
                assert "docs/" not in node.value, f"{path}: say it, as who installs starft by pip has no docs/"


@pytest.mark.parametrize(
    ("text", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("-2+3", "'-2+3"),
        ("+cmd", "'+cmd"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        (" =1", "' =1"),
        ("\r=1", "'\r=1"),
        ("＝1", "'＝1"),
        ("'=1", "''=1"),
        ("-", "'-"),
        ("-2.5", "-2.5"),
        ("+1e-3", "+1e-3"),
        ("'tis", "'tis"),
        ("duck", "duck"),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_a_cell_is_no_formula_and_its_text_can_be_read_back(text: str, cell: str) -> None:
    assert csv_cell(text) == cell
    back = cell[1:] if re.match(r"'+\s*[=+\-@\t\r＝＋－＠]", cell) else cell  # as docs/using.md says
    assert back == text


def test_rows_of_predictions_hold_no_formula_and_numbers_and_paths_stay_usable(tmp_path: Path) -> None:
    columns = ["path", "label", "probability", "label_index"]
    with Output(tmp_path / "p.csv", None, columns) as output:
        for path, label in (("-1.jpg", "=1+1"), ("a/b.jpg", "-2")):
            output.write([{"path": path, "label": label, "probability": 0.25, "label_index": "3"}])
    with (tmp_path / "p.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.reader(file))
    assert rows[1:] == [["./-1.jpg", "'=1+1", "0.250000", "3"], ["a/b.jpg", "-2", "0.250000", "3"]]
    assert csv_path("") == ""
    with Output(tmp_path / "p.jsonl", None, columns) as output:
        output.write([{"path": "-1.jpg", "label": "=1+1", "probability": 0.25, "label_index": "3"}])
    assert json.loads((tmp_path / "p.jsonl").read_text())["label"] == "=1+1", "JSON lines hold names as they are"


def test_rows_that_go_to_a_terminal_steer_nothing(
    monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    with Output(None, "csv", ["path", "label"]) as output:
        output.write([{"path": "a", "label": "\x1b[2Jduck"}])
    assert b"\x1b" not in capfdbinary.readouterr().out


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (r"a_b & 5 % of $x$ #1 {y}", r"a\_b \& 5 \% of \$x\$ \#1 \{y\}"),
        (r"~ ^ \z", r"\textasciitilde{} \textasciicircum{} \textbackslash{}z"),
        ("<a|b>", r"\textless{}a\textbar{}b\textgreater{}"),
        ("[2cm]", "{}[2cm]"),
        ("*", "{}*"),
        ("a--b", "a-{}-b"),
        ("\x1b[1m", r"\textbackslash{}x1b[1m"),
    ],
)  # fmt: skip
def test_latex_sets_a_name_as_it_is(text: str, told: str) -> None:
    assert latex_text(text) == told


def test_markdown_shows_a_name_as_it_is() -> None:
    assert (
        markdown_text("a|b *c* <i> [d](e) _f_\n## g\x1b[1m") == r"a\|b \*c\* &lt;i&gt; \[d\](e) \_f\_ \#\# g\\x1b\[1m"
    )
    assert markdown_code("a``b") == "``` a``b ```"
    results = {"seeds": [0], "options": ["--a=`b`"], "baseline": "a|b\nc", "configs": {}}
    results["configs"] = {
        name: {"metrics": {"m": {"mean": 0.5, "sd": None, "difference": {"mean": 0.1, "ci95": None}}}}
        | {cost: [1] for cost in ("training_seconds", "peak_memory_bytes", "peak_gpu_memory_bytes")}
        | {"git_commits": []}
        for name in ("a|b\nc", "<script>")
    }
    told = compare_markdown(results, {"m": "x|y"})
    assert r"a\|b c" in told
    assert "<script>" not in told
    assert "`` --a=`b` ``" in told


@pytest.mark.parametrize("suffix", ["html", "md", "csv", "tex"])
def test_every_format_of_the_report_escapes_names(suffix: str, tmp_path: Path) -> None:
    name = "=duck\x1b[31m\u202e & | _x_"
    groups = {f"{name} on land": (9, 10), f"{name} on water": (5, 10)}
    fake.write_run(tmp_path / "runs" / name, {name: fake.eval_set(groups)}, pool={**fake.POOL, "name": name})
    fake.write_run(tmp_path / "runs" / "b", {name: fake.eval_set(groups)})
    target = tmp_path / f"r.{suffix}"
    assert main(["report", str(tmp_path / "runs"), "--out", str(target)]) == 0
    told = target.read_bytes().decode()
    assert not steers(told)
    if suffix == "csv":
        rows = list(csv.DictReader(io.StringIO(told)))
        assert {row["method"][0] for row in rows} == {"'", "b"}
        assert all(0 <= float(row["value"]) <= 1 for row in rows)
    if suffix == "tex":
        assert r"\& \textbar{} \_x\_" in told


def test_dollar_signs_in_names_are_no_formula_of_a_picture(tmp_path: Path) -> None:
    name = r"$\foo$/acc"
    rows = [{"alpha": alpha, "metrics": {name: 0.5, "ood_acc": 0.4}} for alpha in (0.0, 1.0)]
    curve_plot(rows, [name, "ood_acc"], tmp_path / "curve.png")
    assert (tmp_path / "curve.png").stat().st_size


OWNED = {"html": "report.html", "md": "report.md", "csv": "report.csv", "latex": "report.tex", "png": "report.png"}


@pytest.mark.slow
@pytest.mark.parametrize("form", OWNED)
def test_a_report_replaces_only_a_report(form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = fake.write_run(tmp_path / "run", {"id": fake.eval_set({"all": (9, 10)})}, steps=2)
    before = (run / "results.json").read_bytes()
    logs = run / "logs" / "version_0" / "metrics.csv"
    for path in (run / "results.json", logs, run / "config.yaml"):
        held = path.read_bytes()
        assert main(["report", str(run), "--format", form, "--out", str(path)]) == 2
        assert "--overwrite" in capsys.readouterr().err
        assert path.read_bytes() == held
    target = tmp_path / OWNED[form]
    for words in ([], []):  # the second time it replaces its own page
        assert main(["report", str(run), "--format", form, "--out", str(target), *words]) == 0
    assert target.stat().st_size
    target.write_bytes(b"path,label\n1.jpg,duck\n")
    assert main(["report", str(run), "--format", form, "--out", str(target)]) == 2
    assert main(["report", str(run), "--format", form, "--out", str(target), "--overwrite"]) == 0
    assert (run / "results.json").read_bytes() == before


def test_no_other_verb_replaces_what_it_did_not_write(tmp_path: Path) -> None:
    """Those that need no model; the others are looked at beside their verbs."""
    (tmp_path / "world.png").write_bytes(b"a picture of mine")
    assert main(["demo", "--show", "--out", str(tmp_path)]) == 2
    assert (tmp_path / "world.png").read_bytes() == b"a picture of mine"
    pool = tmp_path / "pool.json"
    pool.write_text("{}")
    assert main(["prompts", "generate", "backgrounds", "--out", str(pool), "--offline"]) == 2
    assert pool.read_text() == "{}"
    (tmp_path / "interpolation.png").write_bytes(b"a picture of mine")
    with pytest.raises(RunFolderError, match=r"interpolation\.png exists already"):
        sweep(None, None, [0.0], None, tmp_path)  # type: ignore[arg-type]  # refused before it looks at them
    with pytest.raises(ConfigError, match="isn't a file that can be replaced"):
        check_replaceable(Path("/dev/null"), overwrite=True)


def test_a_link_is_replaced_by_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A link that leads nowhere (yet) is somebody's too, such as one to a disk that isn't mounted."""
    monkeypatch.chdir(tmp_path)
    names = ("a.html", "a.json", "a.csv", "world.png", "interpolation.png", "a.yaml", "export", "a.ckpt", "own.html")
    for name in names[:-1]:
        Path(name).symlink_to("not mounted")
    Path("table.csv").write_text("path,label\n")
    Path("mine").write_bytes(b"")
    Path("own.html").symlink_to("mine")
    run = fake.write_run(tmp_path / "run", {"id": fake.eval_set({"all": (9, 10)})})
    for words in (
        ["report", str(run), "--out=a.html"],
        ["report", str(run), "--out=own.html"],
        ["demo", "--show", "--out=."],
        ["prompts", "generate", "backgrounds", "--out=a.json", "--offline"],
        ["init", "table.csv", "--out=a.yaml"],
        ["soup", "--ckpt_paths=x.ckpt,y.ckpt", "--out=a.ckpt"],
    ):
        assert main(words) == 2, words
    with pytest.raises(RunFolderError, match=r"a\.csv exists already"):
        checked_format(Path("a.csv"), None)
    with pytest.raises(RunFolderError, match=r"interpolation\.png exists already"):
        sweep(None, None, [0.0], None, tmp_path)  # type: ignore[arg-type]
    with pytest.raises(RunFolderError, match="export holds something already"):
        check_free(Path("export"))
    assert all(Path(name).is_symlink() for name in names)
    assert main(["report", str(run), "--out=a.html", "--overwrite"]) == 0
    assert not Path("a.html").is_symlink()
