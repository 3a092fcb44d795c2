"""Make a game-ready asset from a dense mesh: few faces, texture coordinates, base-colour texture, normal map."""
from collections.abc import Iterator
from typing import Annotated, Literal

import numpy as np
import torch
from pydantic import Field
from torch import Tensor

from asset3d.errors import InputError
from asset3d.loss.laplacian import Laplacian, LaplacianConfig
from asset3d.loss.mask import Mask, MaskConfig
from asset3d.loss.photometric import Photometric, PhotometricConfig
from asset3d.loss.smoothness import Smoothness, SmoothnessConfig
from asset3d.registry import register
from asset3d.renderer.mesh import MeshRenderer, MeshRendererConfig, is_seen
from asset3d.representation.textured_mesh import TexturedMesh, TexturedMeshConfig
from asset3d.scene.decimate import decimate
from asset3d.scene.material import Material
from asset3d.scene.mesh import Mesh
from asset3d.scene.mesh_cleanup import arrays, clean_mesh
from asset3d.scene.mesh_topology import face_normals
from asset3d.scene.nearest import NearestOnSurface
from asset3d.scene.normal_map import bake_normal_map
from asset3d.scene.relax import relax
from asset3d.scene.tangents import with_tangents
from asset3d.scene.texels import fill_outside, texel_map
from asset3d.scene.unwrap import unwrap
from asset3d.scene.views import ViewSet
from asset3d.schedule import Schedule, Values, constant
from asset3d.stage._compatible import Fault, idle_faults
from asset3d.stage._fit import Fit, FitConfig
from asset3d.stage.base import Stage, StageConfig


EVEN_ROUNDS = 5
"""Rounds of evening out triangles before decimation, and half of those after: slivers get no texels of their own."""


class TextureConfig(StageConfig, FitConfig):
    type: Literal["texture"] = "texture"
    faces: int = Field(20_000, ge=100, le=2_000_000)
    """Face budget: the mesh is decimated to at most so many triangles before it is unwrapped."""
    texture_size: int = Field(1024, ge=64, le=8192)
    """Rows and columns of the textures."""
    normal_map: bool = True
    """Bake the normals of the dense mesh into a tangent-space normal map."""
    supersample: int = Field(2, ge=1, le=4)
    """Rows and columns of samples per pixel of the photos."""
    vertex_learning_rate: float = Field(7e-4, ge=0)
    """Step size for vertex positions, which follow the photos' outlines and colours; 0 keeps the geometry."""
    laplacian: Annotated[Schedule, Values(ge=0)] = constant(0.04)
    """Weight of the loss that keeps vertices near the mean of their neighbours."""
    smoothness: Annotated[Schedule, Values(ge=0)] = constant(0.01)
    """Weight of the loss that keeps faces at one edge in one plane, and lets creases be."""
    mask: Annotated[Schedule, Values(ge=0)] = constant(1.0)
    """Weight of the mask loss."""


