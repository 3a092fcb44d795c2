"""Toys found on shelves: each function turns random choices into a model and its caption.

Sizes are about 1 unit, since patterns and bevels are absolute; the mesh is scaled to a longest side of 1 at the end.
Parts reach into one another; no two faces of different parts may lie in one plane.
"""
import numpy as np

from asset3d.toybox.draw import Draw
from asset3d.toybox.model import Model
from asset3d.toybox.pattern import (BRIGHT, CHARCOAL, METALS, PALE, WOODS, bands, contrasting, decorated,
                                    facing_axis, plain, staves, where)
from asset3d.toybox.shape import curve, lathe, ring, rounded, superellipsoid, tube
from asset3d.toybox.words import article


def mug(draw: Draw, model: Model) -> str:
    base = draw.pick(BRIGHT + PALE)
    accent, inner = contrasting(draw, base), draw.pick(PALE)
    radius, flare = draw.uniform(0.22, 0.27), draw.uniform(0.88, 1.07)
    height = radius * draw.uniform(3.2, 3.7)   # any wider, and a corner of its box leaves the scoring views
    wall, foot = 0.045, radius * draw.uniform(0.8, 0.95)
    outside = rounded([(0, 0), (foot, 0), (radius, height * 0.35), (radius * flare, height)], 0.08)
    inside = rounded([(radius * flare - wall, height), (radius - wall, height * 0.35), (foot - wall, wall + 0.02),
                      (0, wall + 0.02)], 0.08)
    rim = _rim(radius * flare, wall, height)
    pattern, words = decorated(draw, base, accent, 1.2)
    model.add(lathe([*outside, *rim, *inside], crease=60), where(facing_axis, plain(inner), pattern))
    reach, top, low = draw.uniform(0.13, 0.17), height * 0.8, height * draw.uniform(0.2, 0.3)
    at = lambda y: np.interp(y, outside[:, 1], outside[:, 0]) - wall * 0.3   # inside the wall, not through it
    x0, x1 = at(top), at(low)
    out = max(x0, x1) + reach
    path = curve(
        [
            (x0, top, 0),
            (x0 + 0.09, top + 0.015, 0),
            (out, (top + low) / 2 + 0.06, 0),
            (x1 + 0.09, low + 0.01, 0),
            (x1, low, 0),
        ],
        28,
    )
    model.add(tube(path, 0.042, 16, draw.uniform(1.0, 1.4), cap=1), plain(accent if draw.chance(0.6) else base))
    return f"{article(base.name)} mug with {words} and {article(inner.name)} inside"


def _rim(radius: float, wall: float, height: float) -> np.ndarray:
    """Half a circle over the edge of a wall, from its outside at `radius` to its inside."""
    angle = np.linspace(0, np.pi, 7)[1:-1]
    return np.column_stack([radius - wall / 2 + wall / 2 * np.cos(angle), height + wall / 2 * np.sin(angle)])


def vase(draw: Draw, model: Model) -> str:
    base = draw.pick(BRIGHT + PALE)
    accent = contrasting(draw, base)
    height, belly, where_belly = draw.uniform(0.75, 1.0), draw.uniform(0.2, 0.34), draw.uniform(0.3, 0.62)
    foot, neck, lip = draw.uniform(0.12, 0.19), draw.uniform(0.07, 0.12), draw.uniform(0.12, 0.2)
    outside = curve([(foot, 0), (belly, height * where_belly), (neck, height * 0.85), (lip, height)], 34)
    wall, bottom = 0.028, 0.06
    rim = _rim(lip, wall, height)
    inside = [(r - wall, y) for r, y in outside[::-1] if y > bottom]
    pattern, words = decorated(draw, base, accent, 1.2)
    model.add(lathe([(0, 0), *outside, *rim, *inside, (0, bottom)], 56, crease=60),
              where(facing_axis, plain(draw.pick(PALE)), pattern))
    if draw.chance(0.4):
        heights = outside[:, 1]
        for side in (-1, 1):
            y0, y1 = height * 0.86, height * where_belly
            x0, x1 = (np.interp(y, heights, outside[:, 0]) - wall * 0.4 for y in (y0, y1))
            out = max(x0, x1) + 0.09
            path = curve([(side * x0, y0, 0), (side * out, y0 + 0.02, 0), (side * (out + 0.02), (y0 + y1) / 2, 0),
                          (side * x1, y1, 0)], 24)
            model.add(tube(path, 0.024, 12, cap=1), plain(accent))
        return f"{article(base.name)} vase with two handles and {words}"
    return f"{article(base.name)} vase with {words}"


