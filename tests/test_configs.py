"""Every shipped config is whole and runs one step."""

import inspect
import json
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path

import lightning as L
import pytest
import yaml

from fakes import group_sets, imagenet, own_images, shards, transfer_sets
from starft.cli.fit import main
from starft.losses.context import Progress
from starft.training.fsdp import check_strategy
from starft.training.gradients import idle_parameters
from starft.training.module import FinetuneModule

ROOT = Path(__file__).parents[1]
read_yaml = partial(yaml.load, Loader=yaml.CSafeLoader)  # ten times as fast as yaml.safe_load

COMMON = sorted((ROOT / "lightning_configs" / "common").glob("*.yaml"))
"""What is laid over a whole config."""
CONFIGS = sorted({*(ROOT / "lightning_configs").rglob("*.yaml")} - {*COMMON})

MINI = ["train_size=24", "val_size=12", "test_size=12", "batch_size=12"]
OWN = ["batch_size=4", "num_workers=0"]
FAKE = ["allow_partial=true", *OWN]
"""Fakes hold a few images where their papers count thousands."""
TINY = ["--model.model_name=starft-mini", "--model.pretrained=mini"]
"""The model of every config but the embedded world's own."""

ON_CPU = ["--trainer.accelerator=cpu", "--trainer.precision=32-true"]


def imagenet_folders(root: Path) -> list[str]:
    """Write ImageNet and its test sets; one template, as 80 of 1000 classes take their time."""
    folders = {
        "root": imagenet.imagenet(root / "imagenet"),
        "v2": imagenet.v2(root),
        "r": imagenet.renditions(root),
        "a": imagenet.adversarial(root),
        "sketch": imagenet.sketch(root),
        "objectnet": imagenet.objectnet(root),
        "vid_robust": imagenet.vid_robust(root),
        "waterbirds": group_sets.waterbirds(root),
        "celeba": group_sets.celeba(root),
        "counteranimal": imagenet.counteranimal(root),
    }
    return [*(f"{name}={path}" for name, path in folders.items()), 'templates=["a {}."]', "val_fraction=0.25", *FAKE]


WRITE: dict[str, Callable[[Path], Path]] = {
    "waterbirds": partial(group_sets.waterbirds, val=2),
    "celeba": group_sets.celeba,
    "iwildcam": group_sets.iwildcam,
    "fmow": group_sets.fmow,
    "hub/zeroshot": shards.clip_benchmark,
    "hub/waterbirds": shards.hub_waterbirds,
    "hub/celeba": shards.hub_celeba,
    "transfer/caltech101": transfer_sets.caltech101,
    "transfer/stanford_cars": partial(transfer_sets.stanford_cars, coop=True),
    "transfer/flowers102": transfer_sets.flowers102,
    "transfer/pcam": transfer_sets.pcam,
    "transfer/rendered_sst2": transfer_sets.rendered_sst2,
    "transfer/sun397": partial(transfer_sets.sun397, coop=True),
}
"""Folder of configs, or config -> what writes its fake data."""


def smallest(config: Path, root: Path) -> list[str]:
    """Write the least data that a config runs on; return its ``data.init_args``."""
    folder = config.parent.name
    if folder == "mini":
        return MINI
    if folder == "imagenet":
        return imagenet_folders(root)
    if folder == "csv":
        captioned = config.stem in ("captions", "pairs")
        file = (
            own_images.write_captions(root, labels=config.stem != "pairs")
            if captioned
            else own_images.write_table(root)
        )
        return [f"file={file}", "val_fraction=0.25", *OWN]
    if folder == "imagefolder":
        groups = read_yaml(config.read_text(encoding="utf-8"))["data"]["init_args"]["attribute_level"]
        counts = {"train": 4, "val": 2, "test": 2}
        return [f"root={own_images.write_folders(root, counts, attribute=groups)}", "eval_decode=fast", *OWN]
    if folder == "packed":
        return [f"root={shards.write_shards(root, train=8, val=4, test=4)}", *OWN]
    write = WRITE.get(folder) or WRITE[f"{folder}/{config.stem}"]
    batch = ["batch_size=2"] if folder in ("transfer", "hub") else []
    if name_of(config) == "hub-zeroshot":
        sets = read_yaml(config.read_text(encoding="utf-8"))["data"]["init_args"]["evals"][-3:]
        assert [item["name"] for item in sets] == ["objectnet", "fmow", "iwildcam"]
        wild = str(shards.wilds_copy(root / "wild"))
        for item in sets:
            item["source"]["init_args"]["root"] = str(root / "own") if item["name"] == "objectnet" else wild
        root = root / "own"
        batch += [f"evals={json.dumps(sets)}"]
    return [f"root={write(root)}", *(FAKE if folder != "hub" else OWN), *batch]


