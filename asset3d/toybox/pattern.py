"""Colours of a surface as functions of where a texel lies on it: no stretching, and no seams.

A pattern maps a `Surface` to sRGB colours (..., 3) in [0, 1].
"""
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from asset3d.toybox.draw import Draw


@dataclass(frozen=True)
class Surface:
    """Texels of a part, in the part's own axes before it was placed."""

    points: np.ndarray
    """(..., 3)."""
    normals: np.ndarray
    """(..., 3), unit."""
    sampled: Callable[[], np.ndarray]

    @property
    def samples(self) -> np.ndarray:
        """Points spread evenly over the whole part, with their normals, (N, 6)."""
        return self.sampled()


Pattern = Callable[[Surface], np.ndarray]


@dataclass(frozen=True)
class Colour:
    """A colour and the word for it in captions."""

    name: str
    rgb: tuple[float, float, float]


def _colour(name: str, code: str) -> Colour:
    return Colour(name, tuple(int(code[i:i + 2], 16) / 255 for i in (0, 2, 4)))


BRIGHT = tuple(_colour(*x) for x in (
    ("red", "d94436"), ("orange", "ee8434"), ("yellow", "f2c53d"), ("lime green", "9bc53d"), ("green", "4a9e5c"),
    ("teal", "2a9d8f"), ("sky blue", "5fb4e5"), ("blue", "3569b8"), ("navy", "2b4170"), ("purple", "7d55a8"),
    ("pink", "ee8fb2"), ("magenta", "c2428a"), ("coral", "f2785c"), ("turquoise", "48c6c0"), ("maroon", "8c2f39")))
PALE = tuple(_colour(*x) for x in (
    ("white", "f2f0ea"), ("cream", "f3e3c3"), ("light gray", "c9ccd1"), ("mint", "c5e8d3"), ("lavender", "cfc3ea"),
    ("peach", "f8cfb0")))
WOODS = tuple(_colour(*x) for x in (
    ("oak", "b98a56"), ("walnut", "7c5337"), ("pine", "d9b27c"), ("cherry wood", "9c5a3c"), ("birch", "e3cda4")))
METALS = tuple(
    _colour(*x) for x in (("steel", "8c949e"), ("brass", "c8a24a"), ("copper", "b9744f"), ("iron", "55595f"))
)
CHARCOAL = _colour("black", "33343a")
WHITE, SNOW = PALE[0], _colour("white", "eef2f7")
FURS = tuple(_colour(*x) for x in (("ginger", "d68a45"), ("brown", "80583a"), ("gray", "8f9197"),
                                   ("white", "efebe2"), ("black", "3b3a40"), ("golden", "dcb063")))
LEAVES = tuple(_colour(*x) for x in (("green", "4f8f4a"), ("dark green", "2f6e49"), ("yellow-green", "8cab45"),
                                     ("autumn orange", "d2813a"), ("blossom pink", "eba7bd")))


def contrasting(draw: Draw, base: Colour, options=BRIGHT + PALE) -> Colour:
    """A colour that stands out against `base`."""
    far = [c for c in options if np.abs(np.subtract(c.rgb, base.rgb)).sum() > 0.7]
    return draw.pick(far or list(options))


def _soft(signed: np.ndarray, width: float = 0.004) -> np.ndarray:
    """0 where `signed` is negative, 1 where positive, a ramp of `width` between: edges without stairs."""
    return np.clip(signed / width + 0.5, 0, 1)[..., None]


def _mix(a, b, weight: np.ndarray) -> np.ndarray:
    a, b = (np.asarray(x.rgb if isinstance(x, Colour) else x) for x in (a, b))
    return a + (b - a) * weight


