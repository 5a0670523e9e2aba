"""``starft completion``: bash completes verbs, options, choices and files by the script that it prints."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from starft.__main__ import VERBS, main

ASK = """source "$1"; shift
COMP_WORDS=(starft "$@"); COMP_CWORD=$#
_shtab_starft; printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_what_the_help_names(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "bash"]) == 0
    script = tmp_path / "starft.bash"
    script.write_text(capsys.readouterr().out, encoding="utf-8")
    (tmp_path / "ours.yaml").touch()

    def completed(*words: str) -> set[str]:
        command = ["bash", "-c", ASK, "bash", str(script), *words]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        return {*done.stdout.split()}

    assert completed("") == {*VERBS}
    assert completed("prompts", "ra") == {"rank"}
    assert {"--ckpt_paths", "--kind"} <= completed("soup", "--")
    assert "--base-url" in completed("prompts", "generate", "--b")
    assert completed("soup", "--kind", "") == {"uniform", "greedy", "stock"}
    assert "--trainer.max_epochs" in completed("fit", "--trainer.max")
    assert completed("fit", "--config", "ou") == {"ours.yaml"}
    assert {"--top-k", "--ckpt_path"} <= completed("predict", "--")
    assert completed("completion", "z") == {"zsh"}


def test_an_unknown_shell_is_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["completion", "fish"]) == 2
    assert "expected 'bash' or 'zsh' or 'tcsh'. Got value: fish." in capsys.readouterr().err


def test_without_shtab_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert main(["completion", "bash"]) == 2
    assert "pip install 'starft[completion]'" in capsys.readouterr().err
