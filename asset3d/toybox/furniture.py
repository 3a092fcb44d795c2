"""Toys found in rooms: each function turns random choices into a model and its caption.

Sizes are about 1 unit, since patterns and bevels are absolute; the mesh is scaled to a longest side of 1 at the end.
Parts reach into one another; no two faces of different parts may lie in one plane.
"""
import numpy as np

from asset3d.toybox.draw import Draw
from asset3d.toybox.model import Model
from asset3d.toybox.pattern import (BRIGHT, WOODS, bands, contrasting, decorated, dots, plain, speckled, wood)
from asset3d.toybox.shape import box, curve, lathe, rounded, superellipsoid, tube
from asset3d.toybox.words import article


def chair(draw: Draw, model: Model) -> str:
    frame = draw.pick(WOODS + BRIGHT)
    cushion = contrasting(draw, frame)
    timber = wood(frame, draw.integer(0, 9999)) if frame in WOODS else plain(frame)
    width, depth, seat = draw.uniform(0.44, 0.54), draw.uniform(0.42, 0.5), draw.uniform(0.4, 0.5)
    back, thick = draw.uniform(0.42, 0.58), draw.uniform(0.045, 0.06)
    model.add(box((width, 0.05, depth), 0.018), timber, at=(0, seat, 0))
    x, z, splay = width / 2 - thick * 0.8, depth / 2 - thick * 0.8, draw.uniform(0.0, 0.04)
    for sx in (-1, 1):
        for sz in (-1, 1):
            path = np.linspace((sx * (x + splay), 0.02, sz * (z + splay)), (sx * x, seat, sz * z), 8)
            model.add(tube(path, np.linspace(thick * 0.4, thick * 0.55, 8), 14, cap=3), timber)
        post = np.linspace((sx * x, seat - 0.012, -z), (sx * x, seat + back, -z - 0.06), 10)
        model.add(tube(post, thick * 0.46, 14, cap=3), timber)
    style = draw.pick(("slats", "spindles", "panel"))
    at = lambda t: (0, seat + back * t, -z - 0.06 * t)
    if style == "slats":
        for i in range(draw.integer(2, 4)):
            model.add(box((2 * x, 0.075, 0.03), 0.012), timber, at=at(0.93 - 0.2 * i), turn=(-7, 0, 0))
    elif style == "spindles":
        model.add(box((2 * x, 0.075, 0.034), 0.014), timber, at=at(0.93), turn=(-7, 0, 0))
        for i in range(count := draw.integer(3, 5)):
            px = x * (2 * (i + 1) / (count + 1) - 1)
            model.add(
                tube(np.linspace((px, seat, -z), (px, seat + back * 0.93, -z - 0.056), 8), 0.014, 10, cap=2), timber
            )
    else:
        cover, _ = _cloth(draw, cushion)
        model.add(box((2 * x, back * 0.62, 0.036), 0.016), cover, at=at(0.64), turn=(-7, 0, 0))
    words = ""
    if draw.chance(0.7):
        cover, words = _cloth(draw, cushion)
        model.add(superellipsoid((width * 0.44, 0.045, depth * 0.43), 0.45, 40, 16), cover, at=(0, seat + 0.045, 0.012))
        words = f" and {article(cushion.name)} cushion{words}"
    return f"{article(frame.name)} chair with a back of {style}{words}".replace(
        "back of panel", f"{cushion.name} back panel"
    )


def _cloth(draw: Draw, colour):
    """A fabric for flat parts."""
    accent = contrasting(draw, colour)
    kind = draw.pick(("plain", "stripes", "dots"))
    if kind == "plain":
        return speckled(colour, draw.integer(0, 9999), 30, 0.12), ""
    if kind == "stripes":
        return bands(colour, accent, draw.uniform(0.07, 0.11), 0.4, axis=0), f" with {accent.name} stripes"
    return dots(colour, accent, 0.11, 0.026, draw.integer(0, 300)), f" with {accent.name} dots"


def table(draw: Draw, model: Model) -> str:
    timber, other = draw.several(WOODS, 2)
    legs = draw.pick((timber, other, draw.pick(BRIGHT)))
    grain = wood(legs, draw.integer(0, 9999)) if legs in WOODS else plain(legs)
    height, thick = draw.uniform(0.42, 0.52), draw.uniform(0.045, 0.065)
    shape, build = ("round", _round_table) if draw.chance(0.4) else ("square-edged", _square_table)
    build(draw, model, timber, grain, (height, thick))
    words = ""
    if draw.chance(0.6):
        pot = draw.pick(BRIGHT)
        model.add(
            lathe(rounded([(0, 0), (0.07, 0), (0.1, 0.09), (0.06, 0.16), (0.075, 0.19), (0, 0.19)], 0.03), 32),
            decorated(draw, pot, contrasting(draw, pot), 0.5)[0],
            at=(draw.uniform(-0.2, 0.2), height + thick - 0.006, 0.02),
        )
        words = f" and {article(pot.name)} pot on it"
    return f"{article(shape)} {timber.name} table with {legs.name} legs{words}"


def _round_table(draw: Draw, model: Model, timber, grain, size) -> None:
    """A turned top on one stem with three or four feet."""
    height, thick = size
    radius = draw.uniform(0.42, 0.5)
    model.add(lathe(rounded([(0, 0), (radius, 0), (radius, thick), (0, thick)], 0.02), 64),
              wood(timber, draw.integer(0, 9999), axis=0), at=(0, height, 0))
    stem = curve([(0.09, 0.05), (0.05, height * 0.3), (0.065, height * 0.6), (0.11, height + 0.015)], 16)
    model.add(lathe([(0, 0.05), *stem, (0, height + 0.015)], 32), grain)
    for i in range(feet := draw.integer(3, 4)):
        angle = 2 * np.pi * i / feet
        way = np.array([np.sin(angle), 0, np.cos(angle)])
        path = curve([way * 0.03 + (0, 0.16, 0), way * 0.16 + (0, 0.12, 0), way * radius * 0.7 + (0, 0.035, 0)], 14)
        model.add(tube(path, np.linspace(0.04, 0.028, 14), 14), grain)


def _square_table(draw: Draw, model: Model, timber, grain, size) -> None:
    """A board on four legs, turned or square, with rails between them."""
    height, thick = size
    width, depth = draw.uniform(0.9, 1.0), draw.uniform(0.45, 0.57)
    model.add(box((width, thick, depth), 0.018, longest=0.1), wood(timber, draw.integer(0, 9999), axis=0),
              at=(0, height + thick / 2, 0))
    x, z, leg = width / 2 - 0.07, depth / 2 - 0.07, draw.uniform(0.055, 0.08)
    turned = draw.chance(0.5)
    for sx, sz in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        if turned:
            points = curve([(leg * 0.35, 0.0), (leg * 0.5, height * 0.3), (leg * 0.35, height * 0.55),
                            (leg * 0.6, height * 0.8), (leg * 0.6, height + 0.015)], 18)
            model.add(lathe([(0, 0), *points, (0, height + 0.015)], 20), grain, at=(sx * x, 0, sz * z))
        else:
            model.add(box((leg, height + 0.02, leg), 0.01), grain, at=(sx * x, (height + 0.02) / 2, sz * z))
    for sx in (-1, 1):
        model.add(box((0.03, 0.08, 2 * z), 0.008), grain, at=(sx * x, height - 0.03, 0))
    for sz in (-1, 1):
        model.add(box((2 * x, 0.076, 0.03), 0.008), grain, at=(0, height - 0.03, sz * z))
