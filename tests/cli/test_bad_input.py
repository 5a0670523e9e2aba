"""Whatever a person can get wrong: one sentence, exit status 2, nothing lost, no long work before."""

import errno
import json
import os
import pickle
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from starft.__main__ import main
from starft.clip import shipped_weights
from starft.files import atomic as files
from starft.runs.checkpoints import check_checkpoint
from starft.training.module import FinetuneModule

CONFIG = Path(__file__).parents[2] / "lightning_configs" / "mini" / "starft.yaml"
TINY = [
    "--data.init_args.train_size=24",
    "--data.init_args.val_size=12",
    "--data.init_args.test_size=12",
    "--data.init_args.batch_size=12",
    "--trainer.max_epochs=1",
    "--trainer.check_val_every_n_epoch=1",
    "--trainer.log_every_n_steps=1",
    "--trainer.enable_progress_bar=false",
    "--trainer.enable_model_summary=false",
]
ALIGNMENT = "starft.losses.SpuriosityAlignment"
Refused = Callable[..., str]


def listing(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def fit(folder: Path, *options: str, config: Path = CONFIG) -> list[str]:
    return ["fit", f"--config={config}", *TINY, f"--trainer.default_root_dir={folder}", *options]


def config_with(folder: Path, change: dict[str, Any]) -> Path:
    """The shipped config with some keys of a section set."""
    keys = yaml.safe_load(CONFIG.read_text(encoding="utf-8"))
    for section, values in change.items():
        keys.setdefault(section, {}).update(values)
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump(keys), encoding="utf-8")
    return path


