"""An object is there or it is not: fog is neither."""
from typing import Literal

from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import binary_cross_entropy

from asset3d.loss.base import Loss, RegularizerConfig
from asset3d.registry import register
from asset3d.scene.rendering import Novel, Rendering, Target


class OpaqueConfig(RegularizerConfig):
    type: Literal["opaque"] = "opaque"


@register("loss", OpaqueConfig)
class Opaque(Loss):
    """Mean entropy of alpha (threestudio's `opaque`): 0 where every pixel is either empty or covered."""

    def forward(self, rendering: Rendering, target: Target | Novel, step: int) -> Float[Tensor, ""]:
        alpha = rendering.alpha.clamp(1e-3, 1 - 1e-3)  # log stays finite
        return binary_cross_entropy(alpha, alpha)
