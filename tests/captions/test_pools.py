"""Pools: reading, every problem a pool file can have, atomic saving, and the pools that are shipped."""

import errno
import json
import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from dataclasses import FrozenInstanceError, replace
from pathlib import Path
from typing import Any

import pytest

from starft.captions.pool_files import check_pool, list_pools, load_pool, load_pools, save_pool
from starft.captions.pools import Pool, inject, join_pools
from starft.errors import PoolError

GOOD = {
    "schema_version": 1,
    "name": "scenes",
    "description": "Where it may be.",
    "templates": ["{} on a lake", "{} in the forest"],
    "per_class": {"duck": ["{} on a pond"]},
    "provenance": {"source": "curated"},
}
POOL = Pool(
    name="scenes",
    description="Where it may be.",
    templates=("{} on a lake", "{} in the forest"),
    per_class={"duck": ("{} on a pond",)},
    provenance={"source": "curated"},
)


def without(key: str) -> dict[str, Any]:
    return {name: value for name, value in GOOD.items() if name != key}


def write(folder: Path, data: object) -> Path:
    path = folder / "pool.json"
    path.write_text(json.dumps(data), encoding="utf-8")
    return path


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# inject


@pytest.mark.parametrize(
    ("caption", "template", "expected"),
    [
        ("a photo of a duck.", "{} on a lake", "a photo of a duck on a lake."),
        ("a photo of a duck", "{} on a lake", "a photo of a duck on a lake"),
        ("a photo of a duck.", "{}, blurry", "a photo of a duck, blurry."),
        ("a duck.", "at night, {} on a lake", "at night, a duck on a lake."),
        ("a duck...", "{} on a lake", "a duck.. on a lake."),
        ("a duck!", "{} on a lake", "a duck! on a lake"),
        ("St. Bernard", "{} in the snow", "St. Bernard in the snow"),
        ("", "{} on a lake", " on a lake"),
        (".", "{} on a lake", " on a lake."),
        ("a {} duck {0} {name}.", "{} on a lake", "a {} duck {0} {name} on a lake."),
        ("a duck {", "{} on a lake", "a duck { on a lake"),
        ("a duck.", "{{}} on {0} lake", "{a duck} on {0} lake."),
        ("a duck.", r"{} \1 %s", r"a duck \1 %s."),
        ("鸭子.", "{} — am Ufer", "鸭子 — am Ufer."),
        ("a photo of a duck.", "blurry {}", "a blurry photo of a duck."),
        ("a photo of a duck.", "old, blurry {}", "old, blurry a photo of a duck."),
        ("an owl", "badly lit {} in a barn", "a badly lit owl in a barn"),
        ("a duck.", "overexposed {}", "an overexposed duck."),
        ("The duck.", "old {}", "The old duck."),
        ("duck.", "old {}", "old duck."),
        ("another duck.", "old {}", "old another duck."),
    ],
)
def test_inject(caption: str, template: str, expected: str) -> None:
    assert inject(caption, template) == expected


def test_inject_keeps_caption_and_template_whole() -> None:
    for caption in ("a duck", "{}", "}{", "{{}}", "a.b", "...", "", "a\\b", "%(x)s"):
        for before, after in (("", " on a lake"), ("blurry, ", ""), ("{", "}"), ("in {0} ", " {x}")):
            template = f"{before}{{}}{after}"
            assert inject(caption + ".", template) == before + caption + after + "."
            if not caption.endswith("."):
                assert inject(caption, template) == before + caption + after


@pytest.mark.parametrize("template", ["on a lake", "{} by a {}", "{0} on a lake", "{ } on a lake", ""])
def test_inject_refuses_a_template_without_exactly_one_slot(template: str) -> None:
    with pytest.raises(PoolError, match=re.escape(f"template {template!r} must hold {{}} exactly once; put it where")):
        inject("a duck.", template)


# Pool


def test_templates_for_adds_those_of_the_class() -> None:
    assert POOL.templates_for("duck") == ("{} on a lake", "{} in the forest", "{} on a pond")
    assert POOL.templates_for("owl") == ("{} on a lake", "{} in the forest")


def test_pool_is_frozen() -> None:
    with pytest.raises(FrozenInstanceError):
        POOL.name = "other"  # type: ignore[misc]


def test_importing_pools_does_not_import_torch() -> None:
    code = "import sys, starft.captions.pools; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


# load_pool


