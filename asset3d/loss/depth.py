"""Differences between rendered and given depth."""
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from asset3d.loss.base import Loss, LossConfig, mean_over, surface_mask
from asset3d.registry import register
from asset3d.scene.rendering import Rendering, Target


class DepthConfig(LossConfig):
    type: Literal["depth"] = "depth"
    scale: Literal["absolute", "invariant"] = "absolute"
    """`invariant`: up to the scale and shift that fit best (Ranftl et al. 2020), for estimated depth."""


@register("loss", DepthConfig)
class Depth(Loss):
    """Mean absolute (absolute) or squared (invariant) difference where both sides have a surface."""

    needs_of_views = ("depth",)

    def forward(self, rendering: Rendering, target: Target, step: int) -> Float[Tensor, ""]:
        if target.depth is None:
            raise ValueError("loss 'depth' needs views with depth maps")
        mask = surface_mask(rendering, target) & (target.depth > 0)
        if self.config.scale == "absolute":
            return mean_over((rendering.depth - target.depth).abs(), mask)
        return scale_shift_invariant(rendering.depth[mask], target.depth[mask])


def scale_shift_invariant(ours: Float[Tensor, "N"], theirs: Float[Tensor, "N"]) -> Float[Tensor, ""]:
    """Mean squared difference after the least-squares scale and shift of `theirs`; 0 for fewer than 2 values."""
    if len(ours) < 2:
        return ours.sum() * 0
    x, y = theirs - theirs.mean(), ours - ours.mean()
    scale = (x * y).sum() / x.square().sum().clamp(min=1e-12)
    return (y - scale * x).square().mean()
