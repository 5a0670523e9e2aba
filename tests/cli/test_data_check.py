"""``starft data check``: what it prints, what it finds, how it ends."""

import re
from pathlib import Path

import open_clip
import pytest
from PIL import Image

from fakes.own_images import write_folders, write_jpeg, write_table
from starft.__main__ import main

CONFIG = Path(__file__).parents[2] / "lightning_configs" / "csv" / "ce.yaml"


@pytest.fixture(autouse=True)
def _no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    """The check must not build a model."""

    def built(*_: object, **__: object) -> None:
        raise AssertionError("a model was built")

    monkeypatch.setattr(open_clip, "create_model", built)


def check(file: Path, *options: str) -> list[str]:
    return ["data", "check", f"--config={CONFIG}", f"--data.init_args.file={file}", *options]


def test_good_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_table(tmp_path)
    assert main(check(table)) == 0
    told = capsys.readouterr().out
    for cells in (
        ("train", "CSV", "train", "28", "2 of 2"),
        ("id", "CSV", "val", "4"),
        ("id", "CSV", "test", "8"),
    ):
        assert any(all(f" {cell} " in line for cell in cells) for line in told.splitlines()), cells
    assert any(all(word in line for word in ("boot, grass", " 7 ", " 1 ", " 2 ")) for line in told.splitlines())
    assert told.splitlines()[-1] == "0 problems (no image decoded; --deep decodes them all)."
    assert "input:" not in told
    assert f"{tmp_path}/images/0" in told
    assert any(
        all(words in line for words in ("train, id val, id test", " boot, sandal ", " a photo of a boot. "))
        for line in told.splitlines()
    )


def test_a_shortcut_and_a_small_group_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of 10 boots in train 9 are on grass, of 10 sandals 9 on sand; the rarest validation group has one image."""
    table = write_table(tmp_path, images=28)
    header, *rows = (line.rpartition(",")[0] for line in table.read_text().splitlines())
    place = ["sand", *["grass"] * 9, "sand", *["grass"] * 3]  # of boots; sandals the other way round
    places = [one if number % 2 == 0 else {"sand": "grass", "grass": "sand"}[one] for one in place for number in (0, 1)]
    lines = [
        f"{row},{where},{'train' if at < 20 else 'val'}"
        for at, (row, where) in enumerate(zip(rows, places, strict=True))
    ]
    table.write_text("\n".join([f"{header},attribute,split", *lines]))
    assert main(check(table)) == 0
    told = capsys.readouterr().out.splitlines()
    assert [line for line in told if line.startswith("shortcut: ")] == [
        "shortcut: most common attribute of each label: 90 % of boot are 'grass'; 90 % of sandal are 'sand'.",
        "shortcut: Cramér's V of label and attribute: 0.80 of 1; a model can learn the attribute instead of the label.",
    ]
    (note,) = (line for line in told if "the smallest group" in line)
    assert note.startswith("note: CSV, val: the smallest group, 'boot, sand', has 1 image: the 95 % interval")
    table.write_text(table.read_text().replace(",attribute", ",group", 1))  # what says no attribute says no shortcut
    assert main(check(table)) == 0
    assert "shortcut: " not in capsys.readouterr().out


def test_small_groups_get_as_many_test_images_as_the_data_allow(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of 36 boots 4 are on sand, of 36 sandals 4 on grass: equal shares leave one of each for the test."""
    table = write_table(tmp_path, images=72)
    header, *rows = (line.rpartition(",")[0] for line in table.read_text().splitlines())
    usual = ("grass", "sand")
    places = [usual[(number % 2) ^ (number < 8)] for number in range(72)]
    lines = [f"{row},{place}" for row, place in zip(rows, places, strict=True)]
    table.write_text("\n".join([f"{header},attribute", *lines]))

    def counts(*options: str) -> tuple[list[str], str]:
        assert main(check(table, *options)) == 0
        out = capsys.readouterr().out
        return re.findall(r"boot, sand\W+(\d+)\W+(\d+)\W+(\d+)", out)[0], out

    assert counts("--data.init_args.equal_groups=false")[0] == ("3", "0", "1")
    split, out = counts()
    assert split == ("2", "1", "1")
    assert "are drawn in numbers of each group as equal as the data allow" in out
    assert "note: CSV, test: the smallest group, 'boot, sand', has 1 image" in out
    assert "look at test/id/atypical_acc too" in out