def test_load_reads_every_field(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    assert load_pool(path) == POOL
    assert load_pool(str(path)) == POOL


def test_load_takes_a_pool_without_per_class(tmp_path: Path) -> None:
    pool = load_pool(write(tmp_path, without("per_class")))
    assert pool.per_class == {}
    assert pool.templates_for("duck") == POOL.templates


def test_load_takes_a_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "pool.json"
    path.write_text(json.dumps(GOOD), encoding="utf-8-sig")
    assert load_pool(path) == POOL


def test_a_bare_name_is_a_shipped_pool_whatever_the_folder_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "backgrounds").mkdir()
    write(tmp_path, GOOD).rename(tmp_path / "textures")
    assert load_pool("backgrounds").name == "backgrounds"
    assert load_pool(Path("backgrounds")).name == "backgrounds"
    assert load_pool("textures").name == "textures"
    assert load_pool("./textures") == POOL


def test_a_bare_name_may_be_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write(tmp_path, GOOD).rename(tmp_path / "mine")
    assert load_pool("mine") == POOL


def test_unknown_name_lists_near_names_and_the_place() -> None:
    with pytest.raises(
        PoolError, match=r"^No pool is called 'backgronds'; the shipped ones are .*textures, and prompts"
    ):
        load_pool("backgronds")
    with pytest.raises(
        PoolError, match=r"give one of these names or the path of a \.json file\. Did you mean backgrou"
    ):
        load_pool("backgronds")


@pytest.mark.parametrize("name", ["", "zzzzqqqq"])
def test_unknown_name_with_nothing_near(name: str) -> None:
    with pytest.raises(PoolError, match=rf"^No pool is called '{name}'; .* the path of a \.json file\.$"):
        load_pool(name)


def test_missing_file_names_its_neighbours(tmp_path: Path) -> None:
    write(tmp_path, GOOD)
    with pytest.raises(PoolError, match=r"^The pool file .*pol\.json does not exist; .* Did you mean pool\.json\?$"):
        load_pool(tmp_path / "pol.json")


def test_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match=r"^The pool file .*nowhere/pool\.json does not exist; check its path\.$"):
        load_pool(tmp_path / "nowhere" / "pool.json")


def test_a_folder_is_not_a_pool(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match=rf"^{re.escape(str(tmp_path))} is a folder, not a pool file; name a \.json"):
        load_pool(tmp_path)


def test_a_file_without_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, GOOD)

    def refuse(self: Path) -> bytes:  # chmod wouldn't stop a test that runs as root
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(
        PoolError, match=r"^The pool file .*pool\.json can't be read: Permission denied; make it readable"
    ):
        load_pool(path)


def test_a_file_under_a_file(tmp_path: Path) -> None:
    with pytest.raises(PoolError, match=r"^The pool file .* can't be read: Not a directory; "):
        load_pool(write(tmp_path, GOOD) / "inner.json")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("", "line 1, column 1"),
        ('{\n  "name": "scenes"\n  "templates": []\n}', "line 3, column 3"),
        ('{\n  "templates": ["{} on a lake",]\n}', "line 2, column 32"),
        ("{} trailing", "line 1, column 4"),
    ],
)
def test_broken_json_names_line_and_column(tmp_path: Path, text: str, place: str) -> None:
    path = tmp_path / "pool.json"
    path.write_text(text)
    with pytest.raises(PoolError, match=rf"pool\.json is not valid JSON at {place} \(.+\); mend that place\.$"):
        load_pool(path)


@pytest.mark.parametrize(("encoding", "line"), [("latin-1", 4), ("utf-16", 1)])
def test_other_encodings_are_named(tmp_path: Path, encoding: str, line: int) -> None:
    path = tmp_path / "pool.json"
    path.write_bytes(json.dumps(GOOD | {"description": "Café"}, indent=2, ensure_ascii=False).encode(encoding))
    with pytest.raises(PoolError, match=rf"pool\.json is not UTF-8 text \(line {line}\); save it again as UTF-8\.$"):
        load_pool(path)


def test_a_key_written_twice_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    path.write_text(path.read_text().replace('"provenance"', '"templates": [], "provenance"'))
    with pytest.raises(PoolError, match=r"pool\.json: the key 'templates' is written 2 times in one object; keep one"):
        load_pool(path)


