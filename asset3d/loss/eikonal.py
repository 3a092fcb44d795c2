"""The gradient of a distance has length one (Gropp et al. 2020)."""
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from asset3d.loss.base import Loss, LossConfig, needed
from asset3d.registry import register
from asset3d.scene.rendering import Rendering, Target


class EikonalConfig(LossConfig):
    type: Literal["eikonal"] = "eikonal"


@register("loss", EikonalConfig)
class Eikonal(Loss):
    """Mean squared difference of the length of the distance's gradient from 1."""

    @classmethod
    def needs_of(cls, config):
        return {"sdf_gradient": "choose a renderer of distance fields with `eikonal_points` above 0"}

    def forward(self, rendering: Rendering, target: Target, step: int) -> Float[Tensor, ""]:
        gradient = needed(rendering, "sdf_gradient", "eikonal")
        length = (gradient.square().sum(-1) + 1e-12).sqrt()  # finite derivative at 0
        return (length - 1).square().mean()
