"""Listing folders: sorted, cached where large, and never out of date."""

import os
from pathlib import Path

import pytest

from starft.data import listing
from starft.data.listing import list_images
from starft.files.cache import cache_folder


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Three files in two folders, times of change long past; listings from two files on are kept."""
    monkeypatch.setenv("STARFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(listing, "LARGE", 2)
    folder = tmp_path / "tree"
    for path in ("b/2.png", "a/ü.jpg", "a/1.JPG", "a/notes.txt"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).touch()
    for part in (folder, folder / "a", folder / "b"):
        os.utime(part, ns=(1, 1))
    return folder


def walks(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every folder that is really listed leaves its name here."""
    seen: list[str] = []
    scandir = os.scandir

    def noted(folder: str) -> object:
        seen.append(folder)
        return scandir(folder)

    monkeypatch.setattr(listing.os, "scandir", noted)
    return seen


def test_images_sorted(tree: Path) -> None:
    assert list_images(tree) == ("a/1.JPG", "a/ü.jpg", "b/2.png")


def test_a_second_listing_reads_no_folder(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = list_images(tree)
    assert list((tmp_path / "cache" / "listings").glob("*.npz"))
    seen = walks(monkeypatch)
    assert list_images(tree) == first
    assert seen == []


@pytest.mark.parametrize("change", ["add", "remove", "add folder", "remove folder", "rename"])
def test_a_change_is_seen(change: str, tree: Path) -> None:
    list_images(tree)
    if change == "add":
        (tree / "b" / "3.jpg").touch()
    elif change == "remove":
        (tree / "a" / "1.JPG").unlink()
    elif change == "add folder":
        (tree / "c").mkdir()
        (tree / "c" / "x.jpg").touch()
    elif change == "remove folder":
        (tree / "b" / "2.png").unlink()
        (tree / "b").rmdir()
    else:
        (tree / "a" / "1.JPG").rename(tree / "a" / "9.JPG")
    expected = sorted(p.relative_to(tree).as_posix() for p in tree.rglob("*") if p.suffix.lower() in (".jpg", ".png"))
    assert list(list_images(tree)) == expected


def test_a_damaged_cache_is_made_anew(tree: Path, tmp_path: Path) -> None:
    first = list_images(tree)
    (entry,) = (tmp_path / "cache" / "listings").glob("*.npz")
    for content in (b"", b"no archive", entry.read_bytes()[:50]):
        entry.write_bytes(content)
        assert list_images(tree) == first


def test_small_folders_and_unwritable_caches(tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("STARFT_CACHE", str(tmp_path / "file" / "below"))
    assert len(list_images(tree)) == 3
    monkeypatch.setenv("STARFT_CACHE", str(tmp_path / "other"))
    monkeypatch.setattr(listing, "LARGE", 5)
    assert len(list_images(tree)) == 3
    assert not (tmp_path / "other").exists()
    assert not list(tree.rglob("*.npz")), "nothing is written among the data"


def test_links(tree: Path, tmp_path: Path) -> None:
    """A linked folder is listed; one that leads upward isn't followed in circles."""
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "z.jpg").touch()
    (tree / "link").symlink_to(tmp_path / "elsewhere")
    (tree / "a" / "circle").symlink_to(tree)
    assert list_images(tree) == ("a/1.JPG", "a/ü.jpg", "b/2.png", "link/z.jpg")


def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("STARFT_CACHE", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache_folder().name == "starft"
    monkeypatch.setenv("STARFT_CACHE", "/somewhere")
    assert cache_folder() == Path("/somewhere")
