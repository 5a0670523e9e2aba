"""The DataModules of the published sets on fake folders: what is in a run, what is refused, what is scored how."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fakes.group_sets import celeba, fmow, iwildcam, waterbirds
from fakes.imagenet import adversarial, counteranimal, imagenet, objectnet, renditions, sketch, v2, vid_robust
from fakes.transfer_sets import caltech101, flowers102, pcam, rendered_sst2, stanford_cars, sun397
from starft.__main__ import main
from starft.data import CelebA, EvalOn, FMoW, ImageNet, IWildCam, Transfer, Waterbirds, WaterbirdsSource
from starft.data.datamodules import ImageDataModule
from starft.errors import DataError
from starft.types import ImagePreprocessing

WRITE: dict[str, Callable[[Path], Path]] = {
    "caltech101": caltech101,
    "stanford_cars": stanford_cars,
    "flowers102": flowers102,
    "pcam": pcam,
    "rendered_sst2": rendered_sst2,
    "sun397": sun397,
}
SMALL: Any = {"batch_size": 2, "eval_batch_size": 4, "num_workers": 0}


def whole_imagenet(root: Path, **options: Any) -> ImageNet:
    return ImageNet(
        imagenet(root / "imagenet"),
        v2=v2(root),
        r=renditions(root),
        a=adversarial(root),
        sketch=sketch(root),
        objectnet=objectnet(root),
        vid_robust=vid_robust(root),
        waterbirds=waterbirds(root),
        celeba=celeba(root),
        counteranimal=counteranimal(root),
        **{**SMALL, **options},
    )


def ready(data: ImageDataModule, stage: str) -> ImageDataModule:
    data.preprocessing = ImagePreprocessing(size=(16, 16))
    data.setup(stage)
    return data


@pytest.mark.slow
def test_imagenet_is_tested_on_all_its_sets(tmp_path: Path) -> None:
    data = ready(whole_imagenet(tmp_path, allow_partial=True), "test")
    sets = {one.name: one for one in data.test_sets}
    shifted = ["v2", "r", "a", "sketch", "objectnet"]
    assert list(sets) == ["imagenet", *shifted, "vid_robust", "counteranimal", "waterbirds", "celeba"]
    assert {name for name, one in sets.items() if one.ood} == {*shifted}
    assert sets["waterbirds"].class_names == ("landbird", "waterbird")
    assert sets["waterbirds"].templates == ("This is a picture of a {}.",)
    assert sets["waterbirds"].group_weights == pytest.approx((4 / 12, 1 / 12, 2 / 12, 5 / 12))
    batches = [next(iter(loader)) for loader in data.test_dataloader()]
    assert [batch["label"].tolist() for batch in batches[:3]] == [[0, 0, 1, 1], [0, 0, 9, 9], [0, 0, 2, 2]]
    assert batches[0]["image"].shape == (4, 3, 16, 16)
    assert batches[7]["group"].tolist() == [0, 1, 1, 0]
    assert batches[8]["group"].shape == (4,)
    assert "group" not in batches[0]


def test_imagenet_holds_out_of_train_and_takes_few_shots(tmp_path: Path) -> None:
    data = ready(ImageNet(imagenet(tmp_path), val_fraction=0.25, shots=2, allow_partial=True, **SMALL), "fit")
    assert [one.name for one in data.val_sets] == ["imagenet"]
    held = {*data.table(data.source, "val").paths}
    trained = data.training_table()
    assert len(held) == 12
    assert trained.labels.tolist() == [0, 0, 1, 1, 2, 2, 6, 6]
    assert not held & {*trained.paths}
    assert all(path.startswith("train/") for path in held), "the test images choose nothing"


def test_a_truncated_copy_is_refused_with_both_counts(tmp_path: Path) -> None:
    data = ImageNet(imagenet(tmp_path / "imagenet"), objectnet=objectnet(tmp_path), **SMALL)
    with pytest.raises(DataError) as caught:
        ready(data, "test")
    told = str(caught.value)
    assert "ImageNet, test: 8 images where 50,000 are published: the copy is truncated" in told
    assert "ObjectNet (objectnet), test: 5 images where 18,574 are published" in told
    assert "set data.init_args.allow_partial to true" in told


def test_a_truncated_copy_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        ready(Waterbirds(waterbirds(tmp_path), **SMALL), "fit")
    assert str(caught.value) == (
        "Waterbirds: in train 12 images where 4,795 are published, in val 4 images where 1,199 are published, in test "
        "4 images where 5,794 are published: the copy is truncated or of another version; get it again, or set "
        "data.init_args.allow_partial to true."
    )


def test_a_missing_set_draws_its_folder_once(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        ready(Waterbirds(tmp_path / "gone", **SMALL), "fit")
    told = str(caught.value)
    assert told.startswith(f"Waterbirds, train, val, test: {tmp_path}/gone/metadata.csv doesn't exist; give the root")
    assert told.endswith(WaterbirdsSource.tree)
    assert told.count("metadata.csv") == 2


def test_data_check_prints_counts_beside_the_published(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = tmp_path / "data.yaml"
    config.write_text(f"data:\n  class_path: starft.data.Waterbirds\n  init_args:\n    root: {waterbirds(tmp_path)}\n")
    assert main(["data", "check", "--config", str(config), "--deep", "--workers=0"]) == 2
    told = capsys.readouterr().out
    (problem,) = [line for line in told.splitlines() if line.startswith("problem: ")]
    assert problem.startswith(
        "problem: Waterbirds: in train 12 images where 4,795 are published, in val 4 images where"
    )
    assert told.splitlines()[-1] == "1 problem (every image decoded)."
    assert "4,795" in told
    assert main(["data", "check", "--config", str(config), "--data.init_args.allow_partial=true"]) == 0


def test_deep_checks_read_hdf5_and_tell_bad_images(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pcam(tmp_path)
    birds = waterbirds(tmp_path)
    (birds / "000.Some_Bird" / "Some_Bird_0000_1.jpg").write_bytes(b"")
    config = tmp_path / "data.yaml"
    config.write_text(
        "data:\n  class_path: starft.data.Transfer\n  init_args:\n    dataset: pcam\n    allow_partial: true\n"
        f"    root: {tmp_path}\n    evals:\n    - source:\n        class_path: starft.data.WaterbirdsSource\n"
        f"        init_args:\n          root: {birds}\n      name: birds\n      split: train\n"
    )
    assert main(["data", "check", "--config", str(config), "--deep", "--workers=0"]) == 2
    told = capsys.readouterr().out
    assert told.count("can't be read") == 1
    assert "(it is empty (0 bytes))" in told


def test_group_sets_have_their_published_splits(tmp_path: Path) -> None:
    for data, sizes in (
        (Waterbirds(waterbirds(tmp_path), allow_partial=True, **SMALL), (12, 4, 4)),
        (CelebA(celeba(tmp_path), allow_partial=True, **SMALL), (5, 2, 2)),
    ):
        name = type(data).__name__.lower()
        ready(data, "fit")
        assert (len(data.training_table()), len(data.val_data[0])) == sizes[:2]  # type: ignore[arg-type]
        ready(data, "test")
        assert len(data.test_data[0]) == sizes[2]  # type: ignore[arg-type]
        assert [one.name for one in (*data.val_sets, *data.test_sets)] == [name, name]
        assert len(data.test_sets[0].group_weights) == 4


def test_wilds_sets_are_tested_in_and_out_of_distribution(tmp_path: Path) -> None:
    for data, metric in (
        (IWildCam(iwildcam(tmp_path), allow_partial=True, **SMALL), "macro_f1"),
        (FMoW(fmow(tmp_path), allow_partial=True, **SMALL), "worst_region_acc"),
    ):
        name = type(data).__name__.lower()
        ready(data, "fit")
        assert [(one.name, one.ood) for one in data.val_sets] == [(name, True), (f"{name}_id", False)]
        assert [len(images) for images in data.val_data] == [2, 2]  # type: ignore[arg-type]
        ready(data, "test")
        assert [(one.name, one.ood) for one in data.test_sets] == [(name, True), (f"{name}_id", False)]
        assert {one.metrics for one in data.test_sets} == {(metric,)}


@pytest.mark.parametrize("dataset", WRITE)
def test_transfer_sets_are_trained_validated_and_tested(tmp_path: Path, dataset: Any) -> None:
    WRITE[dataset](tmp_path)
    data = ready(Transfer(dataset, tmp_path, allow_partial=True, val_fraction=0.5, **SMALL), "fit")
    batch = next(iter(data.train_dataloader()))
    assert batch["image"].shape == (2, 3, 16, 16)
    assert [one.name for one in data.val_sets] == [dataset]
    assert len(data.val_data[0]) > 0  # type: ignore[arg-type]
    ready(data, "test")
    assert batch["label"].max() < data.test_sets[0].num_labels


def test_any_set_can_be_an_eval_set_of_any_run(tmp_path: Path) -> None:
    evals = [
        EvalOn(WaterbirdsSource(waterbirds(tmp_path), templates=["a {}."]), "birds", stage="both"),
        EvalOn(WaterbirdsSource(tmp_path, class_names=["forest bird", "sea bird"]), "sea", "val", ood=True),
    ]
    data = ready(Transfer("sun397", sun397(tmp_path), evals=evals, allow_partial=True, **SMALL), "test")
    _, birds, sea = data.test_sets
    assert (birds.templates, sea.class_names, sea.ood) == (("a {}.",), ("forest bird", "sea bird"), True)
    assert torch.cat([batch["label"] for batch in data.test_dataloader()[2]]).tolist() == [1, 1, 0, 0]
