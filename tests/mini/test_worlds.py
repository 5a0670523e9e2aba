"""What the shipped configs have on another world: every setting has its place in them."""

from collections.abc import Callable
from inspect import signature
from pathlib import Path
from typing import Any, get_args

import pytest

from starft.captions.pool_files import load_pool
from starft.cli import compare, demo
from starft.cli.checks import check_run
from starft.config.space import options_of
from starft.files.shipped import shipped
from starft.files.yaml_reader import read_yaml
from starft.mini.worlds import EPOCHS, REGULARIZER, WORLDS

MINI = shipped("lightning_configs") / "mini"
OTHERS = [name for name in WORLDS if name != "scenes"]


def content(method: str) -> dict[str, Any]:
    return dict(read_yaml(MINI / f"{method}.yaml"))


@pytest.mark.parametrize("path", sorted(MINI.glob("*.yaml")), ids=lambda path: path.stem)
def test_the_first_world_is_that_of_the_configs(path: Path) -> None:
    assert WORLDS["scenes"].point(path.stem, content(path.stem)) == {}


@pytest.mark.parametrize("command", [compare.command, demo.command])
def test_commands_know_all_worlds(command: Callable[..., int]) -> None:
    """They spell the names, so that their help needs no import."""
    assert get_args(signature(command).parameters["world"].annotation) == tuple(WORLDS)


@pytest.mark.parametrize("world", OTHERS)
def test_each_setting_has_its_place(world: str) -> None:
    settings = WORLDS[world]
    assert settings.weights.keys() | settings.rates.keys() <= {path.stem for path in MINI.glob("*.yaml")}
    for method, weights in settings.weights.items():
        own = content(method)
        assert [item["init_args"]["weight"] > 0 for item in own["model"]["regularizers"]] == [True] * len(weights)
        for at, weight in enumerate(weights):
            assert settings.point(method, own)[REGULARIZER.format(at)] == weight
    for method, rate in settings.rates.items():
        assert settings.point(method, content(method))["model.lr"] == rate
    assert load_pool(settings.pool).templates
    assert settings.point("starft", content("starft"))["model.pool"] == settings.pool
    pools = settings.point("starft_pools", content("starft_pools"))["model.pool"]
    assert pools == [settings.pool, "textures", "resolution"]
    assert "model.pool" not in settings.point("ce", content("ce"))


@pytest.mark.parametrize("world", OTHERS)
def test_contrastive_methods_share_a_learning_rate(world: str) -> None:
    """That of FLYP; one that isn't named would have cross-entropy's, without a word."""
    own = {path.stem: content(path.stem) for path in MINI.glob("*.yaml") if not path.stem.startswith("pretrain")}
    contrastive = (".Contrastive", ".ReCalCon")
    methods = [
        name
        for name, item in own.items()
        if item["model"]["objective"]["class_path"].endswith(contrastive)
        and "adapter" not in item["model"]
        and name != "zeroshot"
    ]
    assert {"flyp", "class_positives", "recalcon", "starft_pools"} <= set(methods)
    assert len({WORLDS[world].point(method, own[method])["model.lr"] for method in methods}) == 1


@pytest.mark.parametrize("world", OTHERS)
def test_what_trains_otherwise_keeps_its_length(world: str) -> None:
    epochs = WORLDS[world].keys[EPOCHS]
    for method, length in {"zeroshot": None, "linear_probe": None, "ce": epochs, "starft": epochs}.items():
        assert WORLDS[world].point(method, content(method)).get(EPOCHS) == length
    assert "model.lr" not in WORLDS[world].point("linear_probe", content("linear_probe"))
    dfr = {"trainer.check_val_every_n_epoch": content("dfr")["trainer"]["check_val_every_n_epoch"]}
    assert (dfr | WORLDS[world].point("dfr", content("dfr")))["trainer.check_val_every_n_epoch"] == epochs
    assert "trainer.check_val_every_n_epoch" not in WORLDS[world].point("ce", content("ce"))


@pytest.mark.parametrize("world", OTHERS)
@pytest.mark.parametrize("method", ["starft", "lora"])
def test_a_run_takes_them(world: str, method: str) -> None:
    own = content(method)
    options = options_of(WORLDS[world].point(method, own), own)
    check_run(["fit", f"--config={MINI / method}.yaml", *options])
