"""The ten scenes of the embedded world, drawn from seeded random numbers.

Every painter takes a canvas of `SIZE` x `SIZE` pixels and a `Pen` and draws a background over the whole of it.
"""

import random
from collections.abc import Callable
from dataclasses import dataclass

from PIL import ImageDraw

SIZE = 128
"""Side of the canvas in pixels; pictures are drawn at twice their size and halved."""

Color = tuple[int, int, int]


@dataclass
class Pen:
    """A canvas and the random stream that moves over it."""

    draw: ImageDraw.ImageDraw
    rng: random.Random

    def between(self, low: float, high: float) -> float:
        """Return a number drawn evenly from ``[low, high)``."""
        return low + (high - low) * self.rng.random()

    def tint(self, color: Color, amount: float = 18.0) -> Color:
        """Return ``color`` with each channel moved by up to ``amount``."""
        red, green, blue = (min(255, max(0, round(c + self.between(-amount, amount)))) for c in color)
        return red, green, blue

    def times(self, low: int, high: int) -> range:
        """Return a range of ``low`` to ``high`` (inclusive) turns."""
        return range(low + int(self.rng.random() * (high - low + 1)))

    def fill(self, top: float, bottom: float, color: Color) -> None:
        """Fill the rows from ``top`` to ``bottom``."""
        self.draw.rectangle((0, top, SIZE, bottom), fill=color)

    def blob(self, x: float, y: float, rx: float, ry: float, color: Color) -> None:
        """Fill an ellipse around (x, y)."""
        self.draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=color)


def _forest(pen: Pen) -> None:
    pen.fill(0, SIZE, pen.tint((46, 92, 44)))
    for _ in pen.times(14, 20):
        shade = pen.tint((38, 84, 36), 26)
        pen.blob(pen.between(0, SIZE), pen.between(0, 80), pen.between(9, 22), pen.between(8, 18), shade)
    for _ in pen.times(4, 6):
        x, width = pen.between(0, SIZE), pen.between(4, 9)
        pen.draw.rectangle((x, pen.between(20, 45), x + width, 112), fill=pen.tint((88, 60, 36)))
    pen.fill(pen.between(100, 112), SIZE, pen.tint((58, 70, 30)))


def _bamboo_grove(pen: Pen) -> None:
    pen.fill(0, SIZE, pen.tint((176, 204, 128)))
    for _ in pen.times(9, 13):
        x, width, shade = pen.between(-4, SIZE), pen.between(4, 8), pen.tint((112, 164, 60), 22)
        pen.draw.rectangle((x, 0, x + width, SIZE), fill=shade)
        for y in range(int(pen.between(0, 18)), SIZE, 22):
            pen.draw.rectangle((x - 1, y, x + width + 1, y + 2), fill=pen.tint((70, 112, 36)))


def _meadow(pen: Pen) -> None:
    horizon = pen.between(34, 56)
    pen.fill(0, horizon, pen.tint((168, 212, 240)))
    pen.fill(horizon, SIZE, pen.tint((124, 196, 76)))
    for _ in pen.times(16, 26):
        flower = ((240, 220, 60), (236, 120, 170), (250, 250, 250))[int(pen.rng.random() * 3)]
        size = pen.between(1.5, 3.2)
        pen.blob(pen.between(0, SIZE), pen.between(horizon + 6, SIZE), size, size, pen.tint(flower))


def _ocean(pen: Pen) -> None:
    horizon = pen.between(22, 44)
    pen.fill(0, horizon, pen.tint((184, 208, 228)))
    pen.fill(horizon, SIZE, pen.tint((24, 76, 146)))
    for _ in pen.times(14, 22):
        x, y, width = pen.between(-10, SIZE), pen.between(horizon + 3, SIZE), pen.between(10, 26)
        pen.draw.arc((x, y, x + width, y + 9), 190, 350, fill=pen.tint((208, 226, 240)), width=2)


