"""Turn one representation into another: fields and Gaussians into a mesh, fields into a tetrahedral mesh."""
from collections.abc import Iterator
from typing import Literal

import torch
from jaxtyping import Bool, Float
from pydantic import Field
from torch import Tensor

from asset3d.errors import EmptySurface, InputError
from asset3d.registry import register
from asset3d.renderer.splat import render_splats
from asset3d.representation.base import Representation
from asset3d.representation.gaussians import Gaussians
from asset3d.representation.tet_mesh import MarchingTetsBackend, TetMesh, TetMeshConfig
from asset3d.scene.camera import Camera, orbit
from asset3d.scene.mesh import Mesh
from asset3d.scene.rigs import VIEWS_DISTANCE, VIEWS_FOV, fibonacci
from asset3d.scene.splats import Splats
from asset3d.scene.views import ViewSet
from asset3d.stage._compatible import Fault
from asset3d.stage._fusion import fused_mesh
from asset3d.stage._grid_surface import zero_level
from asset3d.stage.base import Stage, StageConfig


class ConvertConfig(StageConfig):
    type: Literal["convert"] = "convert"
    to: Literal["tet_mesh", "mesh", "splats"]
    """What the representation becomes. splats: the Gaussians themselves, as an asset to measure and export."""
    resolution: int = Field(128, ge=4, le=512)
    """Cells per axis of the grid on which the surface of a field or of Gaussians is found."""
    backend: MarchingTetsBackend = "native"
    """Whose kernels find the surface of a `tet_mesh` while it is fitted; `kaolin` must be installed."""


@register("stage", ConvertConfig)
class Convert(Stage):
    """Finds the surface of a field, as a tetrahedral mesh to go on fitting or as a plain mesh with vertex colours.

    Of Gaussians the surface is found by fusing their depths as the cameras of the views see them.
    """

    reads = ("representation",)
    reads_if_there = ("views",)
    writes = ("representation", "mesh", "asset")

    @classmethod
    def writes_of(cls, config: ConvertConfig) -> tuple[str, ...]:
        return {"tet_mesh": ("representation",), "mesh": ("mesh",), "splats": ("asset",)}[config.to]

    @classmethod
    def gives_of(cls, config: ConvertConfig, given):
        return {"representation": TetMesh.gives} if config.to == "tet_mesh" else {}

    @classmethod
    def faults_of(cls, config: ConvertConfig, given) -> Iterator[Fault]:
        fault = _fault(config.to, given.get("representation"))
        if fault:
            yield ("to",), fault

    def start(self, representation: Representation, views: ViewSet | None = None) -> int:
        fault = _fault(self.config.to, getattr(representation, "gives", None))
        if fault:
            raise InputError(f"stage '{self.context.name}': {fault}")
        if self.config.to == "tet_mesh" and isinstance(representation, TetMesh):
            raise InputError(f"stage '{self.context.name}': the representation is a tet_mesh already")
        self.source, self.views = representation, views
        self.made: dict[str, Tensor] = {}
        return 1

    def step(self, step: int) -> dict[str, float]:
        broken = self.source.count_broken() if isinstance(self.source, Gaussians) else 0
        if broken:
            self.context.emit("warning", text=f"{broken} of {len(self.source)} Gaussians are not finite, and left out")
        if self.config.to == "mesh":
            mesh = self._mesh()
            if not len(mesh.faces):
                raise EmptySurface(f"stage '{self.context.name}': the surface vanished while it was fitted; lower the "
                                   "learning rate of the stage before, or check the masks of the views")
            self.made = {"vertices": mesh.vertices, "faces": mesh.faces, "colors": mesh.colors}
            return {"faces": float(len(mesh.faces))}
        return {}

    def _mesh(self) -> Mesh:
        if isinstance(self.source, TetMesh):
            return self.source.mesh()
        if not isinstance(self.source, Gaussians):
            return field_mesh(self.source, self.config.resolution)
        splats = self.source.visible()
        camera = around_the_object() if self.views is None else self.views.train.camera
        return fused_mesh(lambda one: render_splats(splats, one), camera.to(self.context.device),
                          self.config.resolution, self.context.raise_if_cancelled)

    def finish(self) -> dict[str, Representation | Mesh | Splats]:
        if self.config.to == "mesh":
            return {"mesh": Mesh(**self.made)}
        if self.config.to == "splats":
            return {"asset": self.source.visible()}
        made = TetMeshConfig(resolution=self.config.resolution, backend=self.config.backend)
        return {"representation": TetMesh(made, self.source)}

    def state(self) -> dict[str, Tensor]:
        return self.made

    def load_state(self, state) -> None:
        self.made = {name: value.to(self.context.device) for name, value in state.items()}


def _fault(to: str, gives: tuple[str, ...] | None) -> str:
    """Why a representation that gives this cannot become that; empty where it can."""
    if gives is None:
        return ""
    if to == "splats" and "splats" not in gives:
        return "only a representation of type gaussians can become splats; convert it to a mesh"
    if to == "tet_mesh" and "splats" in gives:
        return "Gaussians have no signed distance for a tet_mesh; convert them to a mesh"
    return ""


def around_the_object() -> Camera:
    """64 cameras that look at the object from all around, for where no views are there."""
    return orbit(*fibonacci(64, 0.0, (-60.0, 80.0)), VIEWS_DISTANCE, VIEWS_FOV, 256)


@torch.no_grad()
def field_mesh(field, resolution: int) -> Mesh:
    """The zero level of `field.evaluate` on a grid over [-0.5, 0.5]^3, a little wider, with vertex colours.

    Cells that the field's occupancy grid does not allow, far outside of the visual hull, count as empty.
    """
    def value_at(points: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
        near = torch.nonzero(near_hull(field, points))[:, 0]
        values = points.new_ones(len(points))
        if len(near):
            values[near] = field.evaluate(points[near])
        return values

    vertices, faces = zero_level(value_at, resolution, next(field.parameters()).device)
    return Mesh(vertices, faces, colors=field.evaluate_color(vertices))


def near_hull(field, points: Float[Tensor, "N 3"]) -> Bool[Tensor, "N"]:
    """False where the field was never trained: outside the cells that its occupancy grid allows."""
    n = field.occupancy.resolution
    cell = ((points + 0.5) * n).long().clamp(0, n - 1)
    return field.occupancy.allowed[cell[:, 0], cell[:, 1], cell[:, 2]]
