"""Gaussians that are neither needed nor small cost something, so that they fade and can be used elsewhere."""
from typing import Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from asset3d.loss.base import Loss, LossConfig, needed
from asset3d.registry import register
from asset3d.scene.rendering import Rendering, Target


class CompactnessConfig(LossConfig):
    type: Literal["compactness"] = "compactness"
    opacity: float = Field(0.01, ge=0)
    """Weight of the mean opacity."""
    scale: float = Field(0.01, ge=0)
    """Weight of the mean scale."""


@register("loss", CompactnessConfig)
class Compactness(Loss):
    """Weighted means of opacities and scales of Gaussians (Kheradmand et al. 2024)."""

    @classmethod
    def needs_of(cls, config):
        return {name: "choose a renderer of splats" for name in ("opacities", "scales")}

    def forward(self, rendering: Rendering, target: Target, step: int) -> Float[Tensor, ""]:
        opacities = needed(rendering, "opacities", "compactness")
        scales = needed(rendering, "scales", "compactness")
        return self.config.opacity * opacities.mean() + self.config.scale * scales.mean()
