"""Rasterization of meshes with anti-aliased, differentiable silhouettes (Laine et al. 2020)."""
from typing import Annotated, Literal

import torch
from jaxtyping import Float, Int64
from pydantic import AfterValidator, Field
from torch import Tensor
from torch.nn.functional import avg_pool2d, normalize

from asset3d.ops import _backend
from asset3d.ops.triangle import rasterize
from asset3d.registry import Config, register
from asset3d.renderer.base import Renderer
from asset3d.representation.textured_mesh import TexturedMesh
from asset3d.scene.camera import Camera
from asset3d.scene.rendering import Rendering


class MeshRendererConfig(Config):
    type: Literal["mesh"] = "mesh"
    supersample: int = Field(1, ge=1, le=4)
    """Rows and columns of samples per pixel."""
    texture_filter: Literal["linear", "linear-mipmap-linear"] = "linear-mipmap-linear"
    """How textures are looked up. With several samples per pixel `linear` is sharper: it fits the finest level itself,
    from which viewers make their own mip-maps."""
    normals: bool = False
    """Also render normals (needed by the normal and smoothness losses)."""
    backend: Annotated[Literal["native", "nvdiffrast"], AfterValidator(_backend.installed)] = "native"
    """Whose kernels rasterize; `nvdiffrast` must be installed, and runs on CUDA only."""


@register("renderer", MeshRendererConfig)
class MeshRenderer(Renderer):
    """Renders a representation with `surface()`, and `color(x)` or a texture."""

    unit = "images"
    needs = "surface"

    def __init__(self, config: MeshRendererConfig):
        self.config = config
        self.ops = _backend.backend("triangle", config.backend)

    @classmethod
    def gives_of(cls, config: MeshRendererConfig) -> tuple[str, ...]:
        given = ("images", "vertices", "faces")
        return (*given, "normal", "neighbour_normals") if config.normals else given

    def render(self, representation, camera: Camera) -> Rendering:
        factor = self.config.supersample
        fine = camera.resized(camera.height * factor, camera.width * factor) if factor > 1 else camera
        vertices, faces, shape = geometry_of(representation)
        clip = fine.clip_positions(vertices)
        faces32 = faces.int()
        rast, rast_db = self.ops.rasterize(clip, faces32, (fine.height, fine.width))
        covered = rast[..., 3:] > 0
        parts = [self._color(representation, vertices, faces32, rast, rast_db, covered), covered.to(clip.dtype)]
        depth = self.ops.interpolate(clip[..., 3:], rast, faces32)[0]
        if self.config.normals:
            parts.append(self._normal(vertices, faces, rast))
        topology = getattr(representation, "topology", None)  # known where the faces never change
        image = self.ops.antialias(torch.cat(parts, -1), rast, clip, faces32, topology)
        image = shrink(image, factor)
        return Rendering(image[..., :3], image[..., 3:4], nearest(depth * covered, factor),
                         normalize(image[..., 4:7], dim=-1) if self.config.normals else None,
                         shape)

    def _color(self, representation, vertices, faces, rast, rast_db, covered) -> Float[Tensor, "B H W 3"]:
        """Colours where a triangle is, 0 elsewhere."""
        if isinstance(representation, TexturedMesh):
            uvs = representation.start_mesh.uvs[None]
            mip_maps = self.config.texture_filter != "linear"
            uv, uv_da = self.ops.interpolate(uvs, rast, faces, rast_db, "all" if mip_maps else None)
            return self.ops.texture(representation.texture, uv, uv_da if mip_maps else None,
                                    self.config.texture_filter, boundary_mode="clamp") * covered
        position, _ = self.ops.interpolate(vertices[None], rast, faces)
        index = torch.nonzero(covered[..., 0].flatten())[:, 0]
        color = representation.color(position.reshape(-1, 3)[index])
        out = color.new_zeros(covered.numel(), 3).index_copy(0, index, color)
        return out.reshape(*covered.shape[:3], 3)

    @staticmethod
    def _normal(vertices, faces, rast) -> Float[Tensor, "B H W 3"]:
        """Face normals, one per pixel."""
        normals = unit_face_normals(vertices, faces)
        face = rast[..., 3].long()
        return torch.cat([normals.new_zeros(1, 3), normals])[face]


def geometry_of(representation) -> tuple[Float[Tensor, "V 3"], Tensor, dict[str, Tensor]]:
    """Vertices and faces, and what losses on the shape itself ask for.

    Of a textured mesh that is the shape without seams, and the normals beside every edge, whose faces never change.
    """
    if not isinstance(representation, TexturedMesh) or not representation.moves:
        vertices, faces = representation.surface()
        return vertices, faces, {"vertices": vertices, "faces": faces}
    places, faces = representation.moved_places(), representation.closed_faces
    normals = unit_face_normals(places, faces)
    start, end = places[representation.hinge_ends].unbind(1)
    return places[representation.place], representation.start_mesh.faces, {
        "vertices": places, "faces": faces, "neighbour_normals": normals[representation.hinge_faces],
        "neighbour_weights": (end - start).detach().norm(dim=-1)}


@torch.no_grad()
def is_seen(vertices: Float[Tensor, "V 3"], faces: Int64[Tensor, "F 3"], camera: Camera) -> bool:
    """Whether a mesh covers a pixel of any view; one that covers none would be fitted to nothing, without a word."""
    faces32 = faces.int()
    return any(bool((rasterize(one.clip_positions(vertices), faces32, (one.height, one.width))[0][..., 3] > 0).any())
               for one in (camera[view] for view in range(len(camera))))


def unit_face_normals(vertices: Float[Tensor, "V 3"], faces: Tensor) -> Float[Tensor, "F 3"]:
    """Differentiable; 0 where a face has no area."""
    a, b, c = vertices[faces].unbind(1)
    return normalize(torch.linalg.cross(b - a, c - a), dim=-1)


def shrink(image: Float[Tensor, "B H W C"], factor: int) -> Float[Tensor, "B h w C"]:
    """Average blocks of factor x factor pixels."""
    return image if factor == 1 else avg_pool2d(image.permute(0, 3, 1, 2), factor).permute(0, 2, 3, 1)


def nearest(depth: Float[Tensor, "B H W 1"], factor: int) -> Float[Tensor, "B h w 1"]:
    """One sample of each block: depths of two surfaces must not be mixed."""
    middle = factor // 2
    return depth[:, middle::factor, middle::factor] if factor > 1 else depth
