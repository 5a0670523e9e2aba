"""FMoW: what buildings and land are used for, from satellites, tested on later years.

Papers: Christie et al., CVPR 2018, arXiv 1711.07846; splits and metric of WILDS v1.1 (Koh et al., ICML 2021, arXiv
2012.07421).
"""

from dataclasses import replace
from functools import cached_property
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from starft.data.datasets.published import PublishedSource
from starft.data.source import ImageTable
from starft.errors import DataError
from starft.types import EvalSet

REGIONS = ("Asia", "Europe", "Africa", "Americas", "Oceania", "Other")
VAL_YEAR, TEST_YEAR = 2013, 2016
"""From which year on images are out of distribution: for validation, for testing."""

# fmt: off
CATEGORIES = (
    "airport", "airport_hangar", "airport_terminal", "amusement_park", "aquaculture", "archaeological_site", "barn",
    "border_checkpoint", "burial_site", "car_dealership", "construction_site", "crop_field", "dam",
    "debris_or_rubble", "educational_institution", "electric_substation", "factory_or_powerplant", "fire_station",
    "flooded_road", "fountain", "gas_station", "golf_course", "ground_transportation_station", "helipad",
    "hospital", "impoverished_settlement", "interchange", "lake_or_pond", "lighthouse", "military_facility",
    "multi-unit_residential", "nuclear_powerplant", "office_building", "oil_or_gas_facility", "park",
    "parking_lot_or_garage", "place_of_worship", "police_station", "port", "prison", "race_track", "railway_bridge",
    "recreational_facility", "road_bridge", "runway", "shipyard", "shopping_mall", "single-unit_residential",
    "smokestack", "solar_farm", "space_facility", "stadium", "storage_tank", "surface_mine", "swimming_pool",
    "toll_booth", "tower", "tunnel_opening", "waste_disposal", "water_treatment_facility", "wind_farm", "zoo",
)
# fmt: on
"""FMoW's 62 categories, sorted; their order is the labels'."""


class FMoWSource(PublishedSource):
    """FMoW as WILDS packs it (``fmow_v1.1``): 62 classes, scored by the worst region's accuracy, "Other" left out.

    ``val`` is of 2013 to 2015 and ``test`` of 2016 on; ``train``, ``id_val`` and ``id_test`` are of the years before.
    Images that the authors keep back (split ``seq``) are in none.
    """

    title: ClassVar[str] = "FMoW"
    tree: ClassVar[str] = """fmow_v1.1/
  rgb_metadata.csv
  country_code_mapping.csv
  images/
    rgb_img_0.png  ..."""
    folders = ("fmow_v1.1",)
    counts: ClassVar = {"train": 76_863, "val": 19_915, "test": 22_108, "id_val": 11_483, "id_test": 11_327}
    own_templates = ("a satellite photo of a {}.", "an aerial photo of a {}.")
    group_names = REGIONS
    """Here a group is a region, whatever the label."""

    @property
    def own_class_names(self) -> tuple[str, ...]:
        """The categories, with spaces for underscores."""
        return tuple(name.replace("_", " ") for name in CATEGORIES)

    @cached_property
    def _rows(self) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
        """Given split, year, label and region of each row of rgb_metadata.csv; row N is image N."""
        splits, categories, countries, times = self.read_table(
            "rgb_metadata.csv", ["split", "category", "country_code", "timestamp"]
        )
        label_of = {name: label for label, name in enumerate(CATEGORIES)}
        if unknown := next((name for name in categories if name not in label_of), None):
            raise DataError(f"{self.title}: rgb_metadata.csv has the unknown category {unknown}; get a whole copy.")
        codes, told = self.read_table("country_code_mapping.csv", ["alpha-3", "region"])
        place = {code: REGIONS.index(region) for code, region in zip(codes, told, strict=True) if region in REGIONS}
        years = self.whole_numbers([time[:4] for time in times], "column timestamp of rgb_metadata.csv")
        labels = np.array([label_of[name] for name in categories], np.int64)
        return splits, years, labels, np.array([place.get(code, len(REGIONS) - 1) for code in countries], np.int64)

    def table(self, split: str) -> ImageTable:
        """List one split, drawn by the given split and the year."""
        given, years, labels, regions = self._rows
        self.need("images")
        after, before = {"test": (TEST_YEAR, 10_000), "val": (VAL_YEAR, TEST_YEAR)}.get(split, (0, VAL_YEAR))
        rows = np.flatnonzero((np.array(given) == split.removeprefix("id_")) & (years >= after) & (years < before))
        return ImageTable(self.root, tuple(f"images/rgb_img_{row}.png" for row in rows), labels[rows], regions[rows])

    def eval_set(self, name: str, split: str, ood: bool = False) -> EvalSet:
        """Score by accuracy and by the worst region's; images of later years are out of distribution."""
        return replace(super().eval_set(name, split, ood or split in ("val", "test")), metrics=("worst_region_acc",))
