"""ImageNet and its test sets in their real layout, with a few classes and images each."""

import json
from pathlib import Path

import numpy as np
from PIL import Image

from fakes.pictures import class_folders, picture

ALARM_CLOCK, BACKPACK = (409, 530), (414,)
"""ImageNet labels of two of ObjectNet's classes: analog clock and digital clock; backpack."""


def imagenet(root: Path) -> Path:
    """Labels 0, 1, 2 and 6: 12 training and 2 validation images each."""
    names = ["n01440764", "n01443537", "n01484850", "n01498041"]
    class_folders(root / "train", names, 12, ".JPEG")
    class_folders(root / "val", names, 2, ".JPEG")
    return root


def v2(root: Path) -> Path:
    """Folders whose order as text isn't their order as numbers."""
    class_folders(root / "imagenetv2-matched-frequency-format-val", ["10", "9", "100", "0"], 2, ".jpeg")
    return root / "imagenetv2-matched-frequency-format-val"


def renditions(root: Path) -> Path:
    """ImageNet-R: its classes 0 and 2 are ImageNet's 1 and 4."""
    class_folders(root / "imagenet-r", ["n01443537", "n01494475"], 2, ".jpg")
    (root / "imagenet-r" / "README.txt").write_text("about the data")
    return root / "imagenet-r"


def adversarial(root: Path) -> Path:
    """ImageNet-A: its classes 0 and 2 are ImageNet's 6 and 13."""
    class_folders(root / "imagenet-a", ["n01498041", "n01534433"], 2, ".jpg")
    return root / "imagenet-a"


def sketch(root: Path) -> Path:
    """Two classes of ImageNet-Sketch."""
    class_folders(root / "sketch", ["n01440764", "n01443537"], 2, ".JPEG")
    return root / "sketch"


def objectnet(root: Path) -> Path:
    """Three folders, two of which overlap ImageNet; blue images with the red border."""
    top = root / "objectnet-1.0"
    for folder, images in (("backpack", 3), ("alarm_clock", 2), ("air_freshener", 2)):
        for number in range(images):
            pixels = np.full((14, 14, 3), (255, 0, 0), np.uint8)
            pixels[2:-2, 2:-2] = (0, 0, 255)
            (top / "images" / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(pixels).save(top / "images" / folder / f"{number}.png")
    lines = [f"thing {label}" for label in range(1000)]
    lines[409], lines[530], lines[414] = "analog clock", "digital clock", "backpack, back pack, knapsack"
    # The lines aren't in the order of the labels: label N stands in line 999 - N.
    files = {
        "folder_to_objectnet_label.json": {
            "alarm_clock": "Alarm clock",
            "backpack": "Backpack",
            "air_freshener": "Air freshener",
        },
        "objectnet_to_imagenet_1k.json": {
            "Backpack": "backpack, back pack, knapsack",
            "Alarm clock": "analog clock; digital clock",
        },
        "pytorch_to_imagenet_2012_id.json": {str(label): 999 - label for label in range(1000)},
    }
    (top / "mappings").mkdir()
    for name, content in files.items():
        (top / "mappings" / name).write_text(json.dumps(content))
    (top / "mappings" / "imagenet_to_label_2012_v2").write_text("\n".join(reversed(lines)) + "\n")
    return top


def vid_robust(root: Path) -> Path:
    """Two classes and three sets; a frame in two sets, a frame that shows both classes."""
    top = root / "imagenet-vid-robust"
    frames = {f"val/ILSVRC2015_val_00000000/{number:06}.JPEG": [0] for number in range(4)}
    frames |= {f"val/ILSVRC2015_val_00000007/{number:06}.JPEG": [1] for number in range(2)}
    frames["val/ILSVRC2015_val_00000007/000001.JPEG"] = [1, 0]
    first, second, third, fourth, fifth, sixth = frames
    files = {
        "metadata/pmsets.json": {second: [first, third], fourth: [third], fifth: [sixth]},
        "metadata/labels.json": frames,
        "misc/imagenet_vid_class_index.json": {"0": ["n02691156", "airplane"], "1": ["n02419796", "antelope"]},
        "misc/rev_wnid_map.json": {
            "n02419796": ["n02422106", "n02422699", "n02423022"],
            "n02691156": ["n02690373", "n04552348"],
        },
    }
    for name, content in files.items():
        (top / name).parent.mkdir(parents=True, exist_ok=True)
        (top / name).write_text(json.dumps(content))
    for number, frame in enumerate(frames):
        picture(top / frame, number)
    return top


def counteranimal(root: Path) -> Path:
    """Two classes, each before a common and another background; a list of names beside them, as in the archive."""
    top = root / "LAION-final"
    for folder, images in (
        ("296 ice bear/common-snow", 3),
        ("296 ice bear/counter-grass", 1),
        ("9 ostrich/counter-water", 2),
        ("9 ostrich/common-ground", 1),
    ):
        for number in range(images):
            picture(top / folder / f"{number}.jpg", number)
    (top / "imagenet_names.txt").write_text("0\ttench, Tinca tinca\n")
    return top
