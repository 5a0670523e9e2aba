"""The documentation site: built without a warning, whole, and without anything from a network."""

import os
import re
import shutil
import subprocess
import sys
from html import unescape
from importlib import import_module
from pathlib import Path

import pytest
from filelock import FileLock

from fakes.processes import forking
from starft.__main__ import VERBS

ROOT = Path(__file__).parents[1]
WITHIN = ("docs/*.md", "lightning_configs/README.md", "README.md", "CHANGELOG.md", "CONTRIBUTING.md")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site, built by the command of `make docs`; once, where tests run in several processes."""
    shared = tmp_path_factory.getbasetemp()
    shared = shared.parent if "PYTEST_XDIST_WORKER" in os.environ else shared
    with FileLock(shared / "site.lock"):
        if not (shared / "site" / "html").is_dir():
            build(shared / "site")
    return shared / "site" / "html"


def build(folder: Path) -> None:
    shown = subprocess.run(["make", "-n", "docs"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (line,) = (line for line in shown.splitlines() if "sphinx-build" in line)
    options = line.split()[1:-2]
    assert "--fail-on-warning" in options
    words = [*options, "-d", str(folder / "doctrees"), str(ROOT), str(folder / "html")]
    folder.mkdir()
    process = forking().Process(target=sphinx, args=(words, folder / "complaints.txt"))
    process.start()
    process.join()
    told = (folder / "complaints.txt").read_text(encoding="utf-8")
    if process.exitcode != 0 or told:
        shutil.rmtree(folder)
    assert (process.exitcode, told) == (0, "")


def sphinx(words: list[str], complaints: Path) -> None:
    from sphinx.cmd.build import main as sphinx_build  # noqa: PLC0415  # this process alone needs it

    os.chdir(ROOT)
    os.dup2(os.open(complaints, os.O_WRONLY | os.O_CREAT), 2)
    sys.exit(sphinx_build(words))


def pages(site: Path) -> dict[str, str]:
    return {path.relative_to(site).as_posix(): path.read_text(encoding="utf-8") for path in site.rglob("*.html")}


def test_every_page_is_there_and_in_the_menu(site: Path) -> None:
    sources = {path.relative_to(ROOT).with_suffix(".html").as_posix() for one in WITHIN for path in ROOT.glob(one)}
    assert len(sources) >= 21
    built = pages(site)
    assert sources <= built.keys()
    menu = set(re.findall(r'class="reference internal" href="([\w/]+\.html)"', built["README.html"]))
    assert sources - {"README.html"} <= menu
    assert "url=README.html" in built["index.html"]


def test_every_relative_link_leads_somewhere(site: Path) -> None:
    for name, text in pages(site).items():
        for link in re.findall(r'(?:href|src)="([^"#?:]+)[#?"]', text):
            assert ((site / name).parent / unescape(link)).exists(), f"{name} leads to {link}"


def test_nothing_is_loaded_from_a_network(site: Path) -> None:
    for name, text in pages(site).items():
        loaded = re.findall(r'<(?:script|link|img|iframe)[^>]*(?:src|href)="(https?:[^"]*)"', text)
        assert loaded == [], name
    assert all("@import url(http" not in path.read_text(encoding="utf-8") for path in site.rglob("*.css"))


def test_formulas_are_drawn_by_the_browser_itself(site: Path) -> None:
    text = (site / "docs" / "method.html").read_text(encoding="utf-8")
    assert text.count("<math") > 25
    assert "$$" not in text


def test_each_verb_is_told_with_its_options(site: Path) -> None:
    text = unescape(re.sub(r"<[^>]+>", "", (site / "docs" / "cli.html").read_text(encoding="utf-8")))
    for verb in VERBS:
        assert re.search(rf"usage: starft (\[options\] )?{verb} ", text), verb
    for told in ("--model.micro_batch_size", "Peak learning rate of AdamW.", "--ckpt_paths", "--push-to-hub", "--deep"):
        assert told in text, told
    assert "usage: starft prompts rank" in text


def test_help_is_readable_on_a_page(site: Path) -> None:
    page = (site / "docs" / "cli.html").read_text(encoding="utf-8")
    usages = [unescape(re.sub(r"<[^>]+>", "", one)) for one in re.findall(r"<pre>(.*?)\n\n", page, re.DOTALL)]
    assert len(usages) > len(VERBS)
    assert max(usage.count("\n") for usage in usages) <= 12, "a usage that names all options"
    assert "--print_config[=flags]" in page
    assert "\b" not in page


def test_an_index_stands_beside_a_letter_with_an_accent(site: Path) -> None:
    for name in ("method", "rivals"):
        page = (site / "docs" / f"{name}.html").read_text(encoding="utf-8")
        assert "<msub><mover><mi>c</mi>" in page
        assert not re.search(r"<munderover>\s*<mi>", page)


@pytest.mark.parametrize("module", ["losses", "data", "callbacks", "evaluation"])
def test_each_public_name_is_told(site: Path, module: str) -> None:
    text = (site / "docs" / "api.html").read_text(encoding="utf-8")
    for name in import_module(f"starft.{module}").__all__:
        assert f'id="starft.{module}.{name}"' in text, name


def test_what_has_no_list_of_names_is_told_too(site: Path) -> None:
    text = (site / "docs" / "api.html").read_text(encoding="utf-8")
    for name in ("load", "FinetuneModule", "losses.Contrastive", "losses.functional.spuriosity_alignment"):
        assert f'id="starft.{name}"' in text, name
