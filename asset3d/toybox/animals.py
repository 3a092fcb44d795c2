"""Toy animals that look toward +Z: each function turns random choices into a model and its caption.

Sizes are about 1 unit, since patterns and bevels are absolute; the mesh is scaled to a longest side of 1 at the end.
Parts reach into one another; no two faces of different parts may lie in one plane.
"""
import numpy as np

from asset3d.toybox.draw import Draw
from asset3d.toybox.model import Model, rotation_of
from asset3d.toybox.pattern import (BRIGHT, CHARCOAL, FURS, LEAVES, PALE, WHITE, bands, checks, coated, contrasting,
                                    dots, gradient, marble, plain, speckled, where)
from asset3d.toybox.shape import curve, extrude, lathe, refine, rounded, superellipsoid, tube
from asset3d.toybox.words import article, having

SIDEWAYS = (0, -90, 0)
"""Turns an outline in x and y into one in z and y."""


class Head:
    """A frame for the parts of a head: they turn with it."""

    def __init__(self, model: Model, at, turn=(0, 0, 0)):
        self.model, self.at, self.turn = model, np.asarray(at, np.float64), turn
        self.rotation = rotation_of(turn)

    def add(self, part, pattern, at=(0, 0, 0)) -> None:
        """Places an upright part of the head."""
        self.model.add(part, pattern, at=self.at + self.rotation @ np.asarray(at, np.float64), turn=self.turn)

    def eyes(self, x: float, y: float, z: float, size: float, white: bool = True) -> None:
        """Two eyes that look ahead, with pupils, and a light in each."""
        for side in (-1, 1):
            if white:
                self.add(superellipsoid((size, size, size * 0.7), 1, 20, 12), plain(WHITE), (side * x, y, z))
            pupil = size * (0.6 if white else 0.8)
            front = z + size * 0.35 * white
            self.add(superellipsoid((pupil, pupil, pupil * 0.8), 1, 16, 10), plain(CHARCOAL), (side * x, y, front))
            self.add(superellipsoid((pupil * 0.3,) * 3, 1, 12, 8), plain(WHITE),
                     (side * x + pupil * 0.3, y + pupil * 0.4, front + pupil * 0.62))


def fish(draw: Draw, model: Model) -> str:
    skin = draw.pick(BRIGHT + PALE)
    fin = contrasting(draw, skin, BRIGHT)
    wide, tall, long = draw.uniform(0.11, 0.17), draw.uniform(0.18, 0.28), draw.uniform(0.34, 0.4)
    pattern, words = coated(draw, skin, contrasting(draw, skin), ("bands", "bands", "dots", "patches", "stripes"))
    belly = gradient(contrasting(draw, skin, PALE), skin) if not words else pattern
    model.add(superellipsoid((wide, tall, long), 1, 48, 28), belly, at=(0, 0, 0))
    bend = draw.uniform(-18, 18)
    high, deep, notch = draw.uniform(0.15, 0.24), draw.uniform(0.22, 0.3), draw.uniform(0.45, 0.62)
    tail = rounded([(-deep, -high), (0.06, -0.05), (0.06, 0.05), (-deep, high), (-deep * notch, 0)], 0.03, closed=True)
    tail = refine(np.concatenate([tail, tail[:1]]), 0.03)[:-1]
    rays = bands(fin, contrasting(draw, fin), 0.06, 0.3, axis=1)
    model.add(extrude(tail, 0.045, 0.014, 5), rays if draw.chance(0.5) else plain(fin), at=(0, 0, -long * 0.95),
              turn=(0, -90 + bend, 0))
    back = rounded([(-0.16, 0), (0.16, 0), (-0.02, draw.uniform(0.12, 0.2)), (-0.15, 0.1)], 0.04, closed=True)
    back = refine(np.concatenate([back, back[:1]]), 0.03)[:-1]
    model.add(extrude(back, 0.036, 0.012, 4), plain(fin), at=(0, tall * 0.88, -0.02), turn=SIDEWAYS)
    for side in (-1, 1):
        model.add(superellipsoid((0.018, 0.05, 0.11), 1, 24, 14), plain(fin),
                  at=(side * (wide * 0.86 + 0.04), -tall * 0.25, 0.05),
                  turn=(draw.uniform(-30, 20), side * -draw.uniform(25, 50), 0))
    z = long * 0.62
    x = wide * np.sqrt(1 - 0.62**2 - 0.2**2)
    for side in (-1, 1):
        model.add(superellipsoid((0.03, 0.055, 0.055), 1, 22, 14), plain(WHITE), at=(side * x, tall * 0.2, z))
        model.add(superellipsoid((0.02, 0.03, 0.03), 1, 16, 10), plain(CHARCOAL), at=(side * (x + 0.017), tall * 0.2,
                                                                                   z + 0.008))
    lips = np.column_stack([0.03 * np.cos(t := np.arange(24) * np.pi / 12), 0.02 * np.sin(t), 0 * t])
    model.add(tube(lips, 0.014, 12, closed=True), plain(fin), at=(0, -tall * 0.04, long * 0.985))
    return f"{article(skin.name)} fish {having(words, fin.name + ' fins')}"


