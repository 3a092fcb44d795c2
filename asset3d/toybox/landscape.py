"""Toys found outdoors: each function turns random choices into a model and its caption.

Sizes are about 1 unit, since patterns and bevels are absolute; the mesh is scaled to a longest side of 1 at the end.
Parts reach into one another; no two faces of different parts may lie in one plane.
"""
import numpy as np

from asset3d.toybox.draw import Draw
from asset3d.toybox.model import Model
from asset3d.toybox.pattern import (BRIGHT, CHARCOAL, LEAVES, METALS, PALE, WHITE, WOODS, bands, bricks,
                                    contrasting, dots, gradient, plain, shingles, speckled, wedges, where, wood)
from asset3d.toybox.shape import box, curve, extrude, lathe, loft, refine, rounded, superellipsoid, tube
from asset3d.toybox.words import article, number


def mushroom(draw: Draw, model: Model) -> str:
    cap, stem = draw.pick(BRIGHT), draw.pick(PALE)
    spots = contrasting(draw, cap, PALE)
    radius, height, rise = draw.uniform(0.34, 0.5), draw.uniform(0.42, 0.7), draw.uniform(0.26, 0.42)
    thick, bulge = draw.uniform(0.09, 0.15), draw.uniform(1.1, 1.6)
    foot = curve([(thick * bulge, 0.03), (thick * 1.05, height * 0.35), (thick * 0.85, height * 0.7),
                  (thick, height + 0.05)], 14)
    model.add(lathe([(0, 0), (thick * bulge * 0.8, 0), *foot, (0, height + 0.06)]),
              gradient(contrasting(draw, stem, WOODS), stem))
    dome = curve([(radius * 0.9, -0.015), (radius, 0.03), (radius * 0.86, rise * 0.55), (radius * 0.5, rise * 0.9),
                  (0, rise)], 24)
    dome[-1, 0] = 0
    gills = [(0, 0.05), (radius * 0.45, 0.04), (radius * 0.8, 0.0)]
    under = where(
        lambda s: -s.normals[..., 1] * 0.02 - 0.006, wedges(stem, WOODS[4], 40), _cap_pattern(draw, cap, spots)
    )
    model.add(
        lathe([*gills, *dome], segments=56),
        under,
        at=(0, height, 0),
        turn=(draw.uniform(-6, 6), 0, draw.uniform(-6, 6)),
    )
    small = draw.integer(0, 2)
    for i in range(small):
        share, angle = draw.uniform(0.35, 0.5), draw.uniform(0, 3) + np.pi * i
        away = thick * bulge + 0.09
        at = np.array([np.sin(angle) * away, 0.0, np.cos(angle) * away])
        model.add(
            lathe([(0, 0.005), (0.05, 0.005), (0.04, height * share), (0, height * share + 0.01)], 24),
            plain(stem),
            at=at,
        )
        model.add(superellipsoid((radius * share * 0.7, rise * share * 0.8, radius * share * 0.7), 1.0, 32, 16),
                  dots(cap, spots, 0.11, 0.028, draw.integer(0, 500)), at=at + (0, height * share + 0.03, 0))
    if small:
        wide = thick * bulge + 0.17
        model.add(lathe(rounded([(0, -0.03), (wide * 0.9, -0.03), (wide, 0.015), (0, 0.035)], 0.02), 40),
                  speckled(LEAVES[1], draw.integer(0, 9999), 22))
    return f"{article(cap.name)} mushroom with {spots.name} spots and {article(stem.name)} stem" + (
        f", beside {number(small)} small one{'s' * (small > 1)}" if small else "")


def _cap_pattern(draw: Draw, cap, spots):
    spacing = draw.uniform(0.15, 0.24)
    return dots(cap, spots, spacing, spacing * draw.uniform(0.25, 0.36), draw.integer(600, 1300))


