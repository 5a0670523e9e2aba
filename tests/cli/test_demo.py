"""The demo: what it writes, what it runs again and what it doesn't, what it refuses."""

import json
import signal
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from starft.__main__ import main
from starft.cli import demo
from starft.cli import single_run as runs
from starft.errors import Stopped
from starft.files.shipped import shipped
from starft.mini.worlds import WORLDS

METHODS = ["zeroshot", "ce", "flyp", "starft_ce", "starft"]
METRICS = ["id_acc", "ood_acc", "style_acc", "group_mean_acc", "worst_group_acc"]
Run = Callable[[list[str]], None]


@cache
def tiny_texts() -> dict[str, str]:
    """Return the shipped configs on the least data."""
    texts = {}
    for method in METHODS:
        keys = yaml.safe_load((shipped("lightning_configs") / "mini" / f"{method}.yaml").read_text(encoding="utf-8"))
        epochs = min(1, keys["trainer"]["max_epochs"])
        keys["trainer"] |= {"max_epochs": epochs, "check_val_every_n_epoch": 1, "log_every_n_steps": 1}
        keys["trainer"] |= {"enable_progress_bar": False}
        keys["data"]["init_args"] |= {"train_size": 24, "val_size": 12, "test_size": 12, "batch_size": 12}
        texts[method] = yaml.safe_dump(keys)
    return texts


@pytest.fixture(autouse=True)
def tiny_configs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Write them, each in ``tmp_path / "configs"``."""
    folder = tmp_path / "configs"
    folder.mkdir()
    for method, text in tiny_texts().items():
        (folder / f"{method}.yaml").write_text(text, encoding="utf-8")
    monkeypatch.setattr(demo, "_config", lambda method: folder / f"{method}.yaml")
    return folder


class FakeCli:
    """Stands in for the command line: notes what was run, writes checkpoints and results, may be killed."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str, int, bool]] = []
        self.given: list[dict[str, str]] = []
        self.kill_at: int | None = None

    def __call__(self, words: list[str]) -> None:
        options = dict(word.removeprefix("--").split("=", 1) for word in words[1:])
        folder = Path(options["trainer.default_root_dir"])
        seed, method = int(options["seed_everything"]), Path(options["config"]).stem
        self.given.append(options)
        self.calls.append((words[0], method, seed, "ckpt_path" in options))
        if words[0] == "fit":
            (folder / "checkpoints").mkdir(parents=True, exist_ok=True)
            (folder / "checkpoints" / "last.ckpt").write_bytes(b"weights")
        if self.kill_at == len(self.calls):
            raise KeyboardInterrupt
        if words[0] == "test":
            folder.mkdir(parents=True, exist_ok=True)
            base = (METHODS.index(method) + 1) / 10 + seed / 100
            metrics = {"acc": base, "group_mean_acc": base + 0.2, "worst_group_acc": base + 0.1}
            names = ("id", "ood", "style", "groups")
            sets = {name: {"ood": name in ("ood", "style"), "metrics": metrics, "groups": []} for name in names}
            (folder / "results.json").write_text(json.dumps({"eval_sets": sets}), encoding="utf-8")


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch) -> FakeCli:
    fake = FakeCli()
    monkeypatch.setattr(runs, "run_cli", fake)
    return fake


