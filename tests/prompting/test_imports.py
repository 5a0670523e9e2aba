"""Who imports whom: openai is an extra that only asking needs, and only one file knows it."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from chat_server import Generate

import starft

SRC = Path(starft.__file__).parent


def imported(path: Path) -> set[str]:
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names.add(node.module or "")
    return names


def test_only_the_client_imports_openai() -> None:
    assert [path.name for path in SRC.rglob("*.py") if any(n.split(".")[0] == "openai" for n in imported(path))] == [
        "client.py"
    ]


def test_nothing_but_the_command_imports_prompting() -> None:
    for path in SRC.rglob("*.py"):
        if path.parent.name != "prompting":
            assert not any(name.startswith("starft.prompting") for name in imported(path)), path


@pytest.mark.slow
def test_import_starft_and_fit_do_not_import_openai() -> None:
    code = (
        "import sys, starft, starft.cli, starft.prompts_cli, starft.prompting.generate, starft.prompting.rank_command\n"
        "from starft.__main__ import main\n"
        "main(['--help'])\n"
        "sys.exit('openai' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


def test_without_openai_one_sentence_says_how_to_install_it(
    generate: Generate, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "openai", None)
    monkeypatch.delitem(sys.modules, "starft.prompting.client", raising=False)
    assert generate() == 2
    said = capsys.readouterr().err
    assert said == "starft: Asking a language model needs the openai package; run `pip install starft[llm]`.\n"
    assert generate("general.yaml", "--dry-run") == 0, "what asks nothing needs no client"