@pytest.fixture
def steps(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Every training step that is begun leaves its number here."""
    begun: list[int] = []
    step = FinetuneModule.training_step

    def noted(self: FinetuneModule, batch: Any, batch_idx: int) -> Any:
        begun.append(batch_idx)
        return step(self, batch, batch_idx)

    monkeypatch.setattr(FinetuneModule, "training_step", noted)
    return begun


@pytest.fixture
def refused(capsys: pytest.CaptureFixture[str], steps: list[int]) -> Refused:
    """Run a command that must be refused before its first step; return its one sentence."""

    def run(words: list[str], begun: int = 0, status: int = 2) -> str:
        capsys.readouterr()
        assert main(words) == status
        told = capsys.readouterr()
        mine = [line for line in told.err.splitlines() if line.startswith("starft: ")]
        assert len(mine) == 1, told.err
        assert told.err.splitlines()[-1] == mine[0], "something came after the sentence"
        assert "Traceback" not in told.err + told.out
        assert len(steps) == begun
        return mine[0].removeprefix("starft: ")

    return run


# The command and its config


def test_an_unknown_verb(refused: Refused) -> None:
    verbs = "fit, validate, test, predict, export, data, prompts, audit, compare, tune, interpolate, soup, report"
    verbs += ", init, demo, completion"
    assert refused(["fitt"]) == f"There is no verb 'fitt'; the verbs are {verbs}. Did you mean fit?"


@pytest.mark.parametrize(
    ("change", "told", "near"),
    [
        ({"model": {"weight_decai": 0.1}}, "'model.weight_decai'", "Did you mean model.weight_decay"),
        ({"trainer": {"max_epoch": 1}}, "'trainer.max_epoch'", "Did you mean trainer.max_epochs"),
        ({"checkpoint": {"monitro": "val/id/acc"}}, "'checkpoint.monitro'", "Did you mean checkpoint.monitor"),
        ({"modle": {"lr": 1}}, "'modle.lr'", "Did you mean model.lr"),
        (
            {"model": {"regularizers": [{"class_path": ALIGNMENT, "init_args": {"wieght": 1}}]}},
            "'wieght'",
            "Did you mean weight?",
        ),
        (
            {"data": {"init_args": {"train_sise": 24}}},
            "'train_sise'",
            "Did you mean train_size",
        ),
    ],
    ids=["model", "trainer", "checkpoint", "section", "term", "data"],
)
def test_an_unknown_key(change: dict[str, Any], told: str, near: str, refused: Refused, tmp_path: Path) -> None:
    sentence = refused(fit(tmp_path / "run", config=config_with(tmp_path, change)))
    assert told in sentence
    assert near in sentence
    assert not (tmp_path / "run").exists()


def test_an_unknown_option(refused: Refused, tmp_path: Path) -> None:
    sentence = refused(fit(tmp_path / "run", "--model.wieght_decay=1"))
    assert sentence.startswith("There is no option --model.wieght_decay. Did you mean --model.weight_decay")


def test_an_option_that_is_cut_short(refused: Refused, tmp_path: Path) -> None:
    """It may be what it begins, or a mistake for something else; a run of hours isn't the place to guess."""
    sentence = refused(fit(tmp_path / "run", "--trainer.max_epoch=1"))
    assert sentence.startswith("There is no option --trainer.max_epoch. Did you mean --trainer.max_epochs")
    export = ["export", "a.ckpt", "--to", str(tmp_path / "out")]
    assert refused([*export, "--checkpoint=1"]) == "There is no option --checkpoint. See `starft export --help`."
    assert refused([*export, "--output=1"]) == "There is no option --output. See `starft export --help`."
    assert refused(["demo", "--sed=1"]) == "There is no option --sed. Did you mean --seeds?"
    assert refused(["report", "--form=md", str(tmp_path)]) == "There is no option --form. Did you mean --format?"


@pytest.mark.parametrize(
    ("config", "option", "near"),
    [("csv/ce", "filex", "file"), ("imagefolder/ce", "rootx", "root"), ("waterbirds/ce", "clas_names", "class_names")],
)
def test_an_unknown_option_of_the_data(config: str, option: str, near: str, refused: Refused, tmp_path: Path) -> None:
    path = CONFIG.parents[1] / f"{config}.yaml"
    run = f"--trainer.default_root_dir={tmp_path / 'run'}"
    sentence = refused(["fit", f"--config={path}", f"--data.init_args.{option}=x", run])
    assert f"Option '{option}' is not accepted. Did you mean {near}" in sentence
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            {"data": {"class_path": "starft.mini.MiniWorl"}},
            "module 'starft.mini' has no attribute 'MiniWorl'. Did you mean MiniWorld?",
        ),
        (
            {"model": {"objective": {"class_path": "starft.losses.Contrastiv"}}},
            "module 'starft.losses' has no attribute 'Contrastiv'. Did you mean Contrastive",
        ),
        (
            {"model": {"objective": {"class_path": "torch.nn.Linear"}}},
            "model.objective: Import path torch.nn.Linear does not correspond to a subclass of Term.",
        ),
        ({"model": {"objective": {"class_path": "no.such.Thing"}}}, "No module named 'no'"),
    ],
    ids=["data", "objective", "no-term", "no-module"],
)
def test_an_unknown_class(change: dict[str, Any], told: str, refused: Refused, tmp_path: Path) -> None:
    assert told in refused(fit(tmp_path / "run", config=config_with(tmp_path, change)))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (
            "--model.regularizers+=SpuriosityAlignmnt",
            "model.regularizers: there is no class 'SpuriosityAlignmnt'. Did you mean SpuriosityAlignment or KindAlign",
        ),
        ("--model.regularizers=L2S", "'L2S'; add one with --model.regularizers+=NAME. Did you mean L2SP?"),
        ("--model.regularizers=KD", "model.regularizers is a list; add one with --model.regularizers+=KD."),
        (
            "--model.regularizers=starft.losses.KD",
            "model.regularizers is a list; add one with --model.regularizers+=KD.",
        ),
        ("--model.regularizers+=starft.losses.L2S", "no attribute 'L2S'. Did you mean L2SP?"),
        ("--model.objective=Foo", "no class 'Foo'; the classes are CarFT, Carot, Contrastive, CrossEntropy, "),
        ("--train_size=12", "There is no option --train_size. Did you mean --data.init_args.train_size?"),
    ],
)
def test_a_name_misspelt_on_the_command_line(option: str, told: str, refused: Refused, tmp_path: Path) -> None:
    sentence = refused(fit(tmp_path / "run", option))
    assert told in sentence
    assert "path" not in sentence.replace("class_path", "")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (None, "doesn't exist; check its path."),
        (b"model: [1, 2\ntrainer: {", "isn't valid YAML at line 2, column 8; mend that place."),
        (b"\xff\xfe\x00\x01", "isn't valid YAML; mend that place."),
        (b"- model\n- trainer\n", "must hold keys such as model, data and trainer; got list."),
        (b"", "must hold keys such as model, data and trainer; got NoneType."),
    ],
    ids=["missing", "broken", "binary", "list", "empty"],
)
def test_a_config_that_cant_be_used(content: bytes | None, told: str, refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    if content is not None:
        path.write_bytes(content)
    assert refused(fit(tmp_path / "run", config=path)) == f"The config {path} {told}"
    assert not (tmp_path / "run").exists()


def test_a_config_with_a_near_name_is_suggested(refused: Refused, tmp_path: Path) -> None:
    path = CONFIG.with_name("starf.yaml")
    assert "Did you mean starft.yaml" in refused(["fit", "--config", str(path)])


def test_a_folder_for_a_config(refused: Refused, tmp_path: Path) -> None:
    sentence = refused(fit(tmp_path / "run", config=tmp_path))
    assert sentence == f"The config {tmp_path} can't be read: Is a directory; give a YAML file."


# Values


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--model.lr=-1", "lr must be a finite number, at least 0; got -1.0."),
        ("--model.weight_decay=-0.1", "weight_decay must be a finite number, at least 0; got -0.1."),
        ("--model.warmup_steps=-1", "warmup_steps must be at least 0; got -1."),
        ("--model.betas=[0.9,1.5]", "betas must be two numbers in [0, 1); got [0.9, 1.5]."),
        ("--model.templates=['a photo']", "Each template must hold {} exactly once; got 'a photo'."),
        ("--model.templates=['{} {}']", "Each template must hold {} exactly once; got '{} {}'."),
        ("--model.templates=[]", "templates must hold at least one caption template, or be null; got an empty list."),
        ("--data.init_args.batch_size=0", "batch_size must be at least 1; got 0."),
        ("--data.init_args.train_size=13", "train_size must be a multiple of 12, the number of species; got 13."),
        ("--model.lr=fast", "model.lr: expected float. Got value: fast."),
        ("--model.lr=nan", "model.lr: expected float. Got value: nan."),
        ("--trainer.max_epochs=many", "trainer.max_epochs: expected int or null. Got value: many."),
        ("--trainer.max_epochs=-5", "trainer.max_epochs must be at least 1, or -1 for no limit; got -5."),
        ("--trainer.val_check_interval=9", "`val_check_interval` (9) must be less than or equal to the number of the "),
        ("--model.head=txt", "model.head: expected 'text' or 'linear'. Got value: txt. Did you mean text?"),
        ("--model.head=mlp", "model.head: expected 'text' or 'linear'. Got value: mlp."),
        ("--trainer.precision=16-mix", "or null. Got value: 16-mix. Did you mean 16-mixed"),
        ("--checkpoint.mode=most", "checkpoint.mode: expected 'max' or 'min'. Got value: most."),
        ("--checkpoint.every_n_train_steps=0", "checkpoint.every_n_train_steps: "),
        ("--seed_everything=-3", "seed_everything can't be used: -3 is not in bounds"),
        ("--trainer.accelerator=abacus", "`accelerator='abacus'`. Available names are: "),
    ],
    ids=lambda value: value if value.startswith("--") else "",
)
def test_a_value_that_cant_be_used(option: str, told: str, refused: Refused, tmp_path: Path) -> None:
    sentence = refused(fit(tmp_path / "run", option))
    assert told in sentence
    assert "Union" not in sentence
    assert "<class" not in sentence
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("verb", [("audit", "data"), ("tune",)])
def test_a_config_without_its_option(verb: tuple[str, ...], refused: Refused) -> None:
    told = "There is no option before photos.yaml. Did you mean --config photos.yaml?"
    assert refused([*verb, "photos.yaml"]) == told
    told = f"Unrecognized arguments: photos.yaml. See `starft {' '.join(verb)} --help`."
    assert refused([*verb, "--config=mini/starft", "photos.yaml"]) == told, "it has one"


