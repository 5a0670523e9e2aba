"""The benchmarks run and print what they say, on the tiny model; how long anything takes isn't asserted."""

import csv
import json
import re
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from fakes.tuned import WEIGHT, FakeTrials
from starft.__main__ import main
from starft.cli.fit import check_command
from starft.cli.single_run import Run
from starft.errors import PoolError
from starft.files.yaml_reader import read_yaml
from starft.runs.validation import write_validation

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
STARFT = ROOT / "lightning_configs" / "mini" / "starft.yaml"
SMALL = ["--rounds", "1"]
TINY = ["--model", "starft-mini", "--batch-size", "4", *SMALL]
SIZED: dict[str, list[str]] = {
    **{"input": SMALL, "packed": SMALL},
    **{name: [] for name in ("decoding", "audit", "found_groups", "memory", "relevance", "tuning", "worlds")},
}
"""What makes those benchmarks small that take no model; tests size the last ones themselves."""
PAGE = (ROOT / "docs" / "benchmarks.md").read_text(encoding="utf-8")
TOLD = {words[0]: words[1:] for words in map(str.split, re.findall(r"^python -m benchmarks\.(.*)$", PAGE, re.M))}
"""The options that the page gives to each benchmark; a test runs them, and what makes them small behind them."""
RATIOS = ("plain_over_starft", "starft_over_ce", "starft_over_flyp")


@pytest.fixture
def rows(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[dict[str, Any]]]:
    """Run a benchmark's `main` with options; return its rows."""
    monkeypatch.syspath_prepend(str(ROOT))

    def run(name: str, *options: str) -> list[dict[str, Any]]:
        small = SIZED.get(name, TINY)
        monkeypatch.setattr(sys, "argv", [name, *TOLD[name], *small, *options])
        module = import_module(f"benchmarks.{name}")
        for apart, here in {"peak_mib": "two_steps", "apart": "measured"}.items():
            if hasattr(module, apart) and hasattr(
                module, here
            ):  # this process has used threads, and can't be forked any more
                monkeypatch.setattr(module, apart, getattr(module, here))
        module.main()
        return [json.loads(line) for line in capsys.readouterr().out.splitlines()]

    return run


def test_step(rows: Callable[..., list[dict[str, Any]]]) -> None:
    *steps, ratios = rows("step")
    assert [row["row"] for row in steps] == ["plain", "starft", "starft_ce", "ce", "flyp", "flyp_plain", "floor"]
    assert all(row["median_seconds"] > row["optimizer_seconds"] >= 0 for row in steps)
    assert all(row["classes"] == 2 and row["batch_size"] == 4 and row["model"] == "starft-mini" for row in steps)
    gflops = {row["row"]: row["gflops"] for row in steps}
    assert gflops["plain"] > gflops["starft"] >= gflops["floor"] > gflops["ce"] > 0, "counted, not timed"
    assert gflops["flyp_plain"] > gflops["flyp"] > gflops["ce"]
    assert all(row["peak_mib"] > 100 for row in steps)
    assert all(ratios[name] > 0 for name in RATIOS)


def test_scale(rows: Callable[..., list[dict[str, Any]]]) -> None:
    grids = ["--batch-size-grid", "4", "--classes-grid", "2", "--pool-grid", "10"]
    found = rows("scale", *grids)
    assert [(row["row"], row["value"]) for row in found] == [("batch_size", 4), ("classes", 2), ("pool", 10)]
    assert all(row["median_seconds"] > 0 and row["peak_mib"] > 0 for row in found)
    assert all(row["median_seconds_over_first"] == 1 for row in found)


def test_evaluate(rows: Callable[..., list[dict[str, Any]]]) -> None:
    (row,) = rows("evaluate", "--batches", "1")
    assert row["images"] == 4
    assert row["starft_over_bare"] == pytest.approx(
        row["median_seconds"]["bare"] / row["median_seconds"]["starft"], rel=0.5
    )


def test_loop(rows: Callable[..., list[dict[str, Any]]]) -> None:
    (row,) = rows("loop")
    assert row["overhead"] > -1
    assert row["median_seconds"].keys() == {"by_hand", "by_loop"}


