"""Weight space: the line between two models, means, greedy soups, the moving average."""

import json
import math
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import lightning as L
import numpy as np
import pandas as pd
import pytest
import torch
from lightning.pytorch.callbacks import ModelCheckpoint
from PIL import Image
from torch import Tensor

from starft.__main__ import main
from starft.callbacks import DFR, JTT, WeightEMA
from starft.cli import soup
from starft.cli.interpolate import read_alphas
from starft.errors import ConfigError, WeightsError
from starft.files.shipped import shipped
from starft.losses.objectives import CrossEntropy
from starft.mini import MiniWorld
from starft.reporting.curve import curve_axes
from starft.runs.checkpoint_files import WholeCheckpointIO
from starft.training.averaging import Member, add_to_mean, check_alike, interpolate, read_member
from starft.training.model_stock import stock_ratio
from starft.training.module import FinetuneModule
from starft.types import EvalSet

MINI = shipped("lightning_configs") / "mini"
DATA = {"train_size": 24, "val_size": 12, "test_size": 12, "batch_size": 12}
SMALL = [*(f"--data.init_args.{key}={value}" for key, value in DATA.items()), "--trainer.enable_progress_bar=false"]


def same_bits(one: Tensor, other: Tensor) -> bool:
    return one.dtype == other.dtype and one.numpy().tobytes() == other.numpy().tobytes()


# The maths


def test_the_line_by_hand() -> None:
    start = {"w": torch.tensor([0.0, 2.0, -4.0])}
    end = {"w": torch.tensor([1.0, 4.0, 4.0])}
    assert interpolate(start, end, 0.25)["w"].tolist() == [0.25, 2.5, -2.0]
    assert interpolate(start, end, 0.5)["w"].tolist() == [0.5, 3.0, 0.0]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_the_ends_to_the_last_bit(dtype: torch.dtype) -> None:
    """Zeros of either sign, infinities and the like too, which a product with 0 would change."""
    odd = torch.tensor([-0.0, float("inf"), 1e-45, 1 / 3, -7.0])
    start, end = {"w": odd.to(dtype)}, {"w": odd.flip(0).to(dtype)}
    for alpha, expected in ((0.0, start), (1.0, end)):
        mixed = interpolate(start, end, alpha)["w"]
        assert same_bits(mixed.view(torch.uint8), expected["w"].view(torch.uint8))
        assert mixed is not expected["w"], "a copy"


def test_what_didnt_move_stays_to_the_last_bit() -> None:
    """(1 - 0.1) x + 0.1 x isn't x for most numbers."""
    frozen = torch.rand(1000, generator=torch.Generator().manual_seed(0))
    assert not torch.equal(0.9 * frozen + 0.1 * frozen, frozen)
    assert same_bits(interpolate({"w": frozen}, {"w": frozen.clone()}, 0.1)["w"], frozen)


def test_whole_numbers_come_from_the_end_and_halves_are_mixed_in_float32() -> None:
    start = {"n": torch.tensor(3), "h": torch.tensor([1.0], dtype=torch.bfloat16)}
    end = {"n": torch.tensor(8), "h": torch.tensor([1.0078125], dtype=torch.bfloat16)}
    mixed = interpolate(start, end, 0.75)
    assert mixed["n"].item() == 8
    assert mixed["h"].item() == 1.0078125, "1.00586 is nearest to the end among bfloat16's numbers"