def test_a_wrong_column_is_seen(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Class names and a caption are shown, with a note where they look like names of images, or like numbers."""
    table = write_table(tmp_path)
    header, *rows = table.read_text().splitlines()
    table.write_text("\n".join([f"{header},file,species", *(f"{row},photo_{n},{n % 2}" for n, row in enumerate(rows))]))
    assert main(check(table, "--data.init_args.label_column=file")) == 2, "nothing can be held out"
    told = capsys.readouterr().out
    assert "photo_0, photo_1, photo_10, photo_11, photo_12, photo_13, ... (40)" in told
    assert "a photo of a photo_0." in told
    assert "note: CSV, train: 40 of 40 classes have one image only: photo_0, photo_1, " in told
    assert "... (40); are these the right labels?\n" in told
    assert main(check(table, "--data.init_args.label_column=species")) == 0
    assert (
        'note: CSV, train, val, test: the classes are bare numbers, in captions such as "a photo of a 0."; '
        "give their names as class_names.\n"
    ) in capsys.readouterr().out
    assert main(check(table, "--data.init_args.label_column=path")) == 2
    assert "path_column and label_column both name 'path'; give each" in capsys.readouterr().err


def test_the_captions_are_those_of_the_models_templates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_table(tmp_path)
    (tmp_path / "mine.yaml").write_text("model: {templates: ['my {}.', 'the {}.']}\n")
    assert main(check(table, f"--config={tmp_path / 'mine.yaml'}")) == 0
    told = capsys.readouterr().out.splitlines()
    assert any(all(part in line for part in (" train ", " my boot. (one of 2 templates) ")) for line in told)
    assert any(all(part in line for part in (" id val, id test ", " a photo of a boot. ")) for line in told)


def test_articles_that_stand_twice_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the data's own templates, which the eval sets have too, or in the model's, which training alone has."""
    table = write_table(tmp_path)
    table.write_text(table.read_text().replace(",boot,", ",a boot,"))
    told = (
        'an article stands twice in captions such as "{}"; leave it out of the class names (class_names), here '
        "'a boot', or out of the templates."
    )
    assert main(check(table)) == 0
    assert f"note: CSV, train, val, test: {told.format('a photo of a a boot.')}\n" in capsys.readouterr().out
    (tmp_path / "mine.yaml").write_text("model: {templates: ['my {}.', 'the {}.']}\n")
    assert main(check(table, f"--config={tmp_path / 'mine.yaml'}", "--data.init_args.templates=['{}.']")) == 0
    assert f"note: CSV, train: {told.format('the a boot.')}\n" in capsys.readouterr().out


def test_every_problem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_table(tmp_path)
    rows = table.read_text().splitlines()
    table.write_text("\n".join([*rows, "images/000.jpg,boot,grass", "gone.jpg,boot,sand", "../x.jpg,sandal,sand"]))
    assert main(check(table, "--data.init_args.test_fraction=0", "--data.init_args.val_fraction=0")) == 2
    told = [line for line in capsys.readouterr().out.splitlines() if line.startswith("problem: ")]
    assert told == [
        f"problem: CSV, train: 1 of 43 images is missing below {tmp_path} (gone.jpg): "
        "bring them back, or take their rows out.",
        f"problem: CSV, train: 1 path leaves {tmp_path}, by .. or a symbolic link: ../x.jpg; "
        "give a root that holds all images.",
        "problem: CSV, train: 1 image is listed more than once: images/000.jpg; keep one row of each.",
    ]


@pytest.mark.slow
def test_deep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_table(tmp_path)
    (tmp_path / "images" / "005.jpg").write_bytes(b"")
    for number in range(1, 40):
        if number != 5:
            write_jpeg(tmp_path / "images" / f"{number:03}.jpg", 0)
    assert main(check(table)) == 0
    capsys.readouterr()
    assert main(check(table, "--deep", "--workers=0")) == 2
    told = capsys.readouterr().out
    assert re.search(r"^problem: CSV, (train|val|test): 1 image can't be read: ", told, re.MULTILINE)
    assert f"{tmp_path}/images/005.jpg (it is empty (0 bytes))" in told
    assert "pictures are in train too: " in told
    assert told.splitlines()[-1] == "3 problems (39 of 40 images decoded)."
    main(check(table, "--deep", "--workers=0", "--data.init_args.on_bad_image=skip"))
    skipped = capsys.readouterr().out
    assert f"{tmp_path}/images/005.jpg (it is empty (0 bytes)); left out, as on_bad_image is skip." in skipped
    assert skipped.splitlines()[-1] == "2 problems (39 of 40 images decoded)."
    assert main(check(table, "--deep", "--workers=0", "--data.init_args.predict=gone")) == 2
    assert capsys.readouterr().out.splitlines()[-1].endswith("(39 of 40 images decoded; 1 split is not listed).")
    (tmp_path / "images" / "005.jpg").unlink()
    assert main(check(table, "--deep", "--workers=0")) == 2
    told = capsys.readouterr().out
    assert told.count("005.jpg") == 1, "what is missing isn't unreadable as well"
    assert told.splitlines()[-1] == "3 problems (39 of 40 images decoded)."
    write_jpeg(tmp_path / "images" / "005.jpg", 5)
    assert main(check(write_table(tmp_path), "--deep", "--workers=0")) == 0
    told = capsys.readouterr().out
    assert told.splitlines()[-1] == "0 problems (every image decoded)."
    assert re.search(
        r"^input: a core of this machine reads [\d,]+ training images a second \(decode fast, at 224 x 224 pixels\); "
        r"one step a second of batch_size 64 takes [\d.]+ cores\.$",
        told,
        re.MULTILINE,
    )


@pytest.mark.parametrize(
    ("model", "size"),
    [
        ("starft-mini", r"64 x 64 pixels"),
        ("ViT-L-14-336", r"336 x 336 pixels"),
        ("local-dir:gone", r"224 x 224 pixels, as that of local-dir:gone isn't known before it is loaded"),
    ],
)
def test_the_speed_is_told_at_the_size_of_the_model(
    model: str, size: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """And so are pictures that resizing to it would make huge: this one is for 336 pixels, and isn't for 64."""
    table = write_table(tmp_path)
    Image.new("RGB", (1, 300)).save(tmp_path / "images" / "000.jpg")
    status = main(check(table, "--deep", "--workers=0", f"--model.model_name={model}"))
    told = capsys.readouterr().out
    assert re.search(rf"training images a second \(decode fast, at {size}\); one step", told)
    assert (status, "1 image can't be read" in told) == ((2, True) if model == "ViT-L-14-336" else (0, False))


def test_nothing_is_told_of_the_speed_where_nothing_can_be_read(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_table(tmp_path, images=8)
    for path in (tmp_path / "images").iterdir():
        path.write_bytes(b"")
    assert main(check(table, "--deep", "--workers=0")) == 2
    assert "input:" not in capsys.readouterr().out


def test_a_table_that_cannot_be_read(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "t.csv").write_text("path,label\na.jpg,x\nb.jpg,x\n")
    assert main(check(tmp_path / "t.csv")) == 2
    told = capsys.readouterr().out
    assert f"problem: CSV: {tmp_path}/t.csv: the column 'label' holds one class only, x" in told
    assert told.splitlines()[-1].startswith("1 problem (")


def test_a_missing_folder_draws_what_is_expected(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = CONFIG.parents[1] / "imagefolder" / "ce.yaml"
    assert main(["data", "check", "--config", str(config), "--data.init_args.root", str(tmp_path / "gone")]) == 2
    told = capsys.readouterr().out
    assert f"There is no folder {tmp_path}/gone; check its path, or give yours with --data.init_args.root; " in told
    assert "; expected is\n  ROOT/\n    train/\n      CLASS/\n        any.jpg\n" in told
    write_folders(tmp_path / "gone", {"train": 10, "test": 1})
    assert main(["data", "check", "--config", str(config), "--data.init_args.root", str(tmp_path / "gone")]) == 0


def test_new_images_are_checked_too(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_table(tmp_path)
    assert main(check(table, f"--data.init_args.predict={tmp_path / 'images'}")) == 0
    assert "New images" in capsys.readouterr().out
    assert main(check(table, "--data.init_args.predict=gone")) == 2


def test_configs_are_laid_over_each_other_and_a_runs_options_do_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = write_table(tmp_path)
    (tmp_path / "mine.yaml").write_text(f"data: {{init_args: {{file: {table}, test_fraction: 0.5}}}}\n")
    words = ["--config", str(CONFIG), "-c", str(tmp_path / "mine.yaml"), "--model.lr", "1", "--trainer.max_epochs=1"]
    assert main(["data", "check", *words]) == 0
    assert any(" test " in line and " 20 " in line for line in capsys.readouterr().out.splitlines())


def test_mistakes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def told(*words: str, status: int = 2) -> str:
        assert main(["data", *words]) == status
        return capsys.readouterr().err

    assert "has no verb 'chek'; its verbs are check and pack. Did you mean check?" in told("chek")
    no_config = (
        "starft: `starft data check` needs --config FILE, as for `starft fit`, such as "
        "lightning_configs/csv/starft.yaml; --data... options only change what is in it.\n"
    )
    assert told("check") == no_config
    assert told("check", "--data", "starft.data.CSV", "--data.init_args.file", "x.csv") == no_config
    assert "The config gone.yaml doesn't exist" in told("check", "--config", "gone.yaml")
    assert "--workers must be at least 0; got -1" in told("check", f"--config={CONFIG}", "--workers=-1")
    assert "deeep" in told("check", f"--config={CONFIG}", "--deeep")
    assert "fille" in told("check", f"--config={CONFIG}", "--data.init_args.fille=x")
    (tmp_path / "no.yaml").write_text("model: {lr: 1}\n")
    assert "no.yaml has no data section" in told("check", "--config", str(tmp_path / "no.yaml"))
    assert main(["data", "check", "--help"]) == 0
    assert "--deep" in capsys.readouterr().out


def split_table(folder: Path, *splits: str, leak: bool = False) -> Path:
    """A table with a split column, in which eight images take turns."""
    header, *rows = write_table(folder, images=8).read_text().splitlines()
    rows = [f"{row},{splits[number // 4 % len(splits)]}" for number, row in enumerate(rows)]
    rows += [rows[0].rpartition(",")[0] + f",{splits[-1]}"] if leak else []
    (folder / "shoes.csv").write_text("\n".join([f"{header},split", *rows]))
    return folder / "shoes.csv"


def test_a_table_without_train_or_test(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(check(split_table(tmp_path / "a", "val", "test"))) == 2
    told = capsys.readouterr().out
    assert "has the splits val and test but no train; name the images" in told
    assert told.splitlines()[-1].startswith("1 problem (")
    assert main(check(split_table(tmp_path / "b", "train", "val"))) == 0
    assert "note: CSV, train: there is no test split of its own" in capsys.readouterr().out


def test_values_that_a_run_refuses_are_one_sentence(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_table(tmp_path)
    for option, sentence in (
        ("batch_size=0", "batch_size must be at least 1; got 0."),
        ("test_fraction=1.5", "below 1 together; got 1.5 and 0.1."),
        ("label_colum=x", "Did you mean label_column"),
    ):
        assert main(check(table, f"--data.init_args.{option}")) == 2
        (told,) = capsys.readouterr().err.splitlines()
        assert told.startswith("starft: ")
        assert sentence in told


def test_a_sampling_that_needs_groups(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    grouped = ["--data.init_args.sampling=group_balanced"]
    table = write_table(tmp_path)
    assert main(check(table, *grouped)) == 0
    capsys.readouterr()
    table.write_text(table.read_text().replace("attribute", "place", 1))
    assert main(check(table, *grouped)) == 2
    assert (
        "problem: CSV, train: sampling group_balanced needs groups, and the training images have none; give data with "
        "an attribute or a group, or set data.init_args.sampling to class_balanced or shuffle.\n"
    ) in capsys.readouterr().out


def test_drawn_data_have_nothing_to_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "check", "--config", str(CONFIG.parents[1] / "mini" / "ce.yaml")]) == 0
    assert "MiniWorld reads no images from disk: nothing to check." in capsys.readouterr().out


def test_data_without_attributes_lead_to_the_audit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Only a table of one's own whose images have no attribute and no group, and no OOD set beside."""
    table = write_table(tmp_path)
    with_groups = table.read_text()
    header, *rows = (line.rpartition(",")[0] for line in with_groups.splitlines())
    line = (
        "shortcut: no image has an attribute or a group, so shortcuts can't be measured; `starft audit data --config "
    )
    assert main(check(table)) == 0
    assert line not in capsys.readouterr().out
    table.write_text("\n".join([header, *rows]))
    assert main(check(table)) == 0
    (told,) = (text for text in capsys.readouterr().out.splitlines() if text.startswith(line))
    assert told.endswith(f" --config {CONFIG} --data.init_args.file={table}` looks for them.")
    assert main(check(table, "--data.init_args.ood=true")) == 0
    assert line not in capsys.readouterr().out


def test_an_audit_takes_one_config(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    table = write_table(tmp_path)
    assert main([*check(table, "--audit"), f"--config={CONFIG}"]) == 2
    assert "--audit takes one config; got 2." in capsys.readouterr().err
