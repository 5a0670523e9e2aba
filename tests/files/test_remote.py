"""Files of a web server that stalls, resets and refuses: fetched once, whole or not at all, and told in a sentence."""

import errno
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from fakes.file_server import FileServer, file_server
from starft.errors import ConfigError, DataError
from starft.files import remote, stores
from starft.files.addresses import address_of, shown
from starft.files.remote import local_copy, missing_of, remote_bytes
from starft.files.sizes import bytes_of, in_words
from starft.files.stores import ConnectionLost, NotThere, Refused

LARGE = bytes(range(256)) * 10
LOOKS = ["HEAD /large.bin"] * 2
"""At its size and version, and where the first part is opened."""


@pytest.fixture(autouse=True)
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Short waits, and a cache of its own."""
    monkeypatch.setenv("STARFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(stores, "WAITS", (0.0, 0.0))
    monkeypatch.setattr(remote, "PART", 1000)
    return tmp_path / "cache" / "remote"


@pytest.fixture(scope="module")
def running() -> Iterator[FileServer]:
    with file_server() as server:
        yield server


@pytest.fixture
def server(running: FileServer) -> FileServer:
    running.files = {"/large.bin": LARGE, "/a.jpg": b"picture", "/empty.csv": b""}
    running.faults, running.asked, running.ranges = [], [], True
    return running


def kept(cache: Path) -> list[str]:
    return sorted(path.name.partition("-")[2] for path in cache.glob("??/*"))


def gets(server: FileServer) -> list[str]:
    return [line.removeprefix("GET /") for line in server.asked if line.startswith("GET")]


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        ("large.bin", [f"large.bin bytes={part}" for part in ("0-999", "1000-1999", "2000-2559")]),
        ("a.jpg", ["a.jpg"]),
        ("empty.csv", ["empty.csv"]),
    ],
)
def test_a_file_is_fetched_once_and_keeps_its_name(
    name: str, asked: list[str], server: FileServer, cache: Path
) -> None:
    address = f"{server.address}/{name}"
    path = local_copy(address)
    assert path.read_bytes() == server.files[f"/{name}"]
    assert local_copy(address) == path
    assert gets(server) == asked
    assert kept(cache) == [name]


def test_a_changed_file_is_fetched_anew_and_a_small_one_of_many_is_not(server: FileServer) -> None:
    address = f"{server.address}/a.jpg"
    assert (local_copy(address).read_bytes(), remote_bytes(address)) == (b"picture", b"picture")
    server.files["/a.jpg"] = b"another"
    server.asked.clear()
    assert (local_copy(address).read_bytes(), remote_bytes(address)) == (b"another", b"picture")
    assert server.asked == ["HEAD /a.jpg", "GET /a.jpg"]


@pytest.mark.parametrize(
    ("fault", "why"),
    [
        (503, "the server answered 503 Service Unavailable"),
        ("reset", "the connection was lost (ClientPayloadError: "),
        ("stall", "nothing came for 0.3 s"),
    ],
)
def test_a_lost_part_alone_is_asked_for_again_and_told(
    fault: int | str,
    why: str,
    server: FileServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(stores, "STALLED", 0.3 if fault == "stall" else 30.0)
    address = f"{server.address}/large.bin"
    server.faults = [None, None, None, None, fault]  # two looks, a part, a look
    assert local_copy(address).read_bytes() == LARGE
    parts = ["0-999", "1000-1999", "1000-1999", "2000-2559"]
    assert gets(server) == [f"large.bin bytes={part}" for part in parts]
    note = capsys.readouterr().err
    assert note.startswith(f"Note: {address}: {why}")
    assert note.endswith("; trying again in 0 s.\n")


def test_a_fetch_that_was_given_up_goes_on_where_it_was(server: FileServer, cache: Path) -> None:
    address = f"{server.address}/large.bin"
    server.faults = [None, None, None, *([None, "reset"] * 3)]
    with pytest.raises(ConnectionLost) as caught:
        local_copy(address)
    assert str(caught.value).startswith(f"{address} can't be fetched: the connection was lost (ClientPayloadError: ")
    assert str(caught.value).endswith(
        "3 times; check the network and the server, and run the command again, which goes on with what is there."
    )
    assert kept(cache) == ["large.bin.part"]
    server.asked.clear()
    assert local_copy(address).read_bytes() == LARGE
    assert gets(server) == ["large.bin bytes=1000-1999", "large.bin bytes=2000-2559"]
    assert kept(cache) == ["large.bin"]


def test_a_server_without_ranges_gives_the_file_as_a_whole(server: FileServer) -> None:
    server.ranges = False
    assert local_copy(f"{server.address}/large.bin").read_bytes() == LARGE
    assert gets(server)[-1] == "large.bin"


def test_a_large_file_says_how_far_it_is(
    server: FileServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(remote, "TELL", -1.0)
    address = f"{server.address}/large.bin"
    local_copy(address)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [f"Fetching {address}: {share} of 2,560 bytes" for share in ("39%", "78%", "100%")]


@pytest.mark.parametrize(
    ("faults", "kind", "sentence"),
    [
        ([404, 404], NotThere, "There is no {}; check the address."),
        (
            [403, 403],
            Refused,
            "{} may not be read with these credentials, or without any, or there is none: a store that may not be "
            "listed says no more; check the address, or set ~/.netrc.",
        ),
        (
            [401, 401],
            Refused,
            "{} may not be read with these credentials, or without any; check the address, or set ~/.netrc.",
        ),
        ([400, 400], DataError, "{} can't be fetched (the server answered 400 Bad Request); check the address."),
        (
            [503] * 6,
            ConnectionLost,
            "{} can't be fetched: the server answered 503 Service Unavailable, 3 times; check the network and the "
            "server, and run the command again, which goes on with what is there.",
        ),
    ],
)
def test_what_cannot_be_had_is_one_sentence(
    faults: list[int | str | None], kind: type[DataError], sentence: str, server: FileServer, cache: Path
) -> None:
    address = f"{server.address}/a.jpg"
    server.faults = [*faults]
    with pytest.raises(kind) as caught:
        local_copy(f"{address}?Signature=secret")
    assert str(caught.value) == sentence.format(address)
    assert kept(cache) == []


def test_a_password_in_an_address_is_refused_and_not_shown() -> None:
    with pytest.raises(DataError) as caught:
        local_copy("https://me:secret@host/a.csv")
    assert str(caught.value) == ("https://host/a.csv was given with a user's name or password; put them into ~/.netrc.")


def test_several_at_a_time_fetch_once(server: FileServer) -> None:
    address = f"{server.address}/a.jpg"
    with ThreadPoolExecutor(4) as threads:
        assert {*threads.map(remote_bytes, [address] * 8)} == {b"picture"}
    assert server.asked == ["GET /a.jpg"]


def test_what_was_not_used_for_longest_goes(server: FileServer, cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STARFT_CACHE_SIZE", "30B")
    names = [f"{letter}.jpg" for letter in "abcd"]
    server.files = {f"/{name}": b"0123456789" for name in names}
    for number, name in enumerate(names[:3]):
        path = local_copy(f"{server.address}/{name}", changes=False)
        os.utime(path, (number, number))
    remote_bytes(f"{server.address}/a.jpg")  # used now
    remote_bytes(f"{server.address}/d.jpg")
    assert kept(cache) == ["a.jpg", "d.jpg"]  # 40 bytes were over 30; 27 are left at most
    assert (cache / "size").read_text() == "20"


def test_a_file_that_is_larger_than_the_cache_is_refused(server: FileServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STARFT_CACHE_SIZE", "1KB")
    with pytest.raises(
        DataError, match="holds 2,560 bytes, more than the cache may, 1,000 bytes; set STARFT_CACHE_SIZE to more"
    ):
        local_copy(f"{server.address}/large.bin")
    monkeypatch.setenv("STARFT_CACHE_SIZE", "much")
    with pytest.raises(ConfigError, match=r"^STARFT_CACHE_SIZE must be a size such as 256MB or 50GB; got 'much'\.$"):
        local_copy(f"{server.address}/large.bin")


@pytest.mark.parametrize("name", ["large.bin", "a.jpg"])
def test_a_full_disk_is_one_sentence_and_leaves_nothing(
    name: str, server: FileServer, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DataError) as caught:
        local_copy(f"{server.address}/{name}")
    assert str(caught.value) == (
        f"{server.address}/{name} can't be kept in the cache {cache} (No space left on device); free some, set "
        "STARFT_CACHE to a folder on another disk, or STARFT_CACHE_SIZE to less."
    )
    assert kept(cache) == []


def test_files_are_looked_up_and_not_fetched(server: FileServer) -> None:
    server.files = {f"/{number}.jpg": b"x" for number in range(100) if number != 40}
    addresses = [f"{server.address}/{number}.jpg" for number in range(100)]
    assert missing_of(addresses) == [addresses[40]]  # every fourth is looked up
    assert missing_of(addresses[38:42]) == [addresses[40]]
    assert gets(server) == ["40.jpg"] * 2


@pytest.mark.parametrize(
    ("given", "address"),
    [
        (Path("s3://bucket/a.jpg"), "s3://bucket/a.jpg"),
        ("hf://datasets/a/b/c.parquet", "hf://datasets/a/b/c.parquet"),
        ("https://host/a b.jpg?x=1", "https://host/a b.jpg?x=1"),
        ("photos/s3:/a.jpg", None),
        ("s3:", None),
        ("ftp://host/a", None),
    ],
)
def test_addresses(given: Any, address: str | None) -> None:
    assert address_of(given) == address
    assert shown(given) == (address or str(given)).partition("?")[0]


def test_sizes() -> None:
    texts = ("1.5 GB", "200m", "7", "2TB", "3KiB")
    assert [bytes_of(text, "x") for text in texts] == [1500000000, 200000000, 7, 2 * 10**12, 3072]
    assert [in_words(size) for size in (7, 2_560, 1_500_000, 5 * 10**10)] == [
        "7 bytes",
        "2,560 bytes",
        "1.5 MB",
        "50.0 GB",
    ]
    for text in ("0", "0.5", "3 bags", "1iB", ""):
        with pytest.raises(ConfigError, match="x must be a size such as 256MB or 50GB"):
            bytes_of(text, "x")
