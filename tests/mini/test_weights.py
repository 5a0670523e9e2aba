"""The shipped weights: their checksum, what they can do, and how they are made from a checkpoint."""

import hashlib
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from starft.clip import ClipEncoder, build_clip, zero_shot_head
from starft.clip.build import load_tokenizer
from starft.clip.model_names import MINI_FOLDER
from starft.clip.shipped_weights import EMBEDDING, MINI_TAGS, checked_mini_weights
from starft.errors import ConfigError, WeightsError
from starft.mini import MiniWorld
from starft.mini.weights import ship

NAME = "starft-mini.safetensors"
CHECKSUM = "starft-mini.sha256.txt"


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    for name in (NAME, CHECKSUM):
        shutil.copy(MINI_FOLDER / name, tmp_path / name)
    return tmp_path


@pytest.fixture(scope="module")
def clip() -> ClipEncoder:
    return build_clip("starft-mini", "mini")


@pytest.mark.parametrize(("tag", "end"), MINI_TAGS.items())
def test_shipped_weights_match_their_checksum(tag: str, end: str) -> None:
    path = checked_mini_weights(tag)
    assert path == MINI_FOLDER / f"starft-mini{end}.safetensors"
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    checksum = path.with_suffix(".sha256.txt")
    assert checksum.read_text(encoding="ascii") == f"{digest}  {path.name}\n"


def test_all_weights_of_other_worlds_are_small() -> None:
    assert sum(checked_mini_weights(tag).stat().st_size for tag in ("mini_weak", "mini_looks")) < 4_000_000


@pytest.mark.parametrize("tag", ["mini_weak", "mini_looks"])
def test_other_worlds_start_from_other_weights(tag: str, clip: ClipEncoder) -> None:
    """Whole models, with a row for each token, none of them all zeros."""
    other = build_clip("starft-mini", tag).model.state_dict()
    assert other.keys() == clip.model.state_dict().keys()
    assert all(value.isfinite().all() for value in other.values())
    assert other[EMBEDDING].shape == (49408, 96)
    assert (other[EMBEDDING].norm(dim=1) > 0).all()
    assert not torch.equal(other[EMBEDDING], clip.model.state_dict()[EMBEDDING])


def test_shipped_weights_are_small_half_precision_and_all_there(clip: ClipEncoder) -> None:
    path = checked_mini_weights()
    assert path.stat().st_size <= 12_000_000
    held = load_file(path)
    assert {tensor.dtype for tensor in held.values()} == {torch.float16}
    assert held.keys() == clip.model.state_dict().keys()
    for key, value in clip.model.state_dict().items():
        assert value.dtype == torch.float32
        assert torch.equal(value, held[key].float()), key


def test_an_untouched_copy_passes(copied: Path) -> None:
    assert checked_mini_weights(folder=copied) == copied / NAME


def test_one_flipped_bit_is_found(copied: Path) -> None:
    content = bytearray((copied / NAME).read_bytes())
    content[-100] ^= 1
    (copied / NAME).write_bytes(content)
    refused(copied, "is damaged: its SHA-256 is")


def test_truncated_weights_are_found(copied: Path) -> None:
    (copied / NAME).write_bytes((copied / NAME).read_bytes()[:-1])
    refused(copied, "is damaged: its SHA-256 is")


@pytest.mark.parametrize("content", [b"0" * 64 + b"  " + NAME.encode(), b"", b"\n", b"\xff\xfe\x00"])
def test_another_checksum_is_found(copied: Path, content: bytes) -> None:
    (copied / CHECKSUM).write_bytes(content)
    refused(copied, "is damaged: its SHA-256 is")


@pytest.mark.parametrize("name", [NAME, CHECKSUM])
def test_a_missing_file_is_told(copied: Path, name: str) -> None:
    (copied / name).unlink()
    refused(copied, name)


def refused(folder: Path, told: str) -> None:
    with pytest.raises(WeightsError) as error:
        checked_mini_weights(folder=folder)
    sentence = str(error.value)
    assert told in sentence
    assert "install starft again" in sentence.lower()
    assert "\n" not in sentence


