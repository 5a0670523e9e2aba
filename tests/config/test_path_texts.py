"""Paths as configs hold them."""

from pathlib import Path

import pytest

from starft.config.parser import path_from_text, path_to_text


@pytest.mark.parametrize("text", ["s3://bucket/a.csv", "https://host/a b.csv", "photos/a.csv", "/data"])
def test_an_address_keeps_its_slashes(text: str) -> None:
    assert path_to_text(path_from_text(text)) == text
    assert path_to_text(Path(text)) == text
