"""From placed parts to one mesh with one texture. Letters in shapes: R rows, C columns, V vertices, F faces."""
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch

from asset3d.scene.material import Material
from asset3d.scene.mesh import Mesh
from asset3d.toybox.pattern import Pattern, Surface
from asset3d.toybox.shape import Part, Patch

GUTTER = 4
"""Texels around every patch that repeat its border, for filtering and mip-maps."""
KEY_LIGHT = np.array([0.42, 0.80, 0.43])


@dataclass(frozen=True)
class Placed:
    """A part at its place: world = rotation @ local + offset."""

    part: Part
    pattern: Pattern
    rotation: np.ndarray
    offset: np.ndarray


@dataclass(frozen=True)
class Geometry:
    """Triangles of one part; vertices of all its patches in a row, each patch row by row."""

    vertices: np.ndarray
    normals: np.ndarray
    faces: np.ndarray

    @cached_property
    def samples(self) -> np.ndarray:
        """Points spread evenly over the part, (N, 6), made when a pattern needs them."""
        return _samples(self)


def rotation_of(turn) -> np.ndarray:
    """The rotation matrix of three angles in degrees, applied about x, then y, then z."""
    out = np.eye(3)
    for axis, degrees in enumerate(turn):
        s, c = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
        a, b = (axis + 1) % 3, (axis + 2) % 3
        one = np.eye(3)
        one[a, a], one[a, b], one[b, a], one[b, b] = c, -s, s, c
        out = one @ out
    return out


