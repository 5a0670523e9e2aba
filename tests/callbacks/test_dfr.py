"""DFR against scikit-learn on the same features, its refusals, and its head in a run."""

import re
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from fakes import quiet_trainer
from starft.callbacks import DFR
from starft.callbacks.dfr import STRENGTHS, balanced, check_group_sizes, fit_dfr, halves
from starft.errors import ConfigError, DataError
from starft.losses.objectives import CrossEntropy
from starft.mini import MiniWorld
from starft.training.module import FinetuneModule
from starft.training.probe import Rows, rows_of


def rows(counts: list[int], classes: int = 2, seed: int = 0) -> Rows:
    """Unit rows in 6 dimensions: one tells the class, a stronger one the attribute; group = label * 2 + attribute."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(len(counts)), counts)
    labels, attribute = groups // 2, groups % 2
    features = rng.normal(size=(len(groups), 6)) + 3
    features[np.arange(len(groups)), labels] += 1.5
    features[:, 5] += 3 * attribute
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    return Rows(features, (labels % classes).astype(np.int64), groups.astype(np.int64))


def logits(refit: Any, features: Any) -> Any:
    return (torch.from_numpy(features).float() @ refit.head.T + refit.bias).double().numpy()


def test_with_groups_of_one_size_it_is_scikit_learn_s_fit() -> None:
    """Every draw is the whole set then, so the mean of the fits is the fit."""
    val = rows([30] * 4)
    refit = fit_dfr(val, 2, [0.3], 20, 0)
    reference = make_pipeline(
        StandardScaler(), LogisticRegression(l1_ratio=1.0, C=0.3, solver="liblinear", tol=1e-8, max_iter=10_000)
    ).fit(val.features, val.labels)
    got = logits(refit, val.features)
    np.testing.assert_allclose(got[:, 1] - got[:, 0], reference.decision_function(val.features), rtol=0, atol=5e-3)
    assert refit.strength == 0.3


def test_more_classes_than_two() -> None:
    val = rows([20] * 6, classes=3)
    refit = fit_dfr(val, 3, [0.5], 2, 0)
    reference = make_pipeline(
        StandardScaler(), LogisticRegression(l1_ratio=1.0, C=0.5, solver="saga", tol=1e-6, max_iter=10_000)
    ).fit(val.features, val.labels)
    expected = reference.predict_proba(val.features)
    got = torch.from_numpy(logits(refit, val.features)).softmax(dim=1).numpy()
    np.testing.assert_allclose(got, expected, rtol=0, atol=2e-2)


def test_the_head_is_the_mean_of_fits_on_balanced_draws() -> None:
    """The draws again, in their order: one for the choice of C, then two."""
    val = rows([40, 9, 12, 35])
    assert val.groups is not None
    refit = fit_dfr(val, 2, [0.7], 2, 4)
    rng = np.random.default_rng(4)
    first, _ = halves(val.groups, rng)
    balanced(val.groups[first], rng)
    scaled = StandardScaler().fit_transform(val.features)
    scores = []
    for _ in range(2):
        drawn = balanced(val.groups, rng)
        assert np.bincount(val.groups[drawn]).tolist() == [9] * 4
        model = LogisticRegression(l1_ratio=1.0, C=0.7, solver="liblinear", random_state=0)
        scores.append(model.fit(scaled[drawn], val.labels[drawn]).decision_function(scaled))
    got = logits(refit, val.features)
    np.testing.assert_allclose(got[:, 1] - got[:, 0], np.mean(scores, axis=0), rtol=0, atol=1e-4)
    assert not np.allclose(scores[0], scores[1], atol=1e-2), "the draws must differ"


def test_the_first_of_the_best_strengths_is_chosen_by_the_worst_group_of_the_other_half() -> None:
    val = rows([40, 12, 14, 35], seed=3)
    assert val.groups is not None
    strengths = [1e-3, 0.01, 0.05, 1.0, 0.3]
    rng = np.random.default_rng(0)
    first, second = halves(val.groups, rng)
    assert sorted([*first, *second]) == list(range(101))
    assert np.bincount(val.groups[first]).tolist() == [20, 6, 7, 17]
    drawn = first[balanced(val.groups[first], rng)]
    scaler = StandardScaler().fit(val.features[first])
    worst = []
    for strength in strengths:
        model = LogisticRegression(l1_ratio=1.0, C=strength, solver="liblinear", random_state=0)
        model.fit(scaler.transform(val.features[drawn]), val.labels[drawn])
        right = model.predict(scaler.transform(val.features[second])) == val.labels[second]
        worst.append(min(right[val.groups[second] == group].mean() for group in range(4)))
    assert min(worst) < max(worst), "the choice must matter"
    refit = fit_dfr(val, 2, strengths, 1, 0)
    assert refit.strength == strengths[int(np.argmax(worst))]
    assert refit.worst == pytest.approx(max(worst))


def test_the_paper_s_strengths() -> None:
    assert STRENGTHS == (1.0, 0.7, 0.3, 0.1, 0.07, 0.03, 0.01)
    assert DFR().strengths == STRENGTHS


def test_groups_that_are_too_small_are_named() -> None:
    sentence = (
        "DFR needs at least 10 validation images of each group, and in waterbirds these are too small: "
        "landbird on water (9), waterbird on land (0); give more images of them, another val_set, or a lower "
        "min_group_size of at least 2."
    )
    counts = {"landbird on land": 10, "landbird on water": 9, "waterbird on land": 0, "waterbird on water": 50}
    with pytest.raises(DataError, match=f"^{re.escape(sentence)}$"):
        check_group_sizes(counts, 10, "waterbirds")
    check_group_sizes(dict.fromkeys(counts, 10), 10, "waterbirds")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        ({"draws": 0}, "draws of DFR must be at least 1; got 0."),
        ({"min_group_size": 1}, "min_group_size of DFR must be at least 2; got 1."),
        ({"strengths": [0.0]}, "strengths of DFR must be finite numbers above 0, at least one; got [0.0]."),
    ],
)
def test_settings_that_cant_be_used_are_told(given: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=f"^{re.escape(sentence)}$"):
        DFR(**given)


# In a run


trainer = partial(quiet_trainer.trainer, limit_val_batches=1.0)


def module() -> FinetuneModule:
    return FinetuneModule(CrossEntropy(), "starft-mini", "mini", "linear", lr=1e-3, warmup_steps=0)


def world(task: Any = "kinds") -> MiniWorld:
    return MiniWorld(task=task, train_size=24, val_size=24, test_size=12, batch_size=12)


@pytest.mark.slow
def test_the_head_is_refitted_on_the_tuned_features_before_the_last_validation(tmp_path: Path) -> None:
    tuned, data = module(), world()
    run = trainer(tmp_path, 1, DFR("groups", [0.3], 2))
    run.fit(tuned, datamodule=data)
    assert run.global_step == 2
    run.save_checkpoint(tmp_path / "last.ckpt")
    val = rows_of(data.val_dataloader()[2], lambda batch: tuned.eval().clip.encode_image(batch["image"]))
    assert val.groups is not None
    refit = fit_dfr(val, 2, [0.3], 2, 0)
    assert tuned.linear_head is not None
    torch.testing.assert_close(tuned.linear_head.detach(), refit.head, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(tuned.head_bias, refit.bias, rtol=1e-3, atol=1e-3)
    right = logits(refit, val.features).argmax(axis=1) == val.labels
    worst = min(right[val.groups == group].mean() for group in range(4))
    assert float(run.callback_metrics["val/groups/worst_group_acc"]) == pytest.approx(worst)
    scored = tuned._evaluator().logits(2, torch.from_numpy(val.features).float())
    torch.testing.assert_close(scored, torch.from_numpy(logits(refit, val.features)).float(), rtol=1e-3, atol=1e-3)
    assert refit.bias.abs().max() > 0.01, "a validation that forgets the bias has other logits"

    told = module()
    trainer(tmp_path, 1).test(told, datamodule=world(), ckpt_path=tmp_path / "last.ckpt", verbose=False)
    assert told.head_bias is not None
    assert torch.equal(told.head_bias, tuned.head_bias)
    sentence = (
        r"^The checkpoint's head was refitted by DFR at the end of its run, so training can't go on from it; give"
    )
    with pytest.raises(ConfigError, match=sentence):
        trainer(tmp_path, 2).fit(module(), datamodule=world(), ckpt_path=tmp_path / "last.ckpt")


@pytest.mark.slow
def test_what_dfr_cant_work_with_is_told_before_training(tmp_path: Path) -> None:
    sentence = (
        "DFR needs a validation set with the training classes and with groups, and 'ood' is none of those: id, groups; "
        "give data with an attribute or a group, or another val_set."
    )
    with pytest.raises(DataError, match=f"^{re.escape(sentence)}$"):
        trainer(tmp_path, 1, DFR("ood")).fit(module(), datamodule=world())
    with pytest.raises(
        DataError, match=r"^DFR needs at least 10 .* in id these are too small: landbird on water \(\d\)"
    ):
        trainer(tmp_path, 1, DFR()).fit(module(), datamodule=world())
    text = FinetuneModule(model_name="starft-mini", pretrained="mini")
    with pytest.raises(
        ConfigError, match=r"^DFR is for the linear head; the head is 'text', set model\.head to linear"
    ):
        trainer(tmp_path, 1, DFR()).fit(text, datamodule=world())
