"""How training images are varied, in words; `starft.data.transforms` does it."""

from dataclasses import dataclass

from starft.errors import ConfigError


@dataclass(frozen=True)
class Augmentation:
    """How training images are varied: open_clip's train transform, as in the paper's code base.

    Args:
        scale: Share of the image's area that the random crop keeps, from and to.
        ratio: Width over height of the crop, from and to; needs ``use_timm`` (3/4 to 4/3 without).
        color_jitter: Strength of changes in brightness, contrast, saturation and hue; null for none.
        color_jitter_prob: Share of images whose colours change.
        gray_scale_prob: Share of images that lose their colours; null for none.
        re_prob: Share of images of which a part is erased; needs ``use_timm``.
        re_count: How many parts are erased; needs ``use_timm``.
        use_timm: Take timm's train transform, which knows ``ratio``, ``re_prob`` and ``re_count``.
    """

    scale: tuple[float, float] = (0.9, 1.0)
    ratio: tuple[float, float] | None = None
    color_jitter: tuple[float, float, float, float] | None = None
    color_jitter_prob: float | None = None
    gray_scale_prob: float | None = None
    re_prob: float | None = None
    re_count: int | None = None
    use_timm: bool = False

    def __post_init__(self) -> None:
        if not (len(self.scale) == 2 and 0 < self.scale[0] <= self.scale[1] <= 1):
            raise ConfigError(f"augmentation.scale must be two numbers in (0, 1], rising; got {list(self.scale)}.")
        for name in ("color_jitter_prob", "gray_scale_prob", "re_prob"):
            share = getattr(self, name)
            if share is not None and not 0 <= share <= 1:
                raise ConfigError(f"augmentation.{name} must lie in [0, 1]; got {share}.")
        for name in ("ratio", "re_prob", "re_count"):
            if getattr(self, name) is not None and not self.use_timm:
                raise ConfigError(
                    f"augmentation.{name} needs augmentation.use_timm: true; set it, or leave {name} out."
                )
        for name in ("color_jitter_prob", "gray_scale_prob"):
            if getattr(self, name) is not None and self.use_timm:
                raise ConfigError(f"augmentation.{name} is unknown to timm; leave it or augmentation.use_timm out.")
        if self.color_jitter_prob and self.color_jitter is None:
            raise ConfigError("augmentation.color_jitter_prob needs augmentation.color_jitter, four strengths.")
        if self.color_jitter is not None and not self.color_jitter_prob and not self.use_timm:
            raise ConfigError("augmentation.color_jitter needs augmentation.color_jitter_prob, a share above 0.")
