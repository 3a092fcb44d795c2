"""Peak signal-to-noise ratio."""
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from asset3d.metric.base import Comparison, Metric
from asset3d.registry import Config, register

LEAST_ERROR = 1e-10
"""Mean squared error counted as perfect: 100 dB."""


def psnr(
    a: Float[Tensor, "B H W C"], b: Float[Tensor, "B H W C"], where: Bool[Tensor, "B H W 1"] | None = None
) -> Float[Tensor, "B"]:
    """Decibels between images in [0, 1], one number per image.

    Args:
        a, b: Images of the same shape, (B, H, W, C).
        where: Pixels that count, all by default; an image without any counts as perfect.

    Raises:
        ValueError: The shapes differ.
    """
    if a.shape != b.shape:
        raise ValueError(f"psnr: `a` and `b` must have the same shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    error = ((a - b) ** 2).mean(-1, keepdim=True)
    if where is None:
        mean = error.mean((1, 2, 3))
    else:
        mean = (error * where).sum((1, 2, 3)) / where.sum((1, 2, 3)).clamp(min=1)
    return -10 * torch.log10(mean.clamp(min=LEAST_ERROR))


class PsnrConfig(Config):
    """Peak signal-to-noise ratio in dB, over the whole picture and over the object alone."""

    type: Literal["psnr"] = "psnr"


@register("metric", PsnrConfig)
class Psnr(Metric):
    def __call__(self, comparison: Comparison) -> dict[str, float]:
        if comparison.color is None:
            return {}
        either = (comparison.alpha > 0.5) | (comparison.target_alpha > 0.5)
        pair = comparison.color, comparison.target_color
        return {"psnr": psnr(*pair).mean().item(), "psnr_object": psnr(*pair, either).mean().item()}
