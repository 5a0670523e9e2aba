"""The comparison: what it runs, what it doesn't run again, what it refuses, and its numbers."""

import json
import os
import signal
import threading
import time
from multiprocessing import active_children
from pathlib import Path
from typing import Any

import pytest
import yaml

from starft.__main__ import main
from starft.cli import compare
from starft.cli import single_run as runs
from starft.cli.single_run import Run, finish_apart
from starft.errors import AllTrained, ConfigError, Stopped
from starft.files.shipped import shipped
from starft.mini.worlds import WORLDS

MINI = shipped("lightning_configs") / "mini"
SMALL = {"train_size": 24, "val_size": 12, "test_size": 12, "batch_size": 12}
ACCURACIES = {"zeroshot": [0.5, 0.5, 0.5], "ce": [0.6, 0.7, 0.8], "flyp": [0.6, 0.7, 0.8]}


@pytest.fixture(autouse=True)
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three of the shipped configs, small, in the working directory."""
    monkeypatch.chdir(tmp_path)
    for name in ACCURACIES:
        keys = yaml.safe_load((MINI / f"{name}.yaml").read_text(encoding="utf-8"))
        keys["data"]["init_args"] = dict(SMALL)
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(keys), encoding="utf-8")
    return tmp_path


class FakeRuns:
    """Stands in for `finish_apart`: notes what is run, writes results, may be interrupted."""

    def __init__(self) -> None:
        self.made: list[tuple[str, int]] = []
        self.words: tuple[str, ...] = ()
        self.trained: dict[str, bool] = {}
        self.stop_at: int | None = None
        self.sets: dict[str, dict[str, float]] = {}

    def __call__(self, run: Run) -> None:
        if self.stop_at == len(self.made):
            raise Stopped("Stopped after step 3.", 130)
        self.made.append((run.title, run.seed))
        self.words, self.trained[run.title] = run.options, run.trains
        acc = ACCURACIES[run.title][run.seed]
        sets: dict[str, dict[str, float]] = {name: {"acc": acc} for name in ("id", "ood", "style")}
        sets["groups"] = {"acc": acc, "worst_group_acc": acc / 2, "group_mean_acc": acc}
        sets |= self.sets
        training = {"seconds": 10.0 + run.seed, "peak_memory_bytes": 3e8 + 1e6 * run.seed, "peak_gpu_memory_bytes": 0}
        held = {
            "eval_sets": {
                name: {"ood": name in ("ood", "style"), "metrics": metrics, "groups": []}
                for name, metrics in sets.items()
            },
            "ood_acc": acc,
            "training": training if run.trains else None,
            "peak_memory_bytes": 2e8,
            "git_commit": "0123456789abcdef",
        }
        run.folder.mkdir(parents=True, exist_ok=True)
        (run.folder / "results.json").write_text(json.dumps(held), encoding="utf-8")


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeRuns:
    made = FakeRuns()
    monkeypatch.setattr(compare, "finish_apart", made)
    monkeypatch.setattr(compare, "check_run", lambda words: None)  # parses each config, which takes its time
    return made


def results() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(Path("out/results.json").read_text(encoding="utf-8"))
    return loaded


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    capsys.readouterr()
    assert main(["compare", "--out=out", *words]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0].removeprefix("starft: ")


def test_numbers_by_hand(fake: FakeRuns, capsys: pytest.CaptureFixture[str]) -> None:
    """CE - zero-shot: 0.1, 0.2, 0.3: mean 0.2, deviation 0.1; half-width t(0.975, 2) 4.30265 * 0.1 / sqrt(3)."""
    assert main(["compare", "--configs=zeroshot.yaml,ce.yaml", "--seeds=0,1,2", "--out=out"]) == 0
    assert fake.trained == {"zeroshot": False, "ce": True}, "zeroshot.yaml says max_epochs 0"
    found = results()
    assert (found["seeds"], found["baseline"], found["options"]) == ([0, 1, 2], "zeroshot", [])
    assert found["metrics"] == ["id/acc", "ood/acc", "style/acc", "groups/group_mean_acc", "groups/worst_group_acc"]
    ce = found["configs"]["ce"]
    assert ce["metrics"]["id/acc"]["values"] == [0.6, 0.7, 0.8]
    assert ce["metrics"]["id/acc"]["mean"] == pytest.approx(0.7)
    assert ce["metrics"]["id/acc"]["sd"] == pytest.approx(0.1)
    half = 4.302653 * 0.1 / 3**0.5
    difference = ce["metrics"]["id/acc"]["difference"]
    assert difference == {"mean": pytest.approx(0.2), "ci95": pytest.approx([0.2 - half, 0.2 + half]), "n": 3}
    assert ce["training_seconds"] == [10, 11, 12]
    table = Path("out/table.md").read_text(encoding="utf-8")
    row = "| ce | 70.0 ± 10.0 | 70.0 ± 10.0 | 70.0 ± 10.0 | 70.0 ± 10.0 | 35.0 ± 5.0 | 11 | 302 | 0123456 |"
    assert row in table.splitlines()
    assert "| zeroshot | 50.0 ± 0.0 " in table
    assert "| – | 200 | 0123456 |" in table, "nothing was trained: the memory is the test's"
    assert "| ce | +20.0 (-4.8 to +44.8) |" in table
    assert "mean over 3 seeds (95 % interval)" in " ".join(capsys.readouterr().out.split())


def test_other_data_than_the_baselines_are_told(fake: FakeRuns, capsys: pytest.CaptureFixture[str]) -> None:
    """Not where an option gives all the same, nor how images come."""
    keys = yaml.safe_load(Path("ce.yaml").read_text(encoding="utf-8"))
    keys["data"]["init_args"] |= {"imbalance": 4.0, "sampling": "class_balanced"}
    Path("ce.yaml").write_text(yaml.safe_dump(keys), encoding="utf-8")
    words = ["compare", "--configs=zeroshot.yaml,ce.yaml"]
    assert main([*words, "--out=unlike"]) == 0
    note = "Note: ce and zeroshot differ in data.init_args.imbalance, so not by method alone; "
    note += "give it as an option, for all."
    assert capsys.readouterr().err.splitlines().count(note) == 1
    for number, given in enumerate((["--data.init_args.imbalance=4"], ["--data.init_args.imbalance", "4"])):
        assert main([*words, f"--out=same-{number}", *given]) == 0
        assert "Note: ce" not in capsys.readouterr().err


def test_one_seed_has_no_interval(fake: FakeRuns, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compare", "--configs=zeroshot.yaml,ce.yaml", "--out=out"]) == 0
    metric = results()["configs"]["ce"]["metrics"]["id/acc"]
    assert metric["difference"] == {"mean": pytest.approx(0.1), "ci95": None, "n": 1}
    assert metric["sd"] is None
    assert "one seed, so no interval" in " ".join(capsys.readouterr().out.split())
    assert "| ce | +10.0 |" in Path("out/table.md").read_text(encoding="utf-8")


def test_values_that_a_run_would_refuse_are_told_before_any_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the last config too."""
    made = FakeRuns()
    monkeypatch.setattr(compare, "finish_apart", made)
    text = Path("ce.yaml").read_text(encoding="utf-8")
    Path("worse.yaml").write_text(text.replace("lr: 0.0006", "lr: -1"), encoding="utf-8")
    assert refused(capsys, "--configs=ce.yaml,worse.yaml") == "lr must be a finite number, at least 0; got -1.0."
    assert made.trained == {}
    assert not Path("out").exists()