def test_the_mean_against_numpy() -> None:
    rng = np.random.default_rng(0)
    models = [rng.normal(size=50).astype(np.float32) for _ in range(5)]
    mean: Mapping[str, Tensor] = {"w": torch.from_numpy(models[0])}
    for count, model in enumerate(models[1:], 1):
        mean = add_to_mean(mean, count, {"w": torch.from_numpy(model)})
    np.testing.assert_allclose(mean["w"].numpy(), np.mean(models, axis=0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("moves", "ratio"),
    [
        ([[3.0, 0.0], [0.5, math.sqrt(0.75)]], 2 * 0.5 / (1 + 0.5)),  # 60 degrees, whatever the lengths
        ([[1.0, 0.0], [0.0, 2.0]], 0.0),
        ([[1.0, 0.0], [-1.0, 0.1]], 0.0),
        ([[1.0, 2.0], [2.0, 4.0]], 1.0),
        ([[1.0, 0.0], [0.0, 0.0]], 0.0),  # one model left the layer as it was
        # three models at 0, 60 and 90 degrees: the mean of the cosines 1/2, 0 and sqrt(3)/2, once in each pair
        ([[1.0, 0.0], [0.5, math.sqrt(0.75)], [0.0, 1.0]], 3 * (c := (0.5 + math.sqrt(0.75)) / 3) / (1 + 2 * c)),
    ],
)
def test_model_stock_s_ratio_by_hand(moves: list[list[float]], ratio: float) -> None:
    origin = torch.tensor([10.0, -4.0])
    layers = [origin + torch.tensor(move) for move in moves]
    assert stock_ratio(origin, layers) == pytest.approx(ratio, abs=1e-6)


@pytest.mark.parametrize(
    ("text", "told"),
    [("0,x", "must be numbers with commas"), ("0,1.5", "must lie in"), ("nan", "must lie in"), ("0,0.0", "different")],
)
def test_alphas_that_cant_be_used(text: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        read_alphas(text)


def test_the_axes_of_the_curve() -> None:
    classes = ("a", "b")
    usual, other = EvalSet("id", classes, ("{}",)), EvalSet("far", classes, ("{}",), ood=True)
    groups = EvalSet("groups", ("x", "y"), ("{}",), group_names=("x on land", "y on land"))
    assert curve_axes([groups, usual, other], classes) == ["id/acc", "ood_acc"]
    assert curve_axes([groups], ("x", "y")) == ["groups/acc", "groups/worst_group_acc"]
    assert curve_axes([usual], classes) is None


# Greedy soups, on models of one number


class Hill:
    """Stands in for a scorer: the nearer the one weight is to 0.7, the better."""

    monitor = "hill/acc"
    mode = "max"

    def __init__(self) -> None:
        self.seen: list[float] = []

    def __call__(self, state: Mapping[str, Tensor]) -> dict[str, float]:
        self.seen.append(round(float(state["clip.w"]), 4))
        return {"hill/acc": round(1 - abs(float(state["clip.w"]) - 0.7), 4)}


def members(folder: Path, *weights: float) -> list[Member]:
    """Write a checkpoint of one weight each."""
    facts = {"model_name": "one", "head": "text", "class_names": ["a"], "templates": ["{}"], "twin": "t"}
    found = []
    for number, weight in enumerate(weights):
        path = folder / f"{number}.ckpt"
        torch.save({"state_dict": {"clip.w": torch.tensor(weight)}, "starft": facts}, path)
        found.append(read_member(path))
    return found


def test_greedy_by_hand(tmp_path: Path) -> None:
    """Values 0.3, 0.8, 0.9, 0.6: 0.8 first (0.9); with 0.5, 0.65 is better (0.95); with 1.1, 0.8 isn't; nor 0, 0.43."""
    hill = Hill()
    state, told = soup.greedy(members(tmp_path, 0.0, 0.5, 0.8, 1.1), hill, None)  # type: ignore[arg-type]
    assert hill.seen == [0.0, 0.5, 0.8, 1.1, 0.65, 0.8, 0.4333]
    assert [Path(path).stem for path in told["kept"]] == ["2", "1"]
    assert float(state["clip.w"]) == pytest.approx(0.65)
    assert told["value"] == 0.95


def test_greedy_keeps_nothing_that_is_only_as_good(tmp_path: Path) -> None:
    """0.6 and 0.8 are equally good, so the first given comes first; their mean is better; with a third 0.7 it stays."""
    _, told = soup.greedy(members(tmp_path, 0.8, 0.6, 0.5, 0.9), Hill(), "val/hill/acc")  # type: ignore[arg-type]
    assert [Path(path).stem for path in told["kept"]] == ["0", "1"]
    _, told = soup.greedy(members(tmp_path, 0.7, 0.7), Hill(), None)  # type: ignore[arg-type]
    assert [Path(path).stem for path in told["kept"]] == ["0"], "equal isn't better"


@pytest.mark.parametrize("seed", range(20))
def test_greedy_is_never_below_its_best_member(seed: int, tmp_path: Path) -> None:
    weights = np.random.default_rng(seed).uniform(0, 2, size=6)
    state, told = soup.greedy(members(tmp_path, *weights), Hill(), None)  # type: ignore[arg-type]
    assert told["value"] >= max(told["members"].values())
    assert Hill()(state)["hill/acc"] == told["value"], "the value is that of the weights"


def test_a_metric_that_isnt_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"'hill/ac' isn't in validation, which has hill/acc. Did you mean hill/acc"):
        soup.greedy(members(tmp_path, 0.1, 0.2), Hill(), "hill/ac")  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"model_name": "two"}, r"model \(one and two\)"),
        ({"head": "linear"}, r"head \(text and linear\)"),
        ({"class_names": ["a", "b"]}, r"number of classes \(1 and 2\)"),
        ({"class_names": ["b"]}, "differ in their classes;"),
        ({"twin": "u"}, "pre-trained weights;"),
    ],
)
def test_models_that_arent_alike(change: dict[str, Any], told: str, tmp_path: Path) -> None:
    first, other = members(tmp_path, 1.0, 2.0)
    held = torch.load(other.path, weights_only=True)
    held["starft"] |= change
    torch.save(held, other.path)
    with pytest.raises(ConfigError, match=told):
        check_alike(first, read_member(other.path))


