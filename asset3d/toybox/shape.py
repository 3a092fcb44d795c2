"""Closed surfaces from parametrised grids. Letters in shapes: R rows, C columns of a grid, N points.

Everything is a loft: rings of C points, of which the first and the last may shrink to one point (a pole). A ring ends
in a copy of its own first point, so that texture coordinates may differ on both sides of the seam while positions are
equal to the bit. Lengths are in the unit of the object under construction; +Y is up.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Patch:
    """A grid of points with its own rectangle in the texture."""

    points: np.ndarray
    """(R, C, 3)."""


@dataclass(frozen=True)
class Part:
    """Patches that together enclose a volume."""

    patches: tuple[Patch, ...]
    smooth: bool = False
    """Whether normals run on across the borders of the patches."""

    def scaled(self, factors) -> "Part":
        """The part stretched by three positive factors."""
        return Part(tuple(Patch(patch.points * np.asarray(factors, np.float64)) for patch in self.patches), self.smooth)

    @property
    def vertices(self) -> np.ndarray:
        """All grid points, (N, 3)."""
        return np.concatenate([patch.points.reshape(-1, 3) for patch in self.patches])


def _angles(count: int) -> np.ndarray:
    return np.arange(count) * (2 * np.pi / count)


def _seamed(rings: np.ndarray) -> np.ndarray:
    """Rings (R, C, 3) with the first column repeated at the end."""
    return np.concatenate([rings, rings[:, :1]], 1)


def loft(rings: np.ndarray, creases: tuple[int, ...] = ()) -> Part:
    """A part from open-ended rings (R, C, 3); rows named in `creases` become sharp edges between patches."""
    grid = _seamed(np.asarray(rings, np.float64))
    cuts = [0, *sorted(creases), len(grid) - 1]
    return Part(tuple(Patch(grid[a:b + 1]) for a, b in zip(cuts, cuts[1:]) if b > a))


def refine(points: np.ndarray, longest: float) -> np.ndarray:
    """A polyline (N, D) with every segment cut into equal pieces no longer than `longest`."""
    out = [points[:1]]
    for a, b in zip(points, points[1:]):
        pieces = max(1, int(np.ceil(np.linalg.norm(b - a) / longest - 1e-9)))
        out.append(a + (b - a) * (np.arange(1, pieces + 1) / pieces)[:, None])
    return np.concatenate(out)


def curve(points, count: int) -> np.ndarray:
    """A smooth curve (count, D) through the points (Catmull-Rom), spaced evenly in the curve's parameter."""
    points = np.asarray(points, np.float64)
    padded = np.concatenate([2 * points[:1] - points[1:2], points, 2 * points[-1:] - points[-2:-1]])
    t = np.linspace(0, len(points) - 1, count)
    i = np.minimum(t.astype(int), len(points) - 2)
    f = (t - i)[:, None]
    p0, p1, p2, p3 = (padded[i + k] for k in range(4))
    return 0.5 * (2 * p1 + (p2 - p0) * f + (2 * p0 - 5 * p1 + 4 * p2 - p3) * f**2 + (3 * p1 - p0 - 3 * p2 + p3) * f**3)


def rounded(corners, radius: float, steps: int = 4, closed: bool = False) -> np.ndarray:
    """A polyline (N, 2) whose corners are replaced by arcs; those of an open one keep their end points.

    Args:
        corners: (N, 2).
        radius: Of the arcs; it shrinks where a segment is too short for it.
        steps: Segments of an arc.
        closed: Whether the last corner is joined with the first (which is not repeated).
    """
    corners = np.asarray(corners, np.float64)
    inner = range(len(corners)) if closed else range(1, len(corners) - 1)
    out = [] if closed else [corners[:1]]
    for i in inner:
        p, before, after = corners[i], corners[i - 1], corners[(i + 1) % len(corners)]
        a, b = before - p, after - p
        la, lb = np.linalg.norm(a), np.linalg.norm(b)
        cosine = np.clip(a @ b / (la * lb), -1, 1)
        cut = min(radius / max(np.tan(np.arccos(cosine) / 2), 1e-6), 0.45 * la, 0.45 * lb)
        t = np.linspace(0, 1, steps + 1)[:, None]
        # a quadratic through both tangent points: close to the arc, and never outside the corner
        out.append((1 - t)**2 * (p + a / la * cut) + 2 * t * (1 - t) * p + t**2 * (p + b / lb * cut))
    return np.concatenate(out if closed else [*out, corners[-1:]])


