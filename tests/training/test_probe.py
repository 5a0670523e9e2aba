"""The linear probe against scikit-learn on the same features, and as a start of fine-tuning."""

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch.utils.data import DataLoader

from fakes.quiet_trainer import trainer
from starft.errors import ConfigError, DataError
from starft.losses import KD
from starft.losses.objectives import Contrastive, CrossEntropy
from starft.mini import MiniWorld
from starft.training import probe
from starft.training.module import FinetuneModule
from starft.training.probe import STRENGTHS, Probe, Rows, fit_probe, rows_of

BIRDS = ("duck", "owl", "crow")


def rows(seed: int, classes: int, n: int = 60) -> Rows:
    """Unit rows around one direction a class."""
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % classes
    features = np.eye(8)[labels] + rng.normal(size=(n, 8)) * 0.8
    return Rows(features / np.linalg.norm(features, axis=1, keepdims=True), labels.astype(np.int64))


@pytest.mark.parametrize("names", [BIRDS, BIRDS[:2]], ids=len)
def test_probabilities_are_scikit_learn_s(names: tuple[str, ...]) -> None:
    train, val = rows(0, len(names)), rows(1, len(names))
    probe = fit_probe(train, val, names, [3.0])
    reference = LogisticRegression(C=3.0, fit_intercept=False, tol=1e-8, max_iter=10_000)
    reference.fit(train.features, train.labels)
    logits = torch.from_numpy(val.features).float() @ probe.head.T
    expected = torch.from_numpy(reference.predict_proba(val.features)).float()
    torch.testing.assert_close(logits.softmax(dim=1), expected, rtol=0, atol=2e-3)
    assert probe.accuracy == pytest.approx(reference.score(val.features, val.labels))
    assert probe.strength == 3.0


def test_the_smallest_of_the_best_strengths_is_chosen() -> None:
    train, val = rows(0, 3), rows(1, 3)
    strengths = [100.0, 1e-3, 1.0, 0.1]
    scores = {}
    for strength in strengths:
        reference = LogisticRegression(C=strength, fit_intercept=False, max_iter=10_000)
        scores[strength] = reference.fit(train.features, train.labels).score(val.features, val.labels)
    best = max(scores.values())
    assert min(scores.values()) < best, "the choice must matter"
    probe = fit_probe(train, val, BIRDS, strengths)
    assert probe.strength == min(strength for strength, score in scores.items() if score == best)
    assert probe.accuracy == pytest.approx(best)


def test_lp_ft_s_strengths() -> None:
    assert len(STRENGTHS) == 100
    assert (STRENGTHS[0], STRENGTHS[-1]) == pytest.approx((1e-7, 100.0))
    assert STRENGTHS[1] / STRENGTHS[0] == pytest.approx(10 ** (9 / 99))


def test_a_class_without_images_is_told() -> None:
    train = rows(0, 2)
    sentence = (
        "A linear probe needs training images of every class, and 1 of 3 have none, 'crow' first; "
        "add images, or set model.head_start to zero_shot."
    )
    with pytest.raises(DataError, match=f"^{re.escape(sentence)}$"):
        fit_probe(train, train, BIRDS, [1.0])


@pytest.mark.parametrize("strengths", [[], [0.0, 1.0], [-1.0], [float("inf")]])
def test_strengths_that_cant_be_used_are_told(strengths: list[float]) -> None:
    sentence = f"probe_strengths must be finite numbers above 0, at least one; got {strengths}."
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        FinetuneModule(CrossEntropy(), "starft-mini", "mini", "linear", "probe", strengths)


def test_a_probe_needs_the_linear_head() -> None:
    with pytest.raises(ConfigError, match=r"^head_start probe is for the linear head; the head is 'text', set head to"):
        FinetuneModule(Contrastive(), "starft-mini", "mini", head_start="probe")


# In a run


@pytest.mark.slow
def test_a_run_starts_from_the_probe_and_a_continued_one_doesnt_fit_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Towers frozen and lr 0: what comes out is the probe, of the twin's features, and the teachers have it too."""

    def module(**given: Any) -> FinetuneModule:
        frozen = {"freeze_image_tower": True, "freeze_text_tower": True, "lr": 0.0, "warmup_steps": 0}
        terms = [KD(teacher="weighted")]
        return FinetuneModule(
            CrossEntropy(), "starft-mini", "mini", "linear", "probe", [1.0], regularizers=terms, **frozen | given
        )

    data = MiniWorld(train_size=36, val_size=12, batch_size=12)
    run, first = trainer(tmp_path, 1), module()
    run.fit(first, datamodule=data)
    run.save_checkpoint(tmp_path / "one.ckpt")
    assert data.train_set is not None
    train = rows_of(DataLoader(data.train_set, batch_size=36), lambda batch: first.twin.encode_image(batch["image"]))
    reference = LogisticRegression(C=1.0, fit_intercept=False).fit(train.features, train.labels)
    assert first.linear_head is not None
    torch.testing.assert_close(
        first.linear_head.detach().double(), torch.from_numpy(reference.coef_), rtol=0, atol=1e-3
    )
    assert torch.equal(first.teachers["weighted_average"].linear_head, first.linear_head)
    assert [name for name, p in first.named_parameters() if p.requires_grad] == ["linear_head"], (
        "all that KD and CE read"
    )

    def never(*args: Any) -> Probe:
        pytest.fail("the probe was fitted again")

    monkeypatch.setattr(probe, "fit_probe", never)
    again = module(lr=1e-3)
    trainer(tmp_path, epochs=2).fit(
        again, datamodule=MiniWorld(train_size=36, val_size=12, batch_size=12), ckpt_path=tmp_path / "one.ckpt"
    )
    assert again.linear_head is not None
