"""``starft audit data``: scenes of the embedded world without their labels, the table, what is kept, bad input."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from string import ascii_lowercase

import jsonschema
import numpy as np
import pytest

from fakes import audits, shards
from fakes.own_images import write_table
from starft.__main__ import main
from starft.audit.association import Ranked
from starft.audit.attribute_table import check_table
from starft.audit.attributes import NO_PHRASE, UNREADABLE, InferredAttributes, read_attributes
from starft.audit.data_audit import Attribute, DataAudit, _attribute_model
from starft.audit.inferred_groups import group_names
from starft.audit.result_file import SCHEMA
from starft.clip import ClipEncoder
from starft.data import CSV, Packed
from starft.errors import ConfigError, RunFolderError
from starft.mini.splits import home_pictures
from starft.mini.world import HOMES
from starft.runs.audit_result import read_audit
from starft.runs.folder import claim

ROOT = Path(__file__).parents[2]
CONFIG = """\
seed_everything: 3
trainer: {default_root_dir: run}
model: {model_name: starft-mini, pretrained: mini, pool: mini_scenes}
data: {class_path: starft.mini.MiniWorld, init_args: {train_size: 180, val_size: 12, test_size: 12}}
"""
SCENE = {"in the snow": "snow", "under the night sky": "night sky"}
CSV_CONFIG = str(ROOT / "lightning_configs/csv/ce.yaml")
MINI = ["--model.model_name=starft-mini", "--model.pretrained=mini", "--data.init_args.num_workers=0"]


def scene(attribute: str) -> str:
    return SCENE.get(attribute, attribute.split(" ", 2)[-1])


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an audit of the embedded world with its table."""
    folder = tmp_path_factory.mktemp("audited")
    (folder / "config.yaml").write_text(CONFIG)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert main(["audit", "data", "--config", "config.yaml", "--to", "new/photos.csv"]) == 0
    return folder