def duck(draw: Draw, model: Model) -> str:
    coat = draw.pick((BRIGHT[2], *PALE, *BRIGHT))
    bill = contrasting(draw, coat, (BRIGHT[1], BRIGHT[0], BRIGHT[2]))
    wing = contrasting(draw, coat) if draw.chance(0.6) else coat
    long, wide, tall = draw.uniform(0.34, 0.4), draw.uniform(0.22, 0.27), draw.uniform(0.2, 0.25)
    model.add(superellipsoid((wide, tall, long), 0.95, 44, 26),
              speckled(coat, draw.integer(0, 9999), 18, 0.1), at=(0, tall, 0))
    tip = curve([(0, tall * 1.0, -long * 0.6), (0, tall * 1.35, -long * 0.95), (0, tall * 1.9, -long * 1.12)], 12)
    model.add(tube(tip, np.linspace(wide * 0.6, 0.02, 12), 20), plain(coat))
    pattern, words = coated(draw, wing, contrasting(draw, wing), ("plain", "dots", "bands"), 2, 0.7)
    for side in (-1, 1):
        model.add(superellipsoid((0.05, tall * 0.55, long * 0.55), 1, 30, 18), pattern,
                  at=(side * wide * 0.95, tall * 1.15, -long * 0.1), turn=(draw.uniform(5, 25), 0, side * -12))
    size = draw.uniform(0.155, 0.19)
    neck = draw.uniform(0.0, 0.16)
    y = tall * 1.75 + size * 0.6 + neck
    path = curve([(0, tall * 1.3, long * 0.35), (0, y - size * 0.9, long * 0.5), (0, y, long * 0.55)], 10)
    model.add(tube(path, np.linspace(size * 0.85, size * 0.6, 10), 24), plain(coat))
    head = Head(model, (0, y, long * 0.55), (draw.uniform(-10, 10), draw.uniform(-35, 35), 0))
    head.add(superellipsoid((size, size * 0.98, size), 1, 36, 22), speckled(coat, draw.integer(0, 9999), 18, 0.08))
    head.eyes(size * 0.5, size * 0.28, size * 0.74, 0.042)
    for drop, deep in ((0.0, 0.11), (-0.035, 0.085)):
        head.add(superellipsoid((0.075 + drop * 0.4, 0.026, deep), 1, 24, 12), plain(bill),
                 (0, -size * 0.12 + drop, size * 0.95))
    extra = draw.pick(("", "hat", "collar"))
    if extra == "hat":
        cap = draw.pick(BRIGHT)
        head.add(lathe(rounded([(0, 0), (size * 0.8, 0), (size * 0.8, 0.02), (size * 0.45, 0.03), (size * 0.4, 0.15),
                                (0, 0.15)], 0.012), 32, 0.04), bands(cap, contrasting(draw, cap), 0.08, 0.4),
                 (0, size * 0.72, 0))
        extra = f"{article(cap.name)} hat"
    elif extra == "collar":
        cloth = contrasting(draw, coat, BRIGHT)
        ring = np.column_stack([np.sin(t := np.arange(40) * np.pi / 20), 0 * t, np.cos(t)]) * size * 0.78
        model.add(tube(ring, 0.035, 14, closed=True), plain(cloth), at=(0, y - size * 0.8, long * 0.52))
        extra = f"{article(cloth.name)} collar"
    return f"{article(coat.name)} duck {having(article(bill.name) + ' bill', wing.name + ' wings', words, extra)}"


