"""A store that may not be listed answers that a file may not be read where there is none."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fakes.s3_server import s3_server, upload
from fakes.shards import clip_benchmark, picture
from starft.data import PackedSource
from starft.errors import DataError
from starft.files import stores

pytestmark = pytest.mark.slow


class Unlisted:
    """A store in which only the names of files are of use: what isn't there is forbidden, as by S3 without ListBucket.

    Args:
        store: The whole one.
    """

    def __init__(self, store: Any) -> None:
        self.store = store

    def info(self, path: str) -> Any:
        try:
            return self.store.info(path)
        except FileNotFoundError as error:
            raise PermissionError("Forbidden") from error

    def cat_file(self, path: str) -> Any:
        return self.store.cat_file(path)

    def find(self, *_: Any, **__: Any) -> Any:
        raise PermissionError("Access Denied")

    glob = find


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    folder = clip_benchmark(tmp_path_factory.mktemp("copy"))
    (folder / "zeroshot_classification_templates.txt").unlink()
    with s3_server():
        upload("unlisted", {f"of/{file.relative_to(folder)}": file.read_bytes() for file in folder.rglob("*.t*")})
        yield


@pytest.fixture(autouse=True)
def unlisted(bucket: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = stores._store
    monkeypatch.setenv("STARFT_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(stores, "_store", lambda address: Unlisted(whole(address)))


def test_shards_that_are_named_are_read_without_a_list() -> None:
    """``packed.json`` and the templates aren't there; that they are forbidden is no news."""
    source = PackedSource("s3://unlisted/of", "test/{0..1}.tar").as_eval()
    table = source.table("test")
    assert table.file_bytes is not None
    assert [table.file_bytes(table.location(at)) for at in (0, 3)] == [picture(0, "webp"), picture(1, "webp")]
    assert (source.class_names, source.templates) == (("boot", "sandal"), ("a photo of a {}.",))


@pytest.mark.parametrize(
    ("shards", "named"), [("test/{0..2}.tar", "s3://unlisted/of/test/2.tar"), (None, "s3://unlisted/of")]
)
def test_a_refusal_names_both_reasons(shards: str | None, named: str) -> None:
    with pytest.raises(DataError) as caught:
        PackedSource("s3://unlisted/of", shards).table("test")
    assert str(caught.value) == (
        f"{named} may not be read with these credentials, or without any, or there is none: a store that may not be "
        "listed says no more; check the address, or set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE; "
        "for a public bucket FSSPEC_S3_ANON=true."
    )
