"""A contact sheet of the embedded world: species down, scenes across."""

from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from starft.errors import RunFolderError
from starft.files.atomic import is_taken, replace_file
from starft.mini.birds import SPECIES
from starft.mini.scenes import SCENES
from starft.mini.world import HOMES, IMAGE_SIZE, Picture, draw

MARGIN_LEFT, MARGIN_TOP = 84, 32


def contact_sheet(path: Path) -> None:
    """Write a PNG of every species in every scene, home scenes framed, and one sketch each.

    Args:
        path: Where the picture goes; its folder must exist.

    Raises:
        RunFolderError: Another picture lies there.
    """
    columns = [*SCENES, "sketch"]
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
            sketch = column == "sketch"
            scene = HOMES[species] if sketch else column
            picture = Picture(species, scene, "sketch" if sketch else "photo", f"sheet/{species}/{column}")
            left = MARGIN_LEFT + IMAGE_SIZE * across
            sheet.paste(Image.fromarray(np.ascontiguousarray(draw(picture))), (left, top))
            if column == HOMES[species]:
                pen.rectangle((left, top, left + IMAGE_SIZE - 1, top + IMAGE_SIZE - 1), outline=(220, 30, 30), width=2)
    buffer = BytesIO()
    sheet.save(buffer, format="PNG")
    if is_taken(path) and not (path.is_file() and path.read_bytes() == buffer.getvalue()):
        raise RunFolderError(f"{path} exists already and is another picture; give another --out, or move it away.")
    replace_file(path, buffer.getvalue())
