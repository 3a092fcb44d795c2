"""A surface on a tetrahedral grid (DMTet, Shen et al. 2021): signed distances and offsets at grid vertices."""
import copy
from typing import Annotated, Literal

import torch
from jaxtyping import Float
from pydantic import AfterValidator, Field
from torch import Tensor, nn

from asset3d.ops import _backend
from asset3d.ops.marching_tets import TetGrid, tet_grid
from asset3d.registry import Config, register
from asset3d.representation._field import require_surface
from asset3d.representation.base import Representation
from asset3d.scene.mesh import Mesh


MarchingTetsBackend = Annotated[Literal["native", "kaolin"], AfterValidator(_backend.installed)]


class TetMeshConfig(Config):
    type: Literal["tet_mesh"] = "tet_mesh"
    resolution: int = Field(128, ge=4, le=512)
    """Cells of the grid per axis of [-0.5, 0.5]^3."""
    band: float = Field(3.0, gt=1)
    """Only tetrahedra within so many cells of the first surface are kept: the surface can move as far."""
    learning_rate_geometry: float = Field(0.02, gt=0)
    """Factor on the learning rate for distances and offsets (the colour field has factor 1)."""
    backend: MarchingTetsBackend = "native"
    """Whose kernels find the surface; `kaolin` must be installed."""


@register("representation", TetMeshConfig)
class TetMesh(Representation):
    """Distances (negative inside) and bounded offsets at the vertices of a band of tetrahedra, and a colour field."""

    made_by = "{type: convert, to: tet_mesh}"
    gives = ("surface",)

    def __init__(self, config: TetMeshConfig, field: nn.Module):
        """`field` gives the first surface by `evaluate` and the colours by `color`; a copy of it is trained on.

        Raises:
            EmptySurface: The field has no surface.
        """
        super().__init__(config)
        grid = tet_grid(config.resolution).to(next(field.parameters()).device)
        distance = field.evaluate(grid.vertices)
        require_surface(distance)
        self.grid, kept = band_of(grid, distance, config.band / config.resolution)
        self.distance = nn.Parameter(distance[kept].clone())
        self.offset = nn.Parameter(torch.zeros_like(self.grid.vertices))
        self.march = _backend.backend("marching_tets", config.backend).marching_tets
        self.field = copy.deepcopy(field)  # the artifact that it came from stays as it is

    def parameter_groups(self):
        yield "geometry", self.config.learning_rate_geometry, [self.distance, self.offset]
        yield "color", 1.0, list(self.field.parameters())

    def surface(self) -> tuple[Float[Tensor, "V 3"], Tensor]:
        """Vertices and faces of the present surface, differentiable in distances and offsets."""
        reach = 0.45 / self.config.resolution  # a vertex stays in its own cell, so no tetrahedron turns over
        return self.march(-self.distance, self.grid.vertices + reach * torch.tanh(self.offset), self.grid)

    @torch.no_grad()
    def mesh(self) -> Mesh:
        """The present surface, with vertex colours."""
        vertices, faces = self.surface()
        return Mesh(vertices, faces, colors=self.field.evaluate_color(vertices))

    def color(self, x: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        return self.field.color(x, self.field(x)[1])


def band_of(grid: TetGrid, distance: Float[Tensor, "V"], width: float) -> tuple[TetGrid, Tensor]:
    """The tetrahedra within `width` of the surface as a grid of their own, and the vertices that it kept."""
    near = (distance.abs() < width)[grid.tets.long()].any(-1)
    tets = grid.tets[near].long()
    kept, tets = torch.unique(tets, return_inverse=True)
    return TetGrid.of(grid.vertices[kept], tets.to(grid.tets.dtype)), kept
