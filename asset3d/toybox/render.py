"""Maps of a textured mesh, by the project's own rasterizer. Letters in shapes: B views, H rows, W columns."""
import torch
from jaxtyping import Float
from torch import Tensor

from asset3d.ops.triangle import interpolate, rasterize, texture
from asset3d.scene.camera import Camera
from asset3d.scene.mesh import Mesh

BATCH = 8
"""Views rasterized together: what bounds the memory."""


def _pooled(image: Float[Tensor, "B H W C"], factor: int) -> Tensor:
    """Averages of blocks of pixels; slices are added in turn, which is several times as fast as a mean over axes."""
    total = image[:, ::factor, ::factor]
    for k in range(1, factor**2):
        total = total + image[:, k // factor::factor, k % factor::factor]
    return total / factor**2


def _color(mesh: Mesh, camera: Camera, faces: Tensor, supersample: int) -> tuple[Tensor, Tensor]:
    """Straight colours and alpha, both averaged over `supersample`² samples per pixel."""
    size = (camera.height * supersample, camera.width * supersample)
    rast, _ = rasterize(camera.clip_positions(mesh.vertices), faces, size)
    uv, _ = interpolate(mesh.uvs[None], rast, faces)
    hit = (rast[..., 3:] > 0).to(uv.dtype)
    color = texture(mesh.material.base_color[None], uv, boundary_mode="clamp") * hit
    alpha = _pooled(hit, supersample)
    return _pooled(color, supersample) / alpha.clamp_min(1e-6), alpha


def _geometry(mesh: Mesh, camera: Camera, faces: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Depth, normal and coordinate at the pixel centres; 0 where nothing is."""
    rast, _ = rasterize(camera.clip_positions(mesh.vertices), faces, (camera.height, camera.width))
    attributes, _ = interpolate(torch.cat([mesh.vertices, mesh.normals], -1)[None], rast, faces)
    hit = (rast[..., 3:] > 0).to(attributes.dtype)
    coordinate, normal = attributes[..., :3] * hit, attributes[..., 3:]
    normal = torch.nn.functional.normalize(normal, dim=-1) * hit
    away = coordinate - camera.position[:, None, None]
    depth = (away * camera.forward[:, None, None]).sum(-1, keepdim=True) * hit
    return depth, normal, coordinate


def render_maps(mesh: Mesh, camera: Camera, supersample: int = 2) -> dict[str, Tensor]:
    """Unlit maps of a mesh with uvs, normals and a base-colour texture, on the mesh's device.

    Args:
        mesh: What to render.
        camera: B views.
        supersample: Colour and alpha are averages of this many samples per pixel in each direction.

    Returns:
        `color` (B, H, W, 3) sRGB straight; `alpha` (B, H, W, 1); and, at the pixel centres and 0 where nothing is,
        `depth` (B, H, W, 1) along the optical axis, `normal` (B, H, W, 3) in the world, and `coordinate` (B, H, W, 3),
        the point of the object that is seen.
    """
    faces = mesh.faces.int()
    parts = []
    for start in range(0, len(camera), BATCH):
        some = camera[slice(start, start + BATCH)]
        parts.append((*_color(mesh, some, faces, supersample), *_geometry(mesh, some, faces)))
    names = ("color", "alpha", "depth", "normal", "coordinate")
    return {name: torch.cat(maps) for name, maps in zip(names, zip(*parts))}
