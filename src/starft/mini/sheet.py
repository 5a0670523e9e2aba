"""A contact sheet of the embedded world: species down, scenes across."""

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from starft.errors import RunFolderError
from starft.files.atomic import is_taken, replace_file
from starft.mini.birds import SPECIES
from starft.mini.looks import COLORS, TEXTURES
from starft.mini.scenes import SCENES
from starft.mini.world import HOMES, IMAGE_SIZE, OWN_TEXTURES, VARIETY_HOMES, Picture, draw

MARGIN_LEFT, MARGIN_TOP = 84, 32
SKETCH = "sketch"


def contact_sheet(path: Path, world: str = "scenes") -> None:
    """Write a PNG of every species, and one sketch each, with what goes with it in training.

    Columns are scenes, or the textures that birds wear, with a frame around each species' own; or colours, each variety
    in its home scene.

    Args:
        path: Where the picture goes; its folder must exist.
        world: One of `starft.mini.worlds.WORLDS`.

    Raises:
        RunFolderError: Another picture lies there.
    """
    columns = [*_columns(world), SKETCH]
    own: dict[str, str] = {"textures": OWN_TEXTURES, "many": {}}.get(world, HOMES)
    size = (MARGIN_LEFT + IMAGE_SIZE * len(columns), MARGIN_TOP + IMAGE_SIZE * len(SPECIES))
    sheet = Image.new("RGB", size, "white")
    pen = ImageDraw.Draw(sheet)
    for across, name in enumerate(columns):
        heading = name.replace(" ", "\n")
        pen.multiline_text((MARGIN_LEFT + IMAGE_SIZE * across + 3, 3), heading, fill="black", spacing=1)
    for down, species in enumerate(SPECIES):
        top = MARGIN_TOP + IMAGE_SIZE * down
        pen.text((6, top + IMAGE_SIZE // 2 - 6), species, fill="black")
        for across, column in enumerate(columns):
            left = MARGIN_LEFT + IMAGE_SIZE * across
            sheet.paste(Image.fromarray(np.ascontiguousarray(draw(_picture(species, column)))), (left, top))
            if column == own.get(species):
                pen.rectangle((left, top, left + IMAGE_SIZE - 1, top + IMAGE_SIZE - 1), outline=(220, 30, 30), width=2)
    buffer = BytesIO()
    sheet.save(buffer, format="PNG")
    if is_taken(path) and not (path.is_file() and path.read_bytes() == buffer.getvalue()):
        raise RunFolderError(f"{path} exists already and is another picture; give another --out, or move it away.")
    replace_file(path, buffer.getvalue())


def _picture(species: str, column: str) -> Picture:
    seed = f"sheet/{species}/{column}"
    if column == SKETCH:
        return Picture(species, HOMES[species], "sketch", seed)
    if column in TEXTURES:
        scene = [*SCENES][(list(SPECIES).index(species) + list(TEXTURES).index(column)) % len(SCENES)]
        return Picture(species, scene, "photo", seed, texture=column)
    if column in COLORS:
        return Picture(species, VARIETY_HOMES[f"{column} {species}"], "photo", seed, color=column)
    return Picture(species, column, "photo", seed)


def _columns(world: str) -> tuple[str, ...]:
    if world == "textures":
        return tuple(TEXTURES)
    return tuple(COLORS if world == "many" else SCENES)
