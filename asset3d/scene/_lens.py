"""Lenses with distortion, and images freed of it. Letters in shapes: N points, H rows, W columns.

The model is OpenCV's (docs.opencv.org, "Camera Calibration and 3D Reconstruction"), in normalised image coordinates
x right, y down: a rational radial factor, tangential terms, or the fisheye polynomial in the angle.
"""
import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import grid_sample, interpolate

MAX_GROWTH = 0.25
"""An undistorted image grows by at most this share of its size per side, to keep the corners of the original."""


@dataclass(frozen=True)
class Lens:
    """Intrinsics in pixels (centres at +0.5) of images of one size, and their distortion."""

    width: int
    height: int
    fx: float
    fy: float
    cx: float
    cy: float
    radial: tuple[float, ...] = ()
    """k1, k2, ... of 1 + k1 r^2 + k2 r^4 + ..."""
    rational: tuple[float, ...] = ()
    """k4, k5, k6 of the denominator."""
    tangential: tuple[float, float] = (0.0, 0.0)
    fisheye: tuple[float, ...] | None = None
    """k1, k2, ... of theta (1 + k1 theta^2 + ...); excludes the other terms."""

    @property
    def distorted(self) -> bool:
        return self.fisheye is not None or any((*self.radial, *self.rational, *self.tangential))

    def resized(self, width: int, height: int) -> "Lens":
        """The same lens for images of another size."""
        sx, sy = width / self.width, height / self.height
        return replace(self, width=width, height=height, fx=self.fx * sx, cx=self.cx * sx,
                       fy=self.fy * sy, cy=self.cy * sy)

    def distort(self, points: Float[Tensor, "N 2"]) -> Float[Tensor, "N 2"]:
        """Where ideal normalised points appear through the lens."""
        x, y = points.unbind(-1)
        r2 = x * x + y * y
        if self.fisheye is not None:
            r = r2.sqrt().clamp(min=1e-12)
            theta = torch.atan(r)
            return points * (theta * _polynomial(self.fisheye, theta * theta) / r)[..., None]
        factor = _polynomial(self.radial, r2) / _polynomial(self.rational, r2)
        p1, p2 = self.tangential
        dx = 2 * p1 * x * y + p2 * (r2 + 2 * x * x)
        dy = p1 * (r2 + 2 * y * y) + 2 * p2 * x * y
        return torch.stack([x * factor + dx, y * factor + dy], -1)

    def undistort(self, points: Float[Tensor, "N 2"], iterations: int = 40) -> Float[Tensor, "N 2"]:
        """The inverse of `distort`, by damped fixed-point iteration; NaN where the lens model has no inverse."""
        ideal = points.clone()
        for _ in range(iterations):
            ideal = ideal + 0.8 * (points - self.distort(ideal))
        lost = (self.distort(ideal) - points).abs().amax(-1) > 1e-4
        return torch.where(lost[..., None] | ~torch.isfinite(ideal), torch.nan, ideal)

    def unfolded_radius(self) -> float:
        """The ideal radius up to which the distorted one grows; beyond it the model folds back and means nothing."""
        r = torch.linspace(0, 4, 4001, dtype=torch.float64)
        ring = self.distort(torch.stack([r, torch.zeros_like(r)], -1))[:, 0] - self.tangential[1] * 3 * r * r
        falling = torch.nonzero(ring.diff() <= 0)
        return float(r[falling[0, 0]]) if len(falling) else math.inf


def _polynomial(coefficients: tuple[float, ...], x: Tensor) -> Tensor:
    out = torch.zeros_like(x)
    for k in reversed(coefficients):
        out = (out + k) * x
    return out + 1


def pinhole_for(lens: Lens) -> Lens:
    """The pinhole with the same focal lengths whose image holds every pixel of the distorted one (within limits)."""
    w, h = lens.width, lens.height
    t = torch.linspace(0, 1, 65, dtype=torch.float64)
    zero, one = torch.zeros_like(t), torch.ones_like(t)
    border = torch.cat([torch.stack(edge, -1) for edge in ((t, zero), (t, one), (zero, t), (one, t))])
    focal, center = torch.tensor([lens.fx, lens.fy]), torch.tensor([lens.cx, lens.cy])
    size = torch.tensor([w, h], dtype=torch.float64)
    pixels = lens.undistort((border * size - center) / focal) * focal + center
    pixels = pixels[torch.isfinite(pixels).all(-1)]
    lower, upper = (pixels.amin(0), pixels.amax(0)) if len(pixels) else (torch.zeros(2), size)
    lower = torch.maximum(lower.floor(), (-MAX_GROWTH * size).floor())
    upper = torch.minimum(upper.ceil(), ((1 + MAX_GROWTH) * size).ceil())
    extent = (upper - lower).clamp(min=1)
    return Lens(int(extent[0]), int(extent[1]), lens.fx, lens.fy, lens.cx - float(lower[0]), lens.cy - float(lower[1]))


def undistorted(lens: Lens, image: Float[Tensor, "H W C"], mode: Literal["bicubic", "nearest"] = "bicubic"
                ) -> tuple[Lens, Float[Tensor, "h w C"], Bool[Tensor, "h w 1"]]:
    """An image as a pinhole camera would have seen it, that camera, and which pixels the original shows.

    Lenses are undone at full size: shrunk before, an image would be resampled from what is already blurred.
    """
    ideal = pinhole_for(lens)
    rows = torch.arange(ideal.height, dtype=torch.float64) + 0.5
    columns = torch.arange(ideal.width, dtype=torch.float64) + 0.5
    y, x = torch.meshgrid((rows - ideal.cy) / ideal.fy, (columns - ideal.cx) / ideal.fx, indexing="ij")
    points = torch.stack([x, y], -1)
    seen = lens.distort(points.reshape(-1, 2)).reshape(points.shape)
    grid = (seen * torch.tensor([lens.fx, lens.fy]) + torch.tensor([lens.cx, lens.cy]))
    grid = 2 * grid / torch.tensor([lens.width, lens.height]) - 1
    valid = (grid.abs() <= 1).all(-1, keepdim=True) & (points.norm(dim=-1, keepdim=True) < lens.unfolded_radius())
    out = grid_sample(image.permute(2, 0, 1)[None], grid.float().clamp(-2, 2)[None], mode=mode,
                      padding_mode="border", align_corners=False)
    return ideal, out[0].permute(1, 2, 0).contiguous() * valid, valid


def shrunk(image: Float[Tensor, "H W C"], width: int, height: int) -> Float[Tensor, "h w C"]:
    """A smaller image, each pixel the weighted mean of those it covers."""
    out = interpolate(image.permute(2, 0, 1)[None], size=(height, width), mode="bilinear", antialias=True,
                      align_corners=False)
    return out[0].permute(1, 2, 0).contiguous()
