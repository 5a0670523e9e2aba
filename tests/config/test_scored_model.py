"""A tuned run's folder is scored with its checkpoint, or not at all."""

from pathlib import Path

import pytest

from starft.__main__ import main

CONFIG = Path(__file__).parents[2] / "lightning_configs" / "mini" / "starft.yaml"
TINY = [f"--data.init_args.{name}=12" for name in ("train_size", "val_size", "test_size", "batch_size")]


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """The folder of a run, as far as its names go."""
    folder = tmp_path / "run"
    (folder / "checkpoints").mkdir(parents=True)
    text = CONFIG.read_text(encoding="utf-8").replace("runs/mini/starft", str(folder))
    (folder / "config.yaml").write_text(text, encoding="utf-8")
    return folder


def everything(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*"))


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["test", "validate", "predict"])
@pytest.mark.parametrize(
    ("names", "suggested"),
    [(["last.ckpt"], ["last.ckpt"]), (["a.ckpt", "last.ckpt", "best.ckpt"], ["best.ckpt", "last.ckpt"])],
    ids=["last", "best"],
)
def test_no_verb_scores_the_untuned_model_in_a_tuned_folder(
    verb: str, names: list[str], suggested: list[str], run: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in names:
        (run / "checkpoints" / name).write_bytes(b"")
    before = everything(run)
    assert main([verb, f"--config={run / 'config.yaml'}", *TINY]) == 2
    listed = " or ".join(str(run / "checkpoints" / name) for name in suggested)
    assert f"starft: {run} holds a tuned model; {verb} it with --ckpt_path {listed}, or, for" in capsys.readouterr().err
    assert everything(run) == before


def test_nor_where_training_left_no_checkpoint(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (run / "unfinished.json").write_text("{}", encoding="utf-8")
    assert main(["test", f"--config={run / 'config.yaml'}", *TINY]) == 2
    assert f"The training in {run} left no checkpoint" in capsys.readouterr().err


def test_nor_from_a_copy_of_the_folder(run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The config of a copied or moved folder still names the old one."""
    (run / "checkpoints" / "last.ckpt").write_bytes(b"")
    copy = run.rename(tmp_path / "copy")
    assert main(["test", f"--config={copy / 'config.yaml'}", *TINY]) == 2
    assert str(copy / "checkpoints" / "last.ckpt") in capsys.readouterr().err
    assert not run.exists()


@pytest.mark.slow
def test_another_folder_takes_the_untuned_model(run: Path, tmp_path: Path) -> None:
    (run / "checkpoints" / "last.ckpt").write_bytes(b"")
    other = f"--trainer.default_root_dir={tmp_path / 'zero-shot'}"
    assert main(["validate", f"--config={run / 'config.yaml'}", *TINY, other]) == 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The checkpoint of another run, trained for a step."""
    folder = tmp_path_factory.mktemp("runs") / "other"
    words = ["--trainer.max_steps=1", f"--trainer.default_root_dir={folder}", "--trainer.limit_val_batches=0"]
    assert main(["fit", f"--config={CONFIG}", *TINY, *words]) == 0
    return folder / "checkpoints" / "last.ckpt"


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["test", "validate", "predict"])
def test_no_verb_scores_the_model_of_another_run_in_its_folder(
    verb: str, run: Path, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its results.json would block the right test, and stand on the card of this run's checkpoint of the same name."""
    (run / "checkpoints" / "last.ckpt").write_bytes(b"")
    before = everything(run)
    words = [f"--config={run / 'config.yaml'}", *TINY, f"--ckpt_path={trained}"]
    assert main([verb, *words]) == 2
    said = capsys.readouterr().err
    assert f"starft: {run} holds a tuned model, and what is found of {trained} would pass for that one's" in said
    assert f"{verb} this one with --trainer.default_root_dir {trained.parent.parent}." in said
    assert everything(run) == before


@pytest.mark.slow
def test_a_mixed_model_outside_of_runs_gets_a_folder_of_its_own(
    run: Path, trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (run / "checkpoints" / "last.ckpt").write_bytes(b"")
    soup = tmp_path / "soups" / "soup.ckpt"
    soup.parent.mkdir()
    soup.write_bytes(trained.read_bytes())
    assert main(["test", f"--config={run / 'config.yaml'}", *TINY, f"--ckpt_path={soup}"]) == 2
    assert "with --trainer.default_root_dir and a folder of its own." in capsys.readouterr().err


@pytest.mark.slow
def test_a_link_to_a_runs_own_checkpoint_is_its_own(run: Path, trained: Path, tmp_path: Path) -> None:
    own = run / "checkpoints" / "last.ckpt"
    own.write_bytes(trained.read_bytes())
    (tmp_path / "the-best.ckpt").symlink_to(own)
    words = [f"--config={run / 'config.yaml'}", *TINY, "--trainer.limit_val_batches=1"]
    assert main(["validate", *words, f"--ckpt_path={tmp_path / 'the-best.ckpt'}"]) == 0
