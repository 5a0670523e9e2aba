"""The page of an audit and its part of the report: order, pictures, hostile names, damage, what it may replace."""

import json
import re
from pathlib import Path

import jsonschema
import pytest

from fakes import audits
from fakes import run_folders as fake
from fakes.parsed_page import Page
from starft.audit import result_file, slices_file
from starft.cli.audit import _places
from starft.cli.report import gather
from starft.config.prompts import read_config
from starft.errors import ConfigError
from starft.reporting.audit_page import audit_page, audits_of, is_audit_page
from starft.reporting.page import html_page
from starft.runs.audit_result import audit_picture
from starft.runs.run_reader import find_runs

EVIL = '<script>alert("1")</script> & $x$ {{ 7 * 7 }} 🦆 | _b_ ../../x'
SETS = {"id": fake.eval_set({"all": (9, 10)})}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An audit of data and of a model."""
    audits.write_slices(tmp_path / "audit")
    return audits.write_audit(tmp_path / "audit")


def test_the_files_are_those_that_the_audit_writes(folder: Path) -> None:
    for module, name in ((result_file, "audit.json"), (slices_file, "slices.json")):
        jsonschema.validate(json.loads((folder / name).read_text()), json.loads(module.SCHEMA.read_text()))


def test_one_sentence_then_pictures_then_numbers(folder: Path) -> None:
    page = audit_page(folder)
    told = Page(page).text
    order = ["where it is missing the model loses accuracy", "What the model fails on", "1. robin in a forest, taken"]
    order += ["20 images, 75.0", "Where the model looks", "the frozen model: robin", "What goes with the labels"]
    order += ["How strongly each", "Near duplicates", "Numbers"]
    places = [told.index(part) for part in order]
    assert places == sorted(places)
    assert page.rindex("<img") < page.index(">Numbers<")
    assert page.count("<img") == 1 + 3 + 2 + 2, "of the slice, of the maps, of the shortcut, of the copy"
    assert "The second model has 50.0\xa0% wrong, -25.0 points (-50.0 to -10.0)." in told
    widths = re.findall(r'width="([\d.]+)" height="6" fill="(#\w+)"', page)
    assert widths == [("100.00", "#4477aa"), ("0.00", "#bbbbbb")]
    for rule in ("prefers-color-scheme: dark", "max-width: 40rem", 'name="viewport"', ".strip { display: flex"):
        assert rule in page


def test_markup_in_names_is_text_and_nothing_is_fetched(tmp_path: Path) -> None:
    audits.write_slices(tmp_path, (EVIL, EVIL), path=EVIL)
    audits.write_audit(tmp_path, EVIL, EVIL, EVIL)
    page = Page(audit_page(tmp_path))
    assert "script" not in page.tags
    assert page.text.count(EVIL) > 8
    assert all(source.startswith("data:image/jpeg;base64,") for source in page.sources)


def test_a_report_shows_the_same_slices_and_ranking(tmp_path: Path) -> None:
    run = fake.write_run(tmp_path / "run", SETS)
    audits.write_audit(audits.write_slices(run / "audit"))
    page = html_page(gather(find_runs([run])))
    told = page.split('<h2 id="shortcuts">')[1].split("<h2", 1)[0]
    assert told.count("<img") == 8
    assert "1. robin in a forest, taken for owl" in told
    assert 'fill="#4477aa"' in told
    assert "By attributes inferred from the images" in page.split('<h2 id="methods">')[0]
    assert "where it is missing the model loses accuracy" in page.split('<h2 id="methods">')[0]
    assert 'href="#shortcuts"' in page


@pytest.mark.parametrize("text", ["{", "[]", '{"schema_version": 1}', '{"schema_version": 1, "slices": [3]}'])
def test_damage_is_told_and_stops_no_report(tmp_path: Path, text: str) -> None:
    run = fake.write_run(tmp_path / "run", SETS)
    (run / "audit").mkdir()
    (run / "audit" / "slices.json").write_text(text)
    (content,) = audits_of(find_runs([run]))
    assert "damaged" in content.headline
    assert "damaged" in html_page(gather(find_runs([run])))


def test_only_pictures_of_the_folder_itself_are_embedded(tmp_path: Path) -> None:
    folder = audits.write_slices(tmp_path / "audit", path="c.jpg")
    file = audit_picture(folder, "test/ood", "c.jpg")
    file.rename(tmp_path / "secret.jpg")
    file.symlink_to(tmp_path / "secret.jpg")
    assert audit_page(folder).count("<img") == 3, "the maps alone"


def test_audits_of_other_phrases_have_a_sentence_each(folder: Path) -> None:
    told = json.loads((folder / "audit.json").read_text())
    (folder / "audit.json").write_text(json.dumps(told | {"pools": ["backgrounds", "textures"]}))
    page = Page(audit_page(folder)).text
    own, model = f"By the phrases of backgrounds, textures: {audits.SENTENCE}", "By the phrases of mini_scenes: "
    assert page.index(own) < page.index(model) < page.index("where it is missing the model loses accuracy")


def test_a_page_is_put_in_the_folder_or_where_out_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("c.yaml").write_text("trainer: {default_root_dir: run}\ndata: {class_path: starft.mini.MiniWorld}\n")
    config = read_config("c.yaml", ())
    assert _places(config, None) == (Path("run/audit"), Path("run/audit/audit.html"))
    assert _places(config, Path("o")) == (Path("o"), Path("o/audit.html"))
    assert _places(config, Path("my.html")) == (Path("run/audit"), Path("my.html"))
    with pytest.raises(ConfigError, match=r"folder of --out no/my\.html doesn't exist"):
        _places(config, Path("no/my.html"))
    Path("my.html").write_text("<!doctype html><title>mine</title>")
    with pytest.raises(ConfigError, match=r"my\.html exists already and isn't a page of an audit"):
        _places(config, Path("my.html"))
    Path("o/audit.html").symlink_to(tmp_path / "my.html")
    with pytest.raises(ConfigError, match="exists already"):
        _places(config, Path("o"))
    Path("my.html").write_text(audit_page(audits.write_slices(tmp_path / "a")))
    assert is_audit_page(Path("my.html"))