def test_input(rows: Callable[..., list[dict[str, Any]]]) -> None:
    decoded, evaluated, *fast, listed, folders = rows("input", "--images", "2", "--rows", "50", "--files", "200")
    names = [f"{name} {size}" for size in ("500x375", "4000x3000") for name in ("train", "evaluation")]
    assert [row["row"] for row in fast] == names
    assert all(row["exact_over_fast"] > 0 for row in fast)
    assert decoded["images"] == evaluated["images"] == 2
    assert decoded["ratio"] > 0 < evaluated["ratio"]
    assert listed["rows"] == 50
    assert (folders["files"], folders["problems"]) == (200, 0)


def test_decoding(rows: Callable[..., list[dict[str, Any]]]) -> None:
    """What is promised of fast decoding holds on fewer pictures, too."""
    found = rows("decoding", "--images", "12", "--sides", "96", "320")
    assert [row["side"] for row in found] == [96, 320]
    assert all(row["images"] == 36 and row["accuracy"]["exact"] > 50 for row in found)
    assert all(row["mean_difference"] < 0.5 and row["other_answers"] <= 2 for row in found)


def test_packed(rows: Callable[..., list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("starft.data.packed.scan.LARGE", 50)
    *read, built, opened, workers = rows("packed", "--images", "4", "--rows", "100")
    assert [row["row"] for row in read] == ["read and decode, warm", "read, warm", "read, 5 ms a file"]
    assert all(row["images"] == 4 and row["packed_over_folder"] > 0 for row in read)
    assert [row["row"] for row in (built, opened)] == ["build the index", "open from the index"]
    assert built["images"] == opened["images"] == workers["images"] == 100


def test_adapters(rows: Callable[..., list[dict[str, Any]]]) -> None:
    chosen = ["full", "lora", "frozen_kept", "two_passes"]
    found = {row["row"]: row for row in rows("adapters", "--freeze-image-blocks", "2", "--rows", *chosen)}
    assert [*found] == chosen
    assert all(row["seconds"] > 0 and row["peak_memory_bytes"] > 1e8 for row in found.values())
    compared = ("time_over_full", "time_over_two_passes")
    assert [name for name in compared if name in found["frozen_kept"]] == [*compared]
    assert [name for name in compared if name in found["lora"]] == ["time_over_full"]


def test_audit(rows: Callable[..., list[dict[str, Any]]]) -> None:
    few = ("--pictures", "20", "--planted", "4", "--copies-seeds", "0", "--chance-runs", "0", "--data-sets", "0")
    copies, spent = rows("audit", "--seeds", *few, "--images", "80", "--phrases", "10", "--files")
    assert copies["planted"] == 4
    assert (spent["images"], spent["phrases"], spent["classes"]) == (80, 10, 20)
    assert spent["processor_seconds"].keys() == {"pass", "audit", "again"}


def test_relevance(rows: Callable[..., list[dict[str, Any]]]) -> None:
    (row,) = rows("relevance", "--pictures", "24", "--mapped", "4")
    assert (row["model"], row["pictures"], row["mapped"]) == ("frozen", 24, 4)
    assert row["exact"][0] > row["map"][0] > row["bird_area"], "the frozen model looks at birds"


def test_found_groups(rows: Callable[..., list[dict[str, Any]]]) -> None:
    sizes = ("--train-size", "144", "--val-size", "12", "--seeds", "0", "--data.init_args.test_size=12")
    ce, inferred, kept = rows("found_groups", "--methods", "ce,group_dro:inferred", *sizes, "--trainer.max_epochs=1")
    assert (ce["groups_right"], ce["on"]) == (None, "test")
    assert inferred["groups_right"] > 90
    assert kept == {"row": "kept", "percent_of_the_gain": {}}, "no true groups to compare with"


def test_a_config_on_another_world(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    tuning = import_module("benchmarks.tuning")
    content = read_yaml(STARFT)
    there = tuning.on_world("starft", content, "weak")
    weight = there["model"]["regularizers"][0]["init_args"]["weight"]
    assert (there["model"]["pretrained"], there["model"]["lr"], weight) == ("mini_weak", 2e-3, 1.5)
    assert there["data"]["init_args"]["home_share"] == 0.5
    assert content == read_yaml(STARFT) == tuning.on_world("starft", content, "scenes")


def test_tuning(rows: Callable[..., list[dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also: a study goes on where it was stopped, and tune itself chooses the same from its trials."""
    monkeypatch.chdir(tmp_path)
    weight = "model.regularizers.0.init_args.weight"
    sizes = [f"--data.init_args.{name}" for name in ("train_size=48", "val_size=12", "test_size=12", "batch_size=12")]
    small = [f"--grid={weight}=1,4,16", "--short=0.25", *sizes, "--trainer.max_epochs=3"]
    study = (*small, "--rules", "id", "tolerance", "zero_shot_agreement", "--out", "study", "--seeds", "0")
    grid, *choices = rows("tuning", *study)
    assert len(grid["trials"]) == 3
    names = [("id", 0.25), ("id", 1), ("tolerance", 0.25), ("tolerance", 1), ("zero_shot_agreement", 0.25)]
    assert [(row["rule"], row["short"]) for row in choices[:5]] == names
    assert "and the rule zero_shot_agreement needs 30" in choices[4]["refused"]
    assert all(min(row["regret"].values()) >= 0 for row in choices[:4])
    assert choices[1]["processor_share"] == 1, "the whole grid in full"
    assert [(row["row"], row["seeds"]) for row in choices[6:]] == [("mean", [0])] * 4
    Path("study/seed-0/trials/trial-002/full/validation.json").unlink()  # as if it had been stopped there
    taken = json.loads(Path("study/seed-0.json").read_text())
    Path("study/seed-0.json").write_text(json.dumps({key: taken[key] for key in taken if key != "trial-002/full"}))
    assert [row.get("regret") for row in rows("tuning", *study)[1:7]] == [row.get("regret") for row in choices[:6]]

    monkeypatch.setattr("starft.cli.tune.finish_apart", lambda run: pytest.fail(f"{run.title} has run"))
    for row in (choices[0], choices[2]):
        words = ["tune", "--config=study/seed-0.yaml", "--out=study/seed-0", f"--rule={row['rule']}", *small]
        assert main(words) == 0
        with Path("study/seed-0/trials.csv").open(encoding="utf-8", newline="") as file:
            lines = list(csv.DictReader(file))
        assert [float(line[weight]) for line in lines if line["state"] == "chosen"] == [row["chosen"][weight]]
        assert len(lines) == 5, "three short ones and two in full"


def test_a_study_goes_on_where_its_audit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the frozen model recognises no phrase of the pool; also: three trials have no short runs."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(ROOT))
    tuning = import_module("benchmarks.tuning")

    def refuse(**given: Any) -> None:
        raise PoolError("The model recognises none of the phrases.")

    fake = FakeTrials()
    monkeypatch.setattr(tuning, "finish", fake)
    monkeypatch.setattr(tuning.audit, "data", refuse)
    weights = {WEIGHT: [1, 2, 4], "model.lr": [1e-4]}
    study = tuning.Study(STARFT, weights, tmp_path / "seed-0", (), None)
    study.carry_out(audits=True)
    assert [Path(name).name for name in fake.made] == ["full"] * 3
    assert study.part == 1
    assert "is no folder; give the one that `starft audit data`" in study.row("inferred_groups", 1)["refused"]


def test_what_tune_itself_takes(
    rows: Callable[..., list[dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    sizes = [f"--data.init_args.{name}" for name in ("train_size=24", "val_size=12", "test_size=12", "batch_size=12")]
    (row,) = rows("tuning", "--engine", "2", *sizes, "--trainer.max_epochs=1")
    assert (row["status"], row["trials"], row["runs"]) == (0, 2, 3), "the trials, and the frozen model once"
    assert 0 < row["own_share"] < 1
    assert row["processor_seconds_of_runs"] > 0.5
    assert all(size > 100 for size in row["resident_mib"])


def test_what_is_chosen_on_a_world(
    rows: Callable[..., list[dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stand-ins for runs: the second rate is best, and weights cost what `lost` says, times its order of magnitude."""
    lost = {"l2_sp": 0.02, "kd": 0.0, "starft_ce": 1.0, "starft_lipsum_ft": 0.05}
    made: list[str] = []

    def rate_of(run: Run) -> str:
        given = [option.partition("=")[2] for option in run.options if option.startswith("--model.lr=")]
        return given[-1] if given else "6e-4"

    def stand_in(run: Run) -> None:
        made.append(run.title)
        method, rate = run.config.stem, f"{float(rate_of(run)):g}"
        assert run.scored_on == "validate"
        *_, weight = run.title.removeprefix(method).removeprefix(f"-{rate}").split("-")
        accuracy = 0.7 if rate == "0.0006" else 0.6
        if weight:
            content = read_yaml(run.config)
            own = content["model"]["regularizers"][-1]["init_args"]["weight"]
            accuracy -= lost.get(method, 0.005) * float(weight) / own
        metrics = {f"val/{name}": accuracy for name in ("id/acc", "ood/acc", "groups/worst_group_acc")}
        run.folder.mkdir(parents=True)
        write_validation(run.folder, metrics, {}, 1.0)

    monkeypatch.setattr("benchmarks.worlds.finish", stand_in)
    *_, chosen = rows("worlds", "--baselines", "ce", "--out", str(tmp_path / "ce"))
    assert chosen["rates"] == {"ce": 6e-4}
    own = {"car_ft": [10.0], "feature_distillation": [3.0], "lipsum_ft": [3.0]}
    weights = {"l2_sp": [0.09], "kd": [5.0], "starft_ce": [0.05], **own}  # a third, ten times, a hundredth, their own
    on_rivals = {"starft_feature_distillation": [3.0, 15.0], "starft_lipsum_ft": [3.0, 1.5]}  # a point below the rival
    assert chosen["weights"] == weights | on_rivals
    assert made.count("ce-0.0006") == 1
    *_, alone = rows("worlds", "--on-rivals", "lipsum_ft", "--out", str(tmp_path / "alone"))
    assert alone["weights"] == {"starft_lipsum_ft": [0.3, 0.5]}  # 5 costs five points
    assert made[-4:] == ["lipsum_ft", *(f"starft_lipsum_ft-0.3-{weight}" for weight in ("5", "1.5", "0.5"))]
    *_, kinds = rows("worlds", "--world", "kinds", "--out", str(tmp_path / "kinds"))
    assert kinds["rates"] == {"ce": 6e-4}
    assert kinds["weights"].keys() == {"starft_ce", "starft_kinds"}
    assert [title for title in made if title.startswith("l2_sp")] == ["l2_sp-0.0006-0.3", "l2_sp-0.0006-0.09"]
    with pytest.raises(SystemExit, match="2"):
        rows("worlds", "--world", "kinds", "--baselines", "lora", "--out", str(tmp_path / "none"))


def test_how_stable_a_ranking_is(rows: Callable[..., list[dict[str, Any]]], tmp_path: Path) -> None:
    """Three methods, three seeds: the half {0} agrees with the rest on all pairs, {1} and {2} on as many as not."""
    values = {"a": [0.1, 0.2, 0.1], "b": [0.2, 0.1, 0.3], "c": [0.3, 0.4, 0.2]}
    configs = {name: {"metrics": {"ood/acc": {"values": some}}} for name, some in values.items()}
    results = {"metrics": ["ood/acc"], "seeds": [0, 1, 2], "configs": configs}
    (tmp_path / "results.json").write_text(json.dumps(results), encoding="utf-8")
    (row,) = rows("worlds", "--stability", str(tmp_path))
    # Means of the rest: {1, 2} gives a .15, b .2, c .3; {0, 2} a .1, b .25, c .25 (a tie); {0, 1} a .15, b .15, c .35.
    # So tau is 1; between b < a < c and a < b = c it is 0; between a < c < b and a = b < c it is 0.
    assert row == {"metric": "ood/acc", "methods": 3, "halvings": 3, "tau": pytest.approx(0.33), "smallest_tau": 0.0}
    (tmp_path / "results.json").write_text(json.dumps(results | {"seeds": [0]}), encoding="utf-8")
    with pytest.raises(SystemExit, match="2"):
        rows("worlds", "--stability", str(tmp_path))


def test_what_starft_adds(rows: Callable[..., list[dict[str, Any]]], tmp_path: Path) -> None:
    """Gains of 1, 2 and 3 points: Student's 0.975 quantile of two degrees of freedom is 4.303, times sqrt(1 / 3)."""
    values = {"ce": [0.5, 0.6, 0.7], "starft_ce": [0.51, 0.62, 0.73], "starft": [0.1, 0.2, 0.3]}
    configs = {name: {"metrics": {"ood/acc": {"values": some}}} for name, some in values.items()}
    (tmp_path / "results.json").write_text(json.dumps({"metrics": ["ood/acc"], "configs": configs}), encoding="utf-8")
    (row,) = rows("worlds", "--added", str(tmp_path))  # flyp, to which starft is added, didn't run
    assert row == {"to": "ce", "added": "starft_ce", "ood/acc": [2.0, -0.5, 4.5]}


def test_what_is_chosen_on_a_world_is_run(
    rows: Callable[..., list[dict[str, Any]]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(ROOT))
    module = import_module("benchmarks.worlds")
    monkeypatch.setattr(module, "ADAPTER_RATES", (2e-3,))
    monkeypatch.setattr(module, "FACTORS", (0.1, 1.0))
    sizes = ["--data.init_args.train_size=24", "--data.init_args.val_size=12", "--data.init_args.batch_size=12"]
    *runs, chosen = rows("worlds", "--baselines", "lora", "--out", str(tmp_path), *sizes, "--trainer.max_epochs=1")
    assert [row["method"] for row in runs] == ["lora", "starft_lora", "starft_lora"][: len(runs)]
    assert all(0 <= row["id"] <= 100 for row in runs)
    assert chosen["rates"] == {"lora": 2e-3}
    assert chosen["weights"].keys() == {"starft_lora"}


def test_memory(rows: Callable[..., list[dict[str, Any]]]) -> None:
    full, half, lora, base = rows("memory", "--models", "ViT-B-32")
    assert (full["weights"], full["twin"], full["optimizer"]) == (0.61, 0.61, 1.21), "151.3 million numbers"
    assert half["twin"] == 0.36, "of which 122.7 are in matrices"
    assert lora["optimizer"] == 0.03, "3.9 million numbers"
    assert (base["weights"], base["casts"]) == (0.38, 0)
    assert lora["activations"] / full["activations"] == pytest.approx(25 / 36.1, rel=0.02)


def test_what_is_run_on_a_gpu(
    rows: Callable[..., list[dict[str, Any]]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Rehearsed: the script with a Python that notes what it is given, then those words in this process."""
    python, noted = tmp_path / "python", tmp_path / "noted"
    python.write_text(f'#!/bin/sh\necho "$@" >> {noted}\n[ "$2" != benchmarks.transfer ]\n', encoding="utf-8")
    python.chmod(0o755)
    size = {"MODEL": "starft-mini", "BATCH": "4", "DEVICE": "cpu", "ROUNDS": "1", "BLOCKS": "2", "IMAGES": "2"}
    path = f"{tmp_path}:/usr/bin:/bin"
    (tmp_path / "nvidia-smi").write_text("#!/bin/sh\necho one; echo two\n", encoding="utf-8")
    (tmp_path / "nvidia-smi").chmod(0o755)
    script = ["bash", str(ROOT / "benchmarks" / "on_gpu.sh")]
    text = (ROOT / "benchmarks" / "on_gpu.sh").read_text(encoding="utf-8")
    limits = re.findall(r"^part (\d+) |--kill-after=\d+ (\d+) ", text, re.M)
    (grace,) = set(re.findall(r"--kill-after=(\d+)", text))
    assert len(limits) == 7
    assert sum(int(part or alone) + int(grace) for part, alone in limits) <= 8 * 60
    told = subprocess.run(script, env=size | {"PYTHON": str(python), "PATH": path}, capture_output=True, check=True)
    failed, nccl = map(json.loads, told.stdout.splitlines())
    assert (failed["row"], failed["status"]) == ("failed", 1)
    assert failed["command"].startswith("benchmarks.transfer --model starft-mini")
    assert (nccl["row"], nccl["status"]) == ("nccl", 0)
    *parts, fit = [line.split()[1:] for line in noted.read_text(encoding="utf-8").splitlines()]
    assert fit[:2] == ["starft", "fit"]
    check_command(fit[1:])
    assert len(parts) == 6
    for name, *words in parts:
        sources = [ROOT / "benchmarks" / f"{module}.py" for module in (name.removeprefix("benchmarks."), "stand")]
        known = "".join(source.read_text(encoding="utf-8") for source in sources)
        assert all(f'"{word}"' in known for word in words if word.startswith("--")), name
    monkeypatch.setitem(TOLD, "transfer", [])
    (row,) = rows("transfer", *parts[-1][1:])
    assert row["float32_over_uint8"] > 0


def test_each_benchmark_of_the_page_is_one_of_these() -> None:
    named = {"step", "scale", "evaluate", "loop", "input", "decoding", "packed", "adapters", "audit", "memory"}
    assert TOLD.keys() == named | {"relevance", "found_groups", "tuning", "worlds"}
