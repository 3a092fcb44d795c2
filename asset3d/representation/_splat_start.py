"""Where Gaussians start: points with colours and normals on what is known of the surface. Letter: P points."""
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import grid_sample, normalize

from asset3d.errors import InputError
from asset3d.scene.mesh import Mesh
from asset3d.scene.views import Views
from asset3d.scene.visual_hull import visual_hull

FACING = 0.2
"""Least cosine between a normal and the direction to a camera whose photo says something about the colour."""
FLAT = 0.3
"""Thickness of a Gaussian on a surface with a known normal, in units of its width."""
SHARE_OF_VIEWS, OUTLINE = 0.9, 0.1
"""A sparse point belongs to the object when so many of the views have so much alpha there."""


@dataclass(frozen=True)
class Cloud:
    """Points on or near the surface, in the inside frame."""

    points: Float[Tensor, "P 3"]
    normals: Float[Tensor, "P 3"] | None = None
    """Outward, unit."""
    colors: Float[Tensor, "P 3"] | None = None
    """sRGB; taken from the views where there are none."""


def drawn(cloud: Cloud, count: int, generator: torch.Generator) -> Cloud:
    """At most `count` of the points."""
    if len(cloud.points) <= count:
        return cloud
    chosen = torch.randperm(len(cloud.points), generator=generator)[:count].sort().values.to(cloud.points.device)
    pick = lambda x: None if x is None else x[chosen]
    return Cloud(cloud.points[chosen], pick(cloud.normals), pick(cloud.colors))


def from_hull(views: Views, resolution: int, count: int, generator: torch.Generator) -> Cloud:
    """Points all over the surface of the visual hull, found on a grid.

    Raises:
        InputError: The masks share no volume.
    """
    axis = (torch.arange(resolution, device=views.alpha.device) + 0.5) / resolution - 0.5
    centers = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1).reshape(-1, 3)
    shown = sum(pixels_of(views, index, centers)[1].int() for index in range(len(views)))
    # what few photos show, at their corners, is in the hull for want of a photo that says otherwise
    hull = ((visual_hull(views, centers) > 0.5) & (2 * shown > len(views))).reshape((resolution,) * 3)
    if not hull.any():
        raise InputError(f"no cell of the grid for the visual hull ({resolution} per axis) lies inside the masks of "
                         f"all {len(views)} views; check that masks and cameras belong together, or, for a very thin "
                         "object, give a finer `hull_resolution`")
    padded = torch.nn.functional.pad(hull[None, None].float(), (1,) * 6)
    around = torch.nn.functional.avg_pool3d(padded, 3, 1)[0, 0]
    shell = (hull & (around < 0.999)).flatten()
    normals = -gradient(smooth(hull.float())).reshape(-1, 3)[shell]
    cloud = drawn(Cloud(centers[shell], normalize(normals, dim=-1)), count, generator)
    shift = (torch.rand(cloud.points.shape, generator=generator) - 0.5).to(cloud.points) / resolution
    return Cloud(cloud.points + shift, cloud.normals)


def smooth(grid: Float[Tensor, "X Y Z"], rounds: int = 3) -> Float[Tensor, "X Y Z"]:
    for _ in range(rounds):
        grid = torch.nn.functional.avg_pool3d(torch.nn.functional.pad(grid[None, None], (1,) * 6), 3, 1)[0, 0]
    return grid


def gradient(grid: Float[Tensor, "X Y Z"]) -> Float[Tensor, "X Y Z 3"]:
    return torch.stack(torch.gradient(grid), -1)


def from_points(views: Views, points: Float[Tensor, "P 3"]) -> Cloud:
    """The sparse points that lie on the object, as far as masks tell."""
    points = points[(points.abs() < 0.55).all(-1)]
    shown = torch.zeros(len(points), device=points.device)
    for index in range(len(views)):
        shown += sampled(views.alpha[index], pixels_of(views, index, points)[0])[:, 0] > OUTLINE
    return Cloud(points[shown >= SHARE_OF_VIEWS * len(views)])


def from_depth(views: Views, count: int, generator: torch.Generator) -> Cloud:
    """Pixels with depth, put back into space.

    Raises:
        InputError: The views have no depth.
    """
    if views.depth is None or not (known := (views.depth > 0) & (views.alpha > 0.5)).any():
        raise InputError("gaussians: `start: depth` needs views with depth maps; leave it out, or load such views")
    origins, directions = views.camera.rays()
    scale = (directions * views.camera.forward[:, None, None]).sum(-1, keepdim=True)
    points = origins + directions * views.depth / scale
    known = known[..., 0]
    normals = None if views.normal is None else views.normal[known]
    return drawn(Cloud(points[known], normals, views.color[known]), count, generator)


