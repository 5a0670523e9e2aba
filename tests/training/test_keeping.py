"""Activations of the frozen beginning, kept from epoch to epoch: less work, the same training."""

import errno
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import lightning as L
import pytest
import torch
from torch import Tensor, nn

from fakes.processes import forking
from fakes.quiet_trainer import trainer
from starft.__main__ import main
from starft.clip import ClipEncoder
from starft.clip.kept_activations import KeptActivations
from starft.config.option_checks import check_options
from starft.data import CSV
from starft.errors import ConfigError
from starft.files.shipped import shipped
from starft.losses import SpuriosityAlignment
from starft.losses.objectives import Contrastive
from starft.mini import MiniWorld
from starft.training.keeping import keep_activations
from starft.training.module import FinetuneModule


def build(**options: Any) -> FinetuneModule:
    own = {"freeze_image_blocks": 2, "pool": "mini_scenes", "regularizers": [SpuriosityAlignment(1.0)], "lr": 1e-3}
    return FinetuneModule(Contrastive(), "starft-mini", "mini", **own | options)  # type: ignore[arg-type]


def fit(module: FinetuneModule, folder: Path, data: L.LightningDataModule | None = None, **options: Any) -> list[float]:
    """Train for three epochs of two steps, of which the first drops images; return the losses."""
    losses: list[float] = []

    class Note(L.Callback):
        def on_train_batch_end(self, trainer: L.Trainer, pl_module: L.LightningModule, outputs: Any, *_: Any) -> None:
            losses.append(float(outputs["loss"]))

    callbacks, epochs = options.pop("callbacks", []), options.pop("max_epochs", 3)
    made = trainer(folder, epochs, Note(), *callbacks, **options)
    made.fit(module, datamodule=data or MiniWorld(train_size=24, val_size=12, batch_size=10))
    return losses


@pytest.fixture(scope="module")
def expected(tmp_path_factory: pytest.TempPathFactory) -> list[float]:
    return fit(build(), tmp_path_factory.mktemp("expected"))


