"""A typed function as a command: its options, their help, and what a mistake is answered with."""

from pathlib import Path
from typing import Literal

import pytest

from starft.config.command import run_command
from starft.errors import ConfigError

calls: list[tuple[object, ...]] = []


def bake(
    flour: Path,
    toppings: list[str],
    *,
    oven_at: int,
    kind: Literal["thin", "thick"] = "thin",
    ckpt_path: str | None = None,
    herbs: list[Path] = [],  # noqa: B006  # never changed
    dry_run: bool = False,
    overrides: tuple[str, ...] = (),
) -> int:
    """Bake a pizza.

    Its second paragraph stands apart.

    Args:
        flour: A file.
        toppings: What goes on it.
        oven_at: Degrees.
        kind: Of the dough.
        ckpt_path: Lightning's own name.
        herbs: More files.
        dry_run: Bake nothing.
        overrides: They change the oven.
    """
    calls.append((flour, toppings, oven_at, kind, ckpt_path, herbs, dry_run, overrides))
    return 3


def run(*words: str) -> int:
    return run_command(bake, "starft bake", words, ["oven.door"])


def test_every_kind_of_option_arrives() -> None:
    calls.clear()
    assert run("f", "a", "b", "--oven-at=220") == 3
    words = ("f", "a", "--oven-at", "9", "--kind=thick", "--ckpt_path=c", "--herbs", "x", "y", "--dry-run")
    assert run(*words, "--oven.fan", "on", "--oven.light=off") == 3
    assert calls == [
        (Path("f"), ["a", "b"], 220, "thin", None, [], False, ()),
        (Path("f"), ["a"], 9, "thick", "c", [Path("x"), Path("y")], True, ("--oven.fan=on", "--oven.light=off")),
    ]


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["f"], "The following arguments are required: toppings, oven_at. See `starft bake --help`."),
        (["f", "a", "--oven-at=hot"], "--oven-at: expected int. Got value: hot. See `starft bake --help`."),
        (["f", "a", "--oven-at=1", "--kind=x"], "--kind: expected 'thin' or 'thick'. Got value: x. See `starft bake"),
        (["f", "a", "--oven-at=1", "--kind=thik"], "--kind: expected 'thin' or 'thick'. Got value: thik. Did you"),
        (["f", "a", "--oven-at=1", "pie.yaml"], "Unrecognized arguments: pie.yaml. See `starft bake --help`."),
        (["f", "a", "--oven-at=1", "--dryrun"], "There is no option --dryrun. Did you mean --dry-run?"),
        (["f", "a", "--oven-at=1", "--epochs=1"], "There is no option --epochs. Did you mean --trainer.max_epochs?"),
        (["f", "a", "--oven-at=1", "--seed=1"], "There is no option --seed. See `starft bake --help`."),
        (["f", "a", "--oven-at=1", "--flour=x"], "There is no option --flour. See `starft bake --help`."),
        (["", "a", "--oven-at=1"], "flour: the path is empty; give one, or leave it out. See `starft bake --help`."),
        (["f", "a", "--oven-at=1", "--oven.door=1"], "oven.door is set by this command itself; leave it out."),
    ],
)
def test_a_mistake_is_one_sentence(words: list[str], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        run(*words)
    assert str(caught.value).startswith(sentence)


def test_help_is_signature_and_docstring(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    with pytest.raises(SystemExit, match="0"):
        run("--help")
    text = capsys.readouterr().out
    assert "Bake a pizza.\n\nIts second paragraph stands apart.\n\nOptions with a dot" in text
    assert "--oven-at OVEN_AT     Degrees. (required, type: int)" in text
    assert "--herbs [HERBS ...]" in text
    assert "--overrides" not in text
