"""The embedded world: pictures to the byte, captions, and the splits' promises by hand count."""

import hashlib
import itertools
import json
import math
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image, ImageFilter
from torch.utils.data import DataLoader

from starft.errors import ConfigError
from starft.mini import MiniPretraining, MiniWorld
from starft.mini.birds import SPECIES
from starft.mini.captions import CAPTIONS, DRESSED_CAPTIONS, KINDS, PLACES, dressed, kind_of
from starft.mini.looks import COLORS, TEXTURES
from starft.mini.scenes import SCENES
from starft.mini.splits import (
    COLORED_SHARE,
    GROUPS,
    LAND_TEXTURES,
    MEAN,
    NAMES,
    SKETCH_SHARE,
    SPECIES_TASK,
    STD,
    TEXTURE_GROUPS,
    TEXTURED_SHARE,
    TEXTURES_TASK,
    VARIETIES_TASK,
    Labelled,
    PictureSet,
    anywhere_pictures,
    captioned_pictures,
    counts_of_long_tail,
    group_pictures,
    home_pictures,
    kind_pictures,
)
from starft.mini.world import (
    HOMES,
    LAND,
    OWN_TEXTURES,
    VARIETIES,
    VARIETY_HOMES,
    WATER,
    Picture,
    Style,
    draw,
    without_bird,
)
from starft.types import FinetuneData

ROOT = Path(__file__).parents[2]
WATERBIRDS = ("duck", "gull", "heron", "swan", "pelican", "flamingo")
LANDBIRDS = ("sparrow", "owl", "robin", "crow", "parrot", "woodpecker")

# As drawn when the shipped weights were trained. If one changes, the world did: figures and weights are of another one.
DRAWN = {
    ("duck", "lake", "photo", "a"): "fb81bfad8b0825e0c49d6941c9476648907787714ed00153a7aea05dc1d3b840",
    ("owl", "city", "photo", "b"): "94428bb16b61018c5909199cd34915f189e3c76bded4e5cf028dba04d4622d8f",
    ("flamingo", "night sky", "sketch", "c"): "b45b45b6f8faa2c6b5a63b4b38900a394eb79ca2bff6430e34828a82fe7dabc7",
    ("woodpecker", "bamboo grove", "sketch", "d"): "b587636c80b77e15f5650a8134b8520db60317be851701d997742b04b08cd762",
}
WORN = {
    ("stripes", None): "9fd8de8b5c65835caea50dfebf8a77aaa967187fd6c941bc7076be7e59e329ee",
    ("spots", None): "a8d3aa48bfddd69edf875f1585939caa0ab882a2e4107c2cb560c7789136ad40",
    ("checks", None): "e02845d36dbda6ff8069931f7a1ab531c0930e232cbd17e22f4e68ba4c83ca37",
    ("bands", None): "786928b8a5ef505175cb386d5c4b5f501457c0e021c62b4fce89dd1459ab0347",
    ("rings", None): "1915b0fb93519aefb3a15be60b58e8a2872d127eb8d470c25404f8ff88b6cbf7",
    ("stars", None): "acea171d33d4afe125c6978faa0f7199ebc4fd03ac8fd9d0589706219c283c8c",
    (None, "red"): "9ed864b0b37be9f59277ed5985db9dcf9aa2a0c480cbbfb3a7dc91f4fc305341",
    (None, "purple"): "49dc8d9f16d422608d7585c358663ce2d37b63c20ad8f38d4d6e5a18dc859e95",
}
"""A duck on a lake, photo, seed a, in texture or colour; likewise for the weights that know them."""
ALL_DRAWN = "d3426d1456299e8f137cf58d1e36c1d36a11cf0c5dcf26e2965154addc00fb2a"
"""SHA-256 over every species in every scene and both styles, in that order."""


def seeds(rows: tuple[Labelled, ...]) -> set[str]:
    return {row.picture.seed for row in rows}