ONE_STEP = [
    "--trainer.max_epochs=1",
    "--trainer.limit_train_batches=1",
    "--trainer.num_sanity_val_steps=0",
    "--trainer.log_every_n_steps=1",
]
EPOCHS = {"mini-jtt": 3, "waterbirds-jtt": 3, "csv-jtt": 5, "imagefolder-jtt": 5}
EPOCHS |= {"mini-spare": 2, "mini-george": 3, "csv-spare": 3, "csv-george": 9}
EPOCHS |= {"waterbirds-spare": 3, "waterbirds-george": 5}
"""Config -> fewest epochs it can run, a step each; one elsewhere."""

SMALL_GROUPS = {"dfr": 2}
"""Config -> the smallest validation group that its callback is told to be content with."""

TESTED = {"starft", "ce", "pretrain"}
"""What is tested after its step: of each data set a config of each head; the others are validated."""

QUIET = ["--trainer.enable_progress_bar=false", "--trainer.enable_model_summary=false"]


def verb_of(config: Path) -> str:
    """The verb that a config's opening comment tells to run it with."""
    told = re.search(r"^# Run it: starft (\w+)", config.read_text(encoding="utf-8"), re.MULTILINE)
    return told[1] if told else "fit"


def name_of(config: Path) -> str:
    return f"{config.parent.name}-{config.stem}"


def test_configs_were_found() -> None:
    rivals = {"l2_sp", "kd", "feature_distillation", "car_ft", "lipsum_ft", "carot", "tracer", "linear_probe", "lp_ft"}
    rivals |= {"group_balanced", "group_dro", "dfr", "jtt", "spare", "george"}
    assert {"ce", "flyp", "pretrain", "starft", "starft_ce", "zeroshot", *rivals} <= {path.stem for path in CONFIGS}
    assert verb_of(ROOT / "lightning_configs" / "mini" / "zeroshot.yaml") == "test"


@pytest.mark.parametrize("config", CONFIGS, ids=name_of)
def test_config_is_whole(config: Path) -> None:
    text = config.read_text(encoding="utf-8")
    assert text.startswith("# ")
    keys = read_yaml(text)
    assert set(keys) == {"seed_everything", "trainer", "model", "data", "checkpoint"}
    assert {"model_name", "pretrained", "objective", "lr", "weight_decay", "warmup_steps"} <= set(keys["model"])
    assert {"class_path", "init_args"} <= set(keys["data"])
    assert {"max_epochs", "default_root_dir"} <= set(keys["trainer"])


def test_a_config_to_test_with_trains_nothing() -> None:
    """`starft compare` trains what has epochs, whatever the comment says."""
    epochs = {
        name_of(path): read_yaml(path.read_text(encoding="utf-8"))["trainer"]["max_epochs"]
        for path in CONFIGS
        if verb_of(path) == "test"
    }
    assert {"csv-zeroshot", "imagefolder-zeroshot", "mini-zeroshot"} <= set(epochs)
    assert set(epochs.values()) == {0}, epochs


@pytest.mark.parametrize("overlay", COMMON, ids=name_of)
def test_an_overlay_changes_the_trainer_alone(overlay: Path) -> None:
    text = overlay.read_text(encoding="utf-8")
    assert f"--config common/{overlay.stem}" in text.splitlines()[1]
    keys = read_yaml(text)
    assert set(keys) == {"trainer"}
    assert set(keys["trainer"]) <= set(inspect.signature(L.Trainer).parameters)
    strategy = keys["trainer"].get("strategy")
    check_strategy(strategy["class_path"] if isinstance(strategy, dict) else strategy)


