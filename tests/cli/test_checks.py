"""What is refused of a run before the first of many: by the words of the run itself, with no model loaded for it."""

import json
from pathlib import Path

import pytest

from starft.cli.checks import check_model, check_run
from starft.cli.fit import main
from starft.errors import StarftError
from starft.files.shipped import with_shipped_configs
from starft.training import module

FIT = with_shipped_configs(["fit", "--config=mini/starft"])


def terms(**arguments: object) -> str:
    return json.dumps([{"class_path": "starft.losses.SpuriosityAlignment", "init_args": arguments}])


REFUSED = {
    "--model.lr=-1": "lr must be a finite number, at least 0; got -1.0.",
    "--model.warmup_steps=-5": "warmup_steps must be at least 0; got -5.",
    f"--model.regularizers={terms(weight=-1)}": "weight of SpuriosityAlignment must be a finite number, at least 0",
    "--model.adapter.dropout=2": "dropout of model.adapter must lie in [0, 1); got 2.0.",
    "--model.head_start=probe": "head_start probe is for the linear head; the head is 'text'",
    "--model.pool=nope": "No pool is called 'nope'",
    "--model.pool=null": "SpuriosityAlignment draws spurious templates from a pool, and model.pool is null",
    "--data.init_args.batch_size=0": "batch_size must be at least 1; got 0.",
    "--trainer.gradient_clip_val=-1": "trainer.gradient_clip_val must be a finite number, at least 0; got -1.",
    "--trainer.accumulate_grad_batches=2": "Contrastive compares the images of a batch with each other",
    "--trainer.max_epochs=-4": "trainer.max_epochs must be at least 1, or -1 for no limit; got -4.",
}
OF_MODEL = {
    "--model.freeze_image_blocks=99": "freeze_image_blocks must lie in 0..4, the blocks of this image tower; got 99.",
    "--model.micro_batch_size=0": "micro_batch_size must be at least 1",
    "--model.pretrained=nope": "'nope' is neither a file nor a tag of weights for starft-mini.",
}


def no_model(*values: object) -> None:
    raise AssertionError("a model is loaded")


@pytest.mark.parametrize("option", REFUSED, ids=lambda option: option[:35])
def test_what_a_run_would_refuse_is_told_without_a_model(
    option: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    folder = f"--trainer.default_root_dir={tmp_path / 'run'}"
    with monkeypatch.context() as patch:
        patch.setattr(module, "build_clip", no_model)
        with pytest.raises(StarftError) as told:
            check_run([*FIT, folder, option])
    assert REFUSED[option] in str(told.value)
    with pytest.raises(StarftError) as by_run:
        main([*FIT, folder, "--trainer.accelerator=cpu", option])
    assert str(by_run.value) == str(told.value), "in the same words"
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", OF_MODEL)
def test_what_the_model_refuses_is_told_without_a_run(option: str, tmp_path: Path) -> None:
    folder = f"--trainer.default_root_dir={tmp_path / 'run'}"
    check_run([*FIT, folder, option])
    with pytest.raises(StarftError) as told:
        check_model([*FIT, folder, option])
    assert OF_MODEL[option] in str(told.value)
    assert not (tmp_path / "run").exists()


def test_what_can_be_run_is_taken(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    check_model([*FIT, f"--trainer.default_root_dir={tmp_path / 'run'}"])
    monkeypatch.setattr(module, "build_clip", no_model)
    check_run([*FIT, f"--trainer.default_root_dir={tmp_path / 'run'}"])
    check_run(["test", *FIT[1:], "--model.pool=null"])  # a test draws nothing
    assert not (tmp_path / "run").exists()
