"""How well outlines agree."""
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from asset3d.metric.base import Comparison, Metric
from asset3d.registry import Config, register


def mask_iou(a: Float[Tensor, "B H W 1"], b: Float[Tensor, "B H W 1"]) -> Float[Tensor, "B"]:
    """Intersection over union of two masks cut at one half, one number per image; two empty masks agree.

    Raises:
        ValueError: The shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"mask_iou: `a` and `b` must have the same shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    a, b = (a > 0.5).flatten(1), (b > 0.5).flatten(1)
    union = (a | b).sum(1)
    return ((a & b).sum(1) + (union == 0)).float() / union.clamp(min=1)


class IouConfig(Config):
    """Intersection over union of the outlines."""

    type: Literal["iou"] = "iou"


@register("metric", IouConfig)
class Iou(Metric):
    def __call__(self, comparison: Comparison) -> dict[str, float]:
        if comparison.color is None:
            return {}
        return {"mask_iou": mask_iou(comparison.alpha, comparison.target_alpha).mean().item()}
