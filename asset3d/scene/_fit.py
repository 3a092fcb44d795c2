"""Where the object is, from its masks: the bounding box of the visual hull. Letters: B views, N cells."""
import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import interpolate

from asset3d.scene.camera import Camera

MASK_SIZE = 384
"""Masks are compared at no more than this many pixels per side: 1/384 of the image decides no frame."""
START = 24
"""Cells per side of the first grid."""
PRECISION = 1 / 300
"""Cells are split until they are smaller than this share of the box."""
MAX_CELLS = 3_000_000
TOLERANCES = (0.0, 0.05, 0.15)
"""Shares of the views that may contradict, tried in turn: one bad mask must not empty the hull."""


@dataclass(frozen=True)
class _Masks:
    """Cameras with, per pixel, the signed distance to the mask's outline (inside negative; -inf where unknown)."""

    camera: Camera
    distance: Float[Tensor, "B H W"]

    def at(self, index: int, pixels: Float[Tensor, "N 2"], depth: Float[Tensor, "N"], near: float = 0.0
           ) -> Float[Tensor, "N"]:
        """The distance of one view at pixel positions; -inf where it sees nothing, nearer than `near` included."""
        column, row = pixels.floor().nan_to_num(-1).clamp(-1, 1e6).long().unbind(-1)
        width, height = self.camera.width, self.camera.height
        seen = (depth > near) & (column >= 0) & (row >= 0) & (column < width) & (row < height)
        distance = self.distance[index][row.clamp(0, height - 1), column.clamp(0, width - 1)]
        return torch.where(seen, distance, -math.inf)


def hull_box(camera: Camera, alpha: Float[Tensor, "B H W 1"], valid: Bool[Tensor, "B H W 1"] | None = None
             ) -> tuple[np.ndarray, np.ndarray] | None:
    """Lower and upper corner of the visual hull in world units, None when the views share no volume.

    A grid of cells around the point that all masks look at is refined where a cell could still widen the box: cells
    that some view shows to be empty are dropped, and so are cells inside the box of those surely in the hull.
    """
    masks = mask_distances(camera, alpha, valid)
    region = _region(masks)
    if region is None:
        return None
    for tolerance in TOLERANCES:
        box = _refine(masks, *region, tolerance)
        if box is not None:
            return box
    return None


def points_box(points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Corners that hold the middle 98 % of sparse points along each axis; the rest are taken for strays."""
    return tuple(np.percentile(points, (1, 99), axis=0))


def mask_distances(camera: Camera, alpha: Tensor, valid: Tensor | None) -> _Masks:
    """Masks at no more than MASK_SIZE, as distances."""
    from scipy.ndimage import distance_transform_edt
    height, width = camera.height, camera.width
    factor = min(1.0, MASK_SIZE / max(height, width))
    size = (max(1, round(height * factor)), max(1, round(width * factor)))
    small = interpolate(alpha.permute(0, 3, 1, 2), size=size, mode="area")[:, 0]
    distance = []
    for mask in (small > 0.5).numpy():
        outside = distance_transform_edt(~mask) if mask.any() else np.full(mask.shape, np.inf)
        within = distance_transform_edt(mask) if not mask.all() else np.full(mask.shape, np.inf)
        distance.append(outside - within)
    distance = torch.from_numpy(np.stack(distance)).float()
    if valid is not None:
        known = interpolate(valid.permute(0, 3, 1, 2).float(), size=size, mode="area")[:, 0]
        distance = torch.where(known > 0.5, distance, -math.inf)
    return _Masks(camera.resized(*size), distance)


def _region(masks: _Masks) -> tuple[Tensor, float] | None:
    """The point nearest to all rays through the masks' centres, and a radius that holds the object."""
    camera, rays, reach = masks.camera, [], []
    for index, distance in enumerate(masks.distance):
        row, column = torch.nonzero((distance < 0) & torch.isfinite(distance), as_tuple=True)
        if not len(row):
            return None
        pixels = torch.stack([column, row], -1).float() + 0.5
        center = (pixels.amin(0) + pixels.amax(0)) / 2
        rays.append(camera[index].directions(center[None, None])[0, 0])
        reach.append((pixels - center).norm(dim=-1).max() / camera.intrinsics[index, :2].min())
    direction, origin = torch.stack(rays).double(), camera.position.double()
    across = torch.eye(3, dtype=torch.float64) - direction[:, :, None] * direction[:, None, :]
    system = across.sum(0)
    if torch.linalg.eigvalsh(system)[0] < 1e-4 * len(rays):  # all rays parallel: depth is anyone's guess
        return None
    center = torch.linalg.solve(system, (across @ origin[..., None])[..., 0].sum(0))
    depth = ((center - origin) * direction).sum(-1)
    if (depth > 0).double().mean() < 0.8:
        return None
    radius = torch.stack(reach).double() * depth.clamp(min=0)
    return center.float(), float(torch.quantile(radius, 0.9)) * 1.6


def _refine(masks: _Masks, center: Tensor, radius: float, tolerance: float):
    """The hull's box; None when nothing is left."""
    half = radius / START
    axis = (torch.arange(START) + 0.5) * 2 * half - radius
    cells = torch.cartesian_prod(axis, axis, axis) + center
    lower, upper = torch.full((3,), math.inf), torch.full((3,), -math.inf)  # box of cells surely in the hull
    while True:
        possible, sure = _classify(masks, cells, half * math.sqrt(3), tolerance)
        cells, sure = cells[possible], cells[possible & sure]
        if not len(cells):
            break
        if len(sure):
            lower, upper = torch.minimum(lower, sure.amin(0)), torch.maximum(upper, sure.amax(0))
        size = torch.maximum(upper, cells.amax(0)) - torch.minimum(lower, cells.amin(0))
        if 2 * half < PRECISION * float(size.max()) or len(cells) > MAX_CELLS / 8:
            break
        widening = ((cells - half < lower) | (cells + half > upper)).any(-1)
        half /= 2
        corner = torch.cartesian_prod(*[torch.tensor([-half, half])] * 3)
        cells = (cells[widening][:, None] + corner).reshape(-1, 3)
    if len(cells):
        lower, upper = torch.minimum(lower, cells.amin(0)), torch.maximum(upper, cells.amax(0))
    return (lower.double().numpy(), upper.double().numpy()) if bool((upper > lower).all()) else None


def _classify(masks: _Masks, cells: Float[Tensor, "N 3"], radius: float, tolerance: float):
    """Which cells (balls of that radius) may touch the hull, and which lie in it surely."""
    camera, views = masks.camera, len(masks.camera)
    carved, seen = (torch.zeros(len(cells), dtype=torch.int32) for _ in range(2))
    sure = torch.ones(len(cells), dtype=torch.bool)
    allowed = int(tolerance * views)
    alive = torch.arange(len(cells))
    for index in range(views):
        pixels, depth = (x[0] for x in camera[index].project(cells[alive]))
        distance = masks.at(index, pixels, depth, radius)
        visible = distance > -math.inf
        reach = radius * camera.intrinsics[index, :2].max() / (depth - radius).clamp(min=1e-6) + 0.71
        seen[alive] += visible.int()
        carved[alive] += (visible & (distance > reach)).int()
        sure[alive] &= ~visible | (distance < -reach)
        alive = alive[carved[alive] <= allowed]
    possible = (carved <= allowed) & (seen >= max(2, views // 4))
    return possible, sure