def test_weights_that_dont_fit(tmp_path: Path) -> None:
    first, other = members(tmp_path, 1.0, 2.0)
    held = torch.load(other.path, weights_only=True)
    held["state_dict"]["clip.w"] = torch.ones(2)
    torch.save(held, other.path)
    with pytest.raises(WeightsError, match=r"1.ckpt doesn't fit the other weights: clip.w is \(2,\), not \(\)"):
        soup.uniform([first, read_member(other.path)])


# Through the command, on one short run


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two steps with a linear head and a teacher, and its last checkpoint."""
    folder = tmp_path_factory.mktemp("weights") / "run"
    teacher = '--model.regularizers=[{"class_path": "starft.losses.Tracer"}]'
    quick = ["--trainer.max_epochs=1", "--trainer.check_val_every_n_epoch=1", "--model.warmup_steps=0"]
    words = ["fit", f"--config={MINI / 'ce.yaml'}", *SMALL, *quick, teacher, f"--trainer.default_root_dir={folder}"]
    assert main(words) == 0
    return folder


def last(run: Path) -> Path:
    return run / "checkpoints" / "last.ckpt"


def weights(path: Path) -> dict[str, Tensor]:
    state: dict[str, Tensor] = torch.load(path, weights_only=True)["state_dict"]
    return state


def started() -> dict[str, Tensor]:
    """The state of the model before its first step."""
    module = FinetuneModule(CrossEntropy(), "starft-mini", "mini", head="linear")
    data = MiniWorld(**DATA)
    module.describe(data.class_names, data.templates)
    return {key: value for key, value in module.state_dict().items() if not key.startswith("twin.")}


@pytest.mark.slow
def test_a_place_on_the_line_is_a_checkpoint(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for alpha in (0, 0.5, 1):
        words = ["interpolate", f"--ckpt_path={last(run)}", f"--alpha={alpha}", f"--out={tmp_path / f'{alpha}.ckpt'}"]
        assert main(words) == 0
    start, end = started(), weights(last(run))
    assert any(key.startswith("teachers.") for key in end)
    zero, half, one = (weights(tmp_path / f"{alpha}.ckpt") for alpha in (0, 0.5, 1))
    assert zero.keys() == half.keys() == one.keys() == start.keys(), "no teachers, no twin"
    assert "linear_head" in zero
    for key in start:
        assert same_bits(zero[key], start[key]), key
        assert same_bits(one[key], end[key]), key
        torch.testing.assert_close(half[key], (start[key] + end[key]) / 2, rtol=1e-6, atol=1e-7)
    assert not torch.equal(one["linear_head"], zero["linear_head"])
    assert set(torch.load(tmp_path / "1.ckpt", weights_only=True)) & {"optimizer_states", "loops", "callbacks"} == set()
    command = shlex.split(capsys.readouterr().out.splitlines()[-1].removeprefix("Next: starft "))
    assert command[command.index("--ckpt_path") + 1] == str(tmp_path / "1.ckpt")
    assert main([*command, "--trainer.enable_progress_bar=false"]) == 0
    assert (tmp_path / "1" / "results.json").is_file()
    assert not (run / "results.json").exists(), "those of the run's own checkpoint"
    capsys.readouterr()
    assert main(words) == 2
    assert "exists already" in capsys.readouterr().err
    config = f"--config={run / 'config.yaml'}"
    assert main(["fit", config, f"--ckpt_path={tmp_path / '1.ckpt'}"]) == 2
    assert "holds weights without an optimizer's state" in capsys.readouterr().err


@pytest.mark.slow
def test_a_sweep_ends_where_the_tests_of_its_ends_do(run: Path, tmp_path: Path) -> None:
    config = f"--config={run / 'config.yaml'}"
    out = tmp_path / "sweep"
    words = ["interpolate", f"--ckpt_path={last(run)}", config, "--alphas=0,0.5,1", f"--out={out}"]
    assert main(words) == 0
    found = json.loads((out / "interpolation.json").read_text(encoding="utf-8"))
    assert (found["start"], found["stage"], found["axes"]) == ("pre-trained", "test", ["id/acc", "ood_acc"])
    assert [row["alpha"] for row in found["rows"]] == [0, 0.5, 1]
    with Image.open(out / "interpolation.png") as picture:
        picture.load()
    for at, checkpoint in ((0, []), (2, [f"--ckpt_path={last(run)}"])):
        folder = tmp_path / str(at)
        assert main(["test", config, *SMALL, f"--trainer.default_root_dir={folder}", *checkpoint]) == 0
        held = json.loads((folder / "results.json").read_text(encoding="utf-8"))
        expected = {f"{name}/{k}": v for name, one in held["eval_sets"].items() for k, v in one["metrics"].items()}
        assert found["rows"][at]["metrics"] == pytest.approx(expected | {"ood_acc": held["ood_acc"]})


@pytest.mark.slow
def test_dawin_through_the_command(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Between a model and itself every mixed model is that model, and its numbers are those of a test of it."""
    config, out = f"--config={run / 'config.yaml'}", tmp_path / "dawin"
    words = ["interpolate", f"--ckpt_path={last(run)}", "--dawin", f"--out={out}"]
    assert main([*words, f"--start={last(run)}", config, "--stage=validate"]) == 0
    values = json.loads((out / "dawin.json").read_text(encoding="utf-8"))
    assert [row["place"] for row in values["rows"]] == ["start", "end", "DaWin"]
    one, other, dawin = (row["metrics"] for row in values["rows"])
    text_heads = {name for name in other if name.endswith("text_head_acc")}
    assert one == other
    assert dawin == {name: value for name, value in other.items() if name not in text_heads}
    table = pd.read_csv(out / "dawin.csv")
    assert set(table["set"]) == {"id", "ood", "groups"} == set(values["clusters"])
    mine = table[table["set"] == "id"]
    assert (mine["label"] == mine["prediction"]).mean() == pytest.approx(other["id/acc"])
    assert table["coefficient"].to_numpy() == pytest.approx(0.5), "the two are equally sure"
    assert sum(cluster["images"] for cluster in values["clusters"]["id"]) == len(mine)
    capsys.readouterr()
    assert main([*words, f"--start={last(run)}", config, "--stage=validate"]) == 2
    assert "exists already" in capsys.readouterr().err
    assert main([*words, "--alpha=0.5"]) == 2
    assert "--dawin finds its alphas on the sets of a config" in capsys.readouterr().err


