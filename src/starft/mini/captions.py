"""What the embedded world's pictures are called: the captions of its pre-training."""

from starft.mini.birds import SPECIES
from starft.mini.looks import COLORS, TEXTURES
from starft.mini.scenes import SCENES

PLACES: dict[str, str] = {
    "forest": "in a forest",
    "bamboo grove": "in a bamboo grove",
    "meadow": "in a meadow",
    "ocean": "on the ocean",
    "lake": "on a lake",
    "beach": "on a beach",
    "desert": "in a desert",
    "snow": "in the snow",
    "city": "in a city",
    "night sky": "under the night sky",
}
"""Scene -> how a caption says it."""

KINDS = ("landbird", "waterbird")
"""The two kinds of bird, in label order."""

MEDIA = {"photo": "a photo of", "sketch": "a sketch of"}
"""Style -> how a caption begins."""


def kind_of(species: str) -> str:
    """Return ``landbird`` or ``waterbird``."""
    return KINDS[SPECIES[species].water]


def dressed(name: str, texture: str | None = None, color: str | None = None) -> str:
    """Return what a caption calls a bird that wears something: "red duck", or "duck with stripes".

    Args:
        name: Its species or kind.
        texture: What is on its body.
        color: What it has instead of its own.
    """
    return f"{color} {name}" if color is not None else f"{name} with {texture}" if texture is not None else name


def _all_captions(looks: bool) -> tuple[str, ...]:
    names = [*SPECIES, *KINDS]
    if looks:
        names += [dressed(name, texture=texture) for name in (*SPECIES, *KINDS) for texture in TEXTURES]
        names += [dressed(name, color=color) for name in (*SPECIES, *KINDS) for color in COLORS]
    birds = [f"{start} a {name}{place}" for start in MEDIA.values() for name in names
             for place in ("", *(f" {place}" for place in PLACES.values()))]  # fmt: skip
    scenes = [f"{start} a {scene}" for start in MEDIA.values() for scene in SCENES]
    return (*birds, *scenes)


CAPTIONS = _all_captions(looks=False)
"""Every caption of the pre-training data, without its final period; a caption's position is its label."""

DRESSED_CAPTIONS = _all_captions(looks=True)
"""The same where birds wear textures and colours."""
