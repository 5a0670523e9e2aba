"""The embedded worlds: what the shipped configs of ``mini/`` need to run on each of them.

A world is the birds, what goes with them in training, and the frozen model. Its settings were chosen on its validation
pictures only, as docs/mini.md says.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

EPOCHS = "trainer.max_epochs"
REGULARIZER = "model.regularizers.{}.init_args.weight"
CONTRASTIVE = ("flyp", "class_positives", "recalcon", "carot", "tracer", "starft", "starft_pools", "starft_tracer")
"""Configs with the learning rate of FLYP."""


@dataclass(frozen=True)
class World:
    """What is set in every config to run it on a world.

    Args:
        keys: Dotted key -> value, for all methods.
        pool: Of the methods that have one.
        weights: Config name -> the weights of its regularizers, in their order.
        rates: Config name -> its learning rate, where it isn't that of ``keys``.
    """

    keys: Mapping[str, Any] = field(default_factory=dict)
    pool: str = "mini_scenes"
    weights: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    rates: Mapping[str, float] = field(default_factory=dict)

    def point(self, method: str, content: Mapping[str, Any]) -> dict[str, Any]:
        """Return what a config has on this world instead of its own, dotted key -> value.

        Args:
            method: Name of the config, such as ``starft``.
            content: What its file holds.
        """
        if not self.keys:
            return {}
        model, trainer = content["model"], content["trainer"]
        point = dict(self.keys)
        if trainer["max_epochs"] < point[EPOCHS]:  # it is only tested, or needs one epoch
            del point[EPOCHS]
        elif trainer.get("check_val_every_n_epoch", 1) > point[EPOCHS]:
            point["trainer.check_val_every_n_epoch"] = point[EPOCHS]
        if not model.get("lr"):  # nothing is trained by steps
            point.pop("model.lr", None)
        if "pool" in model:  # of several, the first is that of the scenes
            pool = model["pool"]
            point["model.pool"] = [self.pool, *pool[1:]] if isinstance(pool, list) else self.pool
        point |= {REGULARIZER.format(at): weight for at, weight in enumerate(self.weights.get(method, ()))}
        if method in self.rates:
            point["model.lr"] = self.rates[method]
        return point


WORLDS: dict[str, World] = {
    # Twelve species, each mostly in its home scene: what the configs say themselves.
    "scenes": World(),
    # Twelve species, half of each at home on purpose, and a frozen model that is far from good.
    "weak": World(
        {
            "model.pretrained": "mini_weak",
            "data.init_args.home_share": 0.5,
            "data.init_args.train_size": 3840,
            "data.init_args.test_size": 720,
            EPOCHS: 4,
            "model.lr": 4e-3,
        },
        weights={
            "l2_sp": (0.003,),
            "kd": (0.5,),
            "feature_distillation": (0.3,),
            "car_ft": (0.3,),
            "lipsum_ft": (0.3,),
            "starft_ce": (1.5,),
            "carot": (0.9,),
            "tracer": (0.1,),
            "starft": (1.5,),
            "starft_pools": (1.5,),
            "starft_lora": (1.5,),
            "starft_feature_distillation": (0.3, 0.5),
            "starft_lipsum_ft": (0.3, 0.15),
            "starft_tracer": (0.1, 0.5),
        },
        rates=dict.fromkeys(CONTRASTIVE, 2e-3),
    ),
    # Twelve species, each mostly in its texture, in any scene.
    "textures": World(
        {
            "model.pretrained": "mini_looks",
            "data.init_args.shortcut": "texture",
            "data.init_args.train_size": 1920,
            "data.init_args.test_size": 720,
            EPOCHS: 4,
            "model.lr": 1e-3,
        },
        pool="mini_textures",
        weights={
            "l2_sp": (0.03,),
            "kd": (0.15,),
            "feature_distillation": (0.9,),
            "car_ft": (10.0,),
            "lipsum_ft": (3.0,),
            "starft_ce": (1.5,),
            "carot": (0.3,),
            "tracer": (0.1,),
            "starft": (5.0,),
            "starft_pools": (5.0,),
            "starft_lora": (15.0,),
            "starft_feature_distillation": (0.9, 1.5),
            "starft_lipsum_ft": (3.0, 15.0),
            "starft_tracer": (0.1, 5.0),
        },
        rates=dict.fromkeys(CONTRASTIVE, 3e-4) | dict.fromkeys(("lora", "starft_lora"), 4e-3),
    ),
    # Sixty varieties, species in five colours, each mostly in its home scene.
    "many": World(
        {
            "model.pretrained": "mini_looks",
            "data.init_args.task": "varieties",
            "data.init_args.train_size": 2400,
            "data.init_args.test_size": 720,
            EPOCHS: 4,
            "model.lr": 4e-3,
        },
        weights={
            "l2_sp": (0.003,),
            "kd": (0.5,),
            "feature_distillation": (3.0,),
            "car_ft": (1.0,),
            "lipsum_ft": (10.0,),
            "starft_ce": (1.5,),
            "carot": (0.9,),
            "tracer": (0.3,),
            "starft": (5.0,),
            "starft_pools": (5.0,),
            "starft_lora": (5.0,),
            "starft_feature_distillation": (3.0, 1.5),
            "starft_lipsum_ft": (10.0, 50.0),
            "starft_tracer": (0.3, 1.5),
        },
        rates=dict.fromkeys(CONTRASTIVE, 1e-3),
    ),
    # Landbird or waterbird, each mostly where it lives; with few classes a tower soon learns the rare groups by heart.
    "kinds": World(
        {"data.init_args.task": "kinds", EPOCHS: 8, "model.lr": 1e-4},
        weights={"starft_ce": (50.0,), "starft_kinds": (6.0,)},
    ),
}
"""Name -> the world; docs/mini.md says how each was made and chosen."""