def test_load_tells_the_first_problem_and_counts_the_others(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD | {"templates": ["lake"]})
    with pytest.raises(PoolError, match=r"pool\.json: templates\[0\] 'lake' must hold \{\} exactly once; [^.]*\.$"):
        load_pool(path)
    write(tmp_path, GOOD | {"templates": ["lake", "sea"]})
    with pytest.raises(PoolError, match=r"pool\.json: templates\[0\] 'lake' .*\. \.\.\. and 1 more problem\.$"):
        load_pool(path)
    write(tmp_path, GOOD | {"templates": ["lake", "sea", "{}."]})
    with pytest.raises(PoolError, match=r"pool\.json: templates\[0\] 'lake' .*\. \.\.\. and 2 more problems\.$"):
        load_pool(path)


def test_a_bare_name_may_be_a_pool_that_was_generated_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "prompts/pools").mkdir(parents=True)
    for name in ("mine", "backgrounds"):
        write(tmp_path, GOOD).rename(tmp_path / f"prompts/pools/{name}.json")
    assert load_pool("mine") == POOL
    assert load_pool("backgrounds") == POOL, "one's own pool wins"
    assert load_pool("textures").name == "textures"


def test_an_unknown_name_tells_the_pools_that_were_generated_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(PoolError, match=r", and prompts/pools holds no others; give one of these"):
        load_pool("mi")
    (tmp_path / "prompts/pools").mkdir(parents=True)
    write(tmp_path, GOOD).rename(tmp_path / "prompts/pools/harbour.json")
    with pytest.raises(PoolError, match=r", those in prompts/pools harbour; give .* file\. Did you mean harbour\?$"):
        load_pool("harbor")
    with pytest.raises(PoolError, match=r"the path of a \.json file\.$"):
        load_pool("backs")  # nothing is near enough


@pytest.mark.parametrize("name", ["starft.yaml", "folder/starft.yml"])
def test_a_config_is_no_pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    (tmp_path / name).write_text("model: {pool: backgrounds}")
    with pytest.raises(
        PoolError, match=rf"^{re.escape(name)} is a YAML file, as configs and queries are, and no pool;"
    ):
        load_pool(name)


# several pools


def test_joining_keeps_each_template_once_and_each_provenance() -> None:
    other = Pool(
        name="other",
        description="More.",
        templates=("{} ON a lake", "{} at dawn"),
        per_class={"duck": ("{} on a Pond", "{} in the forest", "{} on ice"), "owl": ("{} at dawn",)},
        provenance={"source": "llm", "model": "m"},
    )
    joined = join_pools([POOL, other])
    assert joined.name == "scenes+other"
    assert joined.description == "Where it may be. More."
    assert joined.templates == ("{} at dawn", "{} in the forest", "{} on a lake")
    assert joined.per_class == {"duck": ("{} on a pond", "{} on ice")}, "what serves all isn't said again for one"
    assert joined.provenance == {
        "source": "llm",
        "pools": [
            {"name": "scenes", "provenance": {"source": "curated"}},
            {"name": "other", "provenance": {"source": "llm", "model": "m"}},
        ],
    }
    assert join_pools([POOL]) == POOL


def test_load_pools_takes_one_or_several(tmp_path: Path) -> None:
    path = write(tmp_path, GOOD)
    assert load_pools(path) == load_pools(str(path)) == load_pools([path]) == POOL
    joined = load_pools(["backgrounds", str(path)])
    assert len(joined.templates) == len({*load_pool("backgrounds").templates, *POOL.templates})
    save_pool(joined, tmp_path / "joined.json")
    assert load_pool(tmp_path / "joined.json") == joined
    with pytest.raises(PoolError, match=r"^The list of pools is empty; name at least one, or give null for none\.$"):
        load_pools([])


# check_pool


@pytest.mark.parametrize("data", [GOOD, without("per_class"), GOOD | {"per_class": {}}])
def test_good_pools_have_no_problems(data: dict[str, Any]) -> None:
    assert check_pool(data) == []


def test_one_template_may_serve_several_classes() -> None:
    assert check_pool(GOOD | {"per_class": {"duck": ["{} on a pond"], "gull": ["{} on a pond"]}}) == []