@pytest.mark.slow
def test_the_bias_of_a_refitted_head_is_mixed_and_scored(run: Path, tmp_path: Path) -> None:
    """DFR's bias b lies at alpha b on the line from a head that has none, and each place is scored with its own."""
    refitted, soup_of = tmp_path / "refitted.ckpt", tmp_path / "soup.ckpt"
    held = torch.load(last(run), weights_only=True)
    bias = torch.linspace(-100, 100, 12)
    held["state_dict"]["head_bias"] = bias
    torch.save(held, refitted)
    for alpha, start, expected in (
        (0.25, [], 0.25 * bias),
        (0.25, [f"--start={last(run)}"], 0.25 * bias),
        (0, [], None),
    ):
        path = tmp_path / f"{alpha}-{len(start)}.ckpt"
        words = ["interpolate", f"--ckpt_path={refitted}", f"--alpha={alpha}", f"--out={path}", *start]
        assert main(words) == 0
        found = torch.load(path, weights_only=True)["state_dict"].get("head_bias")
        assert found is None if expected is None else torch.equal(found, expected)
    assert main(["soup", f"--ckpt_paths={last(run)},{refitted}", f"--out={soup_of}"]) == 0
    assert torch.equal(torch.load(soup_of, weights_only=True)["state_dict"]["head_bias"], bias / 2)
    config, out, folder = f"--config={run / 'config.yaml'}", tmp_path / "sweep", tmp_path / "tested"
    assert main(["interpolate", f"--ckpt_path={refitted}", config, "--alphas=1,0", f"--out={out}"]) == 0
    rows = json.loads((out / "interpolation.json").read_text(encoding="utf-8"))["rows"]
    assert main(["test", config, *SMALL, f"--trainer.default_root_dir={folder}", f"--ckpt_path={refitted}"]) == 0
    accuracy = json.loads((folder / "results.json").read_text(encoding="utf-8"))["eval_sets"]["id"]["metrics"]["acc"]
    assert rows[0]["metrics"]["id/acc"] == accuracy
    assert rows[1]["metrics"]["id/acc"] > accuracy + 0.3, "the bias says the last class to everything"