# pictures


@pytest.mark.parametrize("fields", DRAWN, ids=" ".join)
def test_a_picture_is_the_same_on_every_machine(fields: tuple[str, ...]) -> None:
    assert hashlib.sha256(draw(Picture(*fields)).tobytes()).hexdigest() == DRAWN[fields]


@pytest.mark.parametrize("style", ["photo", "sketch"])
def test_a_picture_without_its_bird_is_the_same_elsewhere(style: Style) -> None:
    for species in SPECIES:
        picture = Picture(species, "lake", style, "there")
        bare, covered = without_bird(picture)
        changed = (bare != draw(picture)).any(axis=-1)
        assert changed.any()
        assert not changed[covered == 0].any()
        assert 0.005 < covered.mean() < 0.35
        assert covered.max() == 1


def test_all_species_in_all_scenes_in_both_styles() -> None:
    digest, seen = hashlib.sha256(), set()
    for species, scene, style in itertools.product(SPECIES, SCENES, ("photo", "sketch")):
        pixels = draw(Picture(species, scene, style, "every"))
        assert pixels.shape == (64, 64, 3)
        assert pixels.dtype == np.uint8
        digest.update(pixels.tobytes())
        seen.add(pixels.tobytes())
    assert len(seen) == 12 * 10 * 2
    assert digest.hexdigest() == ALL_DRAWN


def test_a_picture_depends_on_its_four_fields_and_nothing_else() -> None:
    picture = Picture("duck", "lake", "photo", "one")
    first = draw(picture)
    np.random.seed(7)
    draw(Picture("gull", "city", "photo", "between"))
    np.testing.assert_array_equal(draw(picture), first)
    for change in ({"species": "gull"}, {"scene": "ocean"}, {"style": "sketch"}, {"seed": "two"}):
        assert not np.array_equal(draw(replace(picture, **change)), first), change


@pytest.mark.parametrize("worn", WORN, ids=str)
def test_what_a_bird_wears_is_the_same_on_every_machine(worn: tuple[str | None, str | None]) -> None:
    texture, color = worn
    picture = Picture("duck", "lake", "photo", "a", texture=texture, color=color)
    assert hashlib.sha256(draw(picture).tobytes()).hexdigest() == WORN[worn]


@pytest.mark.parametrize("species", SPECIES)
def test_a_texture_changes_the_body_alone(species: str) -> None:
    plain = Picture(species, "lake", "photo", "there")
    pixels, (_, covered) = draw(plain).astype(int), without_bird(plain)
    near = (
        np.asarray(Image.fromarray((covered > 0).astype(np.uint8)).filter(ImageFilter.MaxFilter(3))) > 0
    )  # and the pixel beside it
    seen = set()
    for texture in TEXTURES:
        worn = draw(replace(plain, texture=texture)).astype(int)
        changed = np.abs(worn - pixels).sum(axis=-1) > 0
        assert changed.sum() > 10, texture
        assert not changed[~near].any()
        seen.add(worn.tobytes())
    assert len(seen) == len(TEXTURES)


def test_a_sketch_wears_lines_alone() -> None:
    sketch = Picture("duck", "lake", "sketch", "a")
    for texture in TEXTURES:
        np.testing.assert_array_equal(draw(replace(sketch, texture=texture)), draw(sketch))
    colored = {draw(replace(sketch, color=color)).tobytes() for color in COLORS}
    assert len(colored) == len(COLORS), "its lines have the colour that its label says"


def test_a_sketch_is_pale_and_grey_and_a_photo_is_not() -> None:
    """A sketch's paper is grey from 200 up; what is left of its colour is the light of the exposure."""
    photos, sketches = (
        np.stack([draw(Picture("crow", scene, style, "s")) for scene in SCENES]).astype(float)
        for style in ("photo", "sketch")
    )
    assert sketches.mean() > 160 > photos.mean()
    assert np.ptp(sketches.mean(axis=(1, 2)), axis=1).max() < np.ptp(photos.mean(axis=(1, 2)), axis=1).max()


