"""The transfer sets in their real layout, with their own lists or with CoOp's split file."""

import json
from pathlib import Path

import h5py
import numpy as np
from scipy.io import savemat

from fakes.pictures import class_folders, picture


def split_file(path: Path, rows: dict[str, list[tuple[str, int, str]]]) -> None:
    path.write_text(json.dumps(rows))


def caltech101(root: Path, coop: bool = True) -> Path:
    """Four folders, clutter among them; 33 images of each class, so that 30 can be drawn."""
    top = root / "caltech-101"
    class_folders(top / "101_ObjectCategories", ["accordion", "Faces_easy", "BACKGROUND_Google"], 33, ".jpg")
    if coop:
        rows = {
            "train": [(f"accordion/accordion_{n}.jpg", 0, "accordion") for n in range(3)]
            + [(f"Faces_easy/Faces_easy_{n}.jpg", 1, "face_close_up") for n in range(3)],
            "val": [("accordion/accordion_4.jpg", 0, "accordion"), ("Faces_easy/Faces_easy_4.jpg", 1, "face_close_up")],
            "test": [
                ("Faces_easy/Faces_easy_5.jpg", 1, "face_close_up"),
                ("accordion/accordion_5.jpg", 0, "accordion"),
            ],
        }
        split_file(top / "split_zhou_Caltech101.json", rows)
    return top


def stanford_cars(root: Path, coop: bool = False) -> Path:
    """Two models; the authors' .mat files, or CoOp's split."""
    top = root / "stanford_cars"
    for folder, images in (("cars_train", 4), ("cars_test", 3)):
        for number in range(images):
            picture(top / folder / f"{number + 1:05}.jpg", number)
    if coop:
        names = ("2012 AM General Hummer SUV", "2012 smart fortwo Convertible")
        rows = {
            "train": [(f"cars_train/{n + 1:05}.jpg", n % 2, names[n % 2]) for n in range(2)],
            "val": [(f"cars_train/{n + 1:05}.jpg", n % 2, names[n % 2]) for n in (2, 3)],
            "test": [(f"cars_test/{n + 1:05}.jpg", n % 2, names[n % 2]) for n in range(3)],
        }
        split_file(top / "split_zhou_StanfordCars.json", rows)
        return top
    (top / "devkit").mkdir()
    names_array = np.array(["AM General Hummer SUV 2000", "smart fortwo Convertible 2012"], dtype=object)
    savemat(top / "devkit" / "cars_meta.mat", {"class_names": names_array})
    kind = [("bbox_x1", object), ("class", object), ("fname", object)]
    for file, classes in (("devkit/cars_train_annos.mat", (2, 1, 2, 1)), ("cars_test_annos_withlabels.mat", (1, 2, 2))):
        rows_array = np.array([(39, label, f"{n + 1:05}.jpg") for n, label in enumerate(classes)], dtype=kind)
        savemat(top / file, {"annotations": rows_array})
    return top


def flowers102(root: Path, coop: bool = False) -> Path:
    """Eight images; the authors' .mat files, or CoOp's split."""
    top = root / "oxford_flowers"
    for number in range(1, 9):
        picture(top / "jpg" / f"image_{number:05}.jpg", number)
    if coop:
        rows = {
            split: [(f"image_{n:05}.jpg", n % 2, ("pink primrose", "wild pansy")[n % 2]) for n in numbers]
            for split, numbers in (("train", (1, 2, 3)), ("val", (4, 5)), ("test", (6, 7, 8)))
        }
        split_file(top / "split_zhou_OxfordFlowers.json", rows)
        return top
    savemat(top / "imagelabels.mat", {"labels": np.array([[77, 77, 1, 1, 102, 102, 5, 5]])})
    ids = {"trnid": np.array([[1, 3, 5]]), "valid": np.array([[2, 4]]), "tstid": np.array([[8, 6, 7]])}
    savemat(top / "setid.mat", ids)
    return top


def pcam(root: Path) -> Path:
    """Patches of 8 pixels; image N of a split has the grey level 10 N."""
    top = root / "pcam"
    top.mkdir(parents=True)
    for split, labels in (("train", (0, 1, 1, 0)), ("valid", (1, 0)), ("test", (1, 0, 0))):
        start = f"camelyonpatch_level_2_split_{split}"
        grey = np.arange(len(labels), dtype=np.uint8).reshape(-1, 1, 1, 1) * 10
        with h5py.File(top / f"{start}_x.h5", "w") as file:
            file["x"] = np.broadcast_to(grey, (len(labels), 8, 8, 3))
        with h5py.File(top / f"{start}_y.h5", "w") as file:
            file["y"] = np.array(labels, dtype=np.uint8).reshape(-1, 1, 1, 1)
    return top


def rendered_sst2(root: Path) -> Path:
    """OpenAI's folders, four images or two of each class."""
    top = root / "rendered-sst2"
    for folder, images in (("train", 4), ("valid", 2), ("test", 2)):
        class_folders(top / folder, ["positive", "negative"], images, ".png")
    return top


def sun397(root: Path, coop: bool = False) -> Path:
    """Three places, one of them indoors; the authors' lists, or CoOp's split."""
    top = root / "sun397"
    places = ("a/abbey", "a/apse/indoor", "z/zen_garden")
    for number, place in enumerate(places):
        for image in range(4):
            picture(top / "SUN397" / place / f"sun_{image}.jpg", number)
    if coop:
        names = ("abbey", "indoor apse", "zen_garden")
        rows = {
            split: [(f"{places[n]}/sun_{image}.jpg", n, names[n]) for image in images for n in range(3)]
            for split, images in (("train", (0, 1)), ("val", (2,)), ("test", (3,)))
        }
        split_file(top / "split_zhou_SUN397.json", rows)
        return top
    (top / "ClassName.txt").write_text("".join(f"/{place}\n" for place in places))
    for file, images in (("Training_01.txt", (0, 1, 2)), ("Testing_01.txt", (3,))):
        lines = [f"/{place}/sun_{image}.jpg\n" for place in places for image in images]
        (top / file).write_text("".join(lines))
    return top
