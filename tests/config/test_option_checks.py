"""What the parser of options lets pass, and nobody can mean."""

from typing import Any

import pytest

import starft.data
import starft.losses  # noqa: F401  # as the parser of options loads what a config names
from starft.config.option_checks import check_options
from starft.errors import ConfigError
from starft.training.module import FinetuneModule

DATA = {"class_path": "starft.data.CSV", "init_args": {"file": "a.csv", "root": None}}
TERM = {"class_path": "starft.losses.KD", "init_args": {"weight": 1.0}}


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"model": {"model_name": None}}, "model.model_name can't be null; give a value, or leave it out for 'ViT-"),
        ({"model": {"betas": (0.9, float("nan"))}}, "model.betas is not a number (NaN); give a number."),
        ({"model": {"pool": ""}}, "model.pool is empty; give it a value, or leave it out."),
        (
            {"data": DATA | {"init_args": {"batch_size": None}}},
            "data.init_args.batch_size can't be null; give a value,",
        ),
        ({"data": DATA | {"init_args": {"file": None}}}, "data.init_args.file can't be null; give a value."),
        (
            {"model": {"regularizers": [TERM | {"init_args": {"temperature": None}}]}},
            "model.regularizers, item 1.init_args.temperature can't be null; give a value, or leave it out for 1.0.",
        ),
        (
            {"model": {"adapter": {"rank": None}}},
            "model.adapter.rank can't be null; give a value, or leave it out for 1",
        ),
        (
            {"data": DATA | {"init_args": {"augmentation": {"scale": None}}}},
            "data.init_args.augmentation.scale can't be null; give a value, or leave it out for (0.9, 1.0).",
        ),
        (
            {"data": DATA | {"init_args": {"evals": [{"ood": True}, {"name": None}]}}},
            "data.init_args.evals, item 2.name can't be null; give a value.",
        ),
        ({"trainer": {"default_root_dir": ""}}, "trainer.default_root_dir is empty"),
        ({"trainer": {"max_epochs": 0}}, "trainer.max_epochs is 0, so there is nothing to train"),
        ({"trainer": {"max_steps": 0}}, "trainer.max_steps is 0, so there is nothing to train"),
        ({"trainer": {"max_epochs": -1, "max_steps": -1}}, "The run has no end"),
        ({"trainer": {"overfit_batches": 0.5}}, "trainer.overfit_batches (it is 0.5) can't be used, as each epoch dra"),
        ({"trainer": {"check_val_every_n_epoch": 0}}, "trainer.check_val_every_n_epoch must be a finite number, at l"),
        ({"trainer": {"gradient_clip_val": float("inf")}}, "trainer.gradient_clip_val must be a finite number, at lea"),
        ({"trainer": {"gradient_clip_val": -0.5}}, "trainer.gradient_clip_val must be a finite number, at least 0; g"),
        ({"trainer": {"callbacks": [{"class_path": "a.B", "init_args": {"x": float("nan")}}]}}, "is not a number"),
        ({"trainer": {"devices": 10**18}}, "trainer.devices must be at most 1024; got 1000000000000000000."),
        ({"trainer": {"devices": "1025"}}, "trainer.devices must be at most 1024; got 1025."),
        ({"checkpoint": {"monitor": ""}}, "checkpoint.monitor is empty"),
    ],
)
def test_values_that_cant_be_meant(config: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_options("fit", config, FinetuneModule)
    assert told in str(error.value)


def test_what_can_be_meant_passes() -> None:
    trainer = {
        "max_epochs": 0,
        "overfit_batches": 0.0,
        "num_sanity_val_steps": -1,
        "gradient_clip_val": None,
        "logger": None,
    }
    model = {"templates": None, "pool": None, "pretrained": None, "objective": None, "regularizers": [TERM]}
    check_options("test", {"trainer": trainer, "model": model, "data": DATA, "ckpt_path": None}, FinetuneModule)
    check_options("fit", {"trainer": {"max_epochs": -1, "max_steps": 9}, "model": model}, FinetuneModule)