def tree(draw: Draw, model: Model) -> str:
    bark, leaf = draw.pick(WOODS[:4]), draw.pick(LEAVES)
    height, thick = draw.uniform(0.35, 0.5), draw.uniform(0.06, 0.09)
    trunk = curve([(thick * 1.5, 0), (thick, height * 0.3), (thick * 0.85, height), (thick * 0.5, height + 0.16)], 16)
    model.add(lathe([(0, 0), *trunk, (0, height + 0.17)], 32), wood(bark, draw.integer(0, 9999), scale=1.6))
    style, seed = draw.pick(("fir", "round", "fir", "bushy")), draw.integer(0, 9999)
    if style == "fir":
        tiers = draw.integer(3, 5)
        for i in range(tiers):
            radius = 0.36 - 0.22 * i / (tiers - 1)
            y = height * 0.75 + 0.17 * i
            cone = rounded([(0, 0.045), (radius, -0.02), (radius * 0.42, 0.14), (0.0, 0.32)], 0.04)
            waves = 1 + 0.07 * np.cos(np.arange(48) * 2 * np.pi / 48 * (8 - i))
            model.add(_wavy(cone, waves, draw.uniform(0, 6.28)), speckled(leaf, seed + i, 22, 0.4), at=(0, y, 0))
        words = f"{leaf.name} fir tree"
    else:
        words = f"{style} {leaf.name} tree" + _crown(
            draw, model, leaf, height, 1 if style == "round" else draw.integer(5, 7)
        )
    if style == "fir" and draw.chance(0.5):
        star = [(np.cos(t) * r, np.sin(t) * r) for t, r in zip(np.arange(10) * np.pi / 5 + np.pi / 2, (0.09, 0.04) * 5)]
        model.add(extrude(refine(np.array([*star, star[0]]), 0.03)[:-1], 0.035, 0.01), plain(BRIGHT[2]),
                  at=(0, height * 0.75 + 0.17 * (tiers - 1) + 0.36, 0))
        words += " with a yellow star"
    model.add(
        lathe(rounded([(0, -0.05), (0.2, -0.05), (0.24, 0.012), (0, 0.035)], 0.02), 40), speckled(LEAVES[0], seed, 22)
    )
    return f"{article(words)} with {article(bark.name)} trunk"


def _crown(draw: Draw, model: Model, leaf, height: float, blobs: int) -> str:
    """Balls of leaves, some with fruit on them; returns words about the fruit."""
    seed, fruit, fruits = draw.integer(0, 9999), contrasting(draw, leaf, BRIGHT), draw.chance(0.6)
    for i in range(blobs):
        angle, away = 2.4 * i, 0.0 if i == 0 else draw.uniform(0.16, 0.2)
        size = draw.uniform(0.28, 0.34) if i == 0 else draw.uniform(0.16, 0.22)
        radii = np.array([size, size * draw.uniform(0.85, 1.05), size])
        center = np.array([np.sin(angle) * away, height + 0.22, np.cos(angle) * away])
        center[1] += draw.uniform(-0.12, 0.14) if i else 0
        model.add(superellipsoid(radii, 1, 36 if i == 0 else 28, 20), speckled(leaf, seed + i, 16, 0.5), at=center)
        many = (14 if blobs == 1 else 0 if i == 0 else 3) * fruits
        for k in range(many):
            if blobs == 1:
                up, turn = 1 - 2 * (k + 0.5) / many, 2.39996 * k
            else:
                up, turn = (0.5, 0.1, -0.3)[k], angle + (0.5, -0.4, 0.3)[k]
            way = np.array([np.sin(turn) * np.sqrt(1 - up * up), up, np.cos(turn) * np.sqrt(1 - up * up)])
            model.add(superellipsoid((0.035, 0.035, 0.035), 1, 14, 10), plain(fruit), at=center + radii * way)
    return f" with {fruit.name} fruit" * fruits


def _wavy(profile, waves: np.ndarray, shift: float):
    """A turned profile whose radius varies around the axis by the factors `waves`."""
    profile = refine(np.asarray(profile), 0.06)
    angle = np.arange(len(waves)) * 2 * np.pi / len(waves)
    radius = profile[:, :1] * waves
    rings = np.stack([radius * np.sin(angle + shift), profile[:, 1:] + 0 * angle, radius * np.cos(angle + shift)], -1)
    return loft(rings)


def house(draw: Draw, model: Model) -> str:
    wall, roof = draw.pick(PALE + BRIGHT), draw.pick(BRIGHT + WOODS[:2])
    roof = contrasting(draw, wall, BRIGHT + WOODS) if roof is wall else roof
    width, depth, height = draw.uniform(0.46, 0.54), draw.uniform(0.42, 0.48), draw.uniform(0.4, 0.48)
    rise, style = draw.uniform(0.28, 0.36), draw.pick(("brick", "plaster", "boarded"))
    size = (width, depth, height, rise)
    seed = draw.integer(0, 9999)
    surface = {"brick": bricks(wall, PALE[2] if wall is not PALE[2] else CHARCOAL, seed),
               "plaster": speckled(wall, seed, 9, 0.15), "boarded": bands(wall, CHARCOAL, 0.06, 0.13)}[style]
    gable = rounded([(-width / 2, 0), (width / 2, 0), (width / 2, height), (0, height + rise), (-width / 2, height)],
                    0.012, 2, closed=True)
    gable = refine(np.concatenate([gable, gable[:1]]), 0.09)[:-1]
    model.add(extrude(gable, depth, 0.012), surface)
    _roof(draw, model, roof, size)
    door, frame = contrasting(draw, wall, BRIGHT), WHITE if wall is not WHITE else WOODS[1]
    side = draw.pick((-1, 1)) * width * 0.22
    _door(draw, model, door, frame, (side, depth / 2))
    _house_windows(model, frame, -1.15 * side, size)
    chimney = draw.chance(0.7)
    if chimney:
        _chimney(model, (draw.pick((-1, 1)) * width * 0.25, -depth * 0.18), (height, height + rise + 0.06))
    lawn = np.hypot(width, depth) / 2 + 0.012
    model.add(lathe(rounded([(0, -0.03), (lawn, -0.03), (lawn, 0.012), (0, 0.016)], 0.015), 56),
              speckled(draw.pick((LEAVES[0], LEAVES[2], PALE[2])), seed, 20))
    words = " and a chimney" if chimney else ""
    return f"{article(style)} {wall.name} house with {article(roof.name)} roof, {article(door.name)} door{words}"