def _profile_creases(profile: np.ndarray, degrees: float) -> tuple[int, ...]:
    step = np.diff(profile, axis=0)
    step = step / np.linalg.norm(step, axis=1, keepdims=True)
    turn = np.degrees(np.arccos(np.clip((step[1:] * step[:-1]).sum(1), -1, 1)))
    return tuple(int(i) + 1 for i in np.nonzero(turn > degrees)[0])


def lathe(profile, segments: int = 48, longest: float = 0.07, crease: float = 40.0) -> Part:
    """A profile (N, 2) of (radius, height), from the axis back to the axis, turned around +Y.

    Args:
        profile: Both ends must have radius 0.
        segments: Columns.
        longest: Rows are added until no segment of the profile is longer.
        crease: Corners of the profile sharper than this (degrees) become sharp edges.
    """
    profile = refine(np.asarray(profile, np.float64), longest)
    angle = _angles(segments)
    radius, height = profile[:, 0, None], profile[:, 1, None]
    rings = np.stack([radius * np.sin(angle), height + 0 * angle, radius * np.cos(angle)], -1)
    return loft(rings, _profile_creases(profile, crease))


def ring(profile, segments: int = 56, longest: float = 0.06) -> Part:
    """A closed profile (N, 2) of (radius, height) away from the axis, turned around +Y; its corners are sharp.

    The first point of the profile is repeated as its last.
    """
    angle = _angles(segments)
    patches = []
    for a, b in zip(np.asarray(profile, np.float64), np.asarray(profile, np.float64)[1:]):
        rows = refine(np.array([a, b]), longest)
        r, y = rows[:, :1], rows[:, 1:]
        rings = np.stack([r * np.sin(angle), y + 0 * angle, r * np.cos(angle)], -1)
        patches.append(Patch(_seamed(rings)))
    return Part(tuple(patches))


def superellipsoid(radii, roundness: float = 1.0, segments: int = 32, rows: int = 18) -> Part:
    """An ellipsoid with the half axes `radii`; `roundness` below 1 makes it boxier."""
    power = lambda x: np.sign(x) * np.abs(x)**roundness
    latitude = np.linspace(-np.pi / 2, np.pi / 2, rows + 1)[:, None]
    angle = _angles(segments)
    ring, height = power(np.cos(latitude)), power(np.sin(latitude))
    ring[[0, -1]] = 0
    rings = np.stack([ring * power(np.sin(angle)), height + 0 * angle, ring * power(np.cos(angle))], -1)
    return loft(rings * np.asarray(radii, np.float64))


def _box_lines(half: float, radius: float, steps: int, longest: float) -> np.ndarray:
    """Grid lines of one axis of a box: dense in the rounded rims, the flat middle cut into even pieces."""
    rim = half - radius + radius * np.sin(np.linspace(0, np.pi / 2, steps + 1))
    rim[-1] = half   # to the bit: neighbouring faces meet there
    middle = refine(np.array([[-rim[0]], [rim[0]]]), longest)[:, 0]
    return np.concatenate([-rim[:0:-1], middle, rim[1:]])


def box(size, radius: float = 0.02, steps: int = 2, longest: float = 0.2) -> Part:
    """A box with rounded edges, centred at 0. `size` are the full lengths (x, y, z), `radius` that of the edges."""
    half = np.asarray(size, np.float64) / 2
    radius = min(radius, 0.9 * half.min())
    lines = [_box_lines(h, radius, steps, longest) for h in half]
    patches = []
    for axis in range(3):
        a, b = (axis + 1) % 3, (axis + 2) % 3
        for side in (1, -1):
            cube = np.empty((len(lines[b]), len(lines[a]), 3))
            cube[..., a], cube[..., b], cube[..., axis] = lines[a][None], lines[b][:, None], side * half[axis]
            core = np.clip(cube, -(half - radius), half - radius)
            out = cube - core
            points = core + radius * out / np.sqrt((out * out).sum(-1, keepdims=True))
            patches.append(Patch(points[:, ::side]))
    return Part(tuple(patches), smooth=True)


