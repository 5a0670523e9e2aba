"""The contact sheet: twelve rows, ten scenes and a column of sketches, with margins for their names."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from starft.mini.birds import SPECIES
from starft.mini.looks import COLORS, TEXTURES
from starft.mini.scenes import SCENES
from starft.mini.sheet import contact_sheet
from starft.mini.world import HOMES, OWN_TEXTURES, VARIETY_HOMES, Picture, draw


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


@pytest.mark.parametrize(("world", "columns"), [("textures", [*TEXTURES]), ("many", [*COLORS])])
def test_sheets_of_other_worlds(world: str, columns: list[str], tmp_path: Path) -> None:
    """Textures have a frame around each species' own, in any scene; varieties stand in their home scenes."""
    contact_sheet(tmp_path / "world.png", world)
    with Image.open(tmp_path / "world.png") as image:
        assert image.size == (84 + 64 * (len(columns) + 1), 32 + 64 * 12)
        pixels = np.asarray(image)
    framed = set()
    for down, species in enumerate(SPECIES):
        for across, column in enumerate(columns):
            shown = pixels[32 + 64 * down : 32 + 64 * (down + 1), 84 + 64 * across : 84 + 64 * (across + 1)]
            if (shown[0] == (220, 30, 30)).all():
                framed.add((species, column))
            elif world == "many":
                seed, home = f"sheet/{species}/{column}", VARIETY_HOMES[f"{column} {species}"]
                np.testing.assert_array_equal(shown, draw(Picture(species, home, "photo", seed, color=column)))
    assert framed == (set(OWN_TEXTURES.items()) if world == "textures" else set())
