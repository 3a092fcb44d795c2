"""Structural similarity (Wang et al. 2004), differentiable: a metric and a term of the photometric loss."""
from functools import lru_cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import conv2d

from asset3d.metric.base import Comparison, Metric
from asset3d.registry import Config, register

RADIUS, SIGMA = 5, 1.5
"""Window of 11 pixels, as in the paper; of smaller images, the largest odd one that fits."""
C1, C2 = 0.01**2, 0.03**2
"""The paper's constants for values in [0, 1]."""


@lru_cache(maxsize=8)
def _window(radius: int, dtype: torch.dtype, device: torch.device) -> Float[Tensor, "K"]:
    offset = torch.arange(-radius, radius + 1, dtype=torch.float64)
    weight = torch.exp(-0.5 * (offset / SIGMA) ** 2)
    return (weight / weight.sum()).to(device, dtype)


def _blur(x: Float[Tensor, "B C H W"]) -> Float[Tensor, "B C h w"]:
    """Gaussian means around the pixels whose window lies inside the image.

    One group per channel, not one channel per batch entry: the same numbers, a hundred times faster on the CPU.
    """
    channels, radius = x.shape[1], min(RADIUS, (min(x.shape[2:]) - 1) // 2)
    weight = _window(radius, x.dtype, x.device)
    x = conv2d(x, weight.view(1, 1, 1, -1).expand(channels, 1, 1, -1), groups=channels)
    return conv2d(x, weight.view(1, 1, -1, 1).expand(channels, 1, -1, 1), groups=channels)


def ssim(a: Float[Tensor, "B H W C"], b: Float[Tensor, "B H W C"]) -> Float[Tensor, "B"]:
    """Structural similarity of images in [0, 1], one number per image; 1 is equal.

    Gaussian window of 11 pixels and sigma 1.5, population covariance, mean over channels and over the pixels whose
    window lies inside the image (what scikit-image computes with `gaussian_weights=True, sigma=1.5,
    use_sample_covariance=False`); images of fewer than 11 rows or columns get the largest window that fits.
    Differentiable in both images.

    Raises:
        ValueError: The shapes differ, or an image has no pixels.
    """
    if a.shape != b.shape:
        raise ValueError(f"ssim: `a` and `b` must have the same shape, got {tuple(a.shape)} and {tuple(b.shape)}")
    if a.ndim != 4 or 0 in a.shape[1:]:
        raise ValueError(f"ssim: images must be (B, H, W, C) with at least one pixel, got {tuple(a.shape)}")
    a, b = a.permute(0, 3, 1, 2), b.permute(0, 3, 1, 2)
    mean_a, mean_b, aa, bb, ab = _blur(torch.cat([a, b, a * a, b * b, a * b], 1)).chunk(5, 1)
    covariance = ab - mean_a * mean_b
    variances = aa - mean_a**2 + bb - mean_b**2
    luminance = (2 * mean_a * mean_b + C1) / (mean_a**2 + mean_b**2 + C1)
    return (luminance * (2 * covariance + C2) / (variances + C2)).mean((1, 2, 3))


class SsimConfig(Config):
    """Structural similarity, 1 for equal pictures."""

    type: Literal["ssim"] = "ssim"


@register("metric", SsimConfig)
class Ssim(Metric):
    def __call__(self, comparison: Comparison) -> dict[str, float]:
        if comparison.color is None:
            return {}
        return {"ssim": ssim(comparison.color, comparison.target_color).mean().item()}