def test_a_negative_weight_of_a_term(refused: Refused, tmp_path: Path) -> None:
    """The class that refuses it is built deep in the parser, which wraps its sentence in lines of its own."""
    terms = [{"class_path": ALIGNMENT, "init_args": {"weight": -2.0}}]
    sentence = refused(fit(tmp_path / "run", config=config_with(tmp_path, {"model": {"regularizers": terms}})))
    assert sentence == "weight of SpuriosityAlignment must be a finite number, at least 0; got -2.0."
    assert not (tmp_path / "run").exists()


def test_the_traceback_comes_back_when_asked_for(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("STARFT_DEBUG", "1")
    with pytest.raises(ValueError, match="lr must be a finite number"):
        main(fit(tmp_path / "run", "--model.lr=-1"))


def test_more_images_a_batch_than_there_are(refused: Refused, tmp_path: Path) -> None:
    sentence = refused(fit(tmp_path / "run", "--data.init_args.batch_size=25"))
    assert sentence == (
        "batch_size 25 on 1 device is more than the 24 training images; set data.init_args.batch_size to at most 24."
    )
    assert not (tmp_path / "run").exists(), "the mended command must not be refused"


def test_an_unknown_metric_to_choose_by(refused: Refused, tmp_path: Path) -> None:
    sentence = refused(fit(tmp_path / "run", "--checkpoint.monitor=val/id/ac"))
    assert sentence.startswith("checkpoint.monitor is 'val/id/ac', but validation logs val/groups/acc, ")
    assert "give one of these, or null. Did you mean val/id/acc" in sentence
    assert not (tmp_path / "run").exists()


# Models and pools


@pytest.mark.parametrize(
    ("option", "told"),
    [
        ("--model.model_name=starft-min", "There is no model 'starft-min'. Did you mean starft-mini"),
        (
            "--model.pretrained=min",
            "'min' is neither a file nor a tag of weights for starft-mini. Did you mean mini or",
        ),
        ("--model.pool=mini_scene", "No pool is called 'mini_scene'"),
        ("--model.pool=my/mini.json", "The pool file my/mini.json does not exist; check its path."),
    ],
    ids=["model", "tag", "pool", "pool-file"],
)
def test_a_name_that_doesnt_exist(option: str, told: str, refused: Refused, tmp_path: Path) -> None:
    assert told in refused(fit(tmp_path / "run", option))
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("templates", "told"),
    [
        (["on a lake"], "templates[0] 'on a lake' must hold {} exactly once; put it where the caption goes."),
        (["{} on a {}"], "templates[0] '{} on a {}' must hold {} exactly once; put it where the caption goes."),
        ([], "templates is an empty list; give at least one template, such as '{} on a lake'."),
        (None, "the key 'templates' is missing; add it."),
        ("broken", "is not valid JSON at line 1, column 14"),
    ],
    ids=["no-slot", "two-slots", "empty", "absent", "broken"],
)
def test_a_pool_that_cant_be_used(templates: object, told: str, refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "pool.json"
    pool = {"schema_version": 1, "name": "mine", "description": "Mine.", "provenance": {"source": "curated"}}
    if templates is not None:
        pool["templates"] = templates
    path.write_text('{"templates":' if templates == "broken" else json.dumps(pool), encoding="utf-8")
    sentence = refused(fit(tmp_path / "run", f"--model.pool={path}"))
    assert str(path) in sentence
    assert told in sentence
    assert not (tmp_path / "run").exists()


@pytest.mark.slow
@pytest.mark.parametrize("config", ["starft", "starft_ce", "starft_kinds"])
def test_a_term_that_draws_from_a_pool_that_isnt_there(config: str, refused: Refused, tmp_path: Path) -> None:
    sentence = refused(fit(tmp_path / "run", "--model.pool=null", config=CONFIG.with_stem(config)))
    assert sentence.split()[0] in {"SpuriosityAlignment", "KindAlignment"}
    assert "draws spurious templates from a pool, and model.pool is null; set it to one" in sentence
    assert not (tmp_path / "run").exists()


def test_shipped_weights_that_arent_the_shipped_ones(
    refused: Refused, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    copy = tmp_path / "mini"
    copy.mkdir()
    for path in shipped_weights.MINI_FOLDER.glob("starft-mini.*"):
        shutil.copy(path, copy)
    weights = copy / "starft-mini.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    monkeypatch.setattr(shipped_weights.checked_mini_weights, "__defaults__", ("mini", copy))
    sentence = refused(fit(tmp_path / "run"))
    assert sentence.startswith(f"{weights} is damaged: its SHA-256 is ")
    assert sentence.endswith("; install starft again.")
    weights.unlink()
    assert "weights can't be read: " in refused(fit(tmp_path / "run"))
    assert not (tmp_path / "run").exists()


# Run folders


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a run of one epoch."""
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert main(fit(folder)) == 0
    return folder


@pytest.mark.slow
def test_a_folder_that_holds_another_run(finished: Path, refused: Refused) -> None:
    before = listing(finished)
    sentence = refused(fit(finished, "--seed_everything=3"))
    last = finished / "checkpoints" / "last.ckpt"
    assert sentence == (
        f"The run folder {finished} isn't empty; give another --trainer.default_root_dir, move it away, "
        f"or continue it with --ckpt_path {last}."
    )
    assert listing(finished) == before


def test_a_file_for_a_run_folder(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "run"
    path.write_text("mine", encoding="utf-8")
    sentence = refused(fit(path))
    assert sentence == f"The run folder {path} is a file; give another --trainer.default_root_dir."
    assert path.read_text(encoding="utf-8") == "mine"


@pytest.mark.parametrize("verb", ["fit", "test", "predict", "validate"])
def test_no_permission_to_write(verb: str, refused: Refused, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def forbidden(path: Path, *args: Any, **kwargs: Any) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(Path, "mkdir", forbidden)
    run = tmp_path / "run"
    sentence = refused([verb, *fit(run)[1:]])
    assert sentence == f"The run folder {run} can't be written to: Permission denied; give another."


@pytest.mark.slow
@pytest.mark.parametrize("verb", ["fit", "test"])
def test_a_refused_run_leaves_no_folder(
    verb: str, refused: Refused, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Neither its own nor those above, so that nothing is in the way of the mended command."""
    monkeypatch.chdir(tmp_path)
    rows = "".join(f"{number}.jpg,{number % 2}\n" for number in range(40))
    (tmp_path / "images.csv").write_text(f"path,label\n{rows}", encoding="utf-8")
    tiny = ["--model.model_name=starft-mini", "--model.pretrained=mini", "--trainer.precision=32-true"]
    assert f" images is below {tmp_path}, such as " in refused([verb, "--config=csv/ce", *tiny])
    assert [path.name for path in tmp_path.rglob("*")] == ["images.csv"]


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("fit csv/ce", "There is no file images.csv; check its path, or give yours with --data.init_args.file."),
        (
            "test imagefolder/ce",
            "There is no folder images; check its path, or give yours with --data.init_args.root; ",
        ),
        (
            "fit csv/ce --data.init_args.file=mine.csv --data.init_args.label_column=species",
            "mine.csv has no column 'species'; its columns are path, specis. Did you mean 'specis'? ",
        ),
        (
            "fit csv/ce --data.init_args.file=mine.csv --data.init_args.label_column=path",
            "path_column and label_column both name 'path'; ",
        ),
    ],
)
def test_missing_data_are_told_before_a_model_is_loaded(
    words: str, told: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Without a network this model can't be had."""
    monkeypatch.chdir(tmp_path)
    Path("mine.csv").write_text("path,specis\na.jpg,duck\n", encoding="utf-8")
    verb, config, *options = words.split()
    assert main([verb, f"--config={config}", *options]) == 2
    assert capsys.readouterr().err.partition("starft: ")[2].startswith(told)
    assert [path.name for path in tmp_path.rglob("*")] == ["mine.csv"]


@pytest.mark.parametrize(("verb", "output"), [("test", "results.json"), ("predict", "predictions.csv")])
def test_results_are_never_overwritten(verb: str, output: str, refused: Refused, tmp_path: Path) -> None:
    (tmp_path / output).write_text("mine", encoding="utf-8")
    sentence = refused([verb, *fit(tmp_path)[1:]])
    assert sentence == (f"{tmp_path / output} exists already; move it away or give another --trainer.default_root_dir.")
    assert listing(tmp_path) == {output: b"mine"}


# Checkpoints


def test_a_checkpoint_that_doesnt_exist(refused: Refused, tmp_path: Path) -> None:
    missing = tmp_path / "none.ckpt"
    sentence = refused(fit(tmp_path / "run", f"--ckpt_path={missing}"))
    assert sentence == f"The checkpoint {missing} doesn't exist; check its path."
    assert not (tmp_path / "run").exists()
    for name in ("last", "best"):
        (tmp_path / f"{name}.ckpt").touch()
    sentence = refused(fit(tmp_path / "run", f"--ckpt_path={missing}"))
    assert sentence == f"The checkpoint {missing} doesn't exist; its folder holds best.ckpt, last.ckpt."


@pytest.mark.slow
def test_a_checkpoint_that_has_all_its_epochs(checkpoint: Path, refused: Refused, tmp_path: Path) -> None:
    """Lightning would train nothing, and we would tell of a checkpoint that nobody wrote."""
    held = torch.load(checkpoint, weights_only=True)
    progress = {"total": {"processed": 2}, "current": {"ready": 2, "started": 2, "processed": 2, "completed": 1}}
    held |= {"optimizer_states": [], "loops": {"fit_loop": {"epoch_progress": progress}}}
    path = tmp_path / "last.ckpt"
    torch.save(held, path)
    for epochs in (1, 2):
        assert refused(fit(tmp_path / "run", f"--trainer.max_epochs={epochs}", f"--ckpt_path={path}")) == (
            f"{path} has 2 of {epochs} epochs already, so there is nothing to train; "
            "raise trainer.max_epochs to go on, or test it with `starft test`."
        )
    assert not (tmp_path / "run").exists()
    for epochs in (3, -1, None):
        assert check_checkpoint(path, continues=True, max_epochs=epochs).head == "text"
    assert check_checkpoint(path, max_epochs=2).head == "text", "it can be tested"


@pytest.mark.slow
@pytest.mark.parametrize("damage", ["cut", "empty", "noise", "text", "flipped"])
def test_a_damaged_checkpoint(damage: str, finished: Path, refused: Refused, tmp_path: Path) -> None:
    whole = (finished / "checkpoints" / "last.ckpt").read_bytes()
    pickled = whole.index(b"data.pkl") + 64
    path = tmp_path / "last.ckpt"
    path.write_bytes(
        {
            "cut": whole[: len(whole) // 2],
            "empty": b"",
            "noise": bytes(range(256)) * 40,
            "text": b"not a checkpoint\n",
            "flipped": whole[:pickled]
            + bytes(255 - byte for byte in whole[pickled : pickled + 64])
            + whole[pickled + 64 :],
        }[damage]
    )
    sentence = refused(fit(tmp_path / "run", f"--ckpt_path={path}"))
    how = ", or no checkpoint of starft"
    if damage == "flipped":
        how = " (archive/data.pkl has another checksum than it was written with)"
    assert sentence == (
        f"The checkpoint {path} can't be read: it is damaged{how}. "
        "Take another one of its folder, as last.ckpt or best.ckpt."
    )
    assert not (tmp_path / "run").exists()


class Code:
    """Makes a folder when it is unpickled, if anybody lets it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def __reduce__(self) -> tuple[Callable[[str], None], tuple[str]]:
        return os.mkdir, (str(self.folder),)


@pytest.mark.parametrize("form", ["torch", "pickle"])
@pytest.mark.parametrize("verb", ["fit", "test"])
def test_code_in_a_checkpoint_isnt_run(verb: str, form: str, refused: Refused, tmp_path: Path) -> None:
    trap, path = tmp_path / "trap", tmp_path / "last.ckpt"
    content = {"starft": {}, "state_dict": {}, "extra": Code(trap)}
    if form == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content))
    sentence = refused([verb, *fit(tmp_path / "run")[1:], f"--ckpt_path={path}"])
    assert sentence.startswith(f"The checkpoint {path} can't be read: it is damaged, or no checkpoint of starft.")
    assert not trap.exists(), "the checkpoint's code was run"
    torch.load(path, weights_only=False) if form == "torch" else pickle.loads(path.read_bytes())
    assert trap.exists(), "the trap doesn't work"


def test_a_checkpoint_of_another_program(refused: Refused, tmp_path: Path) -> None:
    path = tmp_path / "theirs.ckpt"
    torch.save({"state_dict": {"weight": torch.zeros(2)}}, path)
    sentence = refused(fit(tmp_path / "run", f"--ckpt_path={path}"))
    assert sentence == f"{path} isn't a checkpoint of starft; give its weights as model.pretrained instead."


@pytest.mark.slow
@pytest.mark.parametrize(
    ("option", "told"),
    [
        (
            "--model.head=linear",
            "The checkpoint is of head text, the config asks for head linear; give its own config.",
        ),
        ("--model.pretrained=null", "the pre-trained weights are others than those it began with"),
        ("--model.model_name=MODEL", "The checkpoint is of model starft-mini, the config asks for model "),
        (
            "--data.class_path=starft.mini.MiniPretraining",
            "data.class_path starft.mini.MiniWorld (given is starft.mini.MiniPretrain",
        ),
    ],
    ids=["head", "weights", "model", "classes"],
)
def test_a_checkpoint_of_another_run(option: str, told: str, finished: Path, refused: Refused, tmp_path: Path) -> None:
    model = tmp_path / "other.json"
    shutil.copy(shipped_weights.MINI_FOLDER / "starft-mini.json", model)
    weights = shipped_weights.MINI_FOLDER / "starft-mini.safetensors"
    options = [option.replace("MODEL", str(model))]
    if "MODEL" in option:
        options.append(f"--model.pretrained={weights}")
    before = listing(finished)
    last = finished / "checkpoints" / "last.ckpt"
    sentence = refused(fit(tmp_path / "run", "--trainer.max_epochs=2", f"--ckpt_path={last}", *options))
    assert told in sentence
    assert listing(finished) == before
    assert not (tmp_path / "run").exists()


# The disk


@pytest.mark.slow
def test_a_disk_that_fills_up(
    refused: Refused, steps: list[int], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The checkpoint of the second epoch doesn't fit: that of the first stays whole and can be continued."""
    run = tmp_path / "run"
    last = run / "checkpoints" / "last.ckpt"
    sync = os.fsync
    checkpoint_of_epoch: list[bytes] = []

    def full(file: int) -> None:
        if last.is_file() and len(steps) > 2 and os.fstat(file).st_size > 1_000_000:
            checkpoint_of_epoch.append(last.read_bytes())
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(file)

    monkeypatch.setattr(files.os, "fsync", full)
    sentence = refused(fit(run, "--trainer.max_epochs=2"), begun=4)
    assert sentence == f"No space left on device ({last}); free the disk or give another place, and run it again."
    assert last.read_bytes() == checkpoint_of_epoch[0]
    assert torch.load(last, weights_only=True)["global_step"] == 2
    assert [path.name for path in last.parent.iterdir() if path.suffix == ".tmp"] == []
    monkeypatch.setattr(files.os, "fsync", sync)
    assert main(fit(run, "--trainer.max_epochs=2", f"--ckpt_path={last}")) == 0
    assert torch.load(last, weights_only=True)["global_step"] == 4


@pytest.mark.slow
def test_a_checkpoint_goes_to_its_own_disk(
    steps: list[int], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Not by way of the temporary folder, which may be another disk, from where it would be copied over the old one."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))
    assert main(fit(tmp_path / "run", "--trainer.limit_val_batches=0")) == 0
    assert "Note: There is no best.ckpt: nothing is validated where trainer.limit_val_ba" in capsys.readouterr().err
    last = tmp_path / "run" / "checkpoints" / "last.ckpt"
    assert len(steps) == torch.load(last, weights_only=True)["global_step"] == 2
    assert last.stat().st_mode & 0o777 == 0o666 & ~_umask(), "closed to the group"


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("verb", ["fit", "test"])
def test_no_config_is_told(refused: Refused, verb: str) -> None:
    sentence = "No config is given; give --config FILE, such as lightning_configs/mini/starft.yaml."
    assert refused([verb]) == sentence
    assert refused([verb, "--data.init_args.file", "photos.csv"]) == sentence
    assert refused([verb, "--data", str(CONFIG), "--model.lr=1"]) == (
        f"--data takes a class, such as starft.data.CSV; give {CONFIG} as --config."
    )
