"""Shipped configs with one thing wrong: what was done to them, and whether a run may take it."""

import copy
import math
import random
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starft.files.yaml_reader import dump_yaml, load_yaml

Place = tuple[str | int, ...]

HUGE = 10**18
FOREVER = {"max_steps", "devices", "num_sanity_val_steps"}
"""What -1 may be said of."""
AT_LEAST_ONE = {
    "batch_size",
    "eval_batch_size",
    "train_size",
    "devices",
    "texts",
    "length",
    "temperature",
    "every_n_epochs",
    "check_val_every_n_epoch",
    "min_group_size",
    "image_size",
    "shots",
}
"""What 0 can't be meant of."""
SHARES = {"val_fraction", "test_fraction", "label_smoothing", "decay", "momentum"}
"""What can't be above 1."""
MAY_BE_EMPTY = {"split_column", "attribute_column", "group_column", "caption_column"}
LISTS_TOO = {"templates", "pool", "class_names", "devices", "logger", "callbacks", "plugins", "monitor", "contexts"}
"""Single values that may be lists as well, or whose list is another matter."""
KINDS = (
    "deleted",
    "doubled",
    "mistyped",
    "negative",
    "zero",
    "huge",
    "nan",
    "inf",
    "null",
    "unknown",
    "section",
    "list",
    "empty",
    "fraction",
    "truth",
)


@dataclass(frozen=True)
class Mutation:
    """What was done to a config.

    Args:
        kind: One of `KINDS`.
        place: Where.
        before: What was there.
        after: What is there now.
    """

    kind: str
    place: Place
    before: Any
    after: Any

    def __str__(self) -> str:
        where = ".".join(map(str, self.place))
        return f"{self.kind} {where}: {str(self.before)[:40]} -> {str(self.after)[:40]}"

    @property
    def name(self) -> str:
        """The key that was changed, or the one that its list belongs to."""
        return str(next(part for part in reversed(self.place) if isinstance(part, str)))

    @property
    def cant_be_meant(self) -> bool:
        """Whether no run may begin with it."""
        if self.kind in ("doubled", "unknown", "section", "nan", "inf", "mistyped"):
            return True
        number = isinstance(self.before, int | float) and not isinstance(self.before, bool)
        rules = {
            "negative": number and not (self.name in FOREVER and self.after == -1),
            "zero": number and self.name in AT_LEAST_ONE,
            "huge": number and (self.name in SHARES | {"betas", "devices", "weight_decay"} or "size" in self.name),
            "fraction": isinstance(self.before, int) and number and not self.name.startswith("limit_"),
            "truth": not isinstance(self.before, bool) and self.name not in ("logger", "seed_everything"),
            "list": self.name not in LISTS_TOO and not isinstance(self.before, str),
            "empty": isinstance(self.before, str) and self.name not in MAY_BE_EMPTY,
        }
        return bool(rules.get(self.kind, False))


def leaves(value: Any, place: Place = ()) -> Iterator[tuple[Place, Any]]:
    """Yield each single value of a config, with where it stands."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, (*place, key))
    elif isinstance(value, list) and value:
        for at, inner in enumerate(value):
            yield from leaves(inner, (*place, at))
    else:
        yield place, value


def _at(config: Any, place: Place) -> Any:
    for part in place:
        config = config[part]
    return config


def mutated(config: dict[str, Any], draw: random.Random, kind: str) -> tuple[str, Mutation]:
    """Return the text of a config with one thing done to it, and what that was.

    Args:
        config: Whole.
        draw: Chooses the place.
        kind: Of mutation.
    """
    changed = copy.deepcopy(config)
    places = [(place, value) for place, value in leaves(changed) if place[-1] != "class_path" or kind != "section"]
    numbers = [(p, v) for p, v in places if isinstance(v, int | float) and not isinstance(v, bool)]
    texts = [(p, v) for p, v in places if isinstance(v, str)]
    if kind in ("negative", "zero", "huge", "nan", "inf", "mistyped"):
        places = numbers
    elif kind == "fraction":
        places = [(p, v) for p, v in numbers if isinstance(v, int)]
    elif kind == "empty":
        places = texts
    elif kind in ("doubled", "unknown", "section", "deleted"):
        places = [(p, v) for p, v in places if isinstance(p[-1], str) and len(p) > 1]
    place, before = draw.choice(places)
    holder, key = _at(changed, place[:-1]), place[-1]
    after = _other(kind, before, draw)
    if kind == "deleted":
        del holder[key]
    elif kind == "unknown":
        name = str(key)
        after = draw.choice([f"{name}_x", name[:-1] + "qq", name.upper() + "1", f"my_{name}"])
        holder[after] = holder.pop(key)
    elif kind == "section":
        after = draw.choice([name for name in ("model", "trainer", "data", "checkpoint") if name != place[0]])
        changed[after][f"{key}"] = holder.pop(key)
        if key == "default_root_dir":  # where a run would go is no matter of chance
            changed["trainer"].setdefault("default_root_dir", config["trainer"]["default_root_dir"])
    elif kind != "doubled":
        holder[key] = after
    text = dump_yaml(changed, width=10_000)
    if kind == "doubled":
        text = _with_key_twice(text, str(key), draw)
    else:
        assert str(load_yaml(text)) == str(changed)
    return text, Mutation(kind, place, before, after)


def _other(kind: str, before: Any, draw: random.Random) -> Any:
    """Return what is put in the place of a value."""
    if kind == "negative":
        return -1 if isinstance(before, int) and draw.random() < 0.5 else -3 * abs(before or 1)
    if kind == "huge":
        return HUGE if isinstance(before, int) else 1e30
    others = {"mistyped": "many", "nan": math.nan, "inf": math.inf, "empty": "", "fraction": 0.5, "truth": True}
    return {"list": [before, before], "zero": 0, **others}.get(kind)


def _with_key_twice(text: str, key: str, draw: random.Random) -> str:
    lines = text.splitlines()
    at = draw.choice([n for n, line in enumerate(lines) if line.lstrip(" -").startswith(f"{key}:")])
    indent = len(lines[at]) - len(lines[at].lstrip(" -"))
    return "\n".join([*lines[: at + 1], f"{' ' * indent}{key}: 1", *lines[at + 1 :]]) + "\n"


def whole(config: Path, overrides: list[str], folder: Path) -> dict[str, Any]:
    """Return what a config holds with options laid over it, so that they can be changed too.

    Args:
        config: A shipped one.
        overrides: ``model.lr=1``, as on the command line.
        folder: The run folder.
    """
    held: dict[str, Any] = load_yaml(config.read_text(encoding="utf-8"))
    held["trainer"]["default_root_dir"] = str(folder)
    for override in overrides:
        name, _, value = override.removeprefix("--").partition("=")
        *sections, key = name.split(".")
        _at(held, tuple(sections))[key] = load_yaml(value)
    return held