def test_the_baseline_is_chosen(fake: FakeRuns) -> None:
    assert main(["compare", "--configs=ce.yaml,zeroshot.yaml", "--baseline=zeroshot", "--out=out"]) == 0
    assert results()["configs"]["ce"]["metrics"]["id/acc"]["difference"]["mean"] == pytest.approx(0.1)


def test_what_is_done_is_done_and_what_is_missing_is_run(fake: FakeRuns) -> None:
    assert main(["compare", "--configs=ce.yaml", "--seeds=0,1", "--out=out"]) == 0
    assert fake.made == [("ce", 0), ("ce", 1)]
    assert main(["compare", "--configs=ce.yaml", "--seeds=0,1", "--out=out"]) == 0
    assert len(fake.made) == 2
    assert main(["compare", "--configs=ce.yaml,flyp.yaml", "--seeds=0,1,2", "--out=out"]) == 0
    assert fake.made[2:] == [("flyp", 0), ("flyp", 1), ("ce", 2), ("flyp", 2)]
    assert main(["compare", "--configs=flyp.yaml", "--seeds=2", "--out=out"]) == 0
    assert len(fake.made) == 6
    assert list(results()["configs"]) == ["flyp"], "the table is of what was asked for"


def test_a_stop_tells_how_to_go_on(fake: FakeRuns, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", "--configs=ce.yaml,flyp.yaml", "--out=out"]
    fake.stop_at = 1
    assert main(words) == 130
    told = capsys.readouterr().err
    assert told == "starft: Stopped while running flyp, seed 0; give the same command again to go on.\n"
    assert not Path("out/results.json").exists()
    fake.stop_at = None
    assert main(words) == 0
    assert fake.made == [("ce", 0), ("flyp", 0)]


def test_options_go_to_every_run(fake: FakeRuns) -> None:
    words = ["compare", "--configs=ce.yaml", "--trainer.max_epochs", "3", "--out=out", "--model.lr=0.5"]
    assert main(words) == 0
    assert fake.words == ("--trainer.max_epochs=3", "--model.lr=0.5")
    assert results()["options"] == ["--trainer.max_epochs=3", "--model.lr=0.5"]
    assert "`--trainer.max_epochs=3 --model.lr=0.5`" in Path("out/table.md").read_text(encoding="utf-8")


def test_a_world_gives_each_method_its_own_settings(fake: FakeRuns, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["compare", "--configs=mini/zeroshot,mini/ce", "--world=weak", "--out=out", "--data.init_args.val_size=24"]
    assert main(words) == 0
    keys = WORLDS["weak"].keys
    own = results()["configs"]
    for method in ("zeroshot", "ce"):
        given = dict(option.removeprefix("--").split("=", 1) for option in own[method]["options"])
        assert given["model.pretrained"] == "mini_weak"
        assert given["data.init_args.home_share"] == str(keys["data.init_args.home_share"])
        assert ("trainer.max_epochs" in given) == (method == "ce")
    assert fake.words == (*own["ce"]["options"], "--data.init_args.val_size=24"), "what a person gives comes last"
    told = refused(capsys, "--configs=mini/zeroshot,mini/ce", "--data.init_args.val_size=24")
    assert told.startswith("out holds something else (")
    assert told.endswith("), no comparison; give another --out or move it away.")
    told = refused(capsys, "--configs=mini/zeroshot,mini/ce", "--world=many")
    assert "no comparison on the world many" in told


@pytest.mark.parametrize("config", ["csv/ce", "ce.yaml"])
def test_a_world_is_for_the_shipped_configs_of_the_embedded_one(
    config: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the world sets in anybody's own may be something else there."""
    told = refused(capsys, f"--configs={config}", "--world=weak")
    assert told.startswith("--world weak takes shipped configs of mini/, such as mini/ce; got ")


def test_metrics_are_chosen(fake: FakeRuns) -> None:
    words = ["compare", "--configs=ce.yaml", "--out=out", "--metrics=groups/worst_group_acc,ood_acc"]
    assert main(words) == 0
    assert results()["metrics"] == ["groups/worst_group_acc", "ood_acc"]
    assert "| config | worst group | OOD mean |" in Path("out/table.md").read_text(encoding="utf-8")


def test_without_a_choice_the_columns_are_what_all_have(fake: FakeRuns) -> None:
    fake.sets = {"sketch": {"acc": 0.1, "text_head_acc": 0.2}}
    assert main(["compare", "--configs=ce.yaml,flyp.yaml", "--out=out"]) == 0
    expected = ["id/acc", "ood/acc", "style/acc", "groups/acc", "groups/worst_group_acc", "groups/group_mean_acc"]
    assert results()["metrics"] == [*expected, "sketch/acc", "ood_acc"]
    assert "| groups: worst group |" in Path("out/table.md").read_text(encoding="utf-8")


def test_two_configs_of_one_name(fake: FakeRuns, capsys: pytest.CaptureFixture[str]) -> None:
    Path("mine").mkdir()
    Path("mine/ce.yaml").write_bytes(Path("ce.yaml").read_bytes())
    told = refused(capsys, "--configs=ce.yaml,mine/ce.yaml")
    assert told == "ce.yaml and mine/ce.yaml are both called ce; name one anew: NAME=mine/ce.yaml."
    ACCURACIES["mine"] = [0.1]
    assert main(["compare", "--configs=ce.yaml,mine=mine/ce.yaml", "--out=out"]) == 0
    del ACCURACIES["mine"]
    assert list(results()["configs"]) == ["ce", "mine"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--configs=ce.yaml,ce.yaml"], "The config ce.yaml is given twice; give each once."),
        (["--configs=ce.yaml,a=./ce.yaml"], "The config ce.yaml is given twice; give each once."),
        (["--configs=nope.yaml"], "The config nope.yaml doesn't exist; check its path."),
        (["--configs=ce.yaml", "--seeds=0,x"], "seeds must be whole numbers"),
        (["--configs=ce.yaml", "--seeds=1,1"], "seeds must be different numbers"),
        (["--configs=ce.yaml", "--baseline=flyp"], "The baseline must be one of ce; got 'flyp'."),
        (["--configs=ce.yaml", "--metrics=id/accc"], "Did you mean id/acc"),
        (["--configs=ce.yaml", "--metrics=id/acc,id/acc"], "metrics must be different names"),
        (["--configs=ce.yaml,flyp.yaml", "--metrics=id/text_head_acc"], "isn't in a test of flyp"),
        (["--configs=ce.yaml", "--seed_everything=1"], "seed_everything"),
        (
            ["--configs=ce.yaml", "--trainer.default_root_dir=x"],
            "trainer.default_root_dir is set by",
        ),
        (["--configs=../ce=ce.yaml"], "A config's name must be that of a folder"),
        ([], "configs"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_told_before_anything_runs(
    words: list[str], told: str, fake: FakeRuns, capsys: pytest.CaptureFixture[str]
) -> None:
    assert told in refused(capsys, *words)
    assert fake.made == []
    assert not Path("out").exists()


def test_an_option_that_no_run_has(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean --model.lr" in refused(capsys, "--configs=ce.yaml,flyp.yaml", "--model.lrr=1")
    assert not Path("out").exists()


def test_runs_made_in_another_way_are_refused(
    fake: FakeRuns, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert main(["compare", "--configs=ce.yaml,flyp.yaml", "--out=out"]) == 0
    go_on = "give another --out, or move out/ce away to run it anew."
    told = refused(capsys, "--configs=flyp.yaml,ce.yaml", "--model.lr=0.5")
    assert told.startswith("out/flyp was run with other options (none; now --model.lr=0.5); ")
    keys = yaml.safe_load(Path("ce.yaml").read_text(encoding="utf-8"))
    Path("ce.yaml").write_text("# the same\n" + yaml.safe_dump(keys, sort_keys=False), encoding="utf-8")
    assert main(["compare", "--configs=ce.yaml", "--out=out"]) == 0
    keys["data"]["init_args"]["train_size"] = 48
    Path("ce.yaml").write_text(yaml.safe_dump(keys), encoding="utf-8")
    changed = "another config (data.init_args.train_size was 24, is 48)"
    assert refused(capsys, "--configs=flyp.yaml,ce.yaml") == f"out/ce was run with {changed}; {go_on}"
    keys["data"]["init_args"] |= {"train_size": 24, "task": None}
    Path("ce.yaml").write_text(yaml.safe_dump(keys), encoding="utf-8")
    assert "another config (data.init_args.task was left out, is null)" in refused(
        capsys, "--configs=flyp.yaml,ce.yaml"
    )
    monkeypatch.setattr("starft.runs.comparison_folder.__version__", "9.9")
    assert refused(capsys, "--configs=flyp.yaml").startswith("out/flyp was run with another version (")
    assert len(fake.made) == 2


def test_a_config_of_which_nothing_ran_may_change(fake: FakeRuns) -> None:
    fake.stop_at = 0
    assert main(["compare", "--configs=ce.yaml", "--out=out"]) == 130
    fake.stop_at = None
    assert main(["compare", "--configs=ce.yaml", "--out=out", "--model.lr=0.5"]) == 0


def test_a_folder_with_something_else_is_refused(fake: FakeRuns, capsys: pytest.CaptureFixture[str]) -> None:
    Path("out").mkdir()
    Path("out/thesis.tex").write_text("mine", encoding="utf-8")
    told = "out holds something else (thesis.tex), no comparison; give another --out or move it away."
    assert refused(capsys, "--configs=ce.yaml") == told
    assert fake.made == []


@pytest.mark.parametrize("trainer", [{"max_epochs": 0}, {"max_epochs": 3, "max_steps": 0}])
def test_what_trains_nothing_says_so_itself(trainer: dict[str, int]) -> None:
    assert not runs.trains({"trainer": trainer})
    assert runs.trains({"trainer": {"max_epochs": 1}})
    assert runs.trains({})


def test_fit_refuses_a_config_that_trains_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config=zeroshot.yaml"]) == 2
    told = capsys.readouterr().err
    assert told.endswith("trainer.max_epochs is 0, so there is nothing to train; run `starft test`.\n")


def test_a_run_that_was_killed_before_its_test_is_tested(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its checkpoint has all epochs, so `starft fit` refuses to go on."""
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    last.parent.mkdir(parents=True)
    last.touch()
    called = []

    def command(words: list[str]) -> None:
        called.append((words[0], words[-1]))
        if words[0] == "fit":
            raise AllTrained("it has 8 of 8 epochs already")

    monkeypatch.setattr(runs, "run_cli", command)
    runs.finish(Run("ce", Path("ce.yaml"), 0, tmp_path / "run"))
    assert called == [("fit", f"--ckpt_path={last}"), ("test", f"--ckpt_path={last}")]


@pytest.mark.slow
def test_a_run_of_its_own_process_stopped_refused_and_finished() -> None:
    """The first time the run is told alone, as by `kill`; the second time its command is."""
    quiet = ("--trainer.enable_progress_bar=false", "--trainer.check_val_every_n_epoch=1")
    run = Run("ce", Path("ce.yaml"), 3, Path("ce/seed-3"), True, ("--trainer.max_epochs=400", *quiet))

    def interrupt(number: int, here: bool) -> None:
        last = run.folder / "checkpoints" / "last.ckpt"
        written = last.stat().st_mtime_ns if here else 0
        while not last.is_file() or last.stat().st_mtime_ns == written:
            time.sleep(0.05)
        for pid in [os.getpid()] if here else [process.pid or 0 for process in active_children()]:
            os.kill(pid, number)

    for number, here, told in ((signal.SIGINT, False, "Stopped after step"), (signal.SIGTERM, True, "^$")):
        thread = threading.Thread(target=interrupt, args=(number, here))
        thread.start()
        with pytest.raises(Stopped, match=told) as stop:
            finish_apart(run)
        thread.join()
        assert stop.value.status == 128 + number
        assert not active_children()
    assert json.loads((run.folder / "unfinished.json").read_text(encoding="utf-8"))["step"] is not None, "it was saved"
    assert not run.done
    wrong = Run("ce", Path("ce.yaml"), 3, Path("ce/seed-4"), True, ("--model.lr=-1", *quiet))
    with pytest.raises(ConfigError, match=r"^ce, seed 3: lr must be a finite number"):
        finish_apart(wrong)
    finish_apart(Run("ce", Path("ce.yaml"), 3, wrong.folder, True, ("--trainer.max_epochs=1", *quiet)))
    found = compare.read_run(wrong.folder)
    assert found["training_seconds"] > 0
    assert 5e7 < found["peak_memory_bytes"] < 4e9
    assert set(found["metrics"]) >= set(compare.MINI_COLUMNS)


def test_a_metric_of_nothing_is_left_out_of_a_run(tmp_path: Path) -> None:
    """results.json tells null where a set, or a group, had no image."""
    one = {"ood": False, "metrics": {"acc": 0.5, "worst_group_acc": None}, "groups": []}
    held = {"eval_sets": {"id": one}, "ood_acc": None}
    (tmp_path / "results.json").write_text(json.dumps(held), encoding="utf-8")
    assert compare.read_run(tmp_path)["metrics"] == {"id/acc": 0.5}
