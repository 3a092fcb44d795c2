"""A surface from depth maps seen by many cameras (Curless and Levoy 1996). Letters: N grid points, V vertices."""
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import grid_sample

from asset3d.scene.camera import Camera
from asset3d.scene.mesh import Mesh
from asset3d.scene.rendering import Rendering
from asset3d.stage._grid_surface import zero_level

BAND = 4
"""Cells before and behind a depth that it says something about."""


@dataclass
class _View:
    """One rendering, ready to be looked up. `image` (1, 5, H, W): colour, alpha, depth."""

    camera: Camera
    image: Tensor

    def at(self, points: Float[Tensor, "N 3"]) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        """Whether points are in the image (N,), their depth (N,), and colour (N, 3), alpha (N,), depth (N,) there."""
        pixel, z = self.camera.project(points)
        place = pixel[0] / pixel.new_tensor([self.camera.width, self.camera.height]) * 2 - 1
        inside = (place.abs() <= 1).all(-1) & (z[0] > 0)
        smooth = grid_sample(self.image[:, :4], place[None, None], align_corners=False, padding_mode="border")[0, :, 0]
        depth = grid_sample(self.image[:, 4:], place[None, None], mode="nearest", align_corners=False)[0, 0, 0]
        return inside, z[0], smooth[:3].T, smooth[3], depth


def fused_mesh(render: Callable[[Camera], Rendering], camera: Camera, resolution: int,
               between: Callable[[], None] = lambda: None) -> Mesh:
    """The surface that renderings from all cameras agree on, with vertex colours; of [-0.5, 0.5]^3, a little wider.

    Truncated signed distances along the lines of sight are averaged on a grid. What some camera sees nothing in is
    empty; what no camera ever saw is inside.

    Args:
        render: Gives colour (multiplied with alpha), alpha and depth.
        camera: Where to look from.
        resolution: Cells per axis of [-0.5, 0.5]^3.
        between: Called before each view; may raise, to stop.

    Raises:
        EmptySurface: There is no surface.
    """
    band = BAND / resolution
    views = list(_views(render, camera, between))

    def value_at(points: Float[Tensor, "N 3"]) -> Float[Tensor, "N"]:
        between()
        return _distance(views, points, band)

    vertices, faces = zero_level(value_at, resolution, camera.position.device)
    return Mesh(vertices, faces, colors=_colors(views, vertices, band))


def _views(render, camera: Camera, between) -> Iterator[_View]:
    for index in range(len(camera)):
        between()
        one = camera[index]
        with torch.no_grad():
            rendering = render(one)
        color = rendering.color / rendering.alpha.clamp(min=1e-3)
        image = torch.cat([color, rendering.alpha, rendering.depth], -1)
        yield _View(one, image.permute(0, 3, 1, 2))


def _distance(views: list[_View], points: Float[Tensor, "N 3"], band: float) -> Float[Tensor, "N"]:
    """In [-1, 1], in units of the band; negative inside."""
    total, count = torch.zeros(len(points), device=points.device), torch.zeros(len(points), device=points.device)
    outside = torch.full_like(total, -1)
    for view in views:
        inside, z, _, alpha, depth = view.at(points)
        pixel = z / view.camera.intrinsics[0, 0]
        # past an outline by the share of a pixel that its alpha tells
        outside = torch.maximum(outside, torch.where(inside, (0.5 - alpha) * 2 * pixel / band, -1))
        distance = (depth - z) / band
        seen = inside & (alpha > 0.5) & (depth > 0) & (distance > -1)
        total += torch.where(seen, distance.clamp(max=1), 0)
        count += seen
    return torch.maximum(torch.where(count > 0, total / count.clamp(min=1), -1.0), outside)


def _colors(views: list[_View], vertices: Float[Tensor, "V 3"], band: float) -> Float[Tensor, "V 3"]:
    """Mean colour over the views that see a vertex, by how near it is to what they see; grey where none does."""
    total = vertices.new_zeros(len(vertices), 4)
    for view in views:
        inside, z, color, alpha, depth = view.at(vertices)
        weight = inside * alpha * torch.exp(-(2 * (depth - z) / band) ** 2)
        total += torch.cat([color * weight[:, None], weight[:, None]], -1)
    return torch.where(total[:, 3:] > 1e-6, total[:, :3] / total[:, 3:].clamp(min=1e-6), 0.5).clamp(0, 1)