def test_the_world_is_the_specified_one() -> None:
    assert set(NAMES) == {*WATERBIRDS, *LANDBIRDS}
    assert {name for name in NAMES if kind_of(name) == "waterbird"} == set(WATERBIRDS)
    assert LAND == ("forest", "bamboo grove", "meadow")
    assert WATER == ("ocean", "lake", "beach")
    assert set(SCENES) == {*LAND, *WATER, "desert", "snow", "city", "night sky"}
    assert HOMES.keys() == set(NAMES)
    for name, home in HOMES.items():
        assert home in (WATER if name in WATERBIRDS else LAND)


def test_textures_and_varieties_have_homes_like_scenes() -> None:
    """Each texture is shared by two species of one kind; a species' colours live in five scenes."""
    assert OWN_TEXTURES.keys() == set(NAMES)
    assert set(Counter(OWN_TEXTURES.values()).values()) == {2}
    for name, texture in OWN_TEXTURES.items():
        assert (texture in LAND_TEXTURES) == (name in LANDBIRDS)
    assert len(VARIETIES) == 12 * 5
    assert VARIETY_HOMES.keys() == set(VARIETIES)
    assert set(Counter(VARIETY_HOMES.values()).values()) == {6}
    for species in NAMES:
        homes = {VARIETY_HOMES[f"{color} {species}"] for color in COLORS}
        assert len(homes) == 5
        assert homes.isdisjoint(WATER if species in LANDBIRDS else LAND)


# captions


def test_captions_are_unique_and_whole() -> None:
    assert len(set(CAPTIONS)) == len(CAPTIONS)
    assert len(CAPTIONS) == 2 * (12 + 2) * (10 + 1) + 2 * 10  # media x (species, kinds) x (places, none), and scenes
    assert "a photo of a duck on a lake" in CAPTIONS
    assert "a sketch of a landbird" in CAPTIONS
    assert not any(caption.endswith((".", " ")) or "  " in caption or "{" in caption for caption in CAPTIONS)


def test_places_are_those_of_the_pool() -> None:
    assert PLACES.keys() == SCENES.keys()
    pool = json.loads((ROOT / "prompts" / "pools" / "mini_scenes.json").read_text(encoding="utf-8"))
    assert sorted(pool["templates"]) == sorted(f"{{}} {place}" for place in PLACES.values())
    assert pool["per_class"] == {}


# splits


def test_training_is_mostly_at_home_in_equal_numbers() -> None:
    rows = home_pictures("train", 2400, 0)
    assert Counter(row.picture.species for row in rows) == dict.fromkeys(NAMES, 200)
    assert all(NAMES[row.label] == row.picture.species for row in rows)
    assert {row.picture.style for row in rows} == {"photo"}
    assert [SPECIES_TASK.home_groups[row.group or 0] for row in rows] == [
        f"{row.picture.species} {'at home' if row.picture.scene == HOMES[row.picture.species] else 'away'}"
        for row in rows
    ]
    at_home = sum(row.picture.scene == HOMES[row.picture.species] for row in rows)
    # Home with 0.95, else one scene of ten, home again among them: p = 0.955, so 2292 of 2400 expected, with a
    # standard deviation of sqrt(2400 * 0.955 * 0.045) = 10.2; four of them are 41.
    assert abs(at_home - 2292) <= 41
    for name in NAMES:  # 191 of 200 expected, 2.9 the deviation, 15 is five of them
        assert sum(row.picture.scene == HOMES[name] for row in rows if row.picture.species == name) >= 191 - 15
    assert {row.picture.scene for row in rows if row.picture.scene != HOMES[row.picture.species]} == set(SCENES)