def test_no_two_configs_share_a_run_folder() -> None:
    folders = [read_yaml(path.read_text(encoding="utf-8"))["trainer"]["default_root_dir"] for path in CONFIGS]
    assert len(set(folders)) == len(folders)


@pytest.mark.slow
@pytest.mark.parametrize("config", CONFIGS, ids=name_of)
def test_config_runs_one_step(config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FinetuneModule, "on_validation_model_zero_grad", lambda self: None)  # the step's are looked at
    verb = verb_of(config)
    tested = verb == "test" or config.parent.name == "transfer" or config.stem in TESTED
    run = tmp_path / "run"
    where = ["--seed_everything=7", f"--trainer.default_root_dir={run}"]
    data = [f"--data.init_args.{argument}" for argument in smallest(config, tmp_path / "data")]
    model = TINY if config.parent.name != "mini" else []
    words = [f"--config={config}", *data, *model, *ON_CPU, *ONE_STEP, *QUIET, *where]
    epochs = EPOCHS.get(name_of(config), 1)
    words += [f"--trainer.max_epochs={epochs}", *([] if tested else ["--trainer.check_val_every_n_epoch=1"])]
    words += [] if tested else ["--checkpoint.monitor=null"]  # a second checkpoint takes its time
    given = read_yaml(config.read_text(encoding="utf-8"))
    if config.stem in SMALL_GROUPS:
        (callback,) = given["trainer"]["callbacks"]
        callback["init_args"]["min_group_size"] = SMALL_GROUPS[config.stem]
        words += [f"--trainer.callbacks={json.dumps([callback])}"]
    if name_of(config) == "imagenet-car_ft":  # 80 contexts of 1000 classes take their time
        (term,) = given["model"]["regularizers"]
        assert term["init_args"]["contexts"] is None
        term["init_args"]["contexts"] = ["a {}.", "a sketch of a {}."]
        words += [f"--model.regularizers={json.dumps([term])}"]
    if config.stem == "starft_kinds" and config.parent.name in ("csv", "imagefolder"):  # a person writes their own
        (term,) = given["model"]["regularizers"]
        term["init_args"]["kinds"] = {name: [f"old {name}", f"new {name}"] for name in own_images.CLASSES}
        words += [f"--model.regularizers={json.dumps([term])}"]
    cli = main([verb, *words])
    assert (cli.model.seed, cli.datamodule.seed) == (7, 7), "a link was lost"
    resolved = read_yaml(cli.resolved_config)
    assert resolved["model"]["seed"] == resolved["data"]["init_args"]["seed"] == 7
    if verb == "fit":
        assert cli.trainer.global_step == epochs
        # DDP would wait for these for ever; what only a term reads that is at 0 by now is seen to, see test_devices.py
        last = Progress(epochs - 1, epochs, epochs - 1, epochs)
        rests = idle_parameters(cli.model.clip, cli.model.linear_head, cli.model._terms(), last)
        trained = {name: p for name, p in cli.model.named_parameters() if p.requires_grad}
        waiting = {name for name, p in trained.items() if p.grad is None and not any(p is one for one in rests)}
        assert waiting == set()
        assert (run / "checkpoints" / "last.ckpt").is_file()
        assert read_yaml((run / "config.yaml").read_text(encoding="utf-8")) == resolved
        if config.stem == "starft":
            words += [f"--ckpt_path={run / 'checkpoints' / 'last.ckpt'}"]
            cli = main(["test", *words])
        elif tested:
            cli.trainer.test(cli.model, cli.datamodule, verbose=False)
    stage, sets = ("test", cli.datamodule.test_sets) if tested else ("val", cli.datamodule.val_sets)
    assert {*cli.trainer.callback_metrics} >= {
        f"{stage}/{one.name}/{'acc' if one.class_names else 't2i_r5'}" for one in sets
    }
    assert (run / "results.json").is_file() == (verb == "test" or config.stem == "starft")
    if stage == "val":
        assert given["checkpoint"]["monitor"] in {None, *cli.trainer.callback_metrics}
    assert cli.model.lr == given["model"]["lr"]
    assert [term.weight for term in cli.model.terms.values()][1:] == [
        term["init_args"]["weight"] for term in given["model"].get("regularizers", [])
    ]