@register("stage", TextureConfig)
class Texture(Stage):
    """Step 0 cleans, decimates and unwraps; then the texture is fitted; the last step bakes the normal map."""

    reads = ("mesh", "views")
    writes = ("asset",)

    @classmethod
    def faults_of(cls, config: TextureConfig, given) -> Iterator[Fault]:
        yield from idle_faults(config, MeshRenderer)

    def start(self, mesh: Mesh, views: ViewSet) -> int:
        if mesh.colors is None:
            raise InputError(f"stage '{self.context.name}': the mesh has no vertex colours to start the texture from; "
                             "a stage of type convert gives them")
        self.dense, self.views = mesh, views.train
        self.fit: Fit | None = None
        self.normal_map: Tensor | None = None
        return self.config.steps + 2

    def step(self, step: int) -> dict[str, float]:
        if step == 0:
            return self._prepare()
        if step <= self.config.steps:
            return self.fit.step(step - 1)
        return self._bake()

    def _prepare(self) -> dict[str, float]:
        dense, cleaned = clean_mesh(self.dense)
        if cleaned.removed_components:
            self._say(f"removed {cleaned.removed_components} of {cleaned.components} pieces, "
                      f"{cleaned.removed_area:.2%} of the surface")
        self.context.raise_if_cancelled()
        reduced = relax(decimate(relax(dense, EVEN_ROUNDS), self.config.faces), 2 * EVEN_ROUNDS)
        self.context.raise_if_cancelled()
        low, unwrapped = unwrap(reduced, self.config.texture_size, progress=self._progress)
        self._say(f"{len(low.faces)} faces in {unwrapped.charts} charts ({unwrapped.method}) on "
                  f"{unwrapped.utilization:.0%} of the texture")
        if not is_seen(low.vertices, low.faces, self.views.camera):
            raise InputError(f"stage '{self.context.name}': the mesh covers no pixel of the {len(self.views)} training "
                             "views; check that it lies where the cameras look, as with load_views' fit: true")
        self.context.raise_if_cancelled()
        texture = initial_texture(low, dense, self.config.texture_size)
        self.context.raise_if_cancelled()
        self._begin_fit(low, texture)
        return {"faces": float(len(low.faces)), "vertices": float(len(low.vertices))}

    def _progress(self, fraction: float, text: str) -> None:
        self.context.raise_if_cancelled()
        self._say(text)

    def _say(self, text: str) -> None:
        self.context.emit("message", text=text)

    def _begin_fit(self, mesh: Mesh, texture: Tensor) -> None:
        config = self.config
        factor = config.vertex_learning_rate / config.learning_rate
        self.low = mesh
        representation = TexturedMesh(
            TexturedMeshConfig(texture_size=config.texture_size, learning_rate_vertices=factor), mesh, texture)
        losses = [Photometric(PhotometricConfig(l1=0.5, l2=2.0)), Mask(MaskConfig(weight=config.mask))]
        if factor:
            losses.append(Laplacian(LaplacianConfig(weight=config.laplacian)))
            losses.append(Smoothness(SmoothnessConfig(weight=config.smoothness, rounding=0.05)))
        renderer = MeshRenderer(MeshRendererConfig(supersample=config.supersample, texture_filter="linear"))
        self.fit = Fit(config, self.context, representation, renderer, losses, self.views)

    def _bake(self) -> dict[str, float]:
        if self.config.normal_map:
            dense, _ = clean_mesh(self.dense)
            self.context.raise_if_cancelled()
            self.normal_map, _ = bake_normal_map(self._fitted_mesh(), dense, self.config.texture_size)
        return {}

    def _fitted_mesh(self) -> Mesh:
        vertices, faces = self.fit.representation.surface()
        return with_tangents(Mesh(vertices.detach(), faces, uvs=self.low.uvs))

    def finish(self) -> dict[str, Mesh]:
        mesh = self._fitted_mesh()
        texture = self.fit.representation.texture.detach()[0].clamp(0, 1)
        size = self.config.texture_size
        covered = torch.from_numpy(texel_map(mesh, size, size).mask()).to(texture.device)
        mesh.material = Material(fill_outside(texture, covered), self.normal_map)
        return {"asset": mesh}

    # -- state --------------------------------------------------------------------------------------------------

    def state(self) -> dict[str, Tensor]:
        if self.fit is None:
            return {}
        state = {f"fit.{name}": value for name, value in self.fit.state().items()}
        state |= {"low.vertices": self.low.vertices, "low.faces": self.low.faces, "low.uvs": self.low.uvs}
        return state if self.normal_map is None else state | {"normal_map": self.normal_map}

    def load_state(self, state) -> None:
        if "low.vertices" not in state:
            return
        size, device = self.config.texture_size, self.context.device
        low = Mesh(state["low.vertices"], state["low.faces"], uvs=state["low.uvs"]).to(device)
        self._begin_fit(low, low.vertices.new_zeros(size, size, 3))
        prefix = "fit."
        self.fit.load_state({k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)})
        self.normal_map = state["normal_map"].to(device) if "normal_map" in state else None


def initial_texture(low: Mesh, dense: Mesh, size: int) -> Tensor:
    """The dense surface's colour at the nearest point that looks the same way, for every texel; (size, size, 3)."""
    texels = texel_map(low, size, size)
    vertices, faces = arrays(low)
    surface = NearestOnSurface(dense)
    side = face_normals(vertices, faces)[0][texels.face]
    _, face, weights = surface(texels.interpolate(vertices, faces), side)
    colors = surface.at(dense.colors.cpu().numpy().astype(np.float64), face, weights)
    image = torch.from_numpy(texels.image(colors)).to(low.vertices)
    return fill_outside(image, torch.from_numpy(texels.mask()).to(image.device)).clamp(0, 1)