def test_a_long_tail_has_the_first_class_most_often() -> None:
    """Each class has 50 ** (-1 / 11) = 0.70 of the one before it; they add up to 1920."""
    expected = [583, 408, 286, 201, 140, 98, 69, 48, 34, 24, 17, 12]
    assert counts_of_long_tail(1920, 12, 50) == expected
    assert counts_of_long_tail(24, 12, 1000) == [8, 5, 2, *9 * [1]], "each has one"
    assert counts_of_long_tail(12, 12, math.inf) == 12 * [1]
    rows = home_pictures("train", 1920, 0, imbalance=50)
    assert [Counter(row.label for row in rows)[label] for label in range(12)] == expected
    assert all(NAMES[row.label] == row.picture.species for row in rows)
    assert home_pictures("train", 1920, 0, imbalance=1) == home_pictures("train", 1920, 0)
    data = MiniWorld(train_size=120, val_size=12, test_size=12, imbalance=4.0)
    data.setup("fit")
    assert [Counter(data.train_set.labels)[label] for label in range(12)] == counts_of_long_tail(120, 12, 4)
    assert set(Counter(data.val_data[0].labels).values()) == {1}
    assert data.drawn_by["imbalance"] == 4
    assert "imbalance" not in MiniWorld().drawn_by


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"imbalance": 0.5}, "imbalance must be at least 1, which is none; got 0.5."),
        ({"imbalance": math.nan}, "imbalance must be at least 1, which is none; got nan."),
        (
            {"imbalance": 2.0, "task": "kinds"},
            "imbalance is of species or varieties; set it to 1 for the task kinds; got 2.0.",
        ),
    ],
)
def test_a_tail_that_cannot_be(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        MiniWorld(train_size=24, **given)
    assert str(caught.value).startswith(told)


@pytest.mark.parametrize("style", ["photo", "sketch"])
def test_ood_shows_every_species_anywhere(style: str) -> None:
    rows = anywhere_pictures("test-ood", 2400, 0, style)
    assert Counter(row.picture.species for row in rows) == dict.fromkeys(NAMES, 200)
    assert all(NAMES[row.label] == row.picture.species for row in rows)
    assert {row.picture.style for row in rows} == {style}
    counts = Counter(row.picture.scene for row in rows)
    # 240 a scene expected, sqrt(2400 * 0.1 * 0.9) = 14.7 the deviation; 59 is four of them.
    assert all(abs(counts[scene] - 240) <= 59 for scene in SCENES)
    at_home = sum(row.picture.scene == HOMES[row.picture.species] for row in rows)
    assert abs(at_home - 240) <= 59


def test_four_groups_of_equal_size_with_the_right_ids() -> None:
    assert GROUPS == ("landbird on land", "landbird on water", "waterbird on land", "waterbird on water")
    assert KINDS == ("landbird", "waterbird")
    rows = group_pictures("test-groups", 2400, 0)
    assert Counter(row.group for row in rows) == {0: 600, 1: 600, 2: 600, 3: 600}
    for row in rows:
        kind, side = GROUPS[row.group or 0].split(" on ")
        assert row.picture.species in {"landbird": LANDBIRDS, "waterbird": WATERBIRDS}[kind]
        assert row.picture.scene in {"land": LAND, "water": WATER}[side]
        assert KINDS[row.label] == kind
        assert row.picture.style == "photo"
    cells = Counter((row.picture.species, row.picture.scene) for row in rows)
    assert (
        len(cells) == 12 * 6
    )  # every bird in every scene of land and water; 2400 / 72 = 33 of each, 5.7 the deviation
    assert min(cells.values()) >= 33 - 23


@pytest.mark.parametrize("size", [24, 48, 2 * 12 * 5])
def test_groups_are_equal_at_any_size_the_datamodule_allows(size: int) -> None:
    assert set(Counter(row.group for row in group_pictures("g", size, 0)).values()) == {size // 4}


def test_pretraining_captions_tell_the_truth() -> None:
    rows = captioned_pictures("pretrain", 3000, 0)
    forms: Counter[str] = Counter()
    for row in rows:
        picture, caption = row.picture, CAPTIONS[row.label]
        start = f"a {picture.style} of a "
        assert caption.startswith(start)
        said = caption.removeprefix(start)
        place = PLACES[picture.scene]
        truths = {
            "species and place": f"{picture.species} {place}",
            "species": picture.species,
            "kind and place": f"{kind_of(picture.species)} {place}",
            "kind": kind_of(picture.species),
            "scene": picture.scene,
        }
        forms[next(form for form, truth in truths.items() if said == truth)] += 1
    assert forms.keys() == {"species and place", "species", "kind and place", "kind", "scene"}
    assert forms.most_common(1)[0][0] == "species and place"
    assert min(forms.values()) >= 60, "a form too rare to be learned"
    sketches = sum(row.picture.style == "sketch" for row in rows)
    assert abs(sketches - 3000 * SKETCH_SHARE) <= 4 * (3000 * SKETCH_SHARE * (1 - SKETCH_SHARE)) ** 0.5
    assert len({(row.picture.species, row.picture.scene) for row in rows}) == 120


def test_captions_of_dressed_birds_tell_the_truth() -> None:
    rows = captioned_pictures("pretrain", 3000, 0, looks=True)
    counts: Counter[str] = Counter()
    for row in rows:
        picture, caption = row.picture, DRESSED_CAPTIONS[row.label]
        looks = {"texture": picture.texture, "color": picture.color}
        worn = [value for value in looks.values() if value is not None]
        assert len(worn) <= 1
        assert picture.style == "photo" or not worn
        counts["texture" if picture.texture else "color" if picture.color else "none"] += 1
        names = (picture.species, kind_of(picture.species))
        truths = {name + place for name in names for place in ("", f" {PLACES[picture.scene]}")}
        told = {dressed(name, **looks) + place for name in names for place in ("", f" {PLACES[picture.scene]}")}
        said = caption.removeprefix(f"a {picture.style} of a ")
        assert said in truths | told | {picture.scene}
        if worn and said not in truths | {picture.scene}:
            counts["said"] += 1
            assert worn[0] in said
    assert len(set(DRESSED_CAPTIONS)) == len(DRESSED_CAPTIONS)
    photos = sum(row.picture.style == "photo" for row in rows)
    for what, share in (("texture", TEXTURED_SHARE), ("color", COLORED_SHARE)):
        assert abs(counts[what] - photos * share) <= 4 * (photos * share * (1 - share)) ** 0.5
    # Three quarters of the captions that name a bird, 96 of 100, say what it wears.
    dressed_birds = counts["texture"] + counts["color"]
    assert abs(counts["said"] - 0.72 * dressed_birds) <= 4 * (dressed_birds * 0.72 * 0.28) ** 0.5


@pytest.mark.parametrize(
    ("options", "count", "group_names"),
    [
        ({"shortcut": "texture"}, 12, TEXTURE_GROUPS),
        ({"task": "varieties"}, 60, GROUPS),
    ],
)
def test_other_shortcuts_have_the_same_sets(options: dict[str, Any], count: int, group_names: tuple[str, ...]) -> None:
    data = MiniWorld(train_size=1200, val_size=60, test_size=1200, **options)
    task = TEXTURES_TASK if "shortcut" in options else VARIETIES_TASK
    assert data.class_names == task.names
    assert len(data.class_names) == count
    assert data.train_group_names == task.home_groups
    data.setup("fit")
    data.setup("test")
    assert [item.name for item in data.test_sets] == ["id", "ood", "style", "groups"]
    assert data.test_sets[-1].group_names == group_names
    places = 6 if task.textures else 10
    # At home: 0.95 and a share of the rest; 4 standard deviations.
    for rows, share in ((data.train_set.rows, 0.95 + 0.05 / places), (data.test_data[1].rows, 1 / places)):
        assert set(Counter(row.label for row in rows).values()) == {1200 // count}
        home = 0
        for row in rows:
            picture = row.picture
            name = dressed(picture.species, color=picture.color)
            assert data.class_names[row.label] == name
            home += task.homes[name] == (picture.texture if task.textures else picture.scene)
        assert abs(home - 1200 * share) <= 4 * (1200 * share * (1 - share)) ** 0.5
    assert sum(row.group % 2 for row in data.train_set.rows if row.group is not None) > 1100
    for row in data.test_data[3].rows:
        water = row.picture.texture not in LAND_TEXTURES if task.textures else row.picture.scene in WATER
        assert row.group == 2 * row.label + water
        assert KINDS[row.label] == kind_of(row.picture.species)
    assert set(Counter(row.group for row in data.test_data[3].rows).values()) == {600}


def test_textures_are_for_species() -> None:
    with pytest.raises(ConfigError, match="The shortcut texture needs task species; got 'kinds'"):
        MiniWorld("kinds", shortcut="texture")


def test_sizes_that_leave_varieties_uneven_are_refused() -> None:
    with pytest.raises(ConfigError, match="train_size must be a multiple of 60, the number of varieties; got 72"):
        MiniWorld("varieties", train_size=72)


def test_same_seed_same_data_and_another_seed_other_data() -> None:
    for split in (home_pictures, anywhere_pictures, group_pictures, kind_pictures, captioned_pictures):
        assert split("train", 120, 0) == split("train", 120, 0)
        assert seeds(split("train", 120, 0)).isdisjoint(seeds(split("train", 120, 1)))
        assert [row.picture.scene for row in split("train", 120, 0)] != [
            row.picture.scene for row in split("train", 120, 1)
        ]
        assert split("train", 240, 0)[:120] == split("train", 120, 0), "a bigger split begins like a smaller one"
    first, again, other = (PictureSet(home_pictures("train", 24, seed)).pixels for seed in (0, 0, 1))
    assert torch.equal(first, again)
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@pytest.mark.slow
def test_no_picture_is_in_two_splits() -> None:
    data = MiniWorld(train_size=48, val_size=24, test_size=24, seed=0)
    for stage in ("fit", "test"):
        data.setup(stage)
    pretrain = PictureSet(captioned_pictures("pretrain", 48, 0))
    sets = [data.train_set, *data.val_data, *data.test_data, pretrain]
    pixels = [picture.numpy().tobytes() for dataset in sets for picture in dataset.pixels]
    assert len(pixels) == 48 + 4 * 24 + 5 * 24 + 48  # the group sets hold twice their size
    assert len(set(pixels)) == len(pixels)
    full = MiniWorld()
    named = [seeds(rows) for rows in (
        home_pictures("train", full.train_size, 0),
        home_pictures("val-id", full.val_size, 0), anywhere_pictures("val-ood", full.val_size, 0),
        group_pictures("val-groups", 2 * full.val_size, 0), home_pictures("test-id", full.test_size, 0),
        anywhere_pictures("test-ood", full.test_size, 0), anywhere_pictures("test-style", full.test_size, 0),
        group_pictures("test-groups", 2 * full.test_size, 0),
    )]  # fmt: skip
    assert sum(map(len, named)) == len(set().union(*named)) == 2400 + 480 * 4 + 1200 * 5


def test_evaluation_pictures_do_not_depend_on_the_seed_and_training_pictures_do() -> None:
    one, two = (MiniWorld(train_size=24, val_size=12, test_size=12, seed=seed) for seed in (1, 2))
    for data in (one, two):
        data.setup("fit")
        data.setup("test")
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(one.val_data, two.val_data, strict=True))
    assert all(torch.equal(a.pixels, b.pixels) for a, b in zip(one.test_data, two.test_data, strict=True))
    assert not torch.equal(one.train_set.pixels, two.train_set.pixels)


# DataModules


def test_batches_keep_the_contract() -> None:
    data = MiniWorld(train_size=24, val_size=12, test_size=12, batch_size=8, eval_batch_size=5)
    assert isinstance(data, FinetuneData)
    for stage in ("fit", "test"):
        data.setup(stage)
    named = zip((*data.val_sets, *data.test_sets), (*data.val_dataloader(), *data.test_dataloader()), strict=True)
    for eval_set, loader in [(None, data.train_dataloader()), *named]:
        batches = list(loader)
        size = 8 if eval_set is None else 5
        for batch in batches[:-1]:
            assert batch["image"].shape == (size, 3, 64, 64)
        for batch in batches:
            assert batch["image"].dtype == torch.float32
            assert batch["label"].dtype == batch["index"].dtype == torch.int64
            assert batch["label"].shape == batch["index"].shape == (len(batch["image"]),)
            grouped = eval_set is None or eval_set.group_names != ()
            assert batch.keys() == {"image", "label", "index"} | ({"group"} if grouped else set())
            if grouped:
                assert batch["group"].dtype == torch.int64
                assert batch["group"].shape == batch["label"].shape
        index = torch.cat([batch["index"] for batch in batches])
        expected = torch.arange(24 if eval_set is None or eval_set.name == "groups" else 12)
        assert torch.equal(index.sort().values if eval_set is None else index, expected)


def test_images_are_normalised_pixels() -> None:
    row = Labelled(Picture("duck", "lake", "photo", "x"), 0)
    item = PictureSet((row,))[0]
    pixel = draw(row.picture)[10, 20].astype(np.float64)
    np.testing.assert_allclose(item["image"][:, 10, 20].numpy(), (pixel / 255 - MEAN) / STD, rtol=1e-5, atol=1e-6)
    assert "group" not in item


def test_what_the_datamodule_tells_fits_what_it_yields() -> None:
    data = MiniWorld(val_size=12, test_size=12)
    assert data.class_names == NAMES
    assert data.templates == ("a photo of a {}.",)
    assert [(s.name, s.ood) for s in data.val_sets] == [("id", False), ("ood", True), ("groups", False)]
    assert [(s.name, s.ood) for s in data.test_sets] == [
        ("id", False),
        ("ood", True),
        ("style", True),
        ("groups", False),
    ]
    assert [s.class_names for s in data.test_sets] == [NAMES, NAMES, NAMES, KINDS]
    assert [s.group_names for s in data.val_sets] == [SPECIES_TASK.home_groups, SPECIES_TASK.home_groups, GROUPS]
    assert [s.group_names for s in data.test_sets] == [(), (), (), GROUPS]
    data.setup("test")
    styles = [{row.picture.style for row in dataset.rows} for dataset in data.test_data]
    assert styles == [{"photo"}, {"photo"}, {"sketch"}, {"photo"}]


def test_two_kinds_are_each_mostly_where_they_live() -> None:
    rows = kind_pictures("train", 2400, 0)
    assert Counter(row.picture.species for row in rows) == dict.fromkeys(NAMES, 200)
    for row in rows:
        assert KINDS[row.label] == kind_of(row.picture.species)
        assert GROUPS[row.group or 0] == f"{KINDS[row.label]} on {'water' if row.picture.scene in WATER else 'land'}"
    counts = Counter(row.group for row in rows)
    # 60 rare ones of each kind expected, sqrt(1200 * 0.95 * 0.05) = 7.5 the deviation; 31 is four of them.
    assert abs((counts[1] or 0) - 60) <= 31
    assert abs((counts[2] or 0) - 60) <= 31


def test_the_task_of_two_kinds_has_two_classes_everywhere() -> None:
    data = MiniWorld("kinds", train_size=24, val_size=12, test_size=12)
    assert data.class_names == KINDS
    assert data.train_group_names == GROUPS
    assert {s.class_names for s in (*data.val_sets, *data.test_sets)} == {KINDS}
    assert [s.name for s in data.test_sets] == [s.name for s in MiniWorld().test_sets]
    assert [s.ood for s in data.test_sets] == [s.ood for s in MiniWorld().test_sets]
    assert [s.group_names for s in data.test_sets] == [GROUPS, (), (), GROUPS]
    assert data.test_sets[3].group_weights == pytest.approx((0.475, 0.025, 0.025, 0.475))
    for stage in ("fit", "test"):
        data.setup(stage)
    for pictures in (data.train_set, *data.val_data, *data.test_data):
        assert all(KINDS[row.label] == kind_of(row.picture.species) for row in pictures.rows)
    same = MiniWorld(train_size=24, val_size=12, test_size=12)
    same.setup("test")
    for kinds, species in zip(data.test_data[1:], same.test_data[1:], strict=True):
        assert torch.equal(kinds.pixels, species.pixels), "the same pictures under other labels"


def test_pretraining_data() -> None:
    data = MiniPretraining(train_size=20, val_size=12, test_size=12, batch_size=10)
    data.setup("fit")
    assert data.class_names == CAPTIONS
    assert data.templates == ("{}.",)
    labels = torch.cat([batch["label"] for batch in data.train_dataloader()])
    assert sorted(labels.tolist()) == sorted(row.label for row in captioned_pictures("pretrain", 20, 0))


@pytest.mark.parametrize("name", ["train_size", "val_size", "test_size"])
@pytest.mark.parametrize("size", [0, -12, 13])
def test_sizes_that_leave_species_uneven_are_refused(name: str, size: int) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be a multiple of 12, the number of species; got {size}"):
        MiniWorld(**{name: size})


@pytest.mark.parametrize(
    ("name", "value", "least"),
    [("batch_size", 0, 1), ("eval_batch_size", -1, 1), ("num_workers", -1, 0), ("seed", -1, 0)],
)
def test_numbers_below_their_least_are_refused(name: str, value: int, least: int) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be at least {least}; got {value}"):
        MiniWorld(**{name: value})


@pytest.mark.parametrize(("wanted", "got"), [(0, 0), (2, 2), (4, 3)])
def test_no_more_workers_than_cores(wanted: int, got: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Torch would warn of it at each loader, and more of them are slower."""
    monkeypatch.setattr("os.sched_getaffinity", lambda process: {0, 1, 5})
    data = MiniWorld(train_size=24, val_size=12, batch_size=8, num_workers=wanted)
    data.setup("fit")
    assert [data.train_dataloader().num_workers, data.val_dataloader()[0].num_workers] == [got, got]


def test_a_batch_bigger_than_the_data_is_refused() -> None:
    data = MiniWorld(train_size=24, val_size=12, batch_size=25)
    data.setup("fit")
    with pytest.raises(ConfigError, match=r"batch_size 25 on 1 device.* 24 training images; .* at most 24"):
        data.train_dataloader()


def test_training_loader_covers_the_data_and_reshuffles_by_epoch() -> None:
    data = MiniWorld(train_size=24, val_size=12, batch_size=8)
    data.setup("fit")
    loader = data.train_dataloader()
    assert isinstance(loader, DataLoader)
    orders = []
    for epoch in range(2):
        loader.sampler.set_epoch(epoch)
        orders.append(torch.cat([batch["index"] for batch in loader]).tolist())
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(24))
    assert orders[0] != orders[1]


@pytest.mark.parametrize("name", ["batch_size", "eval_batch_size"])
def test_a_batch_that_no_machine_holds_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be at most 1000000; got {10**18}"):
        MiniWorld(**{name: 10**18})


@pytest.mark.parametrize("size", [0, -12, 12 * 10**17])
def test_a_pretraining_set_that_nobody_can_draw_is_refused(size: int) -> None:
    with pytest.raises(ConfigError, match=r"train_size must be at (least 1|most 1200000); got"):
        MiniPretraining(train_size=size)
