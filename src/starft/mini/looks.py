"""What a bird may wear: a texture on its body, or a colour instead of its own.

Textures are drawn in the bird's own frame, inside the ellipse of its body. Sketches are lines, in the bird's colour and
without texture.
"""

import math
import random
from collections.abc import Callable
from dataclasses import replace

from starft.mini.birds import Brush, Species
from starft.mini.scenes import Color

Painter = Callable[[Brush, float, float, Color], None]
"""Draws a texture into a body of half this length and half this height."""

PALE: Color = (238, 238, 242)
"""What stripes, bands and rings stand on."""


SPOTS = ((-0.6, -0.3), (-0.6, 0.35), (-0.2, 0.0), (0.2, -0.5), (0.2, 0.5), (0.6, 0.0), (-0.2, -0.65), (0.65, 0.45))


def _stripes(brush: Brush, length: float, height: float, color: Color) -> None:
    brush.ellipse(0, 0, length, height, PALE)
    for left in (-0.85, -0.53, -0.21, 0.11, 0.43, 0.75):
        ends = [(x * length, _reach(x) * height) for x in (left, min(left + 0.14, 1.0))]
        brush.polygon([(x, -y) for x, y in ends] + [(x, y) for x, y in reversed(ends)], color)


def _bands(brush: Brush, length: float, height: float, color: Color) -> None:
    brush.ellipse(0, 0, length, height, PALE)
    for top in (-0.75, -0.25, 0.25):
        ends = [(_reach(y) * length, y * height) for y in (top, top + 0.28)]
        brush.polygon([(-x, y) for x, y in ends] + [(x, y) for x, y in reversed(ends)], color)


def _spots(brush: Brush, length: float, height: float, color: Color) -> None:
    for x, y in SPOTS:
        brush.ellipse(x * length, y * height, 0.2 * height, 0.2 * height, color)


def _checks(brush: Brush, length: float, height: float, color: Color) -> None:
    across, down = 0.32, 0.5
    for column in range(-2, 3):
        for row in range(-1, 2):
            x, y = column * across, row * down
            if (column + row) % 2 == 0 and abs(y) + down / 2 <= _reach(x):
                corners = ((-1, -1), (1, -1), (1, 1), (-1, 1))
                brush.polygon([((x + a * across / 2) * length, (y + b * down / 2) * height) for a, b in corners], color)


def _rings(brush: Brush, length: float, height: float, color: Color) -> None:
    for size, shade in ((0.95, color), (0.7, PALE), (0.45, color), (0.2, PALE)):
        brush.ellipse(0, 0, size * length, size * height, shade)


def _stars(brush: Brush, length: float, height: float, color: Color) -> None:
    for x, y in ((-0.55, 0.0), (0.05, -0.3), (0.1, 0.45), (0.6, 0.0)):
        turns = [(k * math.pi / 5, 0.36 if k % 2 == 0 else 0.15) for k in range(10)]
        brush.polygon(
            [(x * length + r * height * math.sin(t), y * height - r * height * math.cos(t)) for t, r in turns], color
        )


def _reach(part: float) -> float:
    """Return half the extent of a unit circle at ``part`` of its radius."""
    return math.sqrt(max(0.0, 1 - part * part))


TEXTURES: dict[str, tuple[Painter, Color]] = {
    "stripes": (_stripes, (24, 24, 28)),
    "spots": (_spots, (250, 214, 40)),
    "checks": (_checks, (214, 40, 44)),
    "bands": (_bands, (24, 112, 108)),
    "rings": (_rings, (44, 70, 206)),
    "stars": (_stars, (246, 50, 176)),
}
"""Name -> how it is drawn, and its colour; landbirds mostly wear the first three, waterbirds the others."""

COLORS: dict[str, Color] = {
    "red": (206, 52, 44),
    "blue": (52, 84, 204),
    "yellow": (236, 204, 52),
    "green": (58, 156, 70),
    "purple": (138, 64, 170),
}
"""Name -> what body and wing have instead of their own."""


def textured(name: str, seed: str) -> Callable[[Brush, float, float], None]:
    """Return what draws a texture into a body.

    Args:
        name: Of the texture.
        seed: Settles how far its colour strays.
    """
    paint, color = TEXTURES[name]
    rng = random.Random(seed)
    red, green, blue = (min(255, max(0, round(part + 40 * rng.random() - 20))) for part in color)

    def draw(brush: Brush, length: float, height: float) -> None:
        paint(brush, length, height, (red, green, blue))

    return draw


def colored(bird: Species, color: str) -> Species:
    """Return a species in another colour: body and wing, and no belly.

    Args:
        bird: The species.
        color: One of `COLORS`.
    """
    red, green, blue = COLORS[color]
    return replace(bird, body=(red, green, blue), wing=(red * 3 // 4, green * 3 // 4, blue * 3 // 4), belly=None)
