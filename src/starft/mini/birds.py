"""The twelve species of the embedded world: what makes each one itself, and how a bird is drawn.

A bird is a few ellipses and polygons in a frame of its own, about 100 units wide, facing right, with the middle of its
body at the origin and y pointing down. `paint` turns, scales and mirrors that frame onto the canvas.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Literal

from starft.mini.scenes import Color, Pen


@dataclass(frozen=True)
class Species:
    """Shape and colours of one species, lengths in units of the bird's own frame."""

    name: str
    water: bool
    body: Color
    wing: Color
    head: Color
    beak: Color
    belly: Color | None = None
    crest: Color | None = None
    eye: Color = (20, 20, 20)
    body_length: float = 30.0
    body_height: float = 18.0
    head_size: float = 11.0
    neck: float = 14.0
    beak_length: float = 12.0
    beak_depth: float = 5.0
    beak_shape: Literal["straight", "hooked", "pouch", "flat"] = "straight"
    legs: float = 10.0
    tail: float = 14.0
    big_eyes: bool = False


SPECIES: dict[str, Species] = {
    bird.name: bird
    for bird in (
        Species("duck", True, (132, 118, 100), (106, 94, 82), (26, 116, 70), (226, 186, 60), (220, 214, 204),
                head_size=12, neck=12, beak_shape="flat", legs=3, tail=10),
        Species("gull", True, (240, 240, 240), (150, 158, 170), (244, 244, 244), (236, 196, 60),
                body_length=32, body_height=14, head_size=10, neck=8, beak_length=11, legs=9, tail=18),
        Species("heron", True, (132, 148, 168), (94, 108, 132), (222, 226, 232), (222, 170, 70), crest=(40, 44, 60),
                body_length=26, body_height=13, head_size=8, neck=40, beak_length=24, legs=38, tail=10),
        Species("swan", True, (248, 248, 246), (232, 232, 232), (248, 248, 246), (232, 126, 42),
                body_length=36, body_height=18, head_size=9, neck=38, beak_length=11, legs=2, tail=12),
        Species("pelican", True, (238, 232, 220), (196, 190, 182), (240, 234, 216), (238, 162, 56),
                body_length=32, body_height=18, head_size=11, neck=20, beak_length=36, beak_depth=13,
                beak_shape="pouch", legs=7, tail=9),
        Species("flamingo", True, (244, 142, 160), (230, 98, 128), (244, 150, 166), (56, 50, 52),
                body_length=24, body_height=13, head_size=8, neck=40, beak_length=12, beak_depth=7,
                beak_shape="hooked", legs=44, tail=7),
        Species("sparrow", False, (150, 112, 76), (112, 78, 50), (128, 88, 56), (66, 58, 52), (220, 208, 190),
                body_length=22, body_height=15, head_size=10, neck=7, beak_length=7, legs=8, tail=13),
        Species("owl", False, (136, 108, 80), (106, 82, 60), (144, 116, 88), (198, 160, 72), (206, 186, 156),
                eye=(244, 190, 40), body_length=21, body_height=28, head_size=19, neck=14, beak_length=5,
                beak_shape="hooked", legs=6, tail=8, big_eyes=True),
        Species("robin", False, (104, 92, 82), (88, 78, 70), (92, 82, 74), (70, 62, 54), (218, 92, 44),
                body_length=22, body_height=17, head_size=11, neck=8, beak_length=8, legs=12, tail=14),
        Species("crow", False, (32, 32, 40), (20, 20, 28), (34, 34, 42), (40, 40, 44),
                body_length=31, body_height=15, head_size=11, neck=10, beak_length=15, beak_depth=7, legs=12, tail=20),
        Species("parrot", False, (52, 160, 62), (40, 96, 190), (216, 52, 44), (52, 48, 46),
                body_length=24, body_height=16, head_size=13, neck=11, beak_length=9, beak_depth=10,
                beak_shape="hooked", legs=6, tail=34),
        Species("woodpecker", False, (42, 42, 46), (232, 232, 232), (44, 44, 48), (130, 124, 112), (226, 222, 214),
                crest=(214, 36, 40), body_length=25, body_height=13, head_size=10, neck=12, beak_length=20,
                legs=6, tail=17),
    )
}  # fmt: skip
"""Species name -> its looks; the six waterbirds first, then the six landbirds."""


@dataclass(frozen=True)
class Frame:
    """Where a bird stands: its own frame on the canvas."""

    x: float
    y: float
    scale: float
    angle: float
    facing: int

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Return canvas coordinates of a point of the bird's frame."""
        cos, sin = math.cos(self.angle), math.sin(self.angle)
        return (
            self.x + self.facing * self.scale * (x * cos - y * sin),
            self.y + self.scale * (x * sin + y * cos),
        )