def noise(points: np.ndarray, seed: int) -> np.ndarray:
    """Smooth value noise in [0, 1] with a lattice of spacing 1, (...)."""
    cell = np.floor(points)
    f = points - cell
    f = f * f * (3 - 2 * f)
    cell = cell.astype(np.int64).astype(np.uint32)
    out = np.zeros(points.shape[:-1])
    for corner in range(8):
        bits = [(corner >> k) & 1 for k in range(3)]
        h = np.uint32(seed * 2654435769 % 2**32)
        for k, prime in enumerate((73856093, 19349663, 83492791)):
            h = (h ^ ((cell[..., k] + np.uint32(bits[k])) * np.uint32(prime))) * np.uint32(0x9E3779B1)
            h = h ^ (h >> np.uint32(15))
        weight = np.prod([f[..., k] if bits[k] else 1 - f[..., k] for k in range(3)], 0)
        out += weight * (h / 2.0**32)
    return out


def plain(colour: Colour) -> Pattern:
    return lambda s: np.broadcast_to(np.asarray(colour.rgb), s.points.shape)


def gradient(bottom: Colour, top: Colour) -> Pattern:
    """From the lowest to the highest point of the part."""
    def paint(s: Surface) -> np.ndarray:
        low, high = s.samples[:, 1].min(), s.samples[:, 1].max()
        return _mix(bottom, top, ((s.points[..., 1:2] - low) / max(high - low, 1e-6)))
    return paint


def bands(a: Colour, b: Colour, width: float, share: float = 0.5, axis: int = 1, shift: float = 0.0) -> Pattern:
    """Stripes across an axis, `width` from one to the next, of which `b` takes a `share`."""
    def paint(s: Surface) -> np.ndarray:
        phase = (s.points[..., axis] / width + shift) % 1.0
        return _mix(a, b, _soft((share / 2 - np.abs(phase - 0.5)) * width))
    return paint


def _around(s: Surface) -> tuple[np.ndarray, np.ndarray]:
    """Angle around +Y in turns, and the distance from the axis."""
    x, z = s.points[..., 0], s.points[..., 2]
    return np.arctan2(x, z) / (2 * np.pi), np.hypot(x, z)


def wedges(a: Colour, b: Colour, count: int, twist: float = 0.0) -> Pattern:
    """Stripes along the axis of a turned part; `twist` turns per unit of height make them spirals."""
    def paint(s: Surface) -> np.ndarray:
        turn, radius = _around(s)
        phase = ((turn + twist * s.points[..., 1]) * count) % 1.0
        return _mix(a, b, _soft((0.25 - np.abs(phase - 0.5)) / count * 2 * np.pi * radius))
    return paint


def checks(a: Colour, b: Colour, count: int) -> Pattern:
    """A chequerboard of `count` (even) columns around the axis, square where the part is widest."""
    def paint(s: Surface) -> np.ndarray:
        turn, radius = _around(s)
        height = 2 * np.pi * np.hypot(s.samples[:, 0], s.samples[:, 2]).max() / count
        wave = lambda phase, length: np.clip((0.25 - np.abs(phase % 1.0 - 0.5)) * length / 0.004, -0.5, 0.5) * 2
        column = wave(turn * count / 2, 4 * np.pi * radius / count)
        return _mix(a, b, 0.5 + 0.5 * (column * wave(s.points[..., 1] / (2 * height), 2 * height))[..., None])
    return paint


def dots(a: Colour, b: Colour, spacing: float, radius: float, start: int = 0) -> Pattern:
    """Discs of `b`, about `spacing` apart, in an order of candidates that `start` decides."""
    def paint(s: Surface) -> np.ndarray:
        left = s.samples[(np.arange(len(s.samples)) * 619 + start) % len(s.samples)]
        chosen = []
        while len(left):
            chosen.append(left[0])
            away = left - left[0]
            near = (away[:, :3]**2).sum(1) < (0.85 * spacing)**2
            left = left[~(near & ((left[:, 3:] * left[0, 3:]).sum(1) > 0.2))]   # across a thin wall is far
        low, high = s.points[..., 1].min(1), s.points[..., 1].max(1)
        nearest = np.full(s.points.shape[:-1], 1e9)
        for center in chosen:
            rows = np.nonzero((high > center[1] - radius - 0.01) & (low < center[1] + radius + 0.01))[0]
            away = np.sqrt(((s.points[rows] - center[:3])**2).sum(-1))
            facing = (s.normals[rows] * center[3:]).sum(-1) > 0.2
            nearest[rows] = np.where(facing, np.minimum(nearest[rows], away), nearest[rows])
        return _mix(a, b, _soft(radius - nearest))
    return paint


