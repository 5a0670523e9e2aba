"""What a command is told before torch is loaded."""

from pathlib import Path

import pytest

from starft.cli.fit import ParsedCLI, StarftCLI, main
from starft.config.data import keys_of
from starft.config.early_checks import ELSEWHERE, OURS, check_words, ours
from starft.config.parser_errors import near_key
from starft.errors import ConfigError
from starft.files.shipped import shipped

MINI = str(shipped("lightning_configs") / "mini" / "ce.yaml")
CSV = str(shipped("lightning_configs") / "csv" / "ce.yaml")


@pytest.fixture(scope="module")
def keys() -> set[str]:
    """Every option of ``fit`` on a user's own table."""
    cli: StarftCLI = main(["fit", f"--config={CSV}"], ParsedCLI)
    actions = {action.dest for action in cli._parser("fit")._actions}
    return actions | {*keys_of(["--data", "CSV"], [])}


def test_the_names_of_other_tools_are_none_of_ours(keys: set[str]) -> None:
    """So a command that works is never refused for one, and what it is told is there."""
    assert {*ELSEWHERE} <= keys
    for name, meant in OURS.items():
        taken = {f"{section}{name}" for section in ("", "model.", "trainer.")} & keys
        # a file may be given for the whole section model, and model.seed can't be given, as seed_everything fills it
        assert taken <= {meant, "model", "model.seed"}


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("learning_rate", "model.lr"),
        ("model.learning-rate", "model.lr"),
        ("trainer.epochs", "trainer.max_epochs"),
        ("model.max_epochs", "trainer.max_epochs"),
        ("trainer.max_epochs", None),
        ("model.lr", None),
        ("data.init_args.batch_size", None),
        ("batch-size", "data.init_args.batch_size"),
        ("resume", "ckpt_path"),
        ("seed_everything", None),
        ("nonsense", None),
        ("", None),
    ],
)
def test_ours(name: str, meant: str | None) -> None:
    assert ours(name) == meant


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ("--model.learning_rate 1e-4", "There is no option --model.learning_rate. Did you mean --model.lr?"),
        (
            "--epochs=3 --bs 8",
            "There is no option --epochs or --bs. Did you mean --trainer.max_epochs and --data.init_args.batch_size?",
        ),
        ("--model ViT-B-32", "There is no option --model. Did you mean --model.model_name?"),
        (
            "--data photos.csv",
            "--data takes a class, such as starft.data.CSV; give photos.csv as --data.init_args.file.",
        ),
    ],
)
def test_what_other_tools_call_so(options: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_words(["fit", f"--config={MINI}", *options.split()])
    assert str(caught.value) == told


def test_what_is_right_passes() -> None:
    words = f"fit --config={MINI} --model model.yaml --data data.yaml --model.lr 1 --trainer.max_epochs 2 --ckpt_path x"
    assert [config["trainer"]["max_epochs"] for config in check_words(words.split())] == [8]
    assert check_words(["fit", "--epochs=3", "--help"]) == []


OF_FOLDERS = " or ".join(
    f"imagefolder/{name}" for name in ("ce", "dfr", "group_dro", "jtt", "starft", "starft_kinds", "zeroshot")
)


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("csv/starf", "Did you mean csv/starft?"),
        ("lightning_configs/csv/starf.yaml", "Did you mean csv/starft?"),
        ("mini/zeroshott", "Did you mean mini/zeroshot?"),
        ("jtt", "Did you mean csv/jtt or imagefolder/jtt or mini/jtt or waterbirds/jtt?"),
        ("csv/dfrr", "Did you mean csv/dfr?"),
        ("csv/grup_dro", "Did you mean csv/group_dro?"),
        (
            "fmow/dfr",  # a config of the same data first, never only that of another's
            "The configs of fmow/ are flyp, starft, and dfr is for other data: csv/dfr, imagefolder/dfr, mini/dfr, "
            "waterbirds/dfr.",
        ),
        ("fmow/nothing_like_it", "The configs of fmow/ are flyp, starft."),
        ("imagefolder", f"Did you mean {OF_FOLDERS}?"),
        ("my/own", ""),
    ],
)
def test_a_shipped_config_misspelt(name: str, near: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError) as caught:
        check_words(["fit", "--config", name])
    assert str(caught.value) == f"The config {name} doesn't exist; check its path. {near}".rstrip()


@pytest.mark.parametrize(
    ("name", "near"),
    [
        ("file", "data.init_args.file"),
        ("monitor", "checkpoint.monitor"),
        ("attribute", "data.init_args.attribute_column"),
        ("model.learning_rate", "model.lr"),
        ("seed_everythin", "seed_everything"),
    ],
)
def test_an_option_without_its_section(name: str, near: str, keys: set[str]) -> None:
    assert near_key(name, keys) == f" Did you mean {near}?"


def test_an_option_like_no_other(keys: set[str]) -> None:
    assert near_key("xyz", keys) == ""


@pytest.mark.parametrize(
    ("words", "configs", "has", "hasnt"),
    [
        ([], [{"data": {"class_path": "starft.data.CSV"}}], "file", "root_dir"),
        ([], [{"data": "CSV"}, {"model": {}}], "file", "train_size"),
        (["--data=starft.mini.MiniWorld"], [{"data": "CSV"}], "train_size", "file"),
        (["--data.class_path", "MiniWorld"], [], "train_size", "file"),
    ],
)
def test_the_options_of_the_data(words: list[str], configs: list[dict[str, object]], has: str, hasnt: str) -> None:
    found = keys_of(words, configs)
    assert f"data.init_args.{has}" in found
    assert f"data.init_args.{hasnt}" not in found
    assert keys_of(["--data", "no.Such"], []) == keys_of([], [{}]) == []