def _frames(tangents: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Two normals per point of a curve that turn as little as possible (parallel transport)."""
    start = np.eye(3)[np.argmin(np.abs(tangents[0]))]
    first = [np.cross(tangents[0], start)]
    for t in tangents:
        n = first[-1] - (first[-1] @ t) * t
        first.append(n / np.linalg.norm(n))
    first = np.stack(first[1:])
    return first, np.cross(tangents, first)


def tube(path, radius, segments: int = 16, squash: float = 1.0, closed: bool = False, cap: int = 4) -> Part:
    """A tube along a curve, with rounded ends, or a ring.

    Args:
        path: (N, 3); a closed one does not repeat its first point and lies in a plane.
        radius: A number, or one per point, (N,).
        segments: Columns.
        squash: Scale of the second axis of the cross-section.
        closed: Whether the end joins the start.
        cap: Rows of each rounded end.
    """
    path = np.asarray(path, np.float64)
    radius = np.broadcast_to(np.asarray(radius, np.float64), len(path)).copy()
    step = np.roll(path, -1, 0) - np.roll(path, 1, 0) if closed else np.gradient(path, axis=0)
    tangent = step / np.linalg.norm(step, axis=1, keepdims=True)
    first, second = _frames(tangent)
    if not closed:
        # half an ellipsoid at each end: the rows of the rim are shifted along the tangent and shrink to a pole
        bend = np.linspace(0, np.pi / 2, cap + 1)[1:]
        out = radius[-1] * np.sin(bend)[:, None] * 0.6
        back = radius[0] * np.sin(bend)[::-1, None] * 0.6
        path = np.concatenate([path[0] - back * tangent[0], path, path[-1] + out * tangent[-1]])
        shrink = np.cos(bend)
        shrink[-1] = 0
        radius = np.concatenate([radius[0] * shrink[::-1], radius, radius[-1] * shrink])
        repeat = lambda x: np.concatenate([np.repeat(x[:1], cap, 0), x, np.repeat(x[-1:], cap, 0)])
        first, second = repeat(first), repeat(second)
    angle = _angles(segments)[None, :, None]
    ring = np.cos(angle) * first[:, None] + squash * np.sin(angle) * second[:, None]
    rings = path[:, None] + radius[:, None, None] * ring
    return loft(np.concatenate([rings, rings[:1]]) if closed else rings)


def extrude(outline, depth: float, bevel: float = 0.01, rings: int = 3) -> Part:
    """A flat outline (N, 2) in x and y, counter-clockwise and visible from its centre, made `depth` thick along z."""
    outline = np.asarray(outline, np.float64)
    low, high = outline.min(0), outline.max(0)
    center = (low + high) / 2
    span = (high - low).max() / 2
    level = lambda scale, z: np.column_stack([center + (outline - center) * scale, np.full(len(outline), z)])
    inner = max(1 - bevel / span, 0.5)
    scales = np.linspace(0, inner, rings + 1)
    half = depth / 2
    bevel = min(bevel, 0.4 * depth)
    rows = [level(s, -half) for s in scales] + [level(1, -half + bevel), level(1, half - bevel)]
    rows += [level(s, half) for s in scales[::-1]]
    return loft(np.stack(rows), creases=(rings, rings + 1, rings + 2, rings + 3))


def circle(radius: float, count: int = 48, height: float = 0.0) -> np.ndarray:
    """A closed path around +Y, (count, 3)."""
    angle = _angles(count)
    return np.column_stack([radius * np.sin(angle), np.full(count, height), radius * np.cos(angle)])