@pytest.mark.slow
def test_model_stock_through_the_command(run: Path, tmp_path: Path) -> None:
    """Of a run and its twin whose head went the other way: towers are the run's, the head is the pre-trained one."""
    start, end = started(), torch.load(last(run), weights_only=True)
    twin = tmp_path / "twin.ckpt"
    end["state_dict"]["linear_head"] = 2 * start["linear_head"] - end["state_dict"]["linear_head"]
    torch.save(end, twin)
    words = ["soup", f"--ckpt_paths={last(run)},{twin}", "--kind=stock", f"--out={tmp_path / 'stock.ckpt'}"]
    assert main(words) == 0
    stock, tuned = weights(tmp_path / "stock.ckpt"), weights(last(run))
    assert stock.keys() == start.keys()
    for key, value in stock.items():
        expected = start[key] if key == "linear_head" else tuned[key]
        torch.testing.assert_close(value, expected, rtol=1e-6, atol=1e-7)
    ratios = json.loads((tmp_path / "stock.json").read_text(encoding="utf-8"))["ratios"]
    assert ratios["linear_head"] == 0.0
    assert ratios["clip.model.visual.proj"] == pytest.approx(1.0)


@pytest.mark.slow
def test_soups_through_the_command(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a run's end, its start, and a model that is spoilt, which a greedy soup leaves out."""
    start, spoilt = tmp_path / "start.ckpt", tmp_path / "spoilt.ckpt"
    assert main(["interpolate", f"--ckpt_path={last(run)}", "--alpha=0", f"--out={start}"]) == 0
    held = torch.load(start, weights_only=True)
    held["state_dict"]["linear_head"].neg_()
    torch.save(held, spoilt)
    paths = f"--ckpt_paths={spoilt},{last(run)},{start}"
    assert main(["soup", paths, f"--out={tmp_path / 'all.ckpt'}"]) == 0
    parts, mean = [weights(path) for path in (spoilt, last(run), start)], weights(tmp_path / "all.ckpt")
    for key, value in mean.items():
        torch.testing.assert_close(value, torch.stack([part[key] for part in parts]).mean(dim=0), rtol=1e-5, atol=1e-6)
    words = ["soup", paths, "--kind=greedy", f"--config={run / 'config.yaml'}", f"--out={tmp_path / 'best.ckpt'}"]
    assert main(words) == 0
    assert f"Next: starft test --config {run / 'config.yaml'} --ckpt_path {tmp_path / 'best.ckpt'} " in " ".join(
        capsys.readouterr().out.split()
    )
    told = json.loads((tmp_path / "best.json").read_text(encoding="utf-8"))
    assert told["metric"] == "val/id/acc"
    assert told["value"] >= max(told["members"].values())
    assert str(spoilt) not in told["kept"]
    capsys.readouterr()
    for wrong, sentence in (
        ([paths, "--kind=greedy", f"--out={tmp_path / 'x.ckpt'}"], "needs --config"),
        ([f"--ckpt_paths={start}", f"--out={tmp_path / 'x.ckpt'}"], "two different checkpoints or more"),
        ([f"--ckpt_paths={start},", f"--out={tmp_path / 'x.ckpt'}"], "two different checkpoints or more"),
        ([paths, f"--out={start}"], "exists already"),
        ([f"--ckpt_paths={start},{tmp_path / 'no.ckpt'}", f"--out={tmp_path / 'x.ckpt'}"], "no.ckpt doesn't exist"),
    ):
        assert main(["soup", *wrong]) == 2
        assert sentence in capsys.readouterr().err


# The moving average of a run's weights


class Watch(L.Callback):
    """Notes one weight after each step, and while it is validated."""

    def __init__(self) -> None:
        self.steps: list[Tensor] = []
        self.validated: list[Tensor] = []

    def on_train_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.steps.append(watched(pl_module.state_dict()))

    def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, *args: Any) -> None:
        self.steps.append(watched(pl_module.state_dict()))

    def on_validation_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
        self.validated.append(watched(pl_module.state_dict()))


