"""``starft tune``: what it runs, what it chooses by hand-made numbers, what it refuses, and one real search."""

import csv
import itertools
import json
import shlex
import shutil
import threading
import warnings
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from filelock import FileLock, Timeout
from matplotlib.figure import Figure

from fakes import own_images
from fakes.tuned import GRID, WEIGHT, FakeTrials
from starft.__main__ import main
from starft.audit.attributes import InferredAttributes, attributes_path
from starft.cli import tune
from starft.cli.single_run import Run, finish, stops_told
from starft.cli.trials import make_trials, pulls
from starft.cli.tune_run import best_temperature, cooled
from starft.config.space import check_keys, default_space, in_order, options_of, points, read_space
from starft.errors import ConfigError, RunFolderError, StarftError
from starft.evaluation.rules import RULES, Candidate, Setting
from starft.files.shipped import shipped
from starft.files.yaml_reader import load_yaml
from starft.runs.comparison_folder import claim_runs, save_seconds
from starft.runs.validation import Validation, read_validation

CONFIGS = shipped("lightning_configs")
SMALL = {"train_size": 24, "val_size": 36, "test_size": 12, "batch_size": 12}


@pytest.fixture(autouse=True)
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped StarFT, small, in the working directory."""
    monkeypatch.chdir(tmp_path)
    keys = yaml.safe_load((CONFIGS / "mini" / "starft.yaml").read_text(encoding="utf-8"))
    keys["data"]["init_args"] = dict(SMALL)
    (tmp_path / "starft.yaml").write_text(yaml.safe_dump(keys), encoding="utf-8")
    return tmp_path / "starft.yaml"


@pytest.fixture
def fake_with_plot(monkeypatch: pytest.MonkeyPatch) -> FakeTrials:
    made = FakeTrials()
    monkeypatch.setattr(tune, "finish_apart", made)
    monkeypatch.setattr(tune, "check_run", lambda words: None)  # parses each config, which takes its time
    return made


@pytest.fixture
def fake(fake_with_plot: FakeTrials, monkeypatch: pytest.MonkeyPatch) -> FakeTrials:
    """The same; plots are made and not rendered, which takes as long as all the rest."""
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **options: None)
    return fake_with_plot


def words(*more: str) -> list[str]:
    """A search by the rule that the fake numbers are made for, unless another is named."""
    named = any(word.startswith("--rule=") for word in more)
    return ["tune", "--config=starft.yaml", *GRID, "--out=out", *([] if named else ["--rule=tolerance"]), *more]


def refused(capsys: pytest.CaptureFixture[str], *given: str) -> str:
    capsys.readouterr()
    assert main(["tune", "--config=starft.yaml", "--out=out", *given]) == 2
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    return lines[0].removeprefix("starft: ")


def chosen() -> dict[str, str]:
    with Path("out/trials.csv").open(encoding="utf-8", newline="") as file:
        (row,) = (row for row in csv.DictReader(file) if row["state"] == "chosen")
    return row


def test_short_trials_come_first_and_the_largest_weight_within_a_point_is_chosen(
    fake_with_plot: FakeTrials, capsys: pytest.CaptureFixture[str]
) -> None:
    fake = fake_with_plot
    assert main(words()) == 0
    shorts, fulls = fake.made[:6], fake.made[6:]
    assert sorted(shorts) == [f"trial-00{at}/short" for at in range(1, 7)]
    assert len(fulls) == 2, "a quarter, two at least: the largest weight, and the best accuracy that it is measured by"
    row = chosen()
    assert (row["length"], row["model.lr"], row[WEIGHT], row["seconds"]) == ("full", "0.0003", "2", "40.0")
    assert row["val/id/acc"] == "0.915"
    assert row["val/ood_acc"] == "0.5"
    text = Path("out/chosen.yaml").read_text(encoding="utf-8")
    assert "# ID accuracy 0.9150 on validation (the best of 2 in full length: 0.9200); weight: 2." in text
    assert "# The chosen model.lr 0.0003 is the largest that was tried; try larger ones too." in text
    trainer = {"default_root_dir": "out/chosen", "enable_model_summary": None, "max_epochs": 8}
    assert yaml.safe_load(text)["trainer"] == trainer
    assert Path("out/trials.png").stat().st_size > 1000
    told = capsys.readouterr()
    assert "about 2 min left" in told.out, "four short trials of 10 s and 2 of 40 s, after two: 120 s"
    assert "Note: The chosen model.lr" in told.err
    fake.images = 36
    Path("out").rename("before")
    assert main(words()) == 0
    few = (
        "Note: id has 36 validation images, so that one of them is 2.8 points of accuracy; with more the choice is less"
    )
    assert few in capsys.readouterr().err
    assert chosen()[WEIGHT] == "4", "0.92 of so few is known to five points"
    assert main(words("--tolerance=3")) == 0
    assert few[:25] not in capsys.readouterr().err


def test_where_no_rule_is_named_what_the_frozen_model_is_sure_of_stays(
    fake: FakeTrials, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where it is sure of too little, or isn't the same in all trials, ID accuracy is all there is."""
    plain = ["tune", "--config=starft.yaml", *GRID, "--out=out"]
    assert main(plain) == 0
    assert fake.made[0] == "out/frozen"
    assert "by the rule zero_shot_agreement: " in Path("out/chosen.yaml").read_text(encoding="utf-8")
    assert chosen()[WEIGHT] == "2"
    Path("out").rename("sure")
    fake.images = 20
    capsys.readouterr()
    assert main(plain) == 0
    told = "Note: The frozen model is sure (90%) of 20 images of id, and the rule zero_shot_agreement needs 30, so "
    assert f"{told}that the rule is id.\n" in capsys.readouterr().err
    assert chosen()[WEIGHT] == "1", "the most accurate"
    assert main(plain) == 0, "trials are there: what is scored now stays"
    made = len(fake.made)
    assert main(plain) == 0
    assert fake.made[made:] == []
    Path("out").rename("unsure")
    assert main([*plain, "--grid=model.pretrained=mini,mini_weak"]) == 0
    assert "out/frozen" not in fake.made[made:]
    assert "Note: model.pretrained is tried, so that there is no one frozen model; the rule is id." in (
        capsys.readouterr().err
    )
    assert "by the rule id: " in Path("out/chosen.yaml").read_text(encoding="utf-8")


