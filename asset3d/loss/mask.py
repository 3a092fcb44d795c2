"""Differences between the alpha of renderings and the masks of photos."""
from typing import Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

from asset3d.loss.base import Loss, LossConfig, mean_over
from asset3d.registry import register
from asset3d.scene.rendering import Rendering, Target


class MaskConfig(LossConfig):
    type: Literal["mask"] = "mask"
    difference: Literal["l2", "cross_entropy"] = "l2"
    """Mean squared difference, or binary cross-entropy."""


@register("loss", MaskConfig)
class Mask(Loss):
    """Difference between the rendered alpha and the mask."""

    def forward(self, rendering: Rendering, target: Target, step: int) -> Float[Tensor, ""]:
        if self.config.difference == "l2":
            return mean_over((rendering.alpha - target.alpha).square(), target.valid)
        alpha = rendering.alpha.clamp(1e-3, 1 - 1e-3)  # log stays finite
        return mean_over(binary_cross_entropy(alpha, target.alpha, reduction="none"), target.valid)
