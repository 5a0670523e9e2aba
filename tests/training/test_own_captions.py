"""Runs on captions of one's own: the plain formula's loss, the same bits however loaded, what is kept and refused."""

import csv
import json
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from jsonschema import validate
from torch import Tensor

import plain_step
from fakes.own_images import write_captions
from starft import load
from starft.__main__ import main
from starft.captions.pool_files import load_pools
from starft.errors import ConfigError
from starft.evaluation.retrieval import RECALLS
from starft.losses import (
    KD,
    L2SP,
    CarFT,
    Carot,
    Contrastive,
    CrossEntropy,
    FeatureDistillation,
    GroupDRO,
    KindAlignment,
    LipsumFT,
    ReCalCon,
    SpuriosityAlignment,
    Tracer,
)
from starft.losses.base import Term
from starft.runs.results_writer import SCHEMA
from starft.training.gradients import check_terms
from starft.training.module import FinetuneModule
from starft.training.notes import tell_notes
from starft.training.stopping import StopSafely
from starft.types import Batch

ROOT = Path(__file__).parents[2]
KINDS = {"boot": ["old boot", "new boot"], "sandal": ["old sandal", "new sandal"]}


def words(table: Path, run: Path, *options: str) -> list[str]:
    """Two steps in each of two epochs; StarFT's weight is 0 in the last."""
    return [
        f"--config={ROOT / 'lightning_configs' / 'csv' / run.name}.yaml",
        f"--data.init_args.file={table}",
        "--data.init_args.val_fraction=0.2",
        "--data.init_args.batch_size=12",
        "--data.init_args.num_workers=0",
        "--model.model_name=starft-mini",
        "--model.pretrained=mini",
        "--model.warmup_steps=1",
        "--model.lr=1e-3",
        "--trainer.accelerator=cpu",
        "--trainer.precision=32-true",
        "--trainer.max_epochs=2",
        "--trainer.num_sanity_val_steps=0",
        "--trainer.enable_progress_bar=false",
        "--trainer.enable_model_summary=false",
        f"--trainer.default_root_dir={run}",
        *options,
    ]


class PairsRun:
    """A whole run on pairs; for each step its loss, and that of the plain formula on what the rows of the file say."""

    def __init__(self, folder: Path) -> None:
        self.table, self.folder = write_captions(folder, labels=False), folder / "pairs"
        self.losses: list[tuple[float, float]] = []

    def plain(self, module: FinetuneModule, batch: Batch) -> float:
        with self.table.open(encoding="utf-8") as file:
            caption_of = {row["path"]: row["caption"] for row in csv.DictReader(file)}
        paths = module.trainer.datamodule.train_set.table.paths  # type: ignore[attr-defined]
        clean = [caption_of[paths[at]] for at in batch["index"].tolist()]
        labels = torch.tensor([sorted({*clean}).index(text) for text in clean])
        assert module.captions is not None
        drawn = module.captions.draw(batch["label"].tolist(), module.global_step, index=batch["index"].tolist())
        assert drawn[0] == clean
        weight = 0.5 * (1 - (module.current_epoch + 1) / 2)
        with torch.no_grad():
            return float(plain_step.starft(module.clip, module.twin, batch["image"], *drawn, labels, weight))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> PairsRun:
    made, step = PairsRun(tmp_path_factory.mktemp("own")), FinetuneModule.training_step

    def noted(self: FinetuneModule, batch: Batch, batch_idx: int) -> Tensor:
        loss = step(self, batch, batch_idx)
        made.losses.append((float(loss.detach()), made.plain(self, batch)))
        return loss

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(FinetuneModule, "training_step", noted)
        assert main(["fit", *words(made.table, made.folder)]) == 0
    return made


@pytest.mark.slow
def test_each_step_has_the_loss_of_the_plain_formula(run: PairsRun) -> None:
    assert len(run.losses) == 4
    for ours, plain in run.losses:
        assert ours == pytest.approx(plain, rel=2e-5)