def test_more_images_are_looked_at_where_no_trial_has_run(fake: FakeTrials) -> None:
    """As the note asks for, after a stop before the first trial."""
    plain = ["tune", "--config=starft.yaml", *GRID, "--out=out"]
    fake.images, fake.stop_at = 20, 1
    assert main(plain) == 130
    fake.images, fake.stop_at = 3600, None
    assert main(plain) == 0
    assert fake.made[:2] == ["out/frozen"] * 2
    assert chosen()[WEIGHT] == "2"


def test_a_frozen_model_that_gives_no_numbers_is_told(fake: FakeTrials, capsys: pytest.CaptureFixture[str]) -> None:
    fake.fails = {"out/frozen"}
    told = "The frozen model wasn't scored, so there is nothing to compare with: The model gave a NaN."
    assert refused(capsys, *GRID) == told
    fake.fails = set()
    assert main(words("--rule=zero_shot_agreement")) == 0, "once it is mended the same command goes on"
    kept = Path("out/frozen/validation.json")
    kept.write_text(kept.read_text(encoding="utf-8").replace('"id"', '"dev"'), encoding="utf-8")
    told = refused(capsys, *GRID, "--rule=zero_shot_agreement")
    assert told.endswith("nothing to compare with: The data had no set id then; run the same command again.")
    assert main(words("--rule=zero_shot_agreement")) == 0


def test_the_id_rule_tells_each_number_once(fake: FakeTrials, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words("--trials=1", "--rule=id")) == 0
    told = capsys.readouterr().out
    assert told.count("ID accuracy ") == 2, "the table's heading, and the reason"
    (line,) = (line for line in told.splitlines() if line.startswith("ID accuracy "))
    assert line == "ID accuracy 0.9150 on validation (the best of 1 in full length: 0.9150). No test set was read."


def test_a_space_that_options_leave_empty_is_told_by_its_keys(
    fake: FakeTrials, capsys: pytest.CaptureFixture[str]
) -> None:
    told = refused(capsys, "--model.lr=1e-4", "--model.regularizers=[]")
    assert told.startswith("Nothing is left to try: model.lr")
    assert "of starft.yaml stays as the options say; leave those out, or give --grid" in told
    assert fake.made == []


@pytest.mark.slow
def test_all_in_full_and_by_other_rules(fake: FakeTrials) -> None:
    assert main(words("--short=1", "--rule=id")) == 0
    assert [name.split("/")[1] for name in fake.made] == ["full"] * 6
    assert (chosen()["model.lr"], chosen()[WEIGHT]) == ("0.0003", "1")
    assert main(words("--short=1", "--rule=tolerance", "--tolerance=3")) == 0
    assert (chosen()["model.lr"], chosen()[WEIGHT]) == ("0.0003", "4"), "three points are 0.89"
    assert main(words("--short=1", "--rule=zero_shot_agreement")) == 0
    assert fake.made[6:] == ["out/frozen"], "what was trained is only chosen from"
    assert chosen()[WEIGHT] == "2"


def test_a_stop_goes_on_and_nothing_runs_twice(fake: FakeTrials, capsys: pytest.CaptureFixture[str]) -> None:
    for stop_at in (0, 3, 7):
        fake.stop_at = stop_at
        assert main(words()) == 130
        assert "give the same command again to go on." in capsys.readouterr().err
    fake.stop_at = None
    assert main(words()) == 0
    assert len(fake.made) == len(set(fake.made)) == 8
    assert chosen()[WEIGHT] == "2"