def _door(draw: Draw, model: Model, colour, frame, place) -> None:
    """A framed door with a knob in the front wall."""
    x, z = place
    model.add(box((0.17, 0.3, 0.04), 0.01), plain(frame), at=(x, 0.139, z))
    model.add(box((0.13, 0.27, 0.05), 0.01), wood(colour, draw.integer(0, 9999)), at=(x, 0.1345, z + 0.006))
    model.add(superellipsoid((0.012, 0.012, 0.012), 1, 12, 8), plain(METALS[1]), at=(x + 0.042, 0.13, z + 0.034))


def _house_windows(model: Model, frame, front: float, size) -> None:
    """One beside the door (at x = `front`), a round one above it, and one in each other wall."""
    width, depth, height, _ = size
    _window(model, frame, (front, height * 0.55, depth / 2), 0)
    ring = np.column_stack([0.055 * np.cos(t := np.arange(32) * np.pi / 16), 0.055 * np.sin(t), 0 * t])
    model.add(tube(ring, 0.014, 12, closed=True), plain(frame), at=(0, height + 0.06, depth / 2 + 0.006))
    model.add(superellipsoid((0.055, 0.055, 0.02), 1, 28, 12), gradient(BRIGHT[7], BRIGHT[6]),
              at=(0, height + 0.06, depth / 2))
    for sign in (-1, 1):
        _window(model, frame, (sign * width / 2, height * 0.55, 0), 90 * sign)
    _window(model, frame, (0, height * 0.55, -depth / 2), 180)


def _chimney(model: Model, place, heights) -> None:
    """A brick shaft between two heights, with a cap."""
    (x, z), (low, top) = place, heights
    model.add(box((0.1, top - low, 0.1), 0.01), bricks(BRIGHT[14], PALE[2], 5, 0.06, 0.03, 0.006),
              at=(x, (top + low) / 2, z))
    model.add(box((0.13, 0.03, 0.13), 0.01), plain(METALS[3]), at=(x, top, z))


def _roof(draw: Draw, model: Model, colour, size) -> None:
    """Two slabs of shingles that meet in the ridge."""
    width, depth, height, rise = size
    slope = np.degrees(np.arctan2(rise, width / 2))
    length, thick = np.hypot(width / 2, rise) + 0.07, 0.04
    seed = draw.integer(0, 9999)

    for sign in (-1, 1):
        x = sign * (width / 4 + 0.024 * np.cos(np.radians(slope)))
        y = height + rise / 2 - 0.024 * np.sin(np.radians(slope)) + 0.016
        model.add(box((length, thick, depth + 0.11 - 0.004 * sign), 0.012, longest=0.1), shingles(colour, seed, 0.075),
                  at=(x, y, 0), turn=(0, 0, -sign * slope))
    model.add(
        tube(
            np.linspace(
                (0, height + rise + 0.026, -depth / 2 - 0.042), (0, height + rise + 0.026, depth / 2 + 0.042), 8
            ),
            0.03,
            14,
            cap=3,
        ),
        plain(colour),
    )


def _window(model: Model, frame, at, turn: float) -> None:
    """A pane with a frame and a cross, in a wall that looks toward +Z before the turn."""
    angle = np.radians(turn)
    out = np.array([np.sin(angle), 0, np.cos(angle)])
    model.add(box((0.15, 0.15, 0.034), 0.008), plain(frame), at=at, turn=(0, turn, 0))
    model.add(box((0.116, 0.116, 0.034), 0.008), gradient(BRIGHT[7], BRIGHT[6]), at=at + 0.006 * out, turn=(0, turn, 0))
    model.add(box((0.018, 0.13, 0.034), 0.006), plain(frame), at=at + 0.011 * out, turn=(0, turn, 0))
    model.add(box((0.13, 0.018, 0.034), 0.006), plain(frame), at=at + 0.0125 * out, turn=(0, turn, 0))