def _legs(draw: Draw, model: Model, colour, paw, size) -> None:
    """Four legs with paws under a body, mid-step."""
    x, z, top, thick = size
    stride = draw.uniform(-0.07, 0.07)
    for side in (-1, 1):
        for end in (-1, 1):
            foot = (side * x, thick * 0.7, end * z + stride * side * end)
            path = curve([(side * x * 0.9, top, end * z), (side * x, top * 0.5, end * z + 0.02), foot], 10)
            model.add(tube(path, np.linspace(thick * 1.25, thick * 0.9, 10), 18), plain(colour))
            model.add(superellipsoid((thick * 1.1, thick * 0.72, thick * 1.45), 0.9, 20, 12), plain(paw),
                      at=np.add(foot, (0, 0, thick * 0.4)))


def cat(draw: Draw, model: Model) -> str:
    fur = draw.pick(FURS)
    accent = contrasting(draw, fur, FURS)
    paw = accent if draw.chance(0.5) else fur
    pattern, words = coated(draw, fur, accent, ("plain", "bands", "patches", "dots"), 2, 0.9)
    long, wide, leg = draw.uniform(0.27, 0.34), draw.uniform(0.14, 0.18), draw.uniform(0.2, 0.27)
    middle = leg + wide * 0.7
    model.add(superellipsoid((wide, wide * 0.98, long), 0.9, 44, 26), pattern, at=(0, middle, 0))
    _legs(draw, model, fur, paw, (wide * 0.62, long * 0.66, middle - 0.02, 0.048))
    size = draw.uniform(0.155, 0.185)
    head = Head(model, (0, middle + wide * 0.5 + size * 0.62, long * 0.86 + 0.03),
                (draw.uniform(-12, 14), draw.uniform(-35, 35), draw.uniform(-10, 10)))
    head.add(superellipsoid((size * 1.08, size * 0.94, size * 0.92), 1, 40, 24), pattern)
    eye = draw.pick((BRIGHT[4], BRIGHT[2], BRIGHT[6], BRIGHT[1]))
    for side in (-1, 1):
        ear = rounded([(-0.075, 0), (0.075, 0), (side * 0.03, draw.uniform(0.13, 0.17))], 0.02, 3, closed=True)
        ear = refine(np.concatenate([ear, ear[:1]]), 0.03)[:-1]
        front = where(lambda s: (s.normals[..., 2] - 0.6) * 0.05, plain(BRIGHT[10]), plain(accent))
        head.add(extrude(ear, 0.05, 0.018), front, (side * size * 0.62, size * 0.62, 0))
        head.add(superellipsoid((0.04, 0.045, 0.026), 1, 20, 12), plain(eye), (side * size * 0.46, size * 0.18,
                                                                               size * 0.76))
        head.add(superellipsoid((0.012, 0.034, 0.02), 1, 14, 10), plain(CHARCOAL), (side * size * 0.46, size * 0.18,
                                                                                 size * 0.76 + 0.013))
        head.add(superellipsoid((0.055, 0.042, 0.045), 1, 22, 14), plain(WHITE), (side * 0.04, -size * 0.36,
                                                                                   size * 0.72))
    head.add(superellipsoid((0.028, 0.02, 0.024), 1, 16, 10), plain(BRIGHT[10]), (0, -size * 0.17, size * 0.9))
    sway, lift = draw.uniform(-0.15, 0.15), draw.uniform(0.12, 0.36)
    tail = curve([(0, middle, -long * 0.85), (sway * 0.4, middle + 0.04, -long - 0.13),
                  (sway, middle + lift * 0.7, -long - 0.17), (sway * 1.5, middle + lift, -long - 0.09)], 22)
    model.add(tube(tail, np.linspace(0.045, 0.032, 22), 16), bands(fur, accent, 0.09, 0.4))
    collar = draw.pick(BRIGHT)
    ring = np.column_stack([np.sin(t := np.arange(36) * np.pi / 18), np.cos(t), 0 * t]) * wide * 0.82
    model.add(tube(ring, 0.024, 12, closed=True), plain(collar), at=(0, middle + wide * 0.22, long * 0.62),
              turn=(-35, 0, 0))
    return f"{article(fur.name)} cat {having(words, accent.name + ' ears', article(collar.name) + ' collar')}"