def _apply(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """matrix @ point, element by element: equal points stay equal to the bit, which BLAS does not promise."""
    return points[..., :1] * matrix[:, 0] + points[..., 1:2] * matrix[:, 1] + points[..., 2:3] * matrix[:, 2]


class Model:
    """Collects parts; `mesh` bakes them."""

    def __init__(self):
        self.placed: list[Placed] = []

    def add(self, part: Part, pattern: Pattern, at=(0, 0, 0), turn=(0, 0, 0)) -> None:
        """Places a part: turned about x, y, z (degrees), then moved."""
        self.placed.append(Placed(part, pattern, rotation_of(turn), np.asarray(at, np.float64)))

    def vertices(self) -> np.ndarray:
        """All points of all parts, (V, 3), their box centred at 0 with longest side 1."""
        points = np.concatenate([_apply(p.rotation, p.part.vertices + 0.0) + p.offset for p in self.placed])
        low, high = points.min(0), points.max(0)
        return (points - (low + high) / 2) / (high - low).max()

    def mesh(self, texture_size: int = 1024, shading: float = 1.0) -> Mesh:
        """One mesh, its box centred at 0 with longest side 1, with one base-colour texture.

        Args:
            texture_size: Rows and columns of the texture.
            shading: 1 bakes a soft light from above into the colours, 0 leaves them flat.
        """
        geometries = [geometry_of(placed.part) for placed in self.placed]
        vertices = self.vertices()
        normals = np.concatenate([_apply(p.rotation, g.normals) for p, g in zip(self.placed, geometries)])
        starts = np.cumsum([0] + [len(g.vertices) for g in geometries])
        faces = np.concatenate([g.faces + start for g, start in zip(geometries, starts)])
        uvs, texture = _bake(self.placed, geometries, texture_size, shading)
        used, faces = np.unique(faces, return_inverse=True)
        as_tensor = lambda x: torch.from_numpy(np.ascontiguousarray(x[used], np.float32))
        return Mesh(as_tensor(vertices), torch.from_numpy(faces.reshape(-1, 3).astype(np.int64)), as_tensor(normals),
                    as_tensor(uvs), material=Material(torch.from_numpy(texture)))


def _grid_faces(patch: Patch, start: int) -> np.ndarray:
    rows, columns = patch.points.shape[:2]
    index = start + np.arange(rows * columns).reshape(rows, columns)
    a, b, c, d = index[:-1, :-1], index[:-1, 1:], index[1:, 1:], index[1:, :-1]
    return np.stack([np.stack([a, b, c], -1), np.stack([a, c, d], -1)], -2).reshape(-1, 3)


def geometry_of(part: Part) -> Geometry:
    """Triangles of a part without the empty ones at its poles, facing outward, with smooth normals per patch."""
    sizes = [patch.points.shape[0] * patch.points.shape[1] for patch in part.patches]
    starts = np.cumsum([0] + sizes)
    vertices = part.vertices + 0.0   # no negative zeros: equality below is by bytes
    faces = np.concatenate([_grid_faces(p, s) for p, s in zip(part.patches, starts)])
    _, same = np.unique(vertices, axis=0, return_inverse=True)
    same = same.reshape(-1)
    corner = same[faces]
    full = (corner[:, 0] != corner[:, 1]) & (corner[:, 1] != corner[:, 2]) & (corner[:, 2] != corner[:, 0])
    faces = faces[full]
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    cross = np.cross(b - a, c - a)
    if (a * cross).sum() < 0:
        faces, cross = faces[:, ::-1].copy(), -cross
    group = np.zeros(len(vertices), np.int64) if part.smooth else np.repeat(np.arange(len(sizes)), sizes)
    _, shared = np.unique(same + group * (same.max() + 1), return_inverse=True)
    total = np.zeros((len(vertices), 3))
    for k in range(3):
        np.add.at(total, shared[faces[:, k]], cross)
    normals = total[shared]
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    return Geometry(vertices, normals / np.maximum(length, 1e-12), faces)


def _samples(geometry: Geometry, count: int = 1024) -> np.ndarray:
    """Points evenly over a part with their face normals, (count, 6), always the same ones."""
    a, b, c = (geometry.vertices[geometry.faces[:, k]] for k in range(3))
    cross = np.cross(b - a, c - a)
    area = np.linalg.norm(cross, axis=1)
    total = np.cumsum(area)
    i = np.searchsorted(total, (np.arange(count) + 0.5) / count * total[-1])
    u, v = np.arange(count) * 0.7548776662 % 1, np.arange(count) * 0.5698402910 % 1   # a plane-filling sequence
    u, v = np.where(u + v > 1, 1 - u, u)[:, None], np.where(u + v > 1, 1 - v, v)[:, None]
    return np.concatenate([a[i] + u * (b - a)[i] + v * (c - a)[i], cross[i] / area[i, None]], 1)


def _lengths(patch: Patch) -> tuple[float, float]:
    """Width and height of the rectangle that holds a patch without squeezing it."""
    along = np.linalg.norm(np.diff(patch.points, axis=1), axis=-1).sum(1).max()
    across = np.linalg.norm(np.diff(patch.points, axis=0), axis=-1).sum(0).max()
    return along, across


def _shelves(sizes: np.ndarray, atlas: int) -> np.ndarray | None:
    """Corners (column, row) of rectangles (width, height) on shelves of a square atlas; None if they do not fit."""
    corners = np.zeros_like(sizes)
    x = y = shelf = 0
    for i in np.lexsort((np.arange(len(sizes)), -sizes[:, 1])):
        w, h = sizes[i]
        if x + w > atlas:
            x, y, shelf = 0, y + shelf, 0
        if w > atlas or y + h > atlas:
            return None
        corners[i] = x, y
        x, shelf = x + w, max(shelf, h)
    return corners


def _pack(lengths: np.ndarray, atlas: int) -> tuple[np.ndarray, np.ndarray]:
    """The largest texels-per-length at which all patches fit, as integer corners and sizes without gutters."""
    at = lambda density: np.maximum(np.ceil(lengths * density).astype(int), 3)
    low, high = 0.0, atlas / lengths.max()
    for _ in range(14):
        middle = (low + high) / 2
        low, high = (middle, high) if _shelves(at(middle) + 2 * GUTTER, atlas) is not None else (low, middle)
    corners = _shelves(at(low) + 2 * GUTTER, atlas)
    if corners is None:
        raise ValueError(f"toybox: {len(lengths)} patches do not fit into a texture of {atlas}²; ask for a larger one")
    return corners + GUTTER, at(low)


def _fractions(steps: np.ndarray) -> np.ndarray:
    """Positions 0…1 of grid lines whose mean distances are `steps`."""
    total = np.cumsum(np.concatenate([[0.0], np.maximum(steps, 1e-9)]))
    return total / total[-1]


def _grid_lines(patch: Patch) -> tuple[np.ndarray, np.ndarray]:
    """Positions 0…1 of a patch's columns and rows in its rectangle."""
    columns = _fractions(np.linalg.norm(np.diff(patch.points, axis=1), axis=-1).mean(0))
    rows = _fractions(np.linalg.norm(np.diff(patch.points, axis=0), axis=-1).mean(1))
    return columns, rows


def _patch_uvs(patch: Patch, lines, corner: np.ndarray, size: np.ndarray, atlas: int) -> np.ndarray:
    """Texture coordinates of a patch's vertices, from the centre of its first texel to that of its last, (R, C, 2)."""
    columns, rows = lines
    u = np.repeat(columns[None], len(rows), 0)
    middle = (columns[1:] + columns[:-1]) / 2
    pole = (patch.points == patch.points[:, :1]).all((1, 2))
    if pole[0]:    # the one triangle of a pole's vertex spans the column after it, at the far end the one before it
        u[0, :-1] = middle
    if pole[-1]:
        u[-1, 1:] = middle
    grid = np.stack([u, np.repeat(rows[:, None], len(columns), 1)], -1)
    return (corner + 0.5 + grid * (size - 1)) / atlas


def _spread(values: np.ndarray, lines: tuple[np.ndarray, np.ndarray], size: np.ndarray) -> np.ndarray:
    """Values at the grid points (R, C, K) interpolated at the patch's texels, (height, width, K)."""
    columns, rows = lines
    x = np.interp(np.linspace(0, 1, size[0]), columns, np.arange(len(columns)))
    y = np.interp(np.linspace(0, 1, size[1]), rows, np.arange(len(rows)))
    i, j = np.minimum(x.astype(int), len(columns) - 2), np.minimum(y.astype(int), len(rows) - 2)
    fx, fy = (x - i)[None, :, None], (y - j)[:, None, None]
    lines = values[j] * (1 - fy) + values[j + 1] * fy
    return lines[:, i] * (1 - fx) + lines[:, i + 1] * fx


def soft_light(normals: np.ndarray) -> np.ndarray:
    """A factor for colours, (..., 1): sky above, a warm floor below, and one weak lamp at the front right."""
    sky = 0.5 + 0.5 * normals[..., 1:2]
    lamp = np.maximum((normals * (KEY_LIGHT / np.linalg.norm(KEY_LIGHT))).sum(-1, keepdims=True), 0)
    return 0.66 + 0.20 * sky + 0.20 * lamp


def _bake(placed: list[Placed], geometries: list[Geometry], atlas: int, shading: float):
    """Texture coordinates of all vertices (V, 2) and the texture (atlas, atlas, 3), float32 multiples of 1/255."""
    patches = [(p, g, patch) for p, g in zip(placed, geometries) for patch in p.part.patches]
    corners, sizes = _pack(np.array([_lengths(patch) for _, _, patch in patches]), atlas)
    texture = np.full((atlas, atlas, 3), 0.5)
    uvs, first, owner = [], 0, None
    for (p, g, patch), corner, size in zip(patches, corners, sizes):
        first, owner = (0, g) if owner is not g else (first, owner)
        grid = patch.points.shape[:2]
        normals = g.normals[first:first + grid[0] * grid[1]].reshape(*grid, 3)
        first += grid[0] * grid[1]
        lines = _grid_lines(patch)
        uvs.append(_patch_uvs(patch, lines, corner, size, atlas).reshape(-1, 2))
        spread = _spread(np.concatenate([patch.points, normals], -1), lines, size)
        points, normals = spread[..., :3], spread[..., 3:]
        normals = normals / np.maximum(np.linalg.norm(normals, axis=-1, keepdims=True), 1e-9)
        colour = p.pattern(Surface(points, normals, lambda g=g: g.samples))
        colour = colour * (1 + shading * (soft_light(_apply(p.rotation, normals)) - 1))
        (x, y), (w, h) = corner - GUTTER, size + 2 * GUTTER
        texture[y:y + h, x:x + w] = np.pad(colour, ((GUTTER, GUTTER), (GUTTER, GUTTER), (0, 0)), mode="edge")
    return np.concatenate(uvs), (np.round(np.clip(texture, 0, 1) * 255) / 255).astype(np.float32)
