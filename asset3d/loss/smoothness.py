"""Neighbouring points of one surface have similar normals."""
from typing import Literal

from jaxtyping import Float
from pydantic import Field
from torch import Tensor

from asset3d.loss.base import Loss, RegularizerConfig, mean_over
from asset3d.registry import register
from asset3d.scene.rendering import Novel, Rendering, Target


class SmoothnessConfig(RegularizerConfig):
    type: Literal["smoothness"] = "smoothness"
    rounding: float = Field(0.02, gt=0)
    """Angle in radians below which differences count by their square, as noise does. Above, a crease costs no more than
    the same turn in many small steps."""


@register("loss", SmoothnessConfig)
class Smoothness(Loss):
    """How much normals differ between neighbours.

    Between points near the surface of a field and between faces that share an edge: mean length of the difference of
    the two unit normals, rounded off near 0 (a total variation of normals, which keeps creases). Between pixels, for
    renderers of whole images with `normals: true` whose faces change: mean 1 - cosine.
    """

    @classmethod
    def needs_of(cls, config):
        return {"neighbour_normals": "choose sdf_volume with `eikonal_points` above 0, volume with `neighbour_points` "
                                     "above 0, or mesh with `normals: true`"}

    def forward(self, rendering: Rendering, target: Target | Novel, step: int) -> Float[Tensor, ""]:
        pair = rendering.extras.get("neighbour_normals")
        if pair is None:
            return between_pixels(rendering)
        rounding = self.config.rounding
        turn = ((pair[0] - pair[1]).square().sum(-1) + rounding**2).sqrt() - rounding
        weight = rendering.extras.get("neighbour_weights")
        if weight is None:
            return turn.sum() / max(len(turn), 1)  # no ray may have met the object
        return (weight * turn).sum() / weight.sum()


def between_pixels(rendering: Rendering) -> Float[Tensor, ""]:
    """Mean 1 - cosine between the normals of pixels side by side that lie inside the object."""
    normal = rendering.normal
    if normal is None or normal.dim() != 4:
        raise ValueError("loss 'smoothness' needs a renderer of fields, or one of whole images with `normals: true`")
    seen = rendering.alpha.detach() > 0.99
    total = normal.new_zeros(())
    for axis in (1, 2):
        before, after = (slice(None),) * axis + (slice(None, -1),), (slice(None),) * axis + (slice(1, None),)
        cosine = (normal[before] * normal[after]).sum(-1, keepdim=True)
        total = total + mean_over(1 - cosine, seen[before] & seen[after])
    return total