def barrel(draw: Draw, model: Model) -> str:
    timber = draw.pick(WOODS + BRIGHT)
    hoops = contrasting(draw, timber, METALS + BRIGHT[:1])
    radius, height, bulge = draw.uniform(0.27, 0.33), draw.uniform(0.8, 0.95), draw.uniform(1.12, 1.3)
    outside = curve([(radius, 0), (radius * (1 + (bulge - 1) * 0.75), height * 0.25), (radius * bulge, height * 0.5),
                     (radius * (1 + (bulge - 1) * 0.75), height * 0.75), (radius, height)], 22)
    wall, lid = 0.035, 0.04
    count = draw.pick((12, 14, 16, 18))
    sides = staves(timber, count, draw.integer(0, 9999))
    planks = bands(timber, CHARCOAL, 0.1, 0.07, axis=0)
    ends = where(lambda s: np.abs(s.normals[..., 1]) - 0.8, planks, sides)
    model.add(lathe([(0, lid), (radius - wall, lid), (radius - wall, 0), *outside, (radius - wall, height),
                     (radius - wall, height - lid), (0, height - lid)], 54), ends)
    for t in draw.pick(((0.12, 0.88), (0.1, 0.3, 0.7, 0.9), (0.16, 0.5, 0.84))):
        y = height * t
        low, high = (np.interp(y + d, outside[:, 1], outside[:, 0]) for d in (-0.03, 0.03))
        profile = [(low + 0.016, y - 0.03), (high + 0.016, y + 0.03), (high - 0.02, y + 0.03), (low - 0.02, y - 0.03)]
        model.add(ring([*profile, profile[0]], 54), plain(hoops))
    words = ""
    if draw.chance(0.5):
        y = height * 0.24
        z = np.interp(y, outside[:, 1], outside[:, 0])
        model.add(
            lathe(rounded([(0, -0.05), (0.03, -0.05), (0.03, 0.06), (0.045, 0.06), (0.045, 0.1), (0, 0.1)], 0.01), 24),
            plain(contrasting(draw, hoops, WOODS)),
            at=(0, y, z),
            turn=(90, 0, 0),
        )
        words = " and a tap"
    return f"{article(timber.name)} barrel with {hoops.name} hoops{words}"


def lamp(draw: Draw, model: Model) -> str:
    shade = draw.pick(BRIGHT + PALE)
    foot = contrasting(draw, shade, BRIGHT + METALS + WOODS)
    radius, top, height = draw.uniform(0.27, 0.36), draw.uniform(0.13, 0.22), draw.uniform(0.3, 0.42)
    stand = draw.uniform(0.5, 0.66)
    style = draw.pick(("slim", "bellied", "stacked"))
    words_of_stand = _lamp_stand(draw, model, foot, style, (draw.uniform(0.18, 0.25), stand))
    words = _lamp_shade(draw, model, shade, (radius, top, height, stand))
    model.add(superellipsoid((0.06, 0.075, 0.06), 1, 24, 14), plain(PALE[1]), at=(0, stand + 0.16, 0))
    model.add(lathe([(0, 0), (0.02, 0), (0.02, height - 0.2), (0, height - 0.19)], 16), plain(METALS[0]),
              at=(0, stand + 0.15, 0))
    return f"a lamp with {article(shade.name)} shade with {words} and {article(words_of_stand)}"


def _lamp_stand(draw: Draw, model: Model, foot, style: str, size) -> str:
    """What the shade stands on: a foot and a pole, one of these with balls on it, or one turned body."""
    base, height = size
    if style == "bellied":
        points = curve([(base * 0.7, 0.03), (base * 0.95, height * 0.3), (base * 0.5, height * 0.65),
                        (0.035, height * 0.9), (0.03, height + 0.1)], 26)
        pattern, words = decorated(draw, foot, contrasting(draw, foot, PALE))
        model.add(lathe([(0, 0), (base * 0.7, 0), *points, (0, height + 0.1)]), pattern)
        return f"bellied {foot.name} base with {words}"
    model.add(lathe(rounded([(0, 0), (base, 0), (base, 0.05), (0.045, 0.085), (0.03, 0.1), (0.03, height + 0.12),
                             (0, height + 0.12)], 0.025)), plain(foot))
    if style == "stacked":
        for i in range(count := draw.integer(3, 4)):
            ball = 0.115 - 0.012 * i
            model.add(superellipsoid((ball, height / count * 0.54, ball), 1, 36, 16),
                      plain(foot if i % 2 else contrasting(draw, foot, METALS + WOODS)),
                      at=(0, 0.09 + height / count * (i + 0.5), 0))
    return f"{style} {foot.name} stand"


def _lamp_shade(draw: Draw, model: Model, shade, size) -> str:
    """An open cone whose lower edge is at `stand`, and the spokes that hold it; returns its pattern in words."""
    radius, top, height, stand = size
    wall = 0.014
    outer = [(radius, stand), (top, stand + height)]
    inner = [(top - wall, stand + height), (radius - wall, stand)]
    pattern, words = decorated(draw, shade, contrasting(draw, shade))
    model.add(ring([*outer, *inner, outer[0]]), where(facing_axis, plain(PALE[1]), pattern))
    for turn in (15, 135, 255):
        angle = np.radians(turn)
        end = top + (radius - top) * 0.035 / height - 0.85 * wall   # within the wall of the shade
        y = stand + height - 0.035
        path = np.linspace((0, y - 0.02, 0), (np.sin(angle) * end, y, np.cos(angle) * end), 5)
        model.add(tube(path, 0.012, 8, cap=2), plain(METALS[0]))
    return words