SLOT = "must hold {} exactly once; put it where the caption goes."
TEXT = "must be a string that isn't empty"


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ([GOOD], "a pool must be a JSON object with the keys schema_version, name, "),
        (None, "a pool must be a JSON object with the keys .*, got None."),
        (without("schema_version"), "the key 'schema_version' is missing; add it."),
        (without("name"), "the key 'name' is missing; add it."),
        (without("description"), "the key 'description' is missing; add it."),
        (without("templates"), "the key 'templates' is missing; add it."),
        (without("provenance"), "the key 'provenance' is missing; add it."),
        (GOOD | {"schema_version": 2}, "'schema_version' must be 1, got 2; .* update starft if the file is newer."),
        (GOOD | {"schema_version": "1"}, "'schema_version' must be 1, got '1'; bring the file to this schema"),
        (GOOD | {"schema_version": True}, "'schema_version' must be 1, got True;"),
        (GOOD | {"schema_version": None}, "'schema_version' must be 1, got None;"),
        (GOOD | {"perclass": {}}, "unknown key 'perclass'; the keys of a pool are .* Did you mean per_class?"),
        (GOOD | {"xyzzy": 1}, "unknown key 'xyzzy'; the keys of a pool are schema_version, .*, provenance."),
        (GOOD | {"name": ""}, f"'name' {TEXT}, got ''; write one."),
        (GOOD | {"name": None}, f"'name' {TEXT}, got None; write one."),
        (GOOD | {"name": 7}, f"'name' {TEXT}, got 7; write one."),
        (GOOD | {"description": " \n"}, f"'description' {TEXT}, got ' \\n'; write one."),
        (GOOD | {"templates": "{} on a lake"}, "templates must be a list of templates, got '{} on a lake'."),
        (GOOD | {"templates": None}, "templates must be a list of templates, got None."),
        (GOOD | {"templates": []}, "templates is an empty list; give at least one template, such as '{} on a lake'."),
        (GOOD | {"templates": ["{} a", 3]}, f"templates[1] 3 {TEXT}; write a template such as '{{}} on a lake'."),
        (GOOD | {"templates": [None]}, f"templates[0] None {TEXT};"),
        (GOOD | {"templates": [["{} a"]]}, f"templates[0] ['{{}} a'] {TEXT};"),
        (GOOD | {"templates": [""]}, f"templates[0] '' {TEXT};"),
        (GOOD | {"templates": [" \t"]}, f"templates[0] ' \\t' {TEXT};"),
        (GOOD | {"templates": ["on a lake"]}, f"templates[0] 'on a lake' {SLOT}"),
        (GOOD | {"templates": ["{} by a {}"]}, f"templates[0] '{{}} by a {{}}' {SLOT}"),
        (GOOD | {"templates": ["{0} on a lake"]}, f"templates[0] '{{0}} on a lake' {SLOT}"),
        (GOOD | {"templates": ["{} on a lake "]}, "templates[0] '{} on a lake ' has outer spaces, a line break or"),
        (GOOD | {"templates": ["{} on\na lake"]}, "templates[0] '{} on\\na lake' has outer spaces, a line break or"),
        (GOOD | {"templates": ["{} on\u200ba lake"]}, "character that can't be printed; take it out."),
        (GOOD | {"templates": ["{} \ud800"]}, "templates[0] '{} \\ud800' has outer spaces, a line break or"),
        (GOOD | {"templates": ["{} on a lake."]}, "templates[0] '{} on a lake.' ends with a period; take it away, the"),
        (
            GOOD | {"templates": ["{} a", "{} b", "{} a"]},
            "templates[2] '{} a' repeats templates[0] (case and spaces don't count); take one of them out.",
        ),
        (GOOD | {"templates": ["{} On  a lake", "{} on a LAKE"]}, "templates[1] '{} on a LAKE' repeats templates[0] ("),
        (GOOD | {"per_class": ["{} a"]}, "'per_class' must be an object of lists of templates by class name, got ['{}"),
        (GOOD | {"per_class": None}, "'per_class' must be an object of lists of templates by class name, got None."),
        (GOOD | {"per_class": {"duck": "{} a"}}, "per_class['duck'] must be a list of templates, got '{} a'."),
        (GOOD | {"per_class": {"duck": []}}, "per_class['duck'] is an empty list; give at least one template"),
        (GOOD | {"per_class": {"duck": ["pond"]}}, f"per_class['duck'][0] 'pond' {SLOT}"),
        (
            GOOD | {"per_class": {"duck": ["{} a", "{} A"]}},
            "per_class['duck'][1] '{} A' repeats per_class['duck'][0] (",
        ),
        (
            GOOD | {"per_class": {"duck": ["{} in the forest"]}},
            "per_class['duck'][0] '{} in the forest' repeats templates[1] (case and spaces don't count)",
        ),
        (GOOD | {"provenance": None}, "'provenance' must be an object with a 'source' of llm or curated, got None."),
        (GOOD | {"provenance": "llm"}, "'provenance' must be an object with a 'source' of llm or curated, got 'llm'."),
        (GOOD | {"provenance": {}}, "'provenance' must be an object with a 'source' of llm or curated, got {}."),
        (GOOD | {"provenance": {"source": ["llm"]}}, "a 'source' of llm or curated, got {'source': ['llm']}."),
    ],
)
def test_each_problem_has_its_sentence(data: object, sentence: str) -> None:
    (problem,) = check_pool(data)
    assert re.search(re.escape(sentence).replace(r"\.\*", ".*"), problem), problem