@pytest.mark.slow
@pytest.mark.parametrize("where", ["ram", "disk"])
def test_the_losses_are_those_of_a_run_that_keeps_nothing_but_for_rounding(
    where: str,
    expected: list[float],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    computed: list[int] = []
    module = build(keep_activations=where)
    begin = module.clip.begin_images
    monkeypatch.setattr(module.clip, "begin_images", lambda images: computed.append(len(images)) or begin(images))
    assert fit(module, tmp_path) == pytest.approx(expected, rel=5e-3)
    assert sum(computed) == 1 + 24, "one that tells the shape, and each image once"
    assert len(module.kept or ()) == 24
    assert f"Note: activations of 24 images are kept ({where}): " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [], "the file goes with its process"


@pytest.mark.slow
def test_a_run_that_goes_on_with_none_of_them_trains_alike(tmp_path: Path) -> None:
    class Forget(L.Callback):
        def on_train_epoch_start(self, trainer: L.Trainer, pl_module: L.LightningModule) -> None:
            if self.forgets and trainer.current_epoch == 2:
                module = cast(FinetuneModule, pl_module)
                module.kept = KeptActivations("ram", 24, module.kept._shape, tmp_path) if module.kept else None

        forgets = False

    runs = []
    for forgets in (False, True):
        Forget.forgets = forgets
        runs.append(fit(build(keep_activations="disk"), tmp_path, callbacks=[Forget()]))
    assert runs[0] == pytest.approx(runs[1], rel=1e-5)


class Halves:
    """A model whose beginning is half of an image; it counts the images."""

    def __init__(self) -> None:
        self.count = 0

    def begin_images(self, images: Tensor) -> Tensor:
        self.count += len(images)
        return images / 2


@pytest.fixture(params=["ram", "disk"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> KeptActivations:
    return KeptActivations(request.param, 6, (2, 3), tmp_path / "run")


def images(*index: int) -> Tensor:
    return (
        torch.tensor(index)[:, None, None]
        + torch.rand(6, 2, 3, generator=torch.Generator().manual_seed(0))[list(index)]
    )


def test_each_image_is_computed_once_and_read_back_rounded(kept: KeptActivations) -> None:
    clip: Any = Halves()
    assert kept.size == 6 * 2 * 3 * 2
    for index in ([4, 0, 2], [2, 5, 4, 5], [0, 2, 4, 5]):
        begun = kept.begin_images(clip, images(*index), index)
        assert begun is not None
        assert torch.equal(begun, (images(*index) / 2).bfloat16().float())
    assert clip.count == 3 + 2, "5 was there twice in a batch"
    assert len(kept) == 4


def reopened(folder: Path, owner: str = "this run") -> KeptActivations:
    return KeptActivations("disk", 6, (2, 3), folder, torch.bfloat16, "kept", owner)


def test_a_file_that_a_killed_process_left_is_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second, again = Halves(), Halves(), Halves()
    kept = reopened(tmp_path)
    kept.begin_images(first, images(4, 0, 4), [4, 0, 4])  # type: ignore[arg-type]
    kept.begin_images(first, images(2, 0), [2, 0])  # type: ignore[arg-type]
    kept = reopened(tmp_path)
    assert len(kept) == 3
    begun = kept.begin_images(second, images(0, 2, 4), [0, 2, 4])  # type: ignore[arg-type]
    assert begun is not None
    assert begun.dtype == torch.bfloat16
    assert torch.equal(begun, (images(0, 2, 4) / 2).bfloat16())
    kept.begin_images(second, images(1, 2), [1, 2])  # type: ignore[arg-type]
    assert second.count == 1
    reopened(tmp_path).begin_images(again, images(0, 1, 2, 4), [0, 1, 2, 4])  # type: ignore[arg-type]
    assert again.count == 0
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("damage", ["a value", "a record", "the end", "more", "another run"])
def test_a_file_that_isnt_as_it_was_written_is_made_anew(
    damage: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    reopened(tmp_path).begin_images(Halves(), images(4, 0, 2), [4, 0, 2])  # type: ignore[arg-type]
    path = tmp_path / "kept"
    content = bytearray(path.read_bytes())
    if damage in ("a value", "a record"):
        content[2 * 12 if damage == "a value" else -6 * 8] ^= 64
    path.write_bytes(content[:-1] if damage == "the end" else content + b"0" * (damage == "more"))
    kept, clip = reopened(tmp_path, "another" if damage == "another run" else "this run"), Halves()
    assert capsys.readouterr().err == f"Note: {path} is damaged or of another run; it is made anew.\n"
    assert len(kept) == 0
    begun = kept.begin_images(clip, images(4, 0), [4, 0])  # type: ignore[arg-type]
    assert begun is not None
    assert torch.equal(begun, (images(4, 0) / 2).bfloat16())
    assert clip.count == 2


WORDS = [
    "fit", f"--config={shipped('lightning_configs') / 'mini' / 'starft.yaml'}", "--model.freeze_image_blocks=2",
    "--model.keep_activations=disk", "--data.init_args.train_size=24", "--data.init_args.val_size=12",
    "--data.init_args.batch_size=6", "--trainer.max_epochs=3", "--trainer.check_val_every_n_epoch=1",
    "--checkpoint.every_n_train_steps=2", "--trainer.enable_progress_bar=false",
]  # fmt: skip


def fit_until_killed(words: list[str], step: int) -> None:
    """Run the command in this process, which gets a signal that nothing can hear, between two steps."""
    end = FinetuneModule.on_train_batch_end

    def die(self: FinetuneModule, *given: Any) -> None:
        end(self, *given)
        if self.global_step == step:
            os.kill(os.getpid(), signal.SIGKILL)

    FinetuneModule.on_train_batch_end = die  # type: ignore[assignment]
    main(words)


@pytest.mark.slow
@pytest.mark.parametrize(("step", "count"), [(3, 18), (7, 24)], ids=["first epoch", "second epoch"])
def test_a_run_that_was_killed_goes_on_to_the_last_bit(
    step: int, count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of four steps an epoch, from the checkpoint one step before: what is in the file isn't computed again."""
    run, whole = tmp_path / "run", tmp_path / "whole"
    last = run / "checkpoints" / "last.ckpt"
    process = forking().Process(target=fit_until_killed, args=([*WORDS, f"--trainer.default_root_dir={run}"], step))
    process.start()
    process.join(120)
    assert process.exitcode == -signal.SIGKILL
    assert (run / "kept_activations-0").is_file()
    assert torch.load(last, weights_only=True)["global_step"] == step - 1
    computed: list[int] = []
    begin = ClipEncoder.begin_images

    def counted(self: ClipEncoder, images: Tensor) -> Tensor | None:
        computed.append(len(images))
        return begin(self, images)

    monkeypatch.setattr(ClipEncoder, "begin_images", counted)
    assert main([*WORDS, f"--trainer.default_root_dir={run}", f"--ckpt_path={last}"]) == 0
    assert sum(computed) == 2 + 24 - count, "two tell shape and likeness"
    assert main([*WORDS, f"--trainer.default_root_dir={whole}"]) == 0
    states = [torch.load(folder / "checkpoints" / "last.ckpt", weights_only=True) for folder in (run, whole)]
    for name, value in states[0]["state_dict"].items():
        assert torch.equal(value, states[1]["state_dict"][name]), name
    assert not [*run.glob("kept*"), *whole.glob("kept*")], "it goes with the mark that the training hasn't ended"


def test_a_disk_that_fills_up_is_told_of_once_and_the_run_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    kept, clip = reopened(tmp_path), Halves()
    kept.begin_images(clip, images(3), [3])  # type: ignore[arg-type]
    written = iter([os.pwrite, _full])
    monkeypatch.setattr("starft.clip.kept_activations.os.pwrite", lambda *given: next(written)(*given))  # noqa: PLW0108
    for _ in range(2):
        begun = kept.begin_images(clip, images(3, 0, 1), [3, 0, 1])  # type: ignore[arg-type]
        assert begun is not None
        assert torch.equal(begun, (images(3, 0, 1) / 2).bfloat16())
    assert clip.count == 1 + 2 + 3
    note = (
        "Note: no activations are kept any more (No space left on device), and those of 1 of 6 images give their room "
    )
    assert capsys.readouterr().err == f"{note}back; they are computed in each epoch.\n"
    assert (tmp_path / "kept").stat().st_size == 0


def _full(*given: Any) -> int:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_part_that_is_written_counts_as_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = KeptActivations("disk", 6, (2, 3), tmp_path)
    monkeypatch.setattr("starft.clip.kept_activations.os.pwrite", lambda *given: 5)
    kept.begin_images(Halves(), images(0), [0])  # type: ignore[arg-type]
    assert len(kept) == 0


@pytest.mark.parametrize(
    ("where", "room", "sentence"),
    [
        (
            "ram",
            "memory",
            r"keep_activations ram takes 1\.2 GB for 100,000 images, and 1\.0 MB of memory are free; set",
        ),
        (
            "disk",
            "disk",
            r"disk takes 1\.2 GB for 100,000 images, and 1\.0 MB of the disk of .* are free; set it to ram",
        ),
    ],
)
def test_what_has_no_room_is_refused(
    where: Any, room: str, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(f"starft.clip.kept_activations._free_{room}", lambda *_: 1_000_000)
    with pytest.raises(ConfigError, match=sentence):
        KeptActivations(where, 100_000, (6, 1000), tmp_path)


def test_each_process_needs_room_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """12 bytes an image for 6 images; what a killed run has left counts as free, of all its processes."""
    monkeypatch.setattr("starft.clip.kept_activations.disk_usage", lambda folder: SimpleNamespace(free=140))
    given = ("disk", 6, (2, 3), tmp_path, torch.float32, "kept-0", "this run")
    with pytest.raises(ConfigError, match=r"for 6 images in each of 2 processes, and 140 .* are free; set"):
        KeptActivations(*given, processes=2)  # type: ignore[arg-type]
    (tmp_path / "kept-1").write_bytes(b"0" * 4096)
    KeptActivations(*given, processes=2)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        (
            {"freeze_image_blocks": 0},
            "keep_activations is ram, and no first block of the image tower is frozen; set model",
        ),
        ({"share_frozen": False}, "needs model.share_frozen true; set it to that"),
        ({"compile": True}, "needs model.compile false; set it to that"),
    ],
)
def test_before_the_model_is_loaded_it_is_refused(
    options: dict[str, Any], sentence: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("starft.training.module.build_clip", lambda *given: pytest.fail("it is loaded"))
    with pytest.raises(ConfigError, match=sentence):
        build(keep_activations="ram", **options)


def test_images_that_vary_are_refused() -> None:
    trainer: Any = SimpleNamespace(datamodule=CSV("a.csv"))
    with pytest.raises(ConfigError, match="needs training images that are the same in each epoch; set data"):
        keep_activations({"keep_activations": "ram"}, ClipEncoder(nn.Identity(), list), trainer)  # type: ignore[arg-type]
    config = {"model": {"keep_activations": "ram"}, "data": {"init_args": {"augmentation": {"scale": [0.9, 1.0]}}}}
    with pytest.raises(ConfigError, match="needs training images that are the same in each epoch"):
        check_options("fit", config, FinetuneModule)
    check_options("test", config, FinetuneModule)


def test_a_tower_that_is_given_half_of_its_patches_is_refused(tmp_path: Path) -> None:
    from open_clip.transformer import PatchDropout  # noqa: PLC0415

    module = build(keep_activations="ram")
    module.clip.model.visual.patch_dropout = PatchDropout(0.5)
    with pytest.raises(ConfigError, match="can't be computed by itself: it drops patches, or isn't"):
        fit(module, tmp_path)
