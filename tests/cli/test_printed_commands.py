"""Commands that starft prints are run as they are printed; the pre-trained model is scored once, not once a seed."""

import json
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml

from fakes import run_folders
from starft.__main__ import main
from starft.cli import compare, demo
from starft.cli.single_run import Run, run_for_each_seed
from starft.runs.run_reader import find_runs

MINI = Path(__file__).parents[2] / "lightning_configs" / "mini"
GROUPS = dict.fromkeys(run_folders.GROUPS, (8, 10))


def printed(told: str, verb: str) -> list[str]:
    """Return the words behind ``starft`` of the only command with this verb."""
    lines = [line.partition("starft ")[2] for line in told.splitlines() if f"starft {verb} " in line]
    assert len(lines) == 1, told
    return shlex.split(lines[0])


def write(run: Run) -> None:
    """Stand in for training and test."""
    names = {"id": False, "ood": True, "style": True, "groups": False}
    sets = {name: run_folders.eval_set(GROUPS, ood) for name, ood in names.items()}
    checkpoint = f"{run.folder}/checkpoints/last.ckpt" if run.trains else None
    run_folders.write_run(run.folder, sets, seed=run.seed, ckpt_path=checkpoint)


@pytest.mark.slow
@pytest.mark.parametrize("seeds", ["101", "3,5"])
def test_compare_ends_with_a_report_of_all_its_runs(
    seeds: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[Run] = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(compare, "finish_apart", lambda run: (made.append(run), write(run)))
    monkeypatch.setattr(compare, "check_run", lambda words: None)
    out = "runs of mine/it's"
    words = ["compare", f"--configs={MINI}/zeroshot.yaml,{MINI}/ce.yaml", f"--seeds={seeds}", f"--out={out}"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "starft report" in told.splitlines()[-1]
    assert main(printed(told, "report")) == 0
    page = Path(out, "report.html").read_text(encoding="utf-8")
    count = len(seeds.split(","))
    assert f"{count + 1} runs in\n2 tested methods" in page
    assert [run.title for run in made].count("zeroshot") == 1
    assert main(words) == 0
    assert len(made) == count + 1, "what is done is done"
    assert main([*words[:2], "--seeds=7", words[3]]) == 0
    assert [run.title for run in made].count("zeroshot") == 1, "nor for other seeds later"
    found = json.loads(Path(out, "results.json").read_text(encoding="utf-8"))
    assert found["configs"]["ce"]["metrics"]["id/acc"]["difference"]["n"] == 1


@pytest.mark.slow
def test_the_demo_ends_with_a_report_of_all_its_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(demo, "finish", write)
    out = tmp_path / "a demo"
    assert main(["demo", "--seeds", "101", "--out", str(out)]) == 0
    told = capsys.readouterr().out
    assert "starft report" in told.splitlines()[-1]
    assert main(printed(told, "report")) == 0
    assert "5 runs in\n5 tested methods" in (out / "report.html").read_text(encoding="utf-8")
    more = printed(told, "demo")
    assert more == ["demo", "--seeds", "101,102,103", "--out", str(out)]
    assert main(more) == 0
    assert len(find_runs([out])) == 4 * 3 + 1


def test_one_run_stands_for_all_seeds_only_where_no_seed_matters(tmp_path: Path) -> None:
    frozen = yaml.safe_load((MINI / "zeroshot.yaml").read_text(encoding="utf-8"))

    def seeds_of(content: object, *options: str) -> list[int]:
        return [run.seed for run in run_for_each_seed("a", Path("a.yaml"), content, tmp_path, [3, 1], options)]  # type: ignore[arg-type]

    assert seeds_of(frozen) == [3, 3]
    assert seeds_of(yaml.safe_load((MINI / "ce.yaml").read_text(encoding="utf-8"))) == [3, 1]
    assert seeds_of({**frozen, "model": {**frozen["model"], "pretrained": None}}) == [3, 1], "weights drawn by the seed"
    assert seeds_of(frozen, "--model.pretrained=null") == [3, 1]
    for done in (8, 1):
        (tmp_path / f"seed-{done}").mkdir()
        (tmp_path / f"seed-{done}" / "results.json").write_text("{}")
        assert seeds_of(frozen) == [done] * 2


@pytest.mark.slow
def test_a_run_keeps_its_samples_unasked_and_its_next_command_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "a run"
    sizes = {"train_size": 24, "val_size": 12, "test_size": 12}
    small = [f"--data.init_args.{key}={value}" for key, value in sizes.items()]
    options = [
        *small,
        "--data.init_args.batch_size=12",
        "--trainer.max_epochs=1",
        "--trainer.enable_progress_bar=false",
    ]
    assert main(["fit", f"--config={MINI}/ce.yaml", *options, f"--trainer.default_root_dir={folder}"]) == 0
    assert main(printed(capsys.readouterr().out, "test")) == 0
    assert {"samples.npz", "samples", "results.json"} <= {path.name for path in folder.iterdir()}
    kept = (folder / "samples.npz").read_bytes()
    (folder / "results.json").rename(tmp_path / "results.json")
    words = [f"--config={folder / 'config.yaml'}", f"--ckpt_path={folder / 'checkpoints' / 'last.ckpt'}"]
    monkeypatch.setattr("starft.runs.sample_writer.MOST", 1)
    assert main(["test", *words]) == 0
    told = capsys.readouterr()
    assert "none is kept one by one" in told.err
    assert (folder / "samples-1.npz").read_bytes() == kept, "what an earlier test kept is kept"
    assert not (folder / "samples.npz").exists()
    assert "results in %" in told.out
    assert "accuracy in %" not in told.out, "ECE is none"
    assert np.load(folder / "samples-1.npz")["right"].dtype == bool