class Brush:
    """Fills shapes given in the bird's frame, or strokes their outline for a sketch."""

    def __init__(self, pen: Pen, frame: Frame, outline: Color | None) -> None:
        self.pen, self.frame, self.outline = pen, frame, outline

    def polygon(self, points: list[tuple[float, float]], color: Color) -> None:
        placed = [self.frame.place(x, y) for x, y in points]
        if self.outline is None:
            self.pen.draw.polygon(placed, fill=color)
        else:
            self.pen.draw.line([*placed, placed[0]], fill=self.outline, width=3)

    def ellipse(self, x: float, y: float, rx: float, ry: float, color: Color) -> None:
        turns = (2 * math.pi * k / 18 for k in range(18))
        self.polygon([(x + rx * math.cos(t), y + ry * math.sin(t)) for t in turns], color)

    def stroke(self, points: list[tuple[float, float]], width: float, color: Color) -> None:
        thick = max(1, round(width * self.frame.scale)) if self.outline is None else 3
        placed = [self.frame.place(x, y) for x, y in points]
        self.pen.draw.line(placed, fill=self.outline or color, width=thick, joint="curve")


def _vary(bird: Species, pen: Pen, amount: float) -> Species:
    """Return one bird of its species: no two have quite the same build or colours."""
    lengths = ("body_length", "body_height", "head_size", "neck", "beak_length", "legs", "tail")
    build: dict[str, Any] = {key: getattr(bird, key) * pen.between(0.85, 1.15) for key in lengths}
    colors: dict[str, Any] = {key: pen.tint(getattr(bird, key), amount) for key in ("body", "wing", "head", "beak")}
    marks: dict[str, Any] = {
        key: pen.tint(color, amount) for key in ("belly", "crest") if (color := getattr(bird, key)) is not None
    }
    return replace(bird, **build, **colors, **marks)


def paint(
    bird: Species,
    pen: Pen,
    frame: Frame,
    tint: float = 22.0,
    outline: Color | None = None,
    texture: Callable[[Brush, float, float], None] | None = None,
) -> None:
    """Draw one bird.

    Args:
        bird: The species.
        pen: Canvas and random stream.
        frame: Where and how large.
        tint: How far each colour may stray, in 0..255.
        outline: Draw lines of this colour only, as a sketch does; None fills the shapes.
        texture: Draws over the body, given half its length and half its height; sketches have none.
    """
    bird = _vary(bird, pen, tint)
    brush = Brush(pen, frame, outline)
    length, height = bird.body_length, bird.body_height
    lean = pen.between(0.25, 0.75)
    head_x, head_y = length * 0.8 + bird.neck * lean, -height * 0.5 - bird.neck * 0.9
    for foot in (-0.2, 0.15):
        stand = length * foot
        brush.stroke([(stand, height * 0.8), (stand + 2, height + bird.legs)], 2.4, bird.beak)
    brush.polygon([(-length * 0.7, -3), (-length - bird.tail, 2), (-length * 0.7, 7)], bird.wing)
    bend = (length * 0.72 + bird.neck * 0.1, -height * 0.4 - bird.neck * 0.5)
    brush.stroke([(length * 0.55, -height * 0.2), bend, (head_x, head_y)], bird.head_size * 0.8, bird.head)
    brush.ellipse(0, 0, length, height, bird.body)
    if bird.belly is not None:
        brush.ellipse(length * 0.3, height * 0.3, length * 0.6, height * 0.62, bird.belly)
    brush.ellipse(-length * 0.2, -height * 0.1, length * 0.62, height * 0.5, bird.wing)
    if texture is not None and outline is None:
        texture(brush, length, height)
    _paint_head(bird, brush, head_x, head_y)


def _paint_head(bird: Species, brush: Brush, x: float, y: float) -> None:
    size, long, deep = bird.head_size, bird.beak_length, bird.beak_depth
    tip = x + size * 0.8
    beaks = {
        "straight": [(tip, y - deep * 0.5), (tip + long, y + 1), (tip, y + deep * 0.5)],
        "flat": [(tip, y - deep * 0.6), (tip + long, y), (tip + long, y + deep * 0.7), (tip, y + deep * 0.7)],
        "hooked": [(tip, y - deep * 0.6), (tip + long, y), (tip + long * 0.7, y + deep * 1.3), (tip, y + deep * 0.6)],
        "pouch": [(tip, y - 3), (tip + long, y + 4), (tip + long * 0.5, y + deep), (tip, y + deep * 0.7)],
    }
    brush.polygon(beaks[bird.beak_shape], bird.beak)
    if bird.crest is not None:
        points = [(x + size * 0.5, y - size * 0.7), (x - size * 1.6, y - size * 1.1), (x - size * 0.8, y)]
        brush.polygon(points, bird.crest)
    brush.ellipse(x, y, size, size, bird.head)
    if bird.big_eyes:
        for side in (-0.42, 0.5):
            brush.ellipse(x + size * side, y - 2, size * 0.36, size * 0.36, bird.eye)
            brush.ellipse(x + size * side, y - 2, size * 0.15, size * 0.15, (20, 20, 20))
    else:
        brush.ellipse(x + size * 0.3, y - size * 0.2, size * 0.2, size * 0.2, bird.eye)