@pytest.fixture
def _there(audited: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(audited)


@pytest.mark.slow
@pytest.mark.usefixtures("_there")
def test_scenes_are_inferred_and_homes_come_first() -> None:
    inferred = read_attributes(Path("run/audit"), "train")
    truth = [row.picture.scene for row in home_pictures("train", 180, 3)]
    agree = np.array([scene(inferred.names[value]) for value in inferred.values]) == truth
    assert agree.mean() >= 0.9
    assert abs(inferred.probabilities.mean() - agree.mean()) < 0.05, "sure as often as right"
    result = read_audit(Path("run/audit"))
    jsonschema.validate(result, json.loads(SCHEMA.read_text()))
    assert {scene(item["name"]) for item in result["attributes"][:6]} == {*HOMES.values()}
    first = result["attributes"][0]
    shows = np.array([inferred.names[value] == first["name"] for value in inferred.values])
    species = np.array([row.picture.species for row in home_pictures("train", 180, 3)])
    assert first["images"] == shows.sum()
    assert first["support"] == (shows & np.isin(species, first["classes"])).sum()
    assert first["class_images"] == 30
    assert result["verdict"].startswith(f"Strongest shortcut: {first['name']!r}, {first['support']} images support it")
    assert result["sets"] == {"train": 180, "val/id": 12, "test/id": 12}
    examples = [item["examples"] for item in result["attributes"]]
    assert [len(item["with"]) for item in examples] == [8] * 6 + [0] * (len(examples) - 6)
    for image in first["examples"]["with"] + first["examples"]["without"]:
        at = int(image["path"].removeprefix("train/"))
        assert (image["label"], image["attribute"]) == (species[at], inferred.names[inferred.values[at]])
    shown = {image["path"] for item in examples for image in item["with"] + item["without"]}
    assert (
        Path("run/audit/audit.html").read_text().count("<img")
        == len(shown)
        == len([*Path("run/audit/pictures").iterdir()])
    )


@pytest.mark.slow
@pytest.mark.usefixtures("_there")
def test_the_table_is_one_that_other_commands_take() -> None:
    data = CSV(Path("new/photos.csv"))
    assert not [problem for item in data.check("fit", "test") for problem in item.problems if problem.stops]
    assert len(data.source.table("train")) == 180
    assert {*HOMES} == {*data.class_names}
    attributes = read_attributes(Path("run/audit"), "train")
    lines = Path("new/photos.csv").read_text().splitlines()
    assert lines[0] == "path,label,split,attribute,attribute_probability,group"
    expected = attributes.names[attributes.values[7]], f"{attributes.probabilities[7]:.4f}"
    assert lines[8] == f"photos_images/train/7.png,owl,train,{','.join(expected)},owl with its shortcut"


@pytest.mark.slow
@pytest.mark.usefixtures("_there")
def test_groups_are_a_class_with_and_without_its_shortcut() -> None:
    source = CSV(Path("new/photos.csv")).source
    assert {*source.group_names} <= {f"{name} {where} its shortcut" for name in HOMES for where in ("with", "without")}
    listed = source.table("train").groups
    assert listed is not None
    groups = [source.group_names[group] for group in listed]
    home = [row.picture.scene == HOMES[row.picture.species] for row in home_pictures("train", 180, 3)]
    with_it = [name.endswith(" with its shortcut") for name in groups]
    assert np.mean(np.array(with_it) == home) > 0.95
    assert not all(home)
    assert any("groups are inferred" in note for note in source.notes)


@pytest.mark.slow
@pytest.mark.usefixtures("_there")
def test_features_of_another_model_or_of_other_images_are_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = {path.name: path.read_bytes() for path in Path("run/audit").glob("*.npy")}
    words = ["audit", "data", "--config", "config.yaml", "--model.pretrained", "null"]
    with monkeypatch.context() as patch:
        patch.setattr("starft.audit.features.build_clip", None)
        assert main(words) == 2
    assert (
        "run/audit/train.json tells of features of the model starft-mini (mini), and this is starft-mini (None); give "
        "another --out, or remove run/audit to make them anew.\n"
    ) in capsys.readouterr().err
    assert main(["audit", "data", "--config", "config.yaml", "--data.init_args.train_size=120"]) == 2
    assert "tells of features of other images than there are now; give another --out" in capsys.readouterr().err
    assert {path.name: path.read_bytes() for path in Path("run/audit").glob("*.npy")} == before


@pytest.mark.slow
@pytest.mark.usefixtures("_there")
def test_kept_copies_that_cant_be_are_looked_for_anew(capsys: pytest.CaptureFixture[str]) -> None:
    kept = Path("run/audit/copies.json")
    before = json.loads(kept.read_text())
    assert len(before) == 3
    kept.write_text(json.dumps({key: [[0, 99_999, 1.0]] for key in before}))
    assert main(["audit", "data", "--config", "config.yaml"]) == 0
    assert json.loads(kept.read_text()) == before
    assert capsys.readouterr().out.splitlines()[-1].startswith("Next: the same command --to TABLE"), "without a table"


@pytest.mark.slow
@pytest.mark.usefixtures("_there")
def test_images_that_no_phrase_fits_make_clusters_and_nonsense_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def looked(*_: object) -> None:
        raise AssertionError("a second call encodes no image, and looks for no copies")

    monkeypatch.setattr(ClipEncoder, "_encode_images", looked)
    monkeypatch.setattr("starft.audit.copies.copies", looked)
    Path("few.txt").write_text("\n".join(("in a forest", "in the forest", "in a meadow", "on a beach", "on a lake")))
    assert main(["audit", "data", "--config", "config.yaml", "--pool", "few.txt"]) == 0
    result = read_audit(Path("run/audit"))
    phrases = {item["name"]: item["phrases"] for item in result["attributes"]}
    assert [len(own) for name, own in phrases.items() if name.endswith("forest")] == [2], "they mean the same"
    inferred = read_attributes(Path("run/audit"), "train")
    names = np.array(inferred.names)[inferred.values]
    rows = home_pictures("train", 180, 3)
    for home in ("ocean", "bamboo grove"):  # in no phrase: each is a cluster of its own
        own = names[[row.picture.scene == home for row in rows]]
        assert np.mean(np.char.startswith(own, "cluster")) > 0.9
    for count in (1, 4, 12, 24, 40):
        rng = np.random.default_rng(count)
        words = ["".join(rng.choice([*ascii_lowercase], 5)) for _ in range(3 * count)]
        Path("none.txt").write_text("\n".join(" ".join(words[at : at + 3]) for at in range(0, len(words), 3)))
        assert main(["audit", "data", "--config", "config.yaml", "--pools", "none.txt"]) == 2
        phrases = f"{count} phrase{'s' if count > 1 else ''}"
        assert f"recognises none of the {phrases} of the pool none: they are no better than chance on 180 images" in (
            capsys.readouterr().err
        )


def test_groups_by_hand() -> None:
    def attribute(name: str, p_any: float, *classes: str) -> Attribute:
        return Attribute((), Ranked(name, 0.1, 0.0, p_any, 0.2, classes, p_any), 5, 4, 9)

    names = ("in a forest", "on a lake", "in a city", UNREADABLE)
    inferred = InferredAttributes(names, np.array([0, 1, 0, 3, 2]), np.ones(5, dtype=np.float32))
    audit = DataAudit((attribute("in a forest", 0.01, "owl"),), {"train": inferred}, 1.0, 5, 5, (), ())
    labels = {"train": np.array([0, 0, 1, 0, 2])}
    own = ["owl with its shortcut", "owl without its shortcut", "duck", "owl with its shortcut", "crow"]
    assert group_names(audit, labels, ("owl", "duck", "crow")) == {"train": own}
    by_chance = replace(audit, attributes=(attribute("in a forest", 0.2, "owl"),))
    assert group_names(by_chance, labels, ("owl", "duck", "crow")) is None


def test_a_phrase_that_is_called_as_images_without_one_keeps_its_braces() -> None:
    text = np.eye(3, dtype=np.float32)
    for word in (UNREADABLE, NO_PHRASE):
        model = _attribute_model(text, [f"{{}} {word}", "{} in a forest"], text, 10.0)
        assert model.names == (f"{{}} {word}", "{} in a forest")
    assert _attribute_model(text, ["{} dark", "{} in a forest"], text, 10.0).names == ("dark", "in a forest")


NAMES = ["train.npy", "val-id.npy", "test-id.json", "train.attributes.npz", "copies.json", "audit.json", "slices.json"]


@pytest.mark.parametrize("name", NAMES)
def test_files_that_are_no_audits_are_not_replaced(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    table, mine = write_table(tmp_path, 80, attribute=False), Path("mine") / name
    mine.parent.mkdir()
    mine.write_text('{"of": "mine"}')
    Path("mine/notes.json").write_text("[]")
    monkeypatch.setattr("starft.audit.features.build_clip", None)
    words = ["audit", "data", "--config", CSV_CONFIG, f"--data.init_args.file={table}", *MINI, "--out", "mine"]
    assert main(words) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"starft: {mine} exists already and isn't of an audit; give another --out, or move it away."
    )
    assert {path.name for path in mine.parent.iterdir()} == {name, "notes.json"}
    assert mine.read_text() == '{"of": "mine"}'


@pytest.mark.parametrize("verb", ["data", "model"])
@pytest.mark.parametrize("damage", ["version", "sentence", "row"])
def test_what_the_page_would_show_of_an_earlier_audit_is_read_before_work(
    verb: str, damage: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    table, out = write_table(tmp_path, 80, attribute=False), Path("out")
    audits.write_audit(out)
    audits.write_slices(out)
    other = out / ("slices.json" if verb == "data" else "audit.json")
    told = json.loads(other.read_text())
    if damage == "row":
        del told["slices" if verb == "data" else "attributes"][0]["images"]
    else:
        told |= {"version": {"schema_version": 0}, "sentence": {"verdict": None}}[damage]
    other.write_text(json.dumps(told))
    before = {path: path.read_bytes() for path in out.rglob("*.*") if path.is_file()}
    monkeypatch.setattr("starft.audit.features.build_clip", None)
    monkeypatch.setattr("starft.audit.predictions.load", None)
    given = ["--config", CSV_CONFIG, f"--data.init_args.file={table}", *MINI, "--out", "out"]
    assert main(["audit", verb, *(["any.ckpt"] if verb == "model" else []), *given]) == 2
    assert capsys.readouterr().err == (
        f"starft: {other} is damaged or of another version, and the page would show it too; move it away, or give "
        "another --out.\n"
    )
    assert {path: path.read_bytes() for path in out.rglob("*.*") if path.is_file()} == before


@pytest.mark.slow
@pytest.mark.usefixtures("_there")
def test_features_of_another_version_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    kept = Path("run/audit/train.small.npy")
    before = kept.read_bytes()
    np.save(kept, np.load(kept)[:, ::2, ::2])
    assert main(["audit", "data", "--config", "config.yaml"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        f"starft: run/audit/train.npy or {kept} is damaged or of another version; remove run/audit to make the "
        "features anew."
    )
    kept.write_bytes(before)


def test_an_audit_needs_a_folder_of_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("config.yaml").write_text(CONFIG.replace("root_dir: run", "root_dir: 's3://bucket/run'"))
    assert main(["audit", "data", "--config", "config.yaml"]) == 2
    assert capsys.readouterr().err == (
        "starft: The folder s3://bucket/run/audit is remote, and an audit needs one of this machine; give --out.\n"
    )
    monkeypatch.setattr("starft.audit.features.encoded", None)
    words = ["--config", "config.yaml", "--out", "out", "--data.init_args.train_size=24"]
    assert main(["audit", "data", *words]) == 2
    sentence = "There are 24 training images, and an audit needs 50 at least; take more."
    assert capsys.readouterr().err == f"starft: {sentence}\n"


@pytest.mark.slow
def test_ones_own_table_keeps_its_rows_and_a_bad_image_is_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_table(tmp_path, 80, attribute=False)
    table.write_text(table.read_text().replace("path,label", "path,shoe"))
    (tmp_path / "images/003.jpg").write_bytes(b"no picture")
    words = ["audit", "data", "--config", CSV_CONFIG, f"--data.init_args.file={table}", *MINI, "--pool", "mini_scenes"]
    words += [
        "--data.init_args.on_bad_image=skip",
        "--data.init_args.label_column=shoe",
        "--out",
        str(tmp_path / "out"),
    ]
    (tmp_path / "new").mkdir()
    assert main([*words, "--to", str(tmp_path / "new/new.csv")]) == 0
    command = capsys.readouterr().out.rpartition("every command takes it, as `starft ")[2].partition("`")[0]
    assert main(shlex.split(command)) == 0, "the printed command reads the table as this one read the first"
    old, new = (file.read_text().splitlines() for file in (table, tmp_path / "new/new.csv"))
    assert [line.rsplit(",", 2)[0] for line in new] == old
    assert new[4] == "images/003.jpg,sandal,unreadable,0.0000"
    assert "attribute" in new[0].split(",")


@pytest.mark.slow
def test_a_check_of_data_looks_for_shortcuts_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_table(tmp_path, 80, attribute=False)
    monkeypatch.chdir(tmp_path)
    words = ["data", "check", "--config", CSV_CONFIG, "--data.init_args.file", str(table), *MINI, "--audit"]
    assert main([*words, "--trainer.max_epochs=1"]) == 0
    said = capsys.readouterr().out
    (run,) = Path("runs").glob("**/audit.json")
    assert read_audit(run.parent)["verdict"] in said.replace("\n", " ")
    assert "0 problems (no image decoded" in said
    table.write_text(f"{table.read_text()}images/missing.jpg,boot\n")
    assert main(words) == 2, "what a run would refuse isn't audited"
    assert "shortcut: 'in" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--pool", "backgrounds", "--pools", "textures"], "--pool and --pools name the same thing; give one of them."),
        (["--pool", "nope"], "No pool is called 'nope'"),
        (["--to", "shoes.csv"], "shoes.csv exists already; give another --to, or move it away."),
        (["--to", "new.txt"], "--to must name a .csv file; got new.txt."),
        (["--to", "shoes.csv/new.csv"], "The folder of --to shoes.csv/new.csv can't be written to; give another."),
        (["--data.init_args.label_column=what"], "has no column 'what'"),
        (["--data.init_args.file=one.csv"], "holds one class only, boot; there must be at least two"),
    ],
)
def test_bad_input_ends_before_the_model_is_built(
    words: list[str], sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    table = write_table(tmp_path, 8, attribute=False)
    Path("one.csv").write_text("path,label\nimages/000.jpg,boot\nimages/002.jpg,boot\n")
    monkeypatch.setattr("starft.audit.features.build_clip", None)
    config = ["--config", CSV_CONFIG, f"--data.init_args.file={table}", "--data.init_args.num_workers=0"]
    assert main(["audit", "data", *config, *words]) == 2
    error = capsys.readouterr().err
    assert sentence in error
    assert error.count("\n") == 1


def test_images_in_shards_have_no_table(tmp_path: Path) -> None:
    root = shards.write_shards(tmp_path / "shards", train=2, val=1, test=1)
    with pytest.raises(ConfigError, match=r"leave out --to: .*, unpack them into files and list these in a"):
        check_table(tmp_path / "new.csv", Packed(str(root)))


def test_few_images_are_refused_and_a_config_without_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    table = write_table(tmp_path, 40, attribute=False)
    words = ["audit", "data", "--config", CSV_CONFIG, f"--data.init_args.file={table}", *MINI, "--out", "out"]
    assert main(words) == 2
    assert "There are 28 training images, and an audit needs 50 at least; take more." in capsys.readouterr().err
    Path("classes.yaml").write_text("class_names: [duck, owl]\n")
    assert main(["audit", "data", "--config", "classes.yaml"]) == 2
    assert "has no 'data' section; an audit needs images" in capsys.readouterr().err
    with pytest.raises(RunFolderError, match="run `starft audit data` first"):
        read_audit(tmp_path)
    with pytest.raises(RunFolderError, match="run `starft audit data` first"):
        read_attributes(tmp_path, "train")


def test_a_training_may_come_after_an_audit(tmp_path: Path) -> None:
    (tmp_path / "audit").mkdir()
    (tmp_path / "audit" / "audit.json").write_text("{}")
    claim(tmp_path, None)
    (tmp_path / "other").mkdir()
    with pytest.raises(RunFolderError, match="isn't empty"):
        claim(tmp_path, None)