def watched(state: Mapping[str, Tensor]) -> Tensor:
    return state["linear_head"].detach().clone()


def averaged_run(folder: Path, ckpt_path: Path | None = None) -> tuple[Watch, FinetuneModule]:
    """Train with a linear head, two steps an epoch, keeping each epoch's end."""
    L.seed_everything(0, verbose=False)
    watch = Watch()
    module = FinetuneModule(CrossEntropy(), "starft-mini", "mini", head="linear", lr=1e-3, warmup_steps=0)
    keep = ModelCheckpoint(folder, filename="{epoch}", save_top_k=-1, save_on_train_epoch_end=True)
    options: dict[str, Any] = {"enable_progress_bar": False, "enable_model_summary": False, "log_every_n_steps": 1}
    trainer = L.Trainer(
        accelerator="cpu",
        max_epochs=3,
        logger=False,
        num_sanity_val_steps=0,
        limit_train_batches=2,
        callbacks=[WeightEMA(decay=0.75), watch, keep],
        plugins=[WholeCheckpointIO()],
        **options,
    )
    trainer.fit(module, datamodule=MiniWorld(**DATA), ckpt_path=ckpt_path)
    return watch, module


@pytest.mark.slow
def test_the_average_is_what_is_validated_and_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    watch, module = averaged_run(tmp_path / "whole")
    average, after = watch.steps[0], [watch.steps[0]]
    for step in watch.steps[1:]:
        average = 0.75 * average + 0.25 * step
        after.append(average)
    assert len(after) == 7
    assert not torch.allclose(after[-1], watch.steps[-1], atol=1e-3), "the average is far enough from the weights"
    for epoch, (validated, expected) in enumerate(zip(watch.validated, after[2::2], strict=True)):
        torch.testing.assert_close(validated, expected)
        torch.testing.assert_close(watched(weights(tmp_path / "whole" / f"epoch={epoch}.ckpt")), expected)
    torch.testing.assert_close(watched(module.state_dict()), after[-1])
    assert not any(key.startswith("twin.") for key in weights(tmp_path / "whole" / "epoch=2.ckpt"))
    continued, _ = averaged_run(tmp_path / "parts", tmp_path / "whole" / "epoch=0.ckpt")
    for here, there in zip(continued.steps, watch.steps[2:], strict=True):
        assert torch.equal(here, there), "a run that is continued goes on with its weights, not with their average"
    ends = [weights(tmp_path / folder / "epoch=2.ckpt") for folder in ("whole", "parts")]
    assert all(torch.equal(ends[0][key], ends[1][key]) for key in ends[0])


@pytest.mark.parametrize("decay", [1.0, -0.1, float("nan")])
def test_a_decay_that_cant_be_used(decay: float) -> None:
    with pytest.raises(ConfigError, match=r"decay of WeightEMA must lie in \[0, 1\)"):
        WeightEMA(decay)


@pytest.mark.parametrize("other", [JTT(epochs=1, factor=2), DFR()], ids=["jtt", "dfr"])
def test_an_average_of_two_trainings_or_heads_is_refused(other: L.Callback, tmp_path: Path) -> None:
    trainer = L.Trainer(
        accelerator="cpu", max_epochs=2, logger=False, callbacks=[WeightEMA(), other], default_root_dir=tmp_path
    )
    module = FinetuneModule(CrossEntropy(), "starft-mini", "mini", head="linear")
    told = f"and {type(other).__name__} .*; leave one of the two out of trainer.callbacks"
    with pytest.raises(ConfigError, match=told):
        trainer.fit(module, datamodule=MiniWorld(task="kinds", **DATA))
