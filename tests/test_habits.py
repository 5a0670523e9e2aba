"""What people expect around the code: CI, commit hooks, a citation, extras, a version."""

import configparser
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from starft.files.yaml_reader import load_yaml

ROOT = Path(__file__).parents[1]
CONTRIBUTORS = {"docs", "test", "dev", "all"}
"""Extras that no user needs."""


def read(path: str) -> dict[str, Any]:
    return dict(yaml.load((ROOT / path).read_text(encoding="utf-8"), yaml.BaseLoader))  # so that `on` stays a text


def extras() -> dict[str, list[str]]:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    lines = {name: text.splitlines() for name, text in setup["options.extras_require"].items()}
    return {name: [line for line in text if line and not line.startswith("#")] for name, text in lines.items()}


def targets() -> set[str]:
    return set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))


def test_ci_runs_what_ci_run_does_and_targets_that_make_knows() -> None:
    workflow = read(".github/workflows/ci.yml")
    assert {"push", "pull_request"} == workflow["on"].keys()
    commands = {name: [step["run"] for step in job["steps"] if "run" in step] for name, job in workflow["jobs"].items()}
    assert commands["checks"] == [".ci/run"]
    assert os.access(ROOT / ".ci" / "run", os.X_OK)
    assert commands["docs"] == ["make docs"]
    assert commands["wheel"][0].startswith("pip wheel")
    named = re.findall(r"^make (\S+)$", (ROOT / ".ci" / "run").read_text(encoding="utf-8"), re.MULTILINE)
    assert {"lint", "type", "test"} == {*named} <= targets()


def test_hooks_of_commits_are_targets_of_make() -> None:
    (repository,) = read(".pre-commit-config.yaml")["repos"]
    entries = [shlex.split(hook["entry"]) for hook in repository["hooks"]]
    assert entries == [["make", "lint"], ["make", "type"]]
    assert {target for _, target in entries} <= targets()


@pytest.mark.parametrize("name", ["bug", "feature"])
def test_forms_of_issues_ask_something(name: str) -> None:
    form = read(f".github/ISSUE_TEMPLATE/{name}.yml")
    assert form["name"]
    assert form["description"]
    assert all(field["attributes"]["label"] for field in form["body"])
    assert any(field.get("validations", {}).get("required") == "true" for field in form["body"])


def test_the_citation_is_of_the_paper_that_readme_names() -> None:
    citation = load_yaml((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert {"cff-version", "message", "title", "authors"} <= citation.keys()
    paper = citation["preferred-citation"]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert paper["title"].removeprefix("StarFT: ") in readme
    assert paper["url"] in readme
    assert paper["year"] == 2025
    assert len(paper["authors"]) == 6


def test_readme_explains_its_words_and_leads_to_every_page() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    words = readme.split("### Words")[1].split("\n## ")[0]
    assert all(f"**{word}**" in words for word in ("ID", "OOD", "CE", "FLYP", "head", "twin", "pool", "group"))
    assert "**worst group**" in words
    pages = {path.name for path in (ROOT / "docs").glob("*.md")} - {"cli.md", "api.md"}  # made when the site is built
    assert pages <= {*re.findall(r"\(docs/(\w+\.md)\)", readme)}


def test_all_is_the_union_of_what_users_may_want() -> None:
    found = extras()
    (line,) = found["all"]
    assert {*re.fullmatch(r"starft\[(.*)\]", line)[1].split(",")} == found.keys() - CONTRIBUTORS  # type: ignore[index]


def test_the_version_is_that_of_a_tag_alone() -> None:
    setup = configparser.ConfigParser()
    setup.read(ROOT / "setup.cfg", encoding="utf-8")
    assert "version" not in setup["metadata"]
    assert "[tool.setuptools_scm]" in (ROOT / "pyproject.toml").read_text(encoding="utf-8")


@pytest.mark.skipif(not (ROOT / ".git").exists(), reason="needs the repository")
def test_an_archive_of_a_tag_knows_its_version() -> None:
    done = subprocess.run(
        ["git", "check-attr", "export-subst", ".git_archival.txt"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip().endswith(": set")