def test_check_reports_every_problem_at_once() -> None:
    data = {
        "schema_version": 3,
        "templates": ["lake", 5, "{} by {}", "{} a", "{} a."],
        "per_class": {"duck": [], "owl": "x"},
        "descripton": "typo",
    }
    problems = check_pool(data)
    for sentence in (
        "unknown key 'descripton'",
        "'name' is missing",
        "'description' is missing",
        "'provenance' is missing",
        "'schema_version' must be 1, got 3",
        "templates[0] 'lake' must hold",
        "templates[1] 5 must be a string",
        "templates[2] '{} by {}' must hold",
        "templates[4] '{} a.' ends with a period",
        "per_class['duck'] is an empty list",
        "per_class['owl'] must be a list",
    ):
        assert sum(sentence in problem for problem in problems) == 1, sentence
    assert len(problems) == 11


def test_a_long_value_is_cut_in_the_sentence() -> None:
    (problem,) = check_pool(GOOD | {"templates": ["word " * 5000 + "end"]})
    assert len(problem) < 300
    assert problem.endswith(SLOT)
    ordinary = "in front of a very old brick wall on a rainy afternoon"
    assert check_pool(GOOD | {"templates": [ordinary]}) == [f"templates[0] {ordinary!r} {SLOT}"]


def test_two_faults_of_one_template_are_both_told() -> None:
    problems = check_pool(GOOD | {"templates": ["{} on\u200ba lake."]})
    assert [problem.split("' ")[1].split(" ")[0] for problem in problems] == ["has", "ends"]


# save_pool


def test_saved_pool_comes_back(tmp_path: Path) -> None:
    pool = replace(POOL, description="Öffentliche Orte\n— 场景", provenance={"source": "llm", "n": [1, {"t": 0.5}]})
    save_pool(pool, tmp_path / "pool.json")
    assert load_pool(tmp_path / "pool.json") == pool


def test_saved_bytes_are_stable(tmp_path: Path) -> None:
    one = replace(POOL, per_class={"duck": ("{} a",), "owl": ("{} é",)}, provenance={"source": "llm", "model": "m"})
    two = replace(POOL, per_class={"owl": ("{} é",), "duck": ("{} a",)}, provenance={"model": "m", "source": "llm"})
    save_pool(one, tmp_path / "one.json")
    save_pool(two, str(tmp_path / "two.json"))
    content = (tmp_path / "one.json").read_bytes()
    assert content == (tmp_path / "two.json").read_bytes()
    assert content.startswith(b'{\n  "description": "Where it may be.",\n  "name": "scenes",\n')
    assert content.endswith(b"\n}\n")
    assert "{} é".encode() in content
    save_pool(load_pool(tmp_path / "one.json"), tmp_path / "one.json", overwrite=True)
    assert content == (tmp_path / "one.json").read_bytes()


def test_saved_file_has_the_usual_permissions(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    save_pool(POOL, tmp_path / "pool.json")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "pool.json")}
    assert len(modes) == 1


def test_save_refuses_an_existing_file_unless_told(tmp_path: Path) -> None:
    path = tmp_path / "pool.json"
    path.write_text("mine")
    with pytest.raises(PoolError, match=r"pool\.json already exists; choose another path, or allow overwriting it\.$"):
        save_pool(POOL, path)
    assert path.read_text() == "mine"
    save_pool(POOL, path, overwrite=True)
    assert load_pool(path) == POOL
    assert names(tmp_path) == ["pool.json"]


