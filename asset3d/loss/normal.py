"""Differences between rendered and given normals."""
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from asset3d.loss.base import Loss, LossConfig, mean_over, surface_mask
from asset3d.registry import register
from asset3d.scene.rendering import Rendering, Target


class NormalConfig(LossConfig):
    type: Literal["normal"] = "normal"


@register("loss", NormalConfig)
class Normal(Loss):
    """Mean of 1 - cosine where both sides have a surface."""

    needs_of_views = ("normal",)

    @classmethod
    def needs_of(cls, config):
        return {"normal": "set `normals: true` of the renderer, where it has that"}

    def forward(self, rendering: Rendering, target: Target, step: int) -> Float[Tensor, ""]:
        if target.normal is None or rendering.normal is None:
            raise ValueError("loss 'normal' needs views with normal maps and a renderer with `normals: true`")
        cosine = (rendering.normal * target.normal).sum(-1, keepdim=True)
        return mean_over(1 - cosine, surface_mask(rendering, target))
