"""As little object as the views allow."""
from typing import Literal

from jaxtyping import Float
from torch import Tensor

from asset3d.loss.base import Loss, RegularizerConfig
from asset3d.registry import register
from asset3d.scene.rendering import Novel, Rendering, Target


class SparsityConfig(RegularizerConfig):
    type: Literal["sparsity"] = "sparsity"


@register("loss", SparsityConfig)
class Sparsity(Loss):
    """Mean alpha, rounded off near 0 so that what is nearly empty is left alone (threestudio's `sparsity`)."""

    def forward(self, rendering: Rendering, target: Target | Novel, step: int) -> Float[Tensor, ""]:
        return (rendering.alpha.square() + 0.01).sqrt().mean()