@pytest.mark.slow
def test_two_processes_share_the_trials(fake: FakeTrials, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes what the other isn't at: two threads, held together at their first trials."""
    both = threading.Barrier(2, timeout=300)  # a busy machine takes its time
    first = threading.local()

    def execute(run: Run) -> None:
        if not getattr(first, "over", False):
            first.over = True
            both.wait()
        fake(run)

    monkeypatch.setattr(tune, "finish_apart", execute)
    monkeypatch.setattr("starft.cli.trials.stops_told", lambda what: threading.Lock())  # signals are the main thread's
    codes: list[int] = []
    threads = [threading.Thread(target=lambda: codes.append(main(words()))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert codes == [0, 0]
    assert len(fake.made) == len(set(fake.made)) == 8


def test_a_trial_without_finite_numbers_is_a_result(fake: FakeTrials, capsys: pytest.CaptureFixture[str]) -> None:
    fake.fails = {"trial-001"}
    assert main(words()) == 0
    with Path("out/trials.csv").open(encoding="utf-8", newline="") as file:
        states = [row["state"] for row in csv.DictReader(file)]
    assert states.count("failed") == 1
    fake.fails = {f"trial-00{at}" for at in range(1, 7)}
    Path("out").rename("before")
    assert "No trial gave a finite number" in refused(capsys, *GRID)


def test_a_budget_ends_the_search(fake: FakeTrials, capsys: pytest.CaptureFixture[str]) -> None:
    told = refused(capsys, *GRID, "--rule=id", "--budget=45s")
    assert told == (
        "The budget of 45 s holds not one trial: the first took 10 s, and one in full length takes about 40 s; "
        "give --budget 50s or more."
    )
    assert len(fake.made) == 1
    assert main(words("--budget=1m15s")) == 0
    assert [name.split("/")[1] for name in fake.made] == ["short"] * 3 + ["full"], "30 s and 40 s"
    assert main(words("--budget=2h")) == 0
    assert len(fake.made) == len(set(fake.made))


def test_what_fails_and_what_others_ran_count_in_the_budget(fake: FakeTrials) -> None:
    fake.fails = {"trial-001", "trial-002"}
    assert main(words("--budget=1m15s")) == 0
    assert [name.split("/")[1] for name in fake.made] == ["short"] * 3 + ["full"], "30 s, of them 20 s failed, and 40 s"
    fake.fails = set()
    Path("out").rename("before")
    assert main(words()) == 0
    Path("out/trials/trial-001/short/validation.json").unlink()
    fake.made.clear()
    assert main(words("--budget=1m15s")) == 0
    assert fake.made == [], "five short trials took 50 s, and one in full takes 40 s"


@pytest.mark.slow
def test_trials_are_drawn_and_more_go_on(fake: FakeTrials) -> None:
    assert main(words("--trials=3", "--short=0.25")) == 0
    assert [name for name in fake.made if "short" in name] == [f"trial-00{at}/short" for at in (1, 2, 3)]
    assert main(words("--trials=4", "--short=0.25")) == 0
    assert [name for name in fake.made if "short" in name][3:] == ["trial-004/short"]


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (["--grid=model.lr"], "--grid takes KEY=VALUE,VALUE"),
        (["--grid=model.lr=1e-4", "--grid=model.lr=2e-4"], "The key model.lr is given twice"),
        (["--grid=model.lr=1e-4,1e-4"], "model.lr needs a list of different values"),
        (["--grid=model.lr=1,1.0"], "model.lr needs a list of different values, one at least; got [1, 1.0]."),
        (["--grid=model.lr="], "model.lr needs a list of different values, one at least; got []."),
        (["--grid=model.lr=1e-4,,1e-3"], "model.lr needs a list of different values"),
        (["--grid==1e-4"], "--grid takes KEY=VALUE,VALUE"),
        (["--grid=data.init_args.seed=1,2"], "data.init_args.seed is set by this command itself"),
        (["--grid=trainer.default_root_dir=a,b"], "trainer.default_root_dir is set by this command itself"),
        ([f"--grid=model.{key}={','.join(map(str, range(60)))}" for key in "abc"], "60 x 60 x 60 = 216000 places"),
        (["--space=empty.yaml"], "The space empty.yaml must hold keys with lists of values"),
        (["--grid=model.regularizers.1.init_args.weight=1"], "The config has no model.regularizers.1.init_args.weight"),
        (["--grid=model.regularizers.-1.init_args.weight=1"], "Did you mean model.regularizers.0.init_args.weight?"),
        (["--grid=--model.lr=1e-4"], "The config has no --model.lr to try values of. Did you mean model.lr?"),
        (["--space=numbers.yaml"], "The config has no 1 to try values of."),
        (["--grid=model.objective.init_args.weight=1,2", "--rule=tolerance"], "no regularizer's weight is tried"),
        (["--rule=inferred_groups", "--audit=nope"], "--audit nope is no folder"),
        (["--rule=id", "--audit=."], "--audit is for --rule inferred_groups, and the rule is id"),
        (["--grid=model.lr=1e-4", "--model.lr=1"], "model.lr is tried and set by an option too"),
        (["--grid=model.lr=1e-4,'1e-4'"], "model.lr needs a list of different values"),
        ([*GRID, "--model.regularizers+=starft.losses.L2SP"], "set by an option too, --model.regularizers+; leave one"),
        (
            [*GRID, "--model.regularizers.init_args.schedule=constant"],
            "option too, --model.regularizers.init_args.sche",
        ),
        (
            [*GRID, "--grid=model.regularizers=[],null"],
            f"model.regularizers and {WEIGHT}, which is a part of it, can't",
        ),
        (
            ["--grid=model.pretrained=mini,mini_weak", "--rule=zero_shot_agreement"],
            "The rule zero_shot_agreement compares with one frozen model, and model.pretrained is tried",
        ),
        (["--grid=model.lr=1e-4,1e-3", "--rule=tolerance"], "no regularizer's weight is tried"),
        (["--rule=inferred_groups"], "give its folder as --audit"),
        (["--rule=best"], "rule"),
        (["--space=nope.yaml"], "The space nope.yaml doesn't exist"),
        (["--budget=soon"], "--budget must be a time such as 2h"),
        (["--short=0"], "--short must lie in (0, 1]; got 0.0."),
        (["--trials=0"], "--trials must be at least 1"),
        (["--config=mini/zeroshot"], "trains nothing"),
        (["--from=."], "Give either --config"),
        (["--ckpt_path=x.ckpt"], "ckpt_path is set by this command itself"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_told_before_anything_runs(
    given: list[str], told: str, fake: FakeTrials, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("empty.yaml").write_text("{}", encoding="utf-8")
    Path("numbers.yaml").write_text("1: [2, 3]", encoding="utf-8")
    assert told in refused(capsys, *given)
    assert fake.made == []
    assert not Path("out").exists()


def test_keys_and_types_are_the_parsers(capsys: pytest.CaptureFixture[str]) -> None:
    assert "Did you mean --model.lr" in refused(capsys, "--grid=model.lrr=1e-4,1e-3")
    assert "model.lr" in refused(capsys, "--grid=model.lr=1e-4,high")
    assert "Did you mean weight?" in refused(capsys, f"--grid={WEIGHT.replace('weight', 'wait')}=1")
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("grid", "told"),
    [
        (["model.lr=1e-4,-1"], "lr must be a finite number, at least 0; got -1.0."),
        ([f"{WEIGHT}=1,-2"], "weight of SpuriosityAlignment must be a finite number, at least 0; got -2.0."),
        (["data.init_args.batch_size=12,0"], "batch_size must be at least 1; got 0."),
        pytest.param(
            ["model.freeze_image_blocks=0,9"],
            "freeze_image_blocks must lie in 0..4, the blocks of this image tower; got",
            marks=pytest.mark.slow,
        ),
        pytest.param(
            ["model.head=text,linear", "model.head_start=zero_shot,probe"],
            "head_start probe is for the linear head",
            marks=pytest.mark.slow,
        ),
    ],
    ids=lambda value: "" if isinstance(value, str) else value[0],
)
def test_values_that_a_run_would_refuse_are_told_before_any_runs(
    grid: list[str], told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the last trial too, or of a pair of values, and before the frozen model is scored."""
    made = FakeTrials()
    monkeypatch.setattr(tune, "finish_apart", made)
    assert told in refused(capsys, *(f"--grid={one}" for one in grid), "--rule=zero_shot_agreement")
    assert made.made == []
    assert not Path("out").exists()


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (
            "--trainer.limit_val_batches=0",
            "trainer.limit_val_batches is 0, so there is nothing to score; leave it out.",
        ),
        (
            "--trainer.fast_dev_run=true",
            "trainer.fast_dev_run keeps no checkpoint, which would be scored; leave it out.",
        ),
    ],
)
def test_what_leaves_nothing_to_score_is_told_before_any_runs(
    option: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = FakeTrials()
    monkeypatch.setattr(tune, "finish_apart", made)
    assert refused(capsys, *GRID, "--trials=1", option) == told
    assert made.made == []
    assert not Path("out").exists()


def test_another_order_of_the_configs_keys_is_refused(
    config: Path, fake: FakeTrials, capsys: pytest.CaptureFixture[str]
) -> None:
    """It would number the trials anew, and each would be taken for another one."""
    assert main(words()) == 0
    keys = yaml.safe_load(config.read_text(encoding="utf-8"))
    keys["model"] = dict(reversed(keys["model"].items()))
    config.write_text(yaml.safe_dump(keys, sort_keys=False), encoding="utf-8")
    assert refused(capsys, *GRID).startswith(
        "out/trials was run with keys in another order, which numbers its trials "
        f"(model.lr, {WEIGHT}; now {WEIGHT}, model.lr); give another --out"
    )


def test_the_order_of_an_option_that_is_given_twice_counts(tmp_path: Path) -> None:
    folder = tmp_path / "trials"
    claim_runs(folder, {}, ["--model.lr=1", "--model.lr=2", "--data.a=1"])
    (folder / "seed-0").mkdir()
    assert not claim_runs(folder, {}, ["--data.a=1", "--model.lr=1", "--model.lr=2"])
    with pytest.raises(RunFolderError, match=r"was run with other options"):
        claim_runs(folder, {}, ["--model.lr=2", "--model.lr=1", "--data.a=1"])


def test_trials_on_other_images_are_not_compared(fake: FakeTrials, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words()) == 0
    again = next(path for path in sorted(Path("out/trials").glob("trial-*")) if not (path / "full").exists())
    (again / "short/validation.json").unlink()
    fake.images = 20
    assert refused(capsys, *GRID, "--rule=tolerance").startswith(
        f"trial 1 and trial {int(again.name[-3:])} were validated on different images of id, so they can't be "
        "compared: the data have changed"
    )


def test_where_no_finalist_is_finite_in_full_the_next_ones_are_trained(fake: FakeTrials) -> None:
    assert main(words()) == 0
    fake.fails = {*fake.made[6:]}
    assert len(fake.fails) == 2
    Path("out").rename("before")
    fake.made.clear()
    assert main(words()) == 0
    assert len(fake.made) == 6 + 2 + 1
    assert chosen()["length"] == "full"
    assert fake.made[-1] not in fake.fails


def test_a_folder_of_another_space_is_refused(fake: FakeTrials, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words()) == 0
    told = refused(capsys, "--grid=model.lr=1e-4,1e-3", GRID[1])
    assert told.startswith("out/trials was run with another config (tried.model.lr was [0.0001, 0.0003], is [0.0001, ")


def test_the_order_of_keys_changes_no_trial(fake: FakeTrials) -> None:
    assert main(words()) == 0
    before = Path("out/trials.csv").read_bytes()
    assert main(["tune", "--config=starft.yaml", *reversed(GRID), "--out=out", "--rule=tolerance"]) == 0
    assert Path("out/trials.csv").read_bytes() == before, "each trial's numbers are those of its values"


def test_a_later_trial_that_is_refused_leaves_the_others_alone(
    fake: FakeTrials, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Such as one whose batch doesn't fit into memory; the same command tries it again."""

    def execute(run: Run) -> None:
        if run.folder.parts[-2:] == ("trial-003", "short"):
            raise StarftError("trial 3, seed 0 was killed by signal 9.")
        fake(run)

    monkeypatch.setattr(tune, "finish_apart", execute)
    assert main(words()) == 0
    assert "Note: trial 3, seed 0 was killed by signal 9. The other trials go on." in capsys.readouterr().err
    with Path("out/trials.csv").open(encoding="utf-8", newline="") as file:
        assert [row["state"] for row in csv.DictReader(file)].count("failed") == 1
    made = len(fake.made)
    monkeypatch.setattr(tune, "finish_apart", fake)
    assert main(words()) == 0
    assert fake.made[made] == "trial-003/short"


def test_lengths_may_be_tried(fake: FakeTrials) -> None:
    """Two epochs aren't shortened, eight are."""
    grid = ["--grid=trainer.max_epochs=2,8,9,10", "--grid=model.lr=3e-4", f"--grid={WEIGHT}=1"]
    for rule in ("id", "tolerance"):
        assert main(["tune", "--config=starft.yaml", *grid, f"--out={rule}", f"--rule={rule}", "--short=0.25"]) == 0
        fulls = [name for name in fake.made if name.endswith("full")]
        assert len(fake.made) == 3 + 3 == len(fulls) + 3, "of the three others two, and what is chosen ran in full"
        fake.made.clear()


def test_a_folder_in_which_nothing_ran_takes_other_values(
    fake: FakeTrials, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A value that only the data refuse, when they are read, is told by its first run."""

    def refuse(run: Run) -> None:
        raise ConfigError("lr must be a finite number, at least 0; got -1.0.")

    monkeypatch.setattr(tune, "finish_apart", refuse)
    assert "got -1.0" in refused(capsys, "--grid=model.lr=-1,1e-4", GRID[1])
    monkeypatch.setattr(tune, "finish_apart", fake)
    assert main(words()) == 0


def test_a_rule_without_groups(tmp_path: Path, fake: FakeTrials, capsys: pytest.CaptureFixture[str]) -> None:
    own_images.write_table(tmp_path, name="photos.csv", attribute=False)
    base = ["--config=csv/starft", "--data.init_args.file=photos.csv"]
    assert "The rule groups needs a validation set with groups" in refused(capsys, *base, "--rule=groups")


def test_a_rule_without_what_it_needs_is_told_before_the_second_trial(
    fake: FakeTrials, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What only predictions show: the audit is of other images; the frozen model is sure of too few."""
    found = InferredAttributes(("lake", "city", "unreadable"), np.zeros(5, np.int64), np.ones(5, np.float32))
    Path("audit").mkdir()
    found.save(attributes_path(Path("audit"), "val/id"))
    told = refused(capsys, *GRID, "--rule=inferred_groups", "--audit=audit")
    assert told.startswith("The audit is of 5 images of id, and validation has 3600; run `starft audit data`")
    assert fake.made == ["trial-001/short"]
    monkeypatch.setattr("starft.evaluation.rules.agreement.FEWEST", 10000)
    told = refused(capsys, *GRID, "--rule=zero_shot_agreement")
    assert told.startswith(
        "The frozen model is sure (90%) of 3600 images of id, and the rule zero_shot_agreement needs 10000"
    )
    assert fake.made[1:] == ["out/frozen"]


def test_the_frozen_model_is_scored_again_for_other_data(
    fake: FakeTrials, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of too few images, more are given, as the refusal says; or the same command has other options."""
    fake.images = 20
    assert "is sure (90%) of 20 images" in refused(capsys, *GRID, "--rule=zero_shot_agreement")
    fake.images = 3600
    fake.stop_at = 2
    assert main(words("--rule=zero_shot_agreement")) == 130
    fake.stop_at = None
    assert main(words("--rule=zero_shot_agreement", "--model.warmup_steps=3")) == 0
    assert fake.made[:3] == ["out/frozen"] * 3
    fake.images = 20
    Path("out/trials/trial-001/full/validation.json").unlink(missing_ok=True)
    Path("out/trials/trial-001/short/validation.json").unlink()
    told = refused(capsys, *GRID, "--rule=zero_shot_agreement", "--model.warmup_steps=3")
    assert told.startswith(
        "The frozen model and trial 1 were scored on different images of id: the data have changed, or a tried key"
    )


def test_another_process_with_other_values_is_told(
    fake: FakeTrials, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """It comes while the frozen model is scored, when no trial has run, and needs no frozen model itself."""

    def execute(run: Run) -> None:
        fake(run)
        if run.folder.name == "frozen":
            assert (
                main(["tune", "--config=starft.yaml", "--out=out", GRID[0], f"--grid={WEIGHT}=1,4", "--rule=id"]) == 0
            )
            capsys.readouterr()

    monkeypatch.setattr(tune, "finish_apart", execute)
    told = refused(capsys, *GRID, "--rule=zero_shot_agreement")
    assert told.startswith("out/trials was run with another config")


def test_one_process_at_a_time_looks_at_the_frozen_model(fake: FakeTrials, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where that isn't sure enough the first one removes it, and a second would read what isn't there any more."""
    taken: list[str] = []

    def other() -> None:
        with pytest.raises(Timeout):
            FileLock("out/.frozen.taken").acquire(timeout=0)

    def held(what: str) -> None:
        with ThreadPoolExecutor(1) as pool:
            pool.submit(other).result()
        taken.append(what)

    def read(folder: Path) -> Validation:
        held("read")
        return read_validation(folder)

    rmtree = shutil.rmtree

    def remove(path: Path, **options: Any) -> None:
        if Path(path).name == "frozen":
            held("removed")
        rmtree(path, **options)

    monkeypatch.setattr("starft.cli.tune_rule.read_validation", read)
    monkeypatch.setattr("shutil.rmtree", remove)
    fake.images = 20
    assert main(["tune", "--config=starft.yaml", *GRID, "--out=out"]) == 0
    assert taken == ["removed", "read", "removed"], "of other values, and where it is sure of too little"
    FileLock("out/.frozen.taken").acquire(timeout=0).lock.release()


def test_a_process_says_that_it_waits_for_another_ones_look_at_the_frozen_model(
    fake: FakeTrials, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    has_it, waits = threading.Event(), threading.Event()

    def other() -> None:
        with FileLock("out/.frozen.taken"):
            has_it.set()
            assert waits.wait(300)

    @contextmanager
    def told(what: str) -> Iterator[None]:
        waits.set()
        with stops_told(what):
            yield

    monkeypatch.setattr("starft.cli.tune_rule.stops_told", told)
    Path("out").mkdir()
    with ThreadPoolExecutor(1) as pool:
        over = pool.submit(other)
        assert has_it.wait(300)
        save_seconds(Path("out/tune.json"), 0.0)
        assert main(words("--rule=zero_shot_agreement")) == 0
        over.result()
    assert "Another process is at out/frozen; this one waits for it.\n" in capsys.readouterr().out
    assert chosen()[WEIGHT] == "2"


def test_a_frozen_model_of_other_values_is_scored_anew(fake: FakeTrials) -> None:
    """As a process leaves it that had to wait, and was then refused because of the other one's trials."""
    assert main(words("--rule=zero_shot_agreement")) == 0
    note = Path("out/.frozen.json")
    values = note.read_text(encoding="utf-8")
    note.write_text(values.replace("mini", "mini_weak"), encoding="utf-8")
    assert main(words("--rule=zero_shot_agreement")) == 0
    assert fake.made.count("out/frozen") == 2
    assert note.read_text(encoding="utf-8") == values


def test_four_trials_run_in_full_at_once(fake: FakeTrials) -> None:
    """Five don't, nor do four where a length is given; all go on from what is there."""

    def lengths(*options: str) -> list[str]:
        """Of the runs that a search makes."""
        fake.made.clear()
        assert main(words(*options)) == 0
        return [Path(name).name for name in fake.made]

    assert lengths("--trials=4") == ["full"] * 4
    assert lengths("--trials=4", "--short=1") == lengths("--trials=4", "--budget=1h") == []
    assert lengths("--trials=6") == ["full"] * 2, "two that are left need no short runs to be chosen from"
    Path("out").rename("before")
    assert lengths("--trials=5") == ["short"] * 5 + ["full"] * 2
    Path("out").rename("five")
    assert lengths("--trials=4", "--budget=1h") == ["short"] * 4 + ["full"] * 2, "it might leave nothing for the last"
    assert lengths("--trials=4", "--short=0.25") == []
    assert lengths("--trials=4") == ["full"] * 2, "a quarter is what is taken without the option, too"


def test_what_ran_in_full_needs_no_short_run(fake: FakeTrials, capsys: pytest.CaptureFixture[str]) -> None:
    """Nor is it lost where more trials are tried, or where a budget is set after some time."""
    began = Path("out/trials/trial-001/short/checkpoints")
    assert main(words("--trials=2")) == 0
    began.mkdir(parents=True)
    assert main(words("--trials=6")) == 0
    shorts, fulls = ([name for name in fake.made if name.endswith(end)] for end in ("short", "full"))
    assert shorts == [f"trial-00{at}/short" for at in (3, 4, 5, 6)]
    assert len(fulls) == 4
    assert "the best of 4 in full length" in Path("out/chosen.yaml").read_text(encoding="utf-8")
    assert not began.exists(), "what a short run that isn't needed left"
    Path("out").rename("before")
    fake.made.clear()
    fake.stop_at = 3
    assert main(words("--trials=4")) == 130
    fake.stop_at = None
    assert main(words("--trials=4", "--budget=2m10s")) == 0
    assert len(fake.made) == 3, "120 s, and a fourth would take 40"
    assert "the best of 3 in full length" in Path("out/chosen.yaml").read_text(encoding="utf-8")
    capsys.readouterr()
    Path("out").rename("three")
    assert main(words("--trials=2", "--budget=80s")) == 0
    assert [Path(name).name for name in fake.made[3:]] == ["full"] * 2


def test_only_values_that_are_tried_are_looked_at(fake: FakeTrials, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []
    monkeypatch.setattr(tune, "check_run", lambda given: seen.append(given) if given[0] == "fit" else None)
    assert main(words("--trials=1")) == 0
    assert len(seen) == 1
    assert main(words()) == 0
    assert len({tuple(given) for given in seen}) == len(seen) - 1 == 6, "what has run isn't, but for the first"
    monkeypatch.setattr(tune, "MOST_CHECKED", 0)
    Path("out").rename("before")
    assert main(words()) == 0
    new = [tuple(word for word in given if "model.lr" in word or "regularizers" in word) for given in seen[7:]]
    values = {value for pair in new for value in pair}
    assert len(values) == 5, "two learning rates, three weights"
    assert len(new) < 6


TRAINED = sorted(path for path in CONFIGS.rglob("*.yaml") if path.parent.name != "common" and path.stem != "zeroshot")


@pytest.mark.parametrize("path", TRAINED, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_shipped_config_has_a_space(path: Path) -> None:
    content = yaml.safe_load(path.read_text(encoding="utf-8"))
    space = default_space(content, ())
    terms = [item for item in (content["model"].get("regularizers") or []) if "weight" in item["init_args"]]
    rates = content["model"]["lr"] > 0  # a fitted head stays as it is
    assert [len(values) for values in space.values()] == [4] * len(terms) + [3] * rates
    check_keys(space, content, ())


def test_the_default_space_by_hand(config: Path) -> None:
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    assert default_space(content, ()) == {WEIGHT: [1.25, 2.5, 5.0, 10.0], "model.lr": [1.8e-4, 6e-4, 1.8e-3]}
    assert [*default_space(content, ["--model.lr=1e-4"])] == [WEIGHT], "what is given stays"
    for option in ("=[]", "+=starft.losses.L2SP", ".init_args.weight=3"):
        assert [*default_space(content, [f"--model.regularizers{option}"])] == ["model.lr"], "no trial may lose it"
    shipped_order = yaml.safe_load((CONFIGS / "mini" / "starft.yaml").read_text(encoding="utf-8"))
    backwards = {"model.betas": [1], "model.lr": [2], WEIGHT: [3], "data.new": [4]}
    assert [*in_order(backwards, shipped_order)] == [WEIGHT, "model.lr", "data.new", "model.betas"]


def test_a_space_of_a_file_and_its_options(config: Path, tmp_path: Path) -> None:
    content = yaml.safe_load(config.read_text(encoding="utf-8"))
    file = tmp_path / "space.yaml"
    file.write_text(f"model.lr: [1e-5]\n{WEIGHT}: [1, 2]\n", encoding="utf-8")
    assert read_space(["a=[1,2],[3]", "b=a photo of {}.,x"], None) == {"a": [[1, 2], [3]], "b": ["a photo of {}.", "x"]}
    space = read_space(["model.pool=null,backgrounds"], file)
    assert space == {"model.lr": [1e-5], WEIGHT: [1, 2], "model.pool": [None, "backgrounds"]}
    assert sorted(map(str, points(space, None))) == sorted(
        str(dict(zip(space, values, strict=True))) for values in itertools.product(*space.values())
    )
    assert points(space, 2) == points(space, None)[:2]
    whole = json.dumps([{**content["model"]["regularizers"][0], "init_args": {"schedule": "epoch", "weight": 2}}])
    rate, regularizers, pool = options_of({"model.lr": 1e-5, WEIGHT: 2, "model.pool": None}, content)
    assert (rate, pool) == ("--model.lr=1e-05", "--model.pool=null")
    assert json.loads(regularizers.removeprefix("--model.regularizers=")) == json.loads(whole)
    assert content["model"]["regularizers"][0]["init_args"]["weight"] == 5.0, "the config is as it was"
    (templates,) = options_of({"model.templates": ["a \U0001f426 {}."]}, content)
    assert load_yaml(templates.partition("=")[2]) == ["a \U0001f426 {}."]


@pytest.mark.parametrize(("epochs", "short"), [(8, 2), (20, 5), (3, 2), (2, None)])
def test_short_trials_have_two_epochs_at_least(epochs: int, short: int | None, tmp_path: Path) -> None:
    content = {"trainer": {"max_epochs": epochs}, "model": {"warmup_steps": 0}}
    (trial,) = make_trials(tmp_path / "c.yaml", content, (), [{}], tmp_path, 0.25)
    assert (trial.short.options if trial.short else None) == ((f"--trainer.max_epochs={short}",) if short else None)


def test_whatever_bounds_a_training_is_shortened(tmp_path: Path) -> None:
    """Eight epochs may end before 1000 steps do, or after them. The seed is the config's, however it is written."""
    content = {"trainer": {"max_epochs": 8, "max_steps": 1000}, "seed_everything": "7"}
    (trial,) = make_trials(tmp_path / "c.yaml", content, (), [{}], tmp_path, 0.25)
    assert trial.short is not None
    lengths = {"--trainer.max_steps=250", "--trainer.max_epochs=2"}
    assert {*trial.short.options} == {*lengths, "--model.warmup_steps=125"}, "of the default, 500"
    assert trial.short.seed == 7


@pytest.mark.parametrize(
    ("trainer", "given", "point", "steps"),
    [
        ({"max_epochs": 8}, (), {}, 5),
        ({"max_epochs": 3}, (), {}, 13),  # two epochs of three
        ({"max_epochs": 3, "max_steps": 1000}, (), {}, 13),  # whichever of the two ends it
        ({"max_epochs": 8}, ("--model.warmup_steps=100",), {}, 25),
        ({"max_epochs": 8}, (), {"model.warmup_steps": 1}, 1),
        ({"max_epochs": 8}, (), {"model.warmup_steps": 0}, 0),
    ],
)
def test_a_short_trial_has_its_part_of_the_warm_up(
    trainer: dict[str, int], given: tuple[str, ...], point: dict[str, int], steps: int, tmp_path: Path
) -> None:
    content = {"trainer": trainer, "model": {"warmup_steps": 20}}
    (trial,) = make_trials(tmp_path / "c.yaml", content, given, [point], tmp_path, 0.25)
    assert trial.short is not None
    own = [option for option in trial.short.options if option.startswith("--model.warmup_steps=")]
    assert int(own[-1].partition("=")[2]) == steps, "the last one counts"
    assert trial.full.options == (*given, *options_of(point, content))


def test_fractions_between_two_that_are_taken_are_taken(fake: FakeTrials, monkeypatch: pytest.MonkeyPatch) -> None:
    """The corners of a grid are looked at; numbers that aren't fractions are, each of them."""
    seen: list[tuple[str, ...]] = []

    def look(given: list[str]) -> None:
        seen.append(tuple(word for word in given if "model.lr" in word or "dropout" in word or "batch_size" in word))

    monkeypatch.setattr(tune, "check_run", look)
    monkeypatch.setattr(tune, "check_model", lambda given: None)
    space = {"model.lr": [1e-4, 2e-4, 3e-4, 4e-4], "model.adapter.dropout": [0.0, 0.1, 0.2]}
    trials = make_trials(Path("starft.yaml"), {}, (), points(space, None), Path("trials"), 1)
    trials.sort(key=lambda item: (*item.values.values(),) != (2e-4, 0.1))
    tune.check_trials(trials, space)
    corners = {
        (f"--model.lr={rate}", f"--model.adapter.dropout={part}") for rate in (1e-4, 4e-4) for part in (0.0, 0.2)
    }
    within = ("--model.lr=0.0002", "--model.adapter.dropout=0.1")
    assert {*seen} == {within, *corners}, "the first trial is looked at wherever it lies"
    seen.clear()
    numbers = {"data.init_args.batch_size": [12, 24, 36, 48]}
    tune.check_trials(make_trials(Path("starft.yaml"), {}, (), points(numbers, None), Path("trials"), 1), numbers)
    assert {value for (value,) in seen} == {f"--data.init_args.batch_size={size}" for size in (12, 24, 36, 48)}


def test_weights_of_two_terms_count_alike() -> None:
    other = WEIGHT.replace("0", "1")
    assert pulls([{WEIGHT: 1, "model.lr": 9}, {WEIGHT: "2", "model.lr": 9}]) == [1, 2]
    assert pulls([{WEIGHT: 1, other: 100}, {WEIGHT: 2, other: 60}, {WEIGHT: 0, other: 0}]) == [1.5, 1.6, 0]
    assert pulls([{"model.lr": 1}]) == [None]


def candidate(title: str, acc: float, pull: float | None = None, **columns: Any) -> Candidate:
    return Candidate(title, {"id/acc": acc}, {"id": columns}, pull)


def test_rules_by_hand() -> None:
    many = np.zeros(10**9, np.bool_)  # a standard error of nothing; pages of zeros take no memory
    titled = (("low", 0.8, 9.0), ("best", 0.9, 1.0), ("near", 0.89, 2.0))
    low, best, near = (candidate(title, acc, pull, label=many) for title, acc, pull in titled)
    setting = Setting("id", (), 0.01, True)
    titles = {
        name: [item.title for item in RULES[name](setting).ranked([low, best, near])] for name in ("id", "tolerance")
    }
    assert titles == {"id": ["best", "near", "low"], "tolerance": ["near", "best", "low"]}


def test_what_a_validation_set_cannot_tell_apart_counts_as_equal() -> None:
    """90 of 98 right: (90 + 1) / 100 has a standard error of sqrt(0.91 * 0.09 / 98), 2.89 points; a point is lost."""
    best = candidate("best", 90 / 98, 1.0, label=np.zeros(98))
    rule = RULES["tolerance"](Setting("id", (), 0.01, True))
    assert rule.least_accuracy([best]) == pytest.approx(90 / 98 - 0.01 - 0.02891, abs=1e-5)
    near = [candidate(title, acc, 2.0, label=np.zeros(98)) for title, acc in (("in", 0.8795), ("out", 0.8793))]
    assert [item.title for item in rule.ranked([best, *near])] == ["in", "best", "out"]
    assert rule.least_accuracy([candidate("all", 1.0, label=np.zeros(12))]) < 11 / 12, "one image of twelve is nothing"


def test_groups_of_ten_images_count_in_the_set_whose_smallest_group_is_largest() -> None:
    """Set "id" has groups of 20, 1 and 10; set "groups" of 11 and 12, of which 9 and 6 are right."""
    rule = RULES["groups"](Setting("id", ("id", "groups")))
    sets = {
        "id": {"group": np.array([0] * 20 + [1] + [3] * 10), "right": np.array([True] * 20 + [False] + [True] * 10)},
        "groups": {
            "group": np.array([0] * 11 + [1] * 12),
            "right": np.array(([True] * 9 + [False] * 2) + [True, False] * 6),
        },
    }
    assert rule.value(Candidate("model", {}, sets)) == pytest.approx(6 / 12)
    assert RULES["groups"](Setting("id", ("id",))).value(Candidate("model", {}, sets)) == 1, "one image is no group"
    sets["id"] = {"group": np.array([-1] * 3 + [0] * 20 + [1] * 15), "right": np.array([True] * 24 + [False] * 14)}
    assert rule.value(Candidate("model", {}, sets)) == pytest.approx(1 / 15), "three images of no group are no group"
    few = {"id": {"group": np.arange(9), "right": np.ones(9, bool)}}
    with pytest.raises(ConfigError, match="No group of id has 10 validation images; give another --rule"):
        RULES["groups"](Setting("id", ("id",))).value(Candidate("model", {}, few))


def test_agreement_counts_where_the_frozen_model_is_sure() -> None:
    rule = RULES["zero_shot_agreement"](Setting("id"))
    rule.frozen = {"prediction": np.zeros(40, int), "confidence": np.array([0.95] * 30 + [0.5] * 10)}
    images = {"position": np.arange(40), "label": np.zeros(40, int)}
    rule.frozen |= images
    own, certain = np.array([0] * 24 + [1] * 16), np.array([0.95] * 12 + [1.0] * 6 + [0.475] * 6 + [0.9] * 16)
    model = candidate("model", 0.9, prediction=own, confidence=certain, **images)
    assert rule.value(model) == pytest.approx((12 + 6 + 6 / 2) / 30), "surer than the frozen model is no more than 1"
    rule.frozen |= {"prediction": own, "confidence": certain}
    assert rule.value(candidate("itself", 0.9, prediction=own, confidence=certain, **images)) == 1
    rule.frozen = {**images, "prediction": np.zeros(40, int), "confidence": np.array([0.95] * 30 + [0.5] * 10)}
    changed = {"prediction": np.where(np.arange(40) < 3, 1, 0), "confidence": np.full(40, 0.95)}
    unsure = {"prediction": np.zeros(40, int), "confidence": np.full(40, 0.6)}
    kept, lost = candidate("changed", 0.9, **changed, **images), candidate("unsure", 0.9, **unsure, **images)
    assert rule.value(kept) > rule.value(lost), "three lost of thirty are less than a third of each"
    rule.frozen = {**images, "prediction": np.zeros(40, int), "confidence": np.array([0.95] * 29 + [0.5] * 11)}
    with pytest.raises(ConfigError, match=r"sure \(90%\) of 29 images of id, and .* needs 30"):
        rule.value(model)


def test_agreement_is_of_the_same_images() -> None:
    columns = {"position": np.arange(40), "prediction": np.zeros(40, int), "confidence": np.ones(40)}
    rule = RULES["zero_shot_agreement"](Setting("id"))
    rule.frozen = {**columns, "label": np.zeros(40, int)}
    assert rule.value(candidate("same", 0.9, **columns, label=np.zeros(40, int))) == 1
    with pytest.raises(ConfigError, match="and others were scored on different images of id: the data have changed"):
        rule.value(candidate("others", 0.9, **columns, label=np.ones(40, int)))


def test_inferred_groups_of_ten_images_count() -> None:
    """Label 0 with attribute 0: 8 of 10 right; with attribute 1: 0 of 9, which are too few; label 1: 20 of 20."""
    attributes = np.array([0] * 10 + [1] * 9 + [0] * 20 + [-1] * 5)
    columns = {
        "label": np.array([0] * 19 + [1] * 20 + [0] * 5),
        "right": np.array([True] * 8 + [False] * 11 + [True] * 20 + [False] * 5),
    }
    rule = RULES["inferred_groups"](Setting("id", attributes=attributes))
    assert rule.value(candidate("model", 0.7, **columns)) == pytest.approx(0.8)
    attributes[-1] = 1  # a tenth image of what is rare, of another label
    columns["label"][-1] = 1
    assert rule.value(candidate("model", 0.7, **columns)) == 0, "small groups count together"
    columns["right"][10:14] = True
    assert rule.value(candidate("model", 0.7, **columns)) == pytest.approx(0.4)
    other = RULES["inferred_groups"](Setting("id", attributes=attributes[1:]))
    with pytest.raises(ConfigError, match="The audit is of 43 images of id, and validation has 44"):
        other.value(candidate("model", 0.7, **columns))


@pytest.mark.slow
def test_a_real_search_ends_in_a_config_that_trains(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tune, "finish_apart", finish)  # here; tests/cli/test_compare.py runs them apart
    grid, whole = f"--grid={WEIGHT}=1,4", ("--rule=tolerance", "--short=1", "--trainer.max_epochs=1")
    assert main(["tune", "--config=starft.yaml", grid, "--out=out", *whole]) == 0
    assert chosen()[WEIGHT] == "4", "with one epoch the weight is 0, so all are equal"
    found = read_validation(Path("out/trials/trial-001/full"))
    assert found.samples["id"]["right"].mean() == pytest.approx(found.metrics["id/acc"])
    assert main(["fit", "--config=out/chosen.yaml", "--trainer.max_steps=1"]) == 0
    assert Path("out/chosen/checkpoints/last.ckpt").is_file()
    monkeypatch.setattr("starft.cli.tune_run.ALPHAS", (0.0, 1.0))
    with warnings.catch_warnings(record=True) as noise:
        warnings.simplefilter("always")
        assert main(["tune", "--from=out/chosen", "--rule=id", "--out=line"]) == 0
    assert not [item for item in noise if "LeafSpec" in str(item.message)], "libraries' noise is left out"
    with Path("line/trials.csv").open(encoding="utf-8", newline="") as file:
        rows = [(row["checkpoint"], row["alpha"]) for row in csv.DictReader(file)]
    assert rows[:2] == [("last.ckpt", "0.0"), ("last.ckpt", "1.0")]
    made_of = torch.load("line/chosen.ckpt", weights_only=True)["made_of"]
    state = torch.load("line/chosen.ckpt", weights_only=True)["state_dict"]
    assert made_of["alpha"] in (0.0, 1.0)
    monkeypatch.setattr("starft.evaluation.rules.agreement.FEWEST", 1000)
    Path("out/chosen/unfinished.json").write_text("{}", encoding="utf-8")
    capsys.readouterr()
    assert main(["tune", "--from=out/chosen", "--rule=zero_shot_agreement", "--out=other"]) == 2
    assert not Path("other/trials.csv").exists(), "told after the frozen model is scored, before all else"
    assert "Note: The training in out/chosen hasn't ended" in capsys.readouterr().err
    assert 0.05 < made_of["temperature"] < 20
    assert all(bool(value.isfinite().all()) for value in state.values())


@pytest.mark.slow
def test_from_photos_to_a_report_in_four_commands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever --out is called, the last two are run as they are printed; chosen.yaml trains anew before or after."""
    monkeypatch.setattr(tune, "finish_apart", finish)
    own_images.write_table(tmp_path, name="photos.csv", attribute=False)
    photos = ["--config=csv/starft", "--data.init_args.file=photos.csv"]
    mini = ["--model.model_name=starft-mini", "--model.pretrained=mini", "--trainer.accelerator=cpu"]
    small = ["--trainer.precision=32-true", "--trainer.max_epochs=1", "--data.init_args.num_workers=0"]
    assert main(["data", "check", *photos]) == 0
    capsys.readouterr()
    assert main(["tune", *photos, *mini, *small, "--data.init_args.batch_size=8", "--trials=2", "--out=it's mine"]) == 0
    test, report = (shlex.split(line) for line in capsys.readouterr().out.splitlines()[-2:])
    assert (test[:3], report[:3]) == (["Next:", "starft", "test"], ["Then:", "starft", "report"])
    assert main(test[2:]) == 0
    capsys.readouterr()
    assert main(report[2:]) == 0
    assert "Report of 1 run: report.html" in capsys.readouterr().out
    page = Path("report.html").read_text(encoding="utf-8")
    assert "val/id/acc" in page, "of a run that was trained"
    assert "trial-00" in page, "and that has a name"
    assert main(["fit", "--config=it's mine/chosen.yaml"]) == 0, "after a test too"
    capsys.readouterr()
    assert main(test[2:]) == 2
    assert "full/results.json exists already" in capsys.readouterr().err, "as a test does, a training anew or not"


def test_temperature_by_hand() -> None:
    """Right in three of four with logits 2 and 0: the share of the likelier class is 3/4 at 2 / T = ln 3."""
    logits = torch.tensor([[2.0, 0.0]] * 4)
    assert best_temperature(logits, np.array([0, 0, 0, 1])) == pytest.approx(2 / np.log(3), rel=1e-3)
    assert best_temperature(logits, np.zeros(4, np.int64)) == 1, "all right: nothing says how sure it may be"
    scale = cooled({"clip.model.logit_scale": torch.tensor(np.log(100.0))}, 2.0)["clip.model.logit_scale"]
    assert scale.exp() == pytest.approx(50)
    head = cooled({"linear_head": torch.ones(2, 3), "clip.model.logit_scale": torch.tensor(1.0)}, 2.0)
    assert (head["linear_head"] == 0.5).all()
    assert head["clip.model.logit_scale"] == 1
