"""What the twin remembers of texts: each caption encoded once, the same bits whatever it is asked with, in no state."""

from pathlib import Path
from typing import Any

import pytest
import torch

from starft.captions.pool_files import load_pools
from starft.captions.sampler import CaptionSampler
from starft.cli.fit import main
from starft.clip import build_clip
from starft.losses import teachers
from starft.losses.teachers import MOST_REMEMBERED, ExponentialAverage, Teacher

CAPTIONS = [f"a duck in {number} lakes." for number in range(7)]
CONFIG = Path(__file__).parents[2] / "lightning_configs" / "mini" / "starft.yaml"


class CountedTeacher(Teacher):
    """A teacher that notes what goes through its text tower, a batch a row."""

    def __init__(self, *args: Any) -> None:
        self.seen: list[int] = []
        super().__init__(*args)

    def encode_tokens(self, tokens: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(tokens))
        return super().encode_tokens(tokens)


@pytest.fixture
def twin(monkeypatch: pytest.MonkeyPatch) -> CountedTeacher:
    monkeypatch.setattr(teachers, "CHUNK", 3)
    return CountedTeacher(build_clip("starft-mini", "mini"))


def test_a_caption_is_encoded_once_and_with_its_chunk(twin: CountedTeacher) -> None:
    plain = twin.encode_text(CAPTIONS)
    twin.remember(CAPTIONS)
    twin.seen.clear()
    first = twin.encode_text([CAPTIONS[4], CAPTIONS[3], CAPTIONS[4]])
    assert twin.seen == [3], "one chunk of 3, and not the others"
    torch.testing.assert_close(first, plain[[4, 3, 4]], rtol=1e-5, atol=1e-6)
    again = twin.encode_text(CAPTIONS)
    assert twin.seen == [3, 3, 1], "the two chunks that were left"
    torch.testing.assert_close(again, plain, rtol=1e-5, atol=1e-6)
    twin.encode_text(CAPTIONS[::-1])
    assert len(twin.seen) == 3


def test_a_feature_is_the_same_to_the_last_bit_whatever_it_is_asked_with(twin: CountedTeacher) -> None:
    twin.remember(CAPTIONS)
    one = twin.encode_text(CAPTIONS)
    other = Teacher(twin)
    other.remember(CAPTIONS)
    asked = [other.encode_text([CAPTIONS[at], CAPTIONS[0]])[0] for at in (6, 2, 5, 1, 3, 0, 4)]
    assert torch.equal(torch.stack(asked), one[[6, 2, 5, 1, 3, 0, 4]])


def test_others_are_encoded_as_they_come(twin: CountedTeacher) -> None:
    twin.remember(CAPTIONS)
    twin.encode_text([CAPTIONS[0], "an owl."])
    twin.encode_text(["an owl."])
    twin.encode_text(["an owl."])
    assert twin.seen == [2, 1, 1]
    twin.remember([])
    twin.encode_text(CAPTIONS)
    assert twin.seen[-1] == len(CAPTIONS)


def test_what_is_remembered_is_no_part_of_the_state(twin: CountedTeacher) -> None:
    keys = twin.state_dict().keys()
    twin.remember(CAPTIONS)
    twin.encode_text(CAPTIONS)
    assert twin.state_dict().keys() == keys


def test_a_teacher_that_moves_forgets(twin: CountedTeacher) -> None:
    moving = CountedTeacher(twin, ExponentialAverage(update_every=1))
    moving.remember(CAPTIONS)
    before = moving.encode_text(CAPTIONS)
    student = build_clip("starft-mini", None)
    moving.follow(student, None, 1, 10)
    after = moving.encode_text(CAPTIONS)
    assert not torch.allclose(before, after)
    assert moving.seen == [3, 3, 1, len(CAPTIONS)]


def test_all_spurious_captions_or_none() -> None:
    pool = load_pools("mini_scenes")
    names, templates = ("duck", "owl"), ("a photo of a {}.", "a {}.")
    sampler = CaptionSampler(names, templates, pool, seed=0)
    count = len(names) * len(templates) * len(pool.templates)
    found = sampler.all_spurious(count)
    assert len(found) == count
    drawn = {text for step in range(50) for text in sampler.draw([0, 1] * 8, step)[1]}
    assert drawn <= set(found)
    assert len(drawn) > 0.9 * len(set(found))
    assert sampler.all_spurious(count - 1) == []
    assert CaptionSampler(names, templates, None, seed=0).all_spurious(count) == []


def test_the_limit_is_in_megabytes_what_it_says() -> None:
    assert pytest.approx(134e6, rel=0.01) == MOST_REMEMBERED * 512 * 4
    assert MOST_REMEMBERED >= 1000 * 60


@pytest.mark.slow
@pytest.mark.parametrize(("images", "there"), [(240, 120), (216, 0)])
def test_a_run_remembers_where_its_first_epoch_asks_for_most(tmp_path: Path, images: int, there: int) -> None:
    """12 species in 10 scenes and one template: 120 captions, so an epoch of 240 images is long enough."""
    words = ["fit", f"--config={CONFIG}", "--data.init_args.val_size=12", "--data.init_args.batch_size=24"]
    words += [f"--data.init_args.train_size={images}", "--trainer.max_steps=1", "--trainer.limit_val_batches=0"]
    words += ["--trainer.enable_progress_bar=false", f"--trainer.default_root_dir={tmp_path}"]
    cli = main([*words, "--model.templates=['a photo of a {}.']"])
    assert len(cli.model.twin._texts) == there
    assert not any("_features" in name for name in cli.model.state_dict())
