"""The preprocessing in a card's code: what it makes of an image is what our own transform makes of it."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image, ImageOps

from starft.data.transforms import eval_transform
from starft.exporting.snippets import prepare_code
from starft.types import ImagePreprocessing

SQUARE, WIDE = (64, 64), (48, 80)


@pytest.mark.parametrize("size", [(90, 70), (71, 200), (64, 64), (31, 45)], ids=str)
@pytest.mark.parametrize(
    "given",
    [
        ImagePreprocessing(SQUARE),
        ImagePreprocessing(SQUARE, interpolation="bilinear", mean=(0.5, 0.4, 0.3), std=(0.1, 0.2, 0.3)),
        ImagePreprocessing(WIDE, interpolation="bilinear"),
        ImagePreprocessing(SQUARE, resize_mode="longest", fill_color=127),
        ImagePreprocessing(WIDE, resize_mode="longest"),
        ImagePreprocessing(SQUARE, resize_mode="squash"),
        ImagePreprocessing(WIDE, resize_mode="squash", interpolation="bilinear"),
    ],
    ids=lambda one: f"{one.resize_mode}-{one.size[1]}-{one.interpolation}",
)
def test_an_image_is_prepared_as_by_our_own_transform(
    given: ImagePreprocessing, size: tuple[int, int], tmp_path: Path
) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    image = Image.fromarray(noise)
    image.save(tmp_path / "photo.png")
    held: dict[str, Any] = {"np": np, "Image": Image, "ImageOps": ImageOps}
    exec(prepare_code(given), held)
    found = held["prepare"](tmp_path / "photo.png")
    assert (found.dtype, found.shape) == (np.float32, (1, 3, *given.size))
    np.testing.assert_allclose(found[0], eval_transform(given)(image).numpy(), rtol=0, atol=1e-6)