def turtle(draw: Draw, model: Model) -> str:
    skin = draw.pick(LEAVES[:3] + PALE[:3])
    shell = contrasting(draw, skin, BRIGHT)
    accent = contrasting(draw, shell)
    wide, long, tall = draw.uniform(0.28, 0.34), draw.uniform(0.34, 0.4), draw.uniform(0.22, 0.34)
    kind = draw.pick(("checks", "dots", "marbling", "stripes"))
    pattern = {"checks": checks(shell, accent, 12), "dots": dots(shell, accent, 0.17, 0.052, draw.integer(0, 900)),
               "marbling": marble(shell, accent, draw.integer(0, 9999), 5), "stripes": bands(shell, accent, 0.09)}[kind]
    dome = curve([(1.0, 0.0), (0.93, 0.35), (0.7, 0.72), (0.38, 0.94), (0.0, 1.0)], 22)
    dome[-1, 0] = 0
    profile = [(0, -0.03), (wide * 0.94, -0.03), (wide * 1.05, -0.015), *(dome * (wide, tall))]
    model.add(lathe(profile, 56).scaled((1, 1, long / wide)), pattern, at=(0, 0.17, 0))
    model.add(superellipsoid((wide * 0.9, 0.09, long * 0.9), 0.9, 36, 16), speckled(skin, draw.integer(0, 9999), 20),
              at=(0, 0.15, 0))
    spots = speckled(skin, draw.integer(0, 9999), 26, 0.3)
    for side in (-1, 1):
        for end in (-1, 1):
            out = draw.uniform(0.02, 0.1)
            path = curve([(side * wide * 0.6, 0.14, end * long * 0.6), (side * (wide * 0.85), 0.1, end * long * 0.74),
                          (side * (wide * 0.9 + out), 0.04, end * long * 0.8 + 0.03)], 10)
            model.add(tube(path, np.linspace(0.085, 0.07, 10), 20), spots)
    stretch, rise = draw.uniform(0.0, 0.1), draw.uniform(0.02, 0.2)
    place = (0, 0.2 + rise, long + 0.1 + stretch)
    model.add(tube(curve([(0, 0.15, long * 0.6), (0, 0.16, long + 0.02), place], 10), np.linspace(0.085, 0.07, 10), 20),
              spots)
    head = Head(model, place, (draw.uniform(-10, 10), draw.uniform(-40, 40), 0))
    head.add(superellipsoid((0.105, 0.095, 0.125), 1, 32, 20), spots)
    head.eyes(0.06, 0.045, 0.075, 0.034)
    model.add(tube(np.linspace((0, 0.14, -long * 0.8), (0, 0.09, -long - 0.1), 8), np.linspace(0.05, 0.012, 8), 16),
              spots)
    return f"{article(skin.name)} turtle {having(article(shell.name) + ' shell', accent.name + ' ' + kind)}"