def wood(colour: Colour, seed: int, axis: int = 1, scale: float = 1.0) -> Pattern:
    """Grain along an axis."""
    def paint(s: Surface) -> np.ndarray:
        stretch = np.full(3, 9.0 * scale)
        stretch[axis] = 1.6 * scale
        p = s.points * stretch
        rings = noise(p, seed) * 4 + 0.35 * noise(p * 5.3, seed + 1)
        grain = 0.5 + 0.5 * np.sin(2 * np.pi * rings)
        return np.asarray(colour.rgb) * (0.78 + 0.27 * grain)[..., None]
    return paint


def marble(a: Colour, b: Colour, seed: int, scale: float = 4.0) -> Pattern:
    """Soft blotches of two colours."""
    def paint(s: Surface) -> np.ndarray:
        p = s.points * scale
        value = 0.6 * noise(p, seed) + 0.3 * noise(p * 2.1, seed + 1) + 0.1 * noise(p * 4.3, seed + 2)
        return _mix(a, b, np.clip((value - 0.5) * 4 + 0.5, 0, 1)[..., None])
    return paint


def speckled(colour: Colour, seed: int, scale: float = 14.0, strength: float = 0.25) -> Pattern:
    """One colour, a little lighter and darker: leaves, stone, snow."""
    def paint(s: Surface) -> np.ndarray:
        value = 0.6 * noise(s.points * scale, seed) + 0.4 * noise(s.points * scale * 2.3, seed + 1)
        return np.asarray(colour.rgb) * (1 + strength * (value - 0.55))[..., None]
    return paint


def staves(colour: Colour, count: int, seed: int) -> Pattern:
    """Planks side by side around the axis, each with its own tone and dark joints."""
    grain = wood(colour, seed)

    def paint(s: Surface) -> np.ndarray:
        turn, radius = _around(s)
        phase = (turn * count) % 1.0
        plank = np.floor((turn % 1.0) * count)
        tone = 0.85 + 0.3 * noise(np.stack([plank * 7.0 + 0.5, 0 * plank, 0 * plank], -1), seed + 3)
        joint = _soft(np.minimum(phase, 1 - phase) / count * 2 * np.pi * radius - 0.005, 0.006)
        return grain(s) * tone[..., None] * (0.45 + 0.55 * joint)
    return paint


def bricks(colour: Colour, mortar: Colour, seed: int, length: float = 0.11, height: float = 0.05,
           gap: float = 0.008) -> Pattern:
    """Courses of bricks on the upright faces of a box; every brick has its own tone."""
    def paint(s: Surface) -> np.ndarray:
        sideways = np.abs(s.normals[..., 0]) > np.abs(s.normals[..., 2])
        along = np.where(sideways, s.points[..., 2], s.points[..., 0])
        row = np.floor(s.points[..., 1] / height)
        shifted = along / length + 0.5 * (row % 2)
        column = np.floor(shifted)
        key = np.stack([row * 3.0 + 0.5, column * 5.0 + 0.5, 11.0 * sideways], -1)
        tone = 0.85 + 0.3 * noise(key, seed)
        x, y = (shifted - column) * length, s.points[..., 1] - row * height
        edge = np.minimum(np.minimum(x, length - x), np.minimum(y, height - y))
        return _mix(mortar, np.asarray(colour.rgb) * tone[..., None], _soft(edge - gap / 2))
    return paint


def shingles(colour: Colour, seed: int, size: float) -> Pattern:
    """Staggered square tiles along x and z of a slab that lies flat, rows along z; every tile has its own tone."""
    def paint(s: Surface) -> np.ndarray:
        row = np.floor(s.points[..., 0] / size)
        shifted = s.points[..., 2] / size + 0.5 * (row % 2)
        column = np.floor(shifted)
        tone = 0.78 + 0.4 * noise(np.stack([row * 3.0 + 0.5, column * 5.0 + 0.5, 0 * row], -1), seed)
        x, y = (shifted - column) * size, s.points[..., 0] - row * size
        edge = np.minimum(np.minimum(x, size - x), np.minimum(y, size - y))
        return np.asarray(colour.rgb) * (tone * (0.6 + 0.4 * _soft(edge - 0.004)[..., 0]))[..., None]
    return paint


