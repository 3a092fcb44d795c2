"""Vertices stay near the mean of their neighbours."""
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from asset3d.loss.base import Loss, LossConfig, needed
from asset3d.registry import register
from asset3d.scene.rendering import Rendering, Target


class LaplacianConfig(LossConfig):
    type: Literal["laplacian"] = "laplacian"


@register("loss", LaplacianConfig)
class Laplacian(Loss):
    """Mean squared length of the uniform Laplacian, in units of the mean edge: 1 means as long as an edge."""

    @classmethod
    def needs_of(cls, config):
        return {name: "choose a renderer of meshes" for name in ("vertices", "faces")}

    def forward(self, rendering: Rendering, target: Target, step: int) -> Float[Tensor, ""]:
        vertices = needed(rendering, "vertices", "laplacian")
        faces = needed(rendering, "faces", "laplacian")
        edge = (vertices[faces] - vertices[faces.roll(1, 1)]).detach().norm(dim=-1).mean()
        return (uniform_laplacian(vertices, faces) / edge).square().sum(-1).mean()


def uniform_laplacian(vertices: Float[Tensor, "V 3"], faces: Int64[Tensor, "F 3"]) -> Float[Tensor, "V 3"]:
    """Mean of the neighbours minus the vertex; neighbours that share two faces count twice."""
    total = torch.zeros_like(vertices)
    count = vertices.new_zeros(len(vertices), 1)
    for corner in range(3):
        here, one, other = faces[:, corner], faces[:, corner - 1], faces[:, corner - 2]
        total = total.index_add(0, here, vertices[one] + vertices[other])
        count = count.index_add(0, here, vertices.new_full((len(faces), 1), 2.0))
    return total / count.clamp(min=1) - vertices