@pytest.mark.slow
def test_zero_shot_knows_the_birds(clip: ClipEncoder) -> None:
    """On validation pictures: 70 % is what the specification asks for at home."""
    data = MiniWorld(val_size=240)
    data.setup("validate")
    accuracy = {}
    with torch.no_grad():
        for eval_set, loader in zip(data.val_sets, data.val_dataloader(), strict=True):
            head = zero_shot_head(clip, eval_set.class_names, eval_set.templates)
            hits = [(clip.encode_image(batch["image"]) @ head.T).argmax(dim=1) == batch["label"] for batch in loader]
            accuracy[eval_set.name] = torch.cat(hits).float().mean().item()
    assert accuracy["id"] >= 0.70
    assert accuracy["ood"] > 0.60
    assert accuracy["groups"] > 0.80
    assert max(accuracy["id"], accuracy["ood"]) < 0.95, "fine-tuning needs room"


def checkpoint(path: Path, **changes: object) -> dict[str, torch.Tensor]:
    """Write what a pre-training run leaves behind; return the student in it."""
    student = build_clip("starft-mini", None).model.state_dict()
    state = {f"clip.model.{key}": value for key, value in student.items()}
    state |= {f"twin.model.{key}": torch.zeros_like(value) for key, value in student.items()}
    facts = {"model_name": "starft-mini", "head": "text", "class_names": ["a"], "templates": ["{}"], "twin": "0"}
    torch.save({"state_dict": state, "starft": facts} | changes, path)
    return student


def test_ship_round_trip(tmp_path: Path) -> None:
    student = checkpoint(tmp_path / "last.ckpt")
    folder = tmp_path / "package"
    folder.mkdir()
    path = ship(tmp_path / "last.ckpt", folder)
    assert sorted(file.name for file in folder.iterdir()) == [NAME, CHECKSUM]
    assert checked_mini_weights(folder=folder) == path
    loaded = build_clip("starft-mini", str(path)).model.state_dict()
    assert loaded.keys() == student.keys()
    for key, value in student.items():
        assert torch.equal(loaded[key], value.half().float()), key
    content = path.read_bytes()
    assert ship(tmp_path / "last.ckpt", folder).read_bytes() == content, "the same checkpoint, other bytes"


@pytest.mark.slow
def test_weights_of_another_world_hold_the_words_that_they_saw(tmp_path: Path) -> None:
    """Unused rows are drawn anew: the same ones each time, as far apart as they were."""
    captions = ["a duck", "a gull"]
    facts = {"model_name": "starft-mini", "head": "text", "class_names": captions, "templates": ["{}."], "twin": "0"}
    student = checkpoint(tmp_path / "last.ckpt", starft=facts)
    path = ship(tmp_path / "last.ckpt", tmp_path, "mini_weak")
    assert path == tmp_path / "starft-mini-weak.safetensors"
    assert path == checked_mini_weights("mini_weak", tmp_path)
    assert path.stat().st_size < 2_000_000
    first, again = (build_clip("starft-mini", str(path)).model.state_dict() for _ in range(2))
    assert first.keys() == student.keys()
    used = sorted({*load_tokenizer("starft-mini")(["a duck.", "a gull."]).flatten().tolist()})
    for key, value in student.items():
        assert torch.equal(first[key], again[key]), key
        expected = value.half().float()
        if key == EMBEDDING:
            assert torch.equal(first[key][used], expected[used])
            others = torch.ones(len(value), dtype=torch.bool)
            others[used] = False
            assert first[key][others].std() == pytest.approx(value[others].std().item(), rel=1e-3)
            assert first[key][others].unique(dim=0).shape[0] == others.sum()
        else:
            assert torch.equal(first[key], expected), key


def test_a_tag_that_there_is_not_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="There are no weights 'mini_wek'; give one of mini, mini_weak, mini_looks"):
        ship(tmp_path / "last.ckpt", tmp_path, "mini_wek")


@pytest.mark.parametrize("kind", ["missing", "damaged", "foreign"])
def test_ship_refuses_what_is_no_checkpoint_and_keeps_the_old_weights(copied: Path, kind: str) -> None:
    path = copied / "some.ckpt"
    if kind == "damaged":
        path.write_bytes(b"not a checkpoint")
    if kind == "foreign":
        torch.save({"state_dict": {}}, path)
    before = (copied / NAME).read_bytes()
    with pytest.raises(WeightsError, match=r"some\.ckpt"):
        ship(path, copied)
    assert (copied / NAME).read_bytes() == before
    assert checked_mini_weights(folder=copied)
