"""The contact sheet: twelve rows, ten scenes and a column of sketches, with margins for their names."""

from pathlib import Path

import numpy as np
from PIL import Image

from starft.mini.birds import SPECIES
from starft.mini.scenes import SCENES
from starft.mini.sheet import contact_sheet
from starft.mini.world import HOMES, Picture, draw


def test_contact_sheet(tmp_path: Path) -> None:
    path = tmp_path / "world.png"
    contact_sheet(path)
    with Image.open(path) as image:
        assert image.format == "PNG"
        assert image.mode == "RGB"
        assert image.size == (84 + 64 * 11, 32 + 64 * 12)
        pixels = np.asarray(image)
    assert [file.name for file in tmp_path.iterdir()] == ["world.png"]
    across, down = list(SCENES).index("city"), list(SPECIES).index("owl")
    shown = pixels[32 + 64 * down : 32 + 64 * (down + 1), 84 + 64 * across : 84 + 64 * (across + 1)]
    np.testing.assert_array_equal(shown, draw(Picture("owl", "city", "photo", "sheet/owl/city")))
    framed = {
        (species, scene)
        for down, species in enumerate(SPECIES)
        for across, scene in enumerate(SCENES)
        if (pixels[32 + 64 * down, 84 + 64 * across : 84 + 64 * (across + 1)] == (220, 30, 30)).all()
    }
    assert framed == set(HOMES.items())
    assert (pixels[:32, :84] == 255).all()  # the corner is empty, the margins aren't
    assert (pixels[:32] != 255).any()
    assert (pixels[32:, :84] != 255).any()
