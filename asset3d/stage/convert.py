"""Turn one representation of a surface into another: a field into a tetrahedral mesh, either into a mesh."""
from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from asset3d.errors import EmptySurface, InputError
from asset3d.ops.marching_tets import marching_tets_dense
from asset3d.registry import register
from asset3d.representation._field import require_surface
from asset3d.representation.base import Representation
from asset3d.representation.tet_mesh import MarchingTetsBackend, TetMesh, TetMeshConfig
from asset3d.scene.mesh import Mesh
from asset3d.stage.base import Stage, StageConfig

SLAB = 24
"""Grid planes evaluated at once."""


class ConvertConfig(StageConfig):
    type: Literal["convert"] = "convert"
    to: Literal["tet_mesh", "mesh"]
    """What the representation becomes."""
    resolution: int = Field(128, ge=4, le=512)
    """Cells per axis of the grid on which a field's surface is found."""
    backend: MarchingTetsBackend = "native"
    """Whose kernels find the surface of a `tet_mesh` while it is fitted; `kaolin` must be installed."""


@register("stage", ConvertConfig)
class Convert(Stage):
    """Finds the surface of a field, as a tetrahedral mesh to go on fitting or as a plain mesh with vertex colours."""

    reads = ("representation",)
    writes = ("representation", "mesh")

    @classmethod
    def writes_of(cls, config: ConvertConfig) -> tuple[str, ...]:
        return ("representation",) if config.to == "tet_mesh" else ("mesh",)

    @classmethod
    def gives_of(cls, config: ConvertConfig, given):
        return {"representation": TetMesh.gives} if config.to == "tet_mesh" else {}

    def start(self, representation: Representation) -> int:
        if self.config.to == "tet_mesh" and isinstance(representation, TetMesh):
            raise InputError(f"stage '{self.context.name}': the representation is a tet_mesh already")
        self.source = representation
        self.made: dict[str, Tensor] = {}
        return 1

    def step(self, step: int) -> dict[str, float]:
        if self.config.to == "mesh":
            mesh = self.source.mesh() if isinstance(self.source, TetMesh) else field_mesh(
                self.source, self.config.resolution)
            if not len(mesh.faces):
                raise EmptySurface(f"stage '{self.context.name}': the surface vanished while it was fitted; lower the "
                                   "learning rate of the stage before, or check the masks of the views")
            self.made = {"vertices": mesh.vertices, "faces": mesh.faces, "colors": mesh.colors}
            return {"faces": float(len(mesh.faces))}
        return {}

    def finish(self) -> dict[str, Representation | Mesh]:
        if self.config.to == "mesh":
            return {"mesh": Mesh(**self.made)}
        made = TetMeshConfig(resolution=self.config.resolution, backend=self.config.backend)
        return {"representation": TetMesh(made, self.source)}

    def state(self) -> dict[str, Tensor]:
        return self.made

    def load_state(self, state) -> None:
        self.made = {name: value.to(self.context.device) for name, value in state.items()}


@torch.no_grad()
def field_mesh(field, resolution: int) -> Mesh:
    """The zero level of `field.evaluate` on a grid over [-0.5, 0.5]^3, a little wider, with vertex colours.

    Cells that the field's occupancy grid does not allow, far outside of the visual hull, count as empty.
    """
    n = resolution + 3
    reach = 0.5 + 1 / resolution
    device = next(field.parameters()).device
    axis = torch.linspace(-reach, reach, n, device=device)
    slabs = []
    for part in axis.split(SLAB):
        points = torch.stack(torch.meshgrid(part, axis, axis, indexing="ij"), -1).reshape(-1, 3)
        values = torch.where(near_hull(field, points), field.evaluate(points), 1.0)
        slabs.append(values.reshape(len(part), n, n))
    value = torch.cat(slabs)
    value[0], value[-1], value[:, 0], value[:, -1] = 1, 1, 1, 1
    value[:, :, 0], value[:, :, -1] = 1, 1
    require_surface(value)
    vertices, faces = marching_tets_dense(-value, (-reach,) * 3, (reach,) * 3)
    return Mesh(vertices, faces, colors=field.evaluate_color(vertices))


def near_hull(field, points: Float[Tensor, "N 3"]) -> Bool[Tensor, "N"]:
    """False where the field was never trained: outside the cells that its occupancy grid allows."""
    n = field.occupancy.resolution
    cell = ((points + 0.5) * n).long().clamp(0, n - 1)
    return field.occupancy.allowed[cell[:, 0], cell[:, 1], cell[:, 2]]