def from_mesh(mesh: Mesh, count: int, generator: torch.Generator) -> Cloud:
    """Points all over a mesh, with its colours at vertices where it has them.

    Raises:
        InputError: The mesh has no area.
    """
    areas, face_normals = mesh.face_areas_and_normals()
    up_to = areas.double().cpu().cumsum(0)
    if not len(up_to) or not 0 < float(up_to[-1]) < float("inf"):
        raise InputError(f"gaussians: the {len(areas)} faces of the mesh to start from have no area; give another "
                         "mesh, or another `start`")
    chance = torch.rand(count, generator=generator, dtype=torch.float64) * up_to[-1]
    face = torch.searchsorted(up_to, chance, right=True).clamp(max=len(areas) - 1).to(areas.device)
    weights = torch.rand(count, 2, generator=generator).to(areas)
    u, v = weights.unbind(-1)
    over = u + v > 1
    u, v = torch.where(over, 1 - u, u), torch.where(over, 1 - v, v)
    weights = torch.stack([1 - u - v, u, v], -1)
    at = lambda x: (x[mesh.faces[face]] * weights[..., None]).sum(1)
    return Cloud(at(mesh.vertices), face_normals[face], None if mesh.colors is None else at(mesh.colors))


def pixels_of(views: Views, index: int, points: Float[Tensor, "P 3"]) -> tuple[Float[Tensor, "P 2"], Bool[Tensor, "P"]]:
    """Where a view shows points, in [-1, 1] as `grid_sample` counts, and whether in front and inside of the image."""
    camera = views.camera[index]
    pixel, depth = camera.project(points)
    place = pixel[0] / pixel.new_tensor([camera.width, camera.height]) * 2 - 1
    return place, (place.abs() <= 1).all(-1) & (depth[0] > 0)


def sampled(image: Float[Tensor, "H W C"], place: Float[Tensor, "P 2"]) -> Float[Tensor, "P C"]:
    """Bilinear lookups; 0 outside."""
    return grid_sample(image.permute(2, 0, 1)[None], place[None, None], align_corners=False)[0, :, 0].T


def colors_from_views(views: Views, cloud: Cloud) -> Float[Tensor, "P 3"]:
    """Mean colour of the photos at the points, from cameras that their normals face (from all, without normals)."""
    total = cloud.points.new_zeros(len(cloud.points), 4)
    for index in range(len(views)):
        place, seen = pixels_of(views, index, cloud.points)
        seen = seen & (sampled(views.alpha[index], place)[:, 0] > 0.9)
        weight = seen.float() * 1e-3
        if cloud.normals is not None:
            toward = normalize(views.camera.position[index] - cloud.points, dim=-1)
            weight = weight + seen * ((toward * cloud.normals).sum(-1) - FACING).clamp(min=0)
        color = sampled(views.color[index], place)
        total += torch.cat([color * weight[:, None], weight[:, None]], -1)
    return torch.where(total[:, 3:] > 0, total[:, :3] / total[:, 3:].clamp(min=1e-9), 0.5)


def spacing(points: Float[Tensor, "P 3"]) -> Float[Tensor, "P"]:
    """Mean distance to the three nearest other points."""
    from scipy.spatial import cKDTree
    numbers = points.cpu().double().numpy()
    count = min(4, len(numbers))
    if count < 2:
        return torch.full((len(points),), 0.01, device=points.device)
    distance = cKDTree(numbers).query(numbers, k=count)[0][:, 1:].mean(1)
    return points.new_tensor(np.maximum(distance, 1e-5))


def turned_to(normals: Float[Tensor, "P 3"]) -> Float[Tensor, "P 4"]:
    """Quaternions wxyz that turn +Z to each normal."""
    x, y, z = normals.unbind(-1)
    half = torch.stack([1 + z, -y, x, torch.zeros_like(z)], -1)
    back = half.new_tensor([0.0, 1.0, 0.0, 0.0])  # z = -1: half a turn around X
    return torch.where((z < -0.9999)[:, None], back, normalize(half, dim=-1))