def where(choose: Callable[[Surface], np.ndarray], inside: Pattern, outside: Pattern) -> Pattern:
    """`inside` where `choose` (signed, in lengths) is positive."""
    def paint(s: Surface) -> np.ndarray:
        weight = _soft(choose(s))
        return outside(s) * (1 - weight) + inside(s) * weight
    return paint


def facing_axis(s: Surface) -> np.ndarray:
    """Positive on walls that look at the axis: the inside of a vessel."""
    radius = np.maximum(np.hypot(s.points[..., 0], s.points[..., 2]), 1e-6)
    return -0.05 - (s.points[..., 0] * s.normals[..., 0] + s.points[..., 2] * s.normals[..., 2]) / radius


def decorated(draw: Draw, base: Colour, accent: Colour, size: float = 1.0) -> tuple[Pattern, str]:
    """A random ornament of a turned part, and its words for the caption; `size` scales its details."""
    kind = draw.pick(("bands", "wedges", "spiral", "dots", "checks", "gradient", "marble"))
    count = 2 * draw.integer(4, 8)
    if kind == "bands":
        return bands(base, accent, draw.uniform(0.1, 0.22) * size, draw.uniform(0.3, 0.55)), f"{accent.name} stripes"
    if kind == "wedges":
        return wedges(base, accent, count // 2), f"upright {accent.name} stripes"
    if kind == "spiral":
        return wedges(base, accent, draw.integer(3, 6), draw.uniform(0.6, 1.3) / size), f"{accent.name} spirals"
    if kind == "dots":
        spacing = draw.uniform(0.12, 0.2) * size
        return (
            dots(base, accent, spacing, spacing * draw.uniform(0.26, 0.36), draw.integer(0, 9999)),
            f"{accent.name} dots",
        )
    if kind == "checks":
        return checks(base, accent, count + 4), f"{accent.name} checks"
    if kind == "gradient":
        return gradient(accent, base), f"a fade to {accent.name}"
    return marble(base, accent, draw.integer(0, 9999), draw.uniform(3, 6) / size), f"{accent.name} marbling"


def coated(draw: Draw, base: Colour, accent: Colour, kinds=("plain", "bands", "dots", "patches"), along: int = 2,
           size: float = 1.0) -> tuple[Pattern, str]:
    """A random pattern of a part that is not turned, and its words, which may be empty.

    Args:
        draw: Source of choices.
        base: Colour of most of it.
        accent: Colour of the rest.
        kinds: To choose from: "plain", "bands" (across an axis), "stripes" (level), "racing" (two along the length),
            "dots", "patches".
        along: Axis of the bands: 0 is x, 1 y, 2 z.
        size: Of the details.
    """
    kind = draw.pick(kinds)
    if kind == "bands":
        return (bands(base, accent, draw.uniform(0.12, 0.22) * size, draw.uniform(0.3, 0.5), along, draw.uniform()),
                f"{accent.name} bands")
    if kind == "stripes":
        return bands(base, accent, draw.uniform(0.1, 0.2) * size, draw.uniform(0.3, 0.5)), f"{accent.name} stripes"
    if kind == "racing":
        gap = draw.uniform(0.03, 0.06) * size
        lines = lambda s: 0.4 * gap - np.abs(np.abs(s.points[..., 0]) - gap)
        return where(lines, plain(accent), plain(base)), f"two {accent.name} stripes"
    if kind == "dots":
        spacing = draw.uniform(0.12, 0.19) * size
        return (dots(base, accent, spacing, spacing * draw.uniform(0.25, 0.36), draw.integer(0, 900)),
                f"{accent.name} dots")
    if kind == "patches":
        return marble(base, accent, draw.integer(0, 9999), draw.uniform(3, 5) / size), f"{accent.name} patches"
    return speckled(base, draw.integer(0, 9999), 16, 0.1), ""
