"""Neighbouring pixels of one surface have similar normals."""
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from asset3d.loss.base import Loss, LossConfig, mean_over
from asset3d.registry import register
from asset3d.scene.rendering import Rendering, Target


class SmoothnessConfig(LossConfig):
    type: Literal["smoothness"] = "smoothness"


@register("loss", SmoothnessConfig)
class Smoothness(Loss):
    """Mean 1 - cosine between the normals of neighbouring pixels; needs whole images with normals."""

    def forward(self, rendering: Rendering, target: Target, step: int) -> Float[Tensor, ""]:
        normal = rendering.normal
        if normal is None or normal.dim() != 4:
            raise ValueError("loss 'smoothness' needs a renderer of whole images with `normals: true`")
        seen = rendering.alpha.detach() > 0.99
        across = mean_over(1 - (normal[:, :, 1:] * normal[:, :, :-1]).sum(-1, keepdim=True),
                           seen[:, :, 1:] & seen[:, :, :-1])
        down = mean_over(1 - (normal[:, 1:] * normal[:, :-1]).sum(-1, keepdim=True), seen[:, 1:] & seen[:, :-1])
        return across + down