def _lake(pen: Pen) -> None:
    shore = pen.between(44, 62)
    pen.fill(0, shore, pen.tint((206, 226, 236)))
    for _ in pen.times(3, 5):
        pen.blob(pen.between(0, SIZE), shore, pen.between(18, 36), pen.between(12, 30), pen.tint((86, 138, 92)))
    pen.fill(shore, SIZE, pen.tint((108, 176, 206)))
    for _ in pen.times(4, 7):
        x, y = pen.between(0, SIZE), pen.between(shore + 8, SIZE)
        pen.draw.line((x, y, x + pen.between(14, 30), y), fill=pen.tint((168, 212, 228)), width=2)


def _beach(pen: Pen) -> None:
    sea, sand = pen.between(30, 44), pen.between(60, 78)
    pen.fill(0, sea, pen.tint((150, 208, 244)))
    pen.fill(sea, sand, pen.tint((52, 156, 190)))
    pen.fill(sand, SIZE, pen.tint((236, 214, 158)))
    pen.draw.line((0, sand, SIZE, sand + pen.between(-6, 6)), fill=(244, 248, 248), width=6)
    for _ in pen.times(3, 6):
        pen.blob(pen.between(0, SIZE), pen.between(sand + 12, SIZE), 2.5, 1.8, pen.tint((250, 244, 232)))


def _desert(pen: Pen) -> None:
    pen.fill(0, SIZE, pen.tint((244, 204, 140)))
    for y, shade in ((74.0, (222, 166, 92)), (96.0, (206, 146, 74)), (116.0, (190, 128, 60))):
        pen.blob(pen.between(0, SIZE), y + 26, pen.between(60, 100), pen.between(22, 34), pen.tint(shade))
    for _ in pen.times(1, 2):
        x, y, green = pen.between(8, SIZE - 8), pen.between(62, 84), pen.tint((66, 118, 58))
        pen.draw.rectangle((x, y, x + 7, y + 30), fill=green)
        pen.draw.rectangle((x - 8, y + 8, x + 14, y + 13), fill=green)


def _snow(pen: Pen) -> None:
    pen.fill(0, SIZE, pen.tint((206, 216, 228), 10))
    pen.fill(pen.between(58, 76), SIZE, pen.tint((246, 248, 252), 6))
    for _ in pen.times(2, 4):
        x, y = pen.between(0, SIZE), pen.between(62, 80)
        pen.draw.polygon(((x - 11, y), (x, y - 36), (x + 11, y)), fill=pen.tint((76, 104, 100)))
    for _ in pen.times(24, 36):
        pen.blob(pen.between(0, SIZE), pen.between(0, SIZE), 1.8, 1.8, (255, 255, 255))


def _city(pen: Pen) -> None:
    pen.fill(0, SIZE, pen.tint((190, 194, 200)))
    left = pen.between(-14, 0)
    while left < SIZE:
        width, top = pen.between(16, 30), pen.between(6, 56)
        pen.draw.rectangle((left, top, left + width, 108), fill=pen.tint((112, 112, 122), 30))
        for row in range(int(top) + 5, 100, 11):
            for column in range(int(left) + 4, int(left + width) - 4, 8):
                lit = (238, 222, 150) if pen.rng.random() < 0.5 else (70, 76, 90)
                pen.draw.rectangle((column, row, column + 3, row + 4), fill=lit)
        left += width + pen.between(0, 4)
    pen.fill(108, SIZE, pen.tint((84, 84, 88)))


def _night_sky(pen: Pen) -> None:
    pen.fill(0, SIZE, pen.tint((16, 18, 52), 10))
    for _ in pen.times(26, 40):
        size = pen.between(0.7, 1.7)
        pen.blob(pen.between(0, SIZE), pen.between(0, SIZE), size, size, (246, 244, 220))
    x, y = pen.between(14, SIZE - 14), pen.between(12, 34)
    pen.blob(x, y, 10, 10, (244, 238, 196))


SCENES: dict[str, Callable[[Pen], None]] = {
    "forest": _forest,
    "bamboo grove": _bamboo_grove,
    "meadow": _meadow,
    "ocean": _ocean,
    "lake": _lake,
    "beach": _beach,
    "desert": _desert,
    "snow": _snow,
    "city": _city,
    "night sky": _night_sky,
}
"""Scene name -> painter; the first three are land, the next three water, the rest neither."""