@pytest.mark.parametrize("failing", ["fsync", "replace"])
@pytest.mark.parametrize("there", [True, False])
def test_a_failed_save_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, there: bool
) -> None:
    path = tmp_path / "pool.json"
    if there:
        path.write_text("old")
    seen: list[list[str]] = []

    def fail(*args: object) -> None:
        seen.append(names(tmp_path))
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, failing, fail)
    with pytest.raises(
        PoolError, match=r"^The pool file .*pool\.json can't be written: No space left on device; check that its folder"
    ):
        save_pool(POOL, path, overwrite=True)
    assert len(seen) == 1
    assert len(seen[0]) == 1 + there, "the new content is written beside the old file"
    assert names(tmp_path) == (["pool.json"] if there else [])
    assert not there or path.read_text() == "old"


def test_an_interrupted_save_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupt)
    with pytest.raises(KeyboardInterrupt):
        save_pool(POOL, tmp_path / "pool.json")
    assert names(tmp_path) == []


def test_content_is_on_disk_before_it_is_swapped_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []

    def spy(name: str, real: Callable[..., None]) -> Callable[..., None]:
        def call(*args: Any) -> None:
            calls.append(name)
            real(*args)

        return call

    monkeypatch.setattr(os, "fsync", spy("fsync", os.fsync))
    monkeypatch.setattr(os, "replace", spy("replace", os.replace))
    save_pool(POOL, tmp_path / "pool.json")
    assert calls == ["fsync", "replace", "fsync"]  # the content, then the folder's new name


def test_save_into_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(
        PoolError,
        match=r"^The pool file .*nowhere/pool\.json can't be written: No such file or directory; check that its",
    ):
        save_pool(POOL, tmp_path / "nowhere" / "pool.json")


def test_save_over_a_folder(tmp_path: Path) -> None:
    (tmp_path / "pool.json").mkdir()
    with pytest.raises(PoolError, match=r"^The pool file .*pool\.json can't be written: Is a directory; "):
        save_pool(POOL, tmp_path / "pool.json", overwrite=True)
    assert names(tmp_path) == ["pool.json"]


@pytest.mark.parametrize(
    ("pool", "sentence"),
    [
        (replace(POOL, templates=()), r"pool 'scenes' was not saved to .*pool\.json: templates is an empty list"),
        (replace(POOL, templates=("a", "b")), r"templates\[0\] 'a' must hold .* \.\.\. and 1 more problem\.$"),
        (replace(POOL, provenance={"source": "llm", "t": Path()}), r"pool 'scenes' can't be written as JSON: .*Path"),
        (replace(POOL, provenance={"source": "llm", "t": float("nan")}), r"can't be written as JSON: Out of range"),
        (
            replace(POOL, description="\ud800"),
            r"can't be written as JSON: .*surrogates not allowed; mend that value\.$",
        ),
    ],
)
def test_save_refuses_what_load_would_refuse(tmp_path: Path, pool: Pool, sentence: str) -> None:
    with pytest.raises(PoolError, match=sentence):
        save_pool(pool, tmp_path / "pool.json")
    assert names(tmp_path) == []


# The shipped pools

SHIPPED = list_pools()


def test_the_expected_pools_are_shipped() -> None:
    assert {"backgrounds", "mini_scenes", "resolution", "textures"} <= {path.stem for path in SHIPPED}
    assert sorted(SHIPPED) == SHIPPED


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_pool(path: Path, tmp_path: Path) -> None:
    pool = load_pool(path.stem)
    assert pool == load_pool(path)
    assert pool.name == path.stem
    assert list(pool.templates) == sorted(pool.templates)
    assert len({template.casefold() for template in pool.templates}) == len(pool.templates)
    assert set(pool.provenance) == {"source", "model", "query", "query_sha256", "parameters", "created"}
    for template in pool.templates:
        caption = inject("a photo of a duck.", template)
        assert caption.startswith("a photo of a duck")
        assert caption.count(".") == 1
        assert caption.endswith(".")
        assert "  " not in caption
    save_pool(pool, tmp_path / "again.json")
    assert (tmp_path / "again.json").read_bytes() == path.read_bytes()


@pytest.mark.parametrize(("name", "least"), [("backgrounds", 45), ("textures", 45), ("resolution", 18)])
def test_shipped_pools_are_large_enough_to_be_diverse(name: str, least: int) -> None:
    assert len(load_pool(name).templates) >= least


def test_mini_scenes_are_the_ten_scenes_of_the_embedded_world() -> None:
    places = "a forest|a bamboo grove|a meadow|the ocean|a lake|a beach|a desert|the snow|a city|the night sky"
    found = {re.sub(r"^\{\} (in|on|under) ", "", template) for template in load_pool("mini_scenes").templates}
    assert found == set(places.split("|"))