def state(run: Path) -> dict[str, Tensor]:
    weights: dict[str, Tensor] = torch.load(run / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    return weights


@pytest.mark.slow
def test_stopped_and_with_workers_it_ends_with_the_same_bits(
    run: PairsRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, on_train_batch_end = tmp_path / "pairs", StopSafely.on_train_batch_end

    def signalled(self: StopSafely, trainer: Any, *args: Any) -> None:
        if trainer.global_step == 1:
            signal.raise_signal(signal.SIGTERM)
        on_train_batch_end(self, trainer, *args)

    mine = words(run.table, folder, "--data.init_args.num_workers=1")
    with monkeypatch.context() as patch:
        patch.setattr(StopSafely, "on_train_batch_end", signalled)
        assert main(["fit", *mine]) == 143
    assert main(["fit", *mine, f"--ckpt_path={folder / 'checkpoints' / 'last.ckpt'}"]) == 0
    ours, expected = state(folder), state(run.folder)
    assert ours.keys() == expected.keys()
    assert all(torch.equal(ours[name], expected[name]) for name in expected)
    assert b"laces" not in (folder / "checkpoints" / "last.ckpt").read_bytes(), "captions are the data's"


@pytest.mark.slow
def test_other_captions_are_another_run(run: PairsRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = run.table.with_name("other.csv")
    table.write_text(run.table.read_text(encoding="utf-8").replace("laces", "eyelets"), encoding="utf-8")
    checkpoint = run.folder / "checkpoints" / "last.ckpt"
    more = ["--trainer.max_epochs=3", f"--ckpt_path={checkpoint}"]
    assert main(["fit", *words(table, tmp_path / "pairs", *more)]) == 2
    told = capsys.readouterr().err
    assert all(f"captions of {name} are others" in told for name in ("train", "val/id", "test/id")), told


def about_to_start(captions: list[str]) -> Any:
    """Return a trainer with images and, maybe, captions of their own."""
    trainer: Any = SimpleNamespace(is_global_zero=True, fast_dev_run=False, world_size=1, max_epochs=2)
    trainer.train_dataloader = SimpleNamespace(sampler=range(8), batch_size=4)
    trainer.datamodule = SimpleNamespace(train_captions=captions)
    return trainer


@pytest.mark.parametrize(
    ("term", "names", "noted"),
    [
        (Contrastive(), ["boot"], True),
        (ReCalCon(), ["boot"], True),
        (Contrastive(), [], False),
        (CrossEntropy(), ["boot"], False),
    ],
)
def test_a_caption_column_that_replaces_templates_is_told(
    term: Term, names: list[str], noted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """Where there are classes, and an objective that reads captions."""
    tell_notes(about_to_start(["old laces"]), [term], names, ["a {}."], 1, 4)
    note = 'Note: The contrastive objective pairs each image with its own caption, not with a template, such as "old'
    assert (note in capsys.readouterr().err) == noted


@pytest.mark.parametrize(
    ("term", "templates", "captions", "noted"),
    [
        (Contrastive(positives="class"), ["a {}."], [], True),
        (Contrastive(positives="class"), ["a {}.", "the {}."], [], False),
        (Contrastive(positives="class"), ["a {}."], ["old laces"], False),
        (Contrastive(), ["a {}."], [], False),
        (ReCalCon(), ["a {}."], [], False),
    ],
)
def test_class_positives_of_one_template_are_told(
    term: Term, templates: list[str], captions: list[str], noted: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """They are the diagonal then, whose name the run would not have."""
    tell_notes(about_to_start(captions), [term], ["boot"], templates, 1, 4)
    assert ("and positives class is the same loss as diagonal" in capsys.readouterr().err) == noted


@pytest.mark.parametrize(
    ("term", "sampling", "noted"),
    [
        (CrossEntropy(logit_adjustment=1.0), "class_balanced", "sampling class_balanced and logit_adjustment each"),
        (
            CrossEntropy(class_weights="balanced"),
            "class_subsampled",
            "sampling class_subsampled and class_weights each",
        ),
        (CrossEntropy(logit_adjustment=1.0, class_weights="balanced"), "shuffle", "logit_adjustment and class_weights"),
        (CrossEntropy(logit_adjustment=1.0), "group_balanced", ""),
        (CrossEntropy(), "class_balanced", ""),
    ],
)
def test_balancing_twice_is_told(term: Term, sampling: str, noted: str, capsys: pytest.CaptureFixture[str]) -> None:
    trainer = about_to_start([])
    trainer.datamodule.sampling = sampling
    tell_notes(trainer, [term], ["boot"], ["a {}."], 1, 4)
    told = capsys.readouterr().err
    assert ("counts rare ones twice" in told) == bool(noted)
    assert noted in told


@pytest.mark.slow
def test_pairs_are_tested_by_retrieval_and_reported(
    run: PairsRun, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    best = run.folder / "checkpoints" / "best.ckpt"
    mine = words(run.table, run.folder, f"--ckpt_path={best}")
    assert main(["test", *mine]) == 0
    assert "text to image R@1" in capsys.readouterr().out
    results = json.loads((run.folder / "results.json").read_text(encoding="utf-8"))
    validate(results, json.loads(SCHEMA.read_text(encoding="utf-8")))
    (scores,) = results["eval_sets"].values()
    assert [*scores["metrics"]] == [*scores["ci95"]] == [*RECALLS]
    assert scores["n"] == scores["groups"][0]["n"] == 8
    assert scores["metrics"]["i2t_r1"] == pytest.approx(scores["groups"][0]["correct"] / 8)
    assert not list(run.folder.glob("samples*"))
    assert main(["report", str(run.folder), "--out", str(tmp_path / "report.md")]) == 0
    text = (tmp_path / "report.md").read_text(encoding="utf-8")
    assert f"reaches {100 * scores['metrics']['t2i_r1']:.1f} % text to image R@1" in text
    assert "| method | runs | id: image to text R@1 | id: image to text R@5 |" in text

    capsys.readouterr()
    assert main(["predict", *mine]) == 2
    assert "There is nothing to predict: the data have captions and no classes; give data with labels" in (
        capsys.readouterr().err
    )
    with pytest.raises(ConfigError, match="was tuned on images with captions and has no classes; give it some"):
        load(best)
    assert load(best, class_names=["boot", "sandal"]).class_names == ("boot", "sandal")


@pytest.mark.parametrize(
    "term", [CrossEntropy(), GroupDRO(), KD(), CarFT(contexts=["a {}.", "the {}."]), KindAlignment(KINDS)]
)
def test_terms_that_go_by_classes_are_refused_without(term: Term) -> None:
    with pytest.raises(
        ConfigError, match=f"^{type(term).__name__} goes by classes, and the training images have captio"
    ):
        check_terms([term], load_pools("backgrounds"), ())


def test_the_others_are_taken() -> None:
    terms = [Contrastive(), SpuriosityAlignment(), L2SP(), Carot(), Tracer(), FeatureDistillation(), LipsumFT()]
    check_terms(terms, load_pools("backgrounds"), ())
    assert SpuriosityAlignment().advice(()) == ""


def test_a_linear_head_is_refused_without_classes() -> None:
    module = FinetuneModule(CrossEntropy(), "starft-mini", "mini", "linear")
    with pytest.raises(ConfigError, match="The linear head is of classes, and the data have captions and none; set "):
        module.describe((), ("a photo of a {}.",))