def results(out: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((out / "results.json").read_text(encoding="utf-8"))
    return loaded


def sentence(capsys: pytest.CaptureFixture[str]) -> str:
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1, lines
    assert lines[0].startswith("starft: ")
    return lines[0].removeprefix("starft: ")


def test_results_table_and_plot(cli: FakeCli, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert main(["demo", "--seeds", "0,3", "--out", str(out)]) == 0
    found = results(out)
    seconds = found.pop("seconds")
    assert isinstance(seconds, float)
    assert seconds >= 0
    assert list(found) == ["schema_version", "world", "seeds", "methods"]
    assert (found["schema_version"], found["world"], found["seeds"]) == (1, "scenes", [0, 3])
    assert list(found["methods"]) == METHODS
    for number, (method, values) in enumerate(found["methods"].items(), 1):
        assert list(values) == METRICS, method
        for metric, more in zip(METRICS, (0, 0, 0, 0.2, 0.1), strict=True):
            later = 0.03 if method != "zeroshot" else 0.0  # it is the same for every seed, so it is run once
            assert values[metric] == pytest.approx([number / 10 + more, number / 10 + later + more])
    printed = capsys.readouterr().out
    for expected in ("9/9  StarFT (contrastive), seed 3", "mean ± standard deviation over 2 seeds", "OOD style"):
        assert expected in printed
    assert "StarFT (CE) - CE" in printed
    assert "+20.0 (2/2)" in printed, "0.4 - 0.2 in both seeds"
    with Image.open(out / "comparison.png") as picture:
        picture.load()
        assert picture.size == (1350, 630)


@pytest.mark.parametrize("world", ["weak", "textures", "many", "kinds"])
def test_another_world_gives_every_run_its_own_settings(
    world: str, cli: FakeCli, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--world", world]) == 0
    given = {method: options for (_, method, _, _), options in zip(cli.calls, cli.given, strict=True)}
    settings = WORLDS[world]
    for method, options in given.items():
        for key in {"model.pretrained", "data.init_args.test_size", "data.init_args.task"} & settings.keys.keys():
            assert options[key] == str(settings.keys[key])
        assert options.get("model.pool") == (settings.pool if method.startswith("starft") else None)
        if method in settings.weights:
            terms = yaml.safe_load(options["model.regularizers"])
            assert tuple(term["init_args"]["weight"] for term in terms) == settings.weights[method]
    assert results(Path(f"runs/demo-{world}"))["world"] == world
    out = capsys.readouterr().out
    assert f"starft demo --world {world} --seeds 0,1,2 --out runs/demo-{world}" in out
    assert main(["demo", "--out", f"runs/demo-{world}"]) == 2
    assert "other options" in capsys.readouterr().err


def test_a_world_that_there_is_not_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--world", "texture"]) == 2
    assert "textures" in capsys.readouterr().err


def test_what_the_tables_say_in_words(tmp_path: Path) -> None:
    """0.7, 0.4 and 0.5 before; CE has 0.8, 0.3 and the mean of 0.2 and 0.4."""
    values = {"id_acc": [0.7, 0.7], "ood_acc": [0.4, 0.4], "worst_group_acc": [0.5, 0.5]}
    methods = dict.fromkeys(METHODS, values) | {
        "ce": {"id_acc": [0.8, 0.8], "ood_acc": [0.3, 0.3], "worst_group_acc": [0.2, 0.4]}
    }
    assert demo.in_words(methods, (0, 1), tmp_path) == [
        "Against the model as it was, in points:",
        "  CE: ID +10.0, OOD -10.0, worst group -20.0",
        "  StarFT (CE): ID +0.0, OOD +0.0, worst group +0.0",
        "  FLYP: ID +0.0, OOD +0.0, worst group +0.0",
        "  StarFT (contrastive): ID +0.0, OOD +0.0, worst group +0.0",
        f"All of it on a page: starft report {tmp_path} --out {tmp_path / 'report.html'}",
    ]


@pytest.mark.slow
def test_every_method_is_trained_and_tested_once(
    cli: FakeCli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["demo", "--out", str(out)]) == 0
    expected = [("test", "zeroshot", 0, False)]
    for method in METHODS[1:]:
        expected += [("fit", method, 0, False), ("test", method, 0, True)]
    assert cli.calls == expected
    assert "One seed: differences of a few points may be luck" in capsys.readouterr().out
    before = results(out)
    assert main(["demo", "--out", str(out)]) == 0
    assert cli.calls == expected, "what was done is done"
    assert results(out)["methods"] == before["methods"]
    assert main(["demo", "--out", str(out), "--seeds", "0,1"]) == 0
    assert [call[1:3] for call in cli.calls[len(expected) :] if call[0] == "test"] == [(m, 1) for m in METHODS[1:]]
    assert results(out)["seconds"] >= before["seconds"]


@pytest.mark.slow
@pytest.mark.parametrize("kill_at", [1, 2, 3, 9])  # the first test, a training, its test, the last of all
def test_a_killed_demo_is_taken_up(
    kill_at: int, cli: FakeCli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    cli.kill_at = kill_at
    assert main(["demo", "--out", str(out)]) == 130
    at = demo.METHODS[cli.calls[-1][1]]
    assert sentence(capsys) == f"Stopped while running {at}, seed 0; give the same command again to go on."
    assert not (out / "results.json").exists()
    killed, cli.kill_at = list(cli.calls), None
    cli.calls.clear()
    assert main(["demo", "--out", str(out)]) == 0
    finished = {call[1] for call in killed[:-1] if call[0] == "test"}
    assert {call[1] for call in cli.calls} == set(METHODS) - finished, "what was done was run again"
    verb, method, *_ = killed[-1]
    if verb == "fit":
        assert cli.calls[0] == ("fit", method, 0, True), "it goes on from its checkpoint"
    assert list(results(out)["methods"]) == METHODS


@pytest.mark.parametrize(("how", "status"), [("saved", 143), (signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_stopped_demo_tells_its_own_way_to_go_on(
    how: str | int, status: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whether a step was saved, or a signal came before the first one."""

    def stopped(words: list[str]) -> None:
        if isinstance(how, int):
            signal.raise_signal(how)
        raise Stopped("Stopped after step 3; continue with the same command and --ckpt_path last.ckpt.", 143)

    monkeypatch.setattr(runs, "run_cli", stopped)
    assert main(["demo", "--out", str(tmp_path / "out")]) == status
    assert sentence(capsys) == "Stopped while running zero-shot, seed 0; give the same command again to go on."


def test_a_run_without_a_checkpoint_starts_again(cli: FakeCli, tmp_path: Path) -> None:
    out = tmp_path / "out"
    cli.kill_at = 1
    assert main(["demo", "--out", str(out)]) == 130
    (out / "ce" / "seed-0" / "logs").mkdir(parents=True)
    cli.kill_at = None
    cli.calls.clear()
    assert main(["demo", "--out", str(out)]) == 0
    assert ("fit", "ce", 0, False) in cli.calls


def test_a_demo_of_other_configs_is_refused(
    cli: FakeCli, tiny_configs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["demo", "--out", str(out)]) == 0
    ran = len(cli.calls)
    with (tiny_configs / "ce.yaml").open("a", encoding="utf-8") as file:
        file.write("# a comment changes nothing\n")
    assert main(["demo", "--out", str(out)]) == 0
    keys = yaml.safe_load((tiny_configs / "ce.yaml").read_text(encoding="utf-8"))
    keys["model"]["lr"] = 0.5
    (tiny_configs / "ce.yaml").write_text(yaml.safe_dump(keys), encoding="utf-8")
    capsys.readouterr()
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    assert main(["demo", "--out", str(out), "--seeds", "1"]) == 2
    assert sentence(capsys) == (
        f"{out / 'ce'} was run with another config (model.lr was 0.0006, is 0.5); "
        f"give another --out, or move {out / 'ce'} away to run it anew."
    )
    assert len(cli.calls) == ran
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_a_folder_with_something_else_is_refused(
    cli: FakeCli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.tex").write_text("mine", encoding="utf-8")
    assert main(["demo", "--out", str(out)]) == 2
    assert sentence(capsys) == f"{out} holds something else (thesis.tex), no demo; give another --out or move it away."
    assert [path.name for path in out.iterdir()] == ["thesis.tex"]
    assert cli.calls == []


def test_a_file_for_a_folder_is_refused(cli: FakeCli, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "out"
    path.write_text("mine", encoding="utf-8")
    assert main(["demo", "--out", str(path)]) == 2
    assert sentence(capsys).startswith(f"The run folder {path} can't be written to: ")
    assert path.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"seconds": 1}', b'{"version": 3, "seconds": "many"}'])
def test_a_damaged_state_is_told(
    content: bytes, cli: FakeCli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "demo.json").write_bytes(content)
    assert main(["demo", "--out", str(out)]) == 2
    assert str(out) in sentence(capsys)
    assert (out / "demo.json").read_bytes() == content
    assert cli.calls == []


@pytest.mark.parametrize("seeds", ["a,b", "", "0,", "1.5", "0;1"])
def test_seeds_that_arent_numbers(seeds: str, cli: FakeCli, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", f"--seeds={seeds}", "--out", str(tmp_path / "out")]) == 2
    expected = f"seeds must be whole numbers with commas between, such as 0,1,2; got {seeds!r}."
    assert sentence(capsys) == expected
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("seeds", ["0,0", "1,2,1", "-1", "0,-2"])
def test_seeds_that_are_repeated_or_negative(
    seeds: str, cli: FakeCli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["demo", f"--seeds={seeds}", "--out", str(tmp_path / "out")]) == 2
    assert sentence(capsys) == f"seeds must be different numbers of at least 0; got {seeds!r}."
    assert not (tmp_path / "out").exists()


def test_an_unknown_option(cli: FakeCli, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["demo", "--sedes", "1", "--out", str(tmp_path / "out")]) == 2
    assert "--sedes" in sentence(capsys)
    assert not (tmp_path / "out").exists()


def test_show_draws_the_world_and_runs_nothing(
    cli: FakeCli, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    assert main(["demo", "--show", "--out", str(out)]) == 0
    assert capsys.readouterr().out == f"wrote {out / 'world.png'}\n"
    with Image.open(out / "world.png") as picture:
        picture.load()
        assert len(set(picture.convert("RGB").resize((64, 64)).get_flattened_data())) > 100, "a blank sheet"
    assert [path.name for path in out.iterdir()] == ["world.png"]
    assert main(["demo", "--out", str(out)]) == 0, "the picture is no reason to refuse the folder"


@pytest.mark.slow
def test_the_real_thing_killed_and_taken_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "out"
    monkeypatch.setattr(demo, "METHODS", {"zeroshot": "zero-shot", "ce": "CE", "starft_ce": "StarFT (CE)"})
    monkeypatch.setattr(demo, "BASELINES", {"starft_ce": "ce"})
    run_cli, calls = runs.run_cli, []

    def killed_at_the_second_fit(words: list[str]) -> None:
        calls.append(words[0])
        if calls.count("fit") == 2:
            raise KeyboardInterrupt
        run_cli(words)

    with monkeypatch.context() as patch:
        patch.setattr(runs, "run_cli", killed_at_the_second_fit)
        assert main(["demo", "--out", str(out)]) == 130
    trained = (out / "ce" / "seed-0" / "checkpoints" / "last.ckpt").read_bytes()
    (out / "ce" / "seed-0" / "results.json").unlink()  # as if killed between training and testing
    capsys.readouterr()
    assert main(["demo", "--out", str(out)]) == 0
    assert "Next:" not in capsys.readouterr().out, "the demo tests each run itself"
    assert (out / "ce" / "seed-0" / "checkpoints" / "last.ckpt").stat().st_size == len(trained)
    for method, values in results(out)["methods"].items():
        for metric, numbers in values.items():
            assert len(numbers) == 1
            share = numbers[0] * (24 if "group_mean" in metric else 6 if "worst" in metric else 12)
            assert share == pytest.approx(round(share), abs=1e-4), f"{method} {metric} isn't a share of its pictures"
            assert 0 <= numbers[0] <= 1
