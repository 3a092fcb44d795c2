"""Toys found at parties and by the sea: each function turns random choices into a model and its caption.

Sizes are about 1 unit, since patterns and bevels are absolute; the mesh is scaled to a longest side of 1 at the end.
Parts reach into one another; no two faces of different parts may lie in one plane.
"""
import numpy as np

from asset3d.toybox.draw import Draw
from asset3d.toybox.model import Model
from asset3d.toybox.pattern import (BRIGHT, CHARCOAL, LEAVES, METALS, PALE, WHITE, WOODS, bands, coated, contrasting,
                                    decorated, facing_axis, gradient, plain, speckled, staves, wedges, where, wood)
from asset3d.toybox.shape import box, circle, curve, lathe, loft, ring, rounded, superellipsoid, tube
from asset3d.toybox.words import article, having, number

FORWARD = (90, 0, 0)
"""Turns what stands along +Y toward +Z."""


def teapot(draw: Draw, model: Model) -> str:
    base = draw.pick(BRIGHT + PALE)
    accent = contrasting(draw, base)
    radius, tall = draw.uniform(0.27, 0.33), draw.uniform(0.36, 0.48)
    pattern, words = decorated(draw, base, accent)
    outside = curve([(radius * 0.6, 0), (radius, tall * 0.4), (radius * 0.85, tall * 0.78), (radius * 0.5, tall)], 28)
    model.add(lathe([(0, 0), *outside, (0, tall + 0.004)], 56), pattern)
    cover = rounded([(0, 0), (radius * 0.56, 0), (radius * 0.5, 0.03), (radius * 0.2, 0.075), (0, 0.085)], 0.02)
    model.add(lathe(cover, 40), plain(accent), at=(0, tall - 0.012, 0))
    knob = draw.uniform(0.035, 0.055)
    model.add(superellipsoid((knob, knob, knob), 1, 22, 14), plain(base), at=(0, tall + 0.065 + knob * 0.7, 0))
    reach, lift = radius + draw.uniform(0.16, 0.22), tall * draw.uniform(0.8, 1.02)
    spout = curve([(radius * 0.8, tall * 0.3, 0), (radius + 0.07, tall * 0.42, 0), (reach - 0.05, lift * 0.8, 0),
                   (reach, lift, 0)], 20)
    model.add(tube(spout, np.linspace(0.085, 0.036, 20), 24), plain(base))
    grip = draw.uniform(0.15, 0.2)
    handle = curve([(-radius * 0.84, tall * 0.76, 0), (-radius - grip * 0.7, tall * 0.84, 0),
                    (-radius - grip, tall * 0.5, 0), (-radius * 0.9, tall * 0.22, 0)], 24)
    model.add(tube(handle, 0.034, 16, draw.uniform(1.0, 1.4), cap=2), plain(accent))
    model.add(lathe(rounded([(0, -0.03), (radius * 0.62, -0.03), (radius * 0.56, 0.02), (0, 0.02)], 0.012), 40),
              plain(accent))
    return f"{article(base.name)} teapot with {words} and {article(accent.name)} handle"


def cake(draw: Draw, model: Model) -> str:
    tiers, top = draw.integer(1, 3), draw.pick(PALE + BRIGHT)
    plate = contrasting(draw, top, PALE + METALS[:3])
    radius, tall = draw.uniform(0.36, 0.42), draw.uniform(0.15, 0.2) * (1.5 - 0.25 * tiers)
    model.add(lathe(rounded([(0, -0.035), (radius * 0.6, -0.035), (radius * 1.16, 0.012), (radius * 1.14, 0.03),
                             (0, 0.012)], 0.012), 56), plain(plate))
    icing, level, words = contrasting(draw, top), 0.0, ""
    for i in range(tiers):
        r, low = radius * (1 - 0.3 * i), level
        pattern, words = decorated(draw, top, icing, 0.9)
        drip = draw.uniform(0.3, 0.5) * tall
        count = draw.integer(7, 12)
        edge = lambda s, d=drip, n=count: s.points[..., 1] - tall + d * (0.65 + 0.35 * np.sin(
            n * np.arctan2(s.points[..., 0], s.points[..., 2])))
        cover = where(edge, plain(icing), pattern) if i == tiers - 1 or draw.chance(0.4) else pattern
        model.add(lathe(rounded([(0, 0), (r, 0), (r, tall), (0, tall)], 0.028), 56, 0.05), cover, at=(0, low, 0))
        many = 24 - 6 * i
        for k in range(many if draw.chance(0.5) else 0):
            a = 2 * np.pi * k / many
            model.add(superellipsoid((0.026, 0.024, 0.026), 1, 12, 8), plain(WHITE if icing is not WHITE else top),
                      at=(r * np.sin(a), low + 0.02, r * np.cos(a)))
        level += tall - 0.006
    model_top = radius * (1 - 0.3 * (tiers - 1))
    style = draw.pick(("candles", "candles", "cherries"))
    count = draw.integer(1, 6)
    colour = contrasting(draw, icing, BRIGHT) if style == "candles" else BRIGHT[0]
    for k in range(count):
        a, away = 2 * np.pi * k / count, model_top * 0.62 * (count > 1)
        at = np.array([away * np.sin(a), level, away * np.cos(a)])
        if style == "candles":
            model.add(tube(np.linspace((0, -0.02, 0), (0, 0.15, 0), 8), 0.02, 14, cap=2),
                      bands(colour, WHITE, 0.05, 0.4), at=at)
            model.add(superellipsoid((0.018, 0.036, 0.018), 1, 14, 10), gradient(BRIGHT[1], BRIGHT[2]),
                      at=at + (0, 0.185, 0))
        else:
            model.add(superellipsoid((0.05, 0.048, 0.05), 1, 22, 14), plain(colour), at=at + (0, 0.035, 0))
            model.add(tube(curve([(0, 0.07, 0), (0.01, 0.11, 0), (0.035, 0.14, 0)], 6), 0.008, 8, cap=1),
                      plain(LEAVES[1]), at=at)
    word = {"candles": "candle", "cherries": "cherry"}[style] if count == 1 else style
    layers = f"{number(tiers)} layer{'s' * (tiers > 1)}"
    return f"{article(top.name)} cake of {layers} with {words}, {icing.name} icing and {number(count)} {word}"


def clock(draw: Draw, model: Model) -> str:
    case = draw.pick(BRIGHT + METALS)
    dial, bells = draw.pick(PALE), contrasting(draw, case, METALS + BRIGHT)
    radius, deep = draw.uniform(0.34, 0.4), draw.uniform(0.16, 0.22)
    shell = rounded([(0, -deep / 2), (radius * 0.9, -deep / 2), (radius, -deep * 0.2), (radius, deep / 2),
                     (radius * 0.86, deep / 2), (radius * 0.84, deep / 2 - 0.03), (0, deep / 2 - 0.03)], 0.014)
    face = lambda s: np.minimum(radius * 0.85 - np.hypot(s.points[..., 0], s.points[..., 2]), s.points[..., 1])
    model.add(lathe(shell, 56), where(face, plain(dial), plain(case)), turn=FORWARD)
    ink = contrasting(draw, dial, (CHARCOAL, *BRIGHT))
    front = deep / 2 - 0.03
    for hour in range(12):
        a = np.radians(30 * hour)
        long = 0.09 if hour % 3 == 0 else 0.05
        at = np.array([np.sin(a), np.cos(a), 0]) * radius * 0.7
        model.add(box((0.022, long, 0.02), 0.005), plain(ink), at=at + (0, 0, front), turn=(0, 0, -30 * hour))
    hour, minute = draw.integer(0, 11), 5 * draw.integer(0, 11)
    for turn, long, wide, level in ((30 * hour + minute / 2, 0.4, 0.034, 0.012), (6 * minute, 0.62, 0.024, 0.022)):
        a = np.radians(turn)
        at = np.array([np.sin(a), np.cos(a), 0]) * radius * long * 0.42
        model.add(box((wide, radius * long, 0.022), 0.006), plain(ink), at=at + (0, 0, front + level),
                  turn=(0, 0, -turn))
    model.add(superellipsoid((0.03, 0.03, 0.04), 1, 18, 12), plain(bells), at=(0, 0, front + 0.01))
    for side in (-1, 1):
        a = np.radians(35 * side)
        at = np.array([np.sin(a), np.cos(a), 0]) * (radius + 0.035)
        bell = [(0, -0.012), (0.13, -0.012), *curve([(0.135, 0.0), (0.11, 0.075), (0.02, 0.115)], 10), (0, 0.116)]
        model.add(lathe(rounded(bell[:2], 0.01).tolist() + bell[2:], 32), plain(bells), at=at, turn=(0, 0, -35 * side))
        model.add(tube(np.linspace(at * 0.8, at * 1.07, 6), 0.018, 12, cap=2), plain(METALS[0]))
        foot = np.array([side * 0.5, -0.86, 0]) * radius
        model.add(tube(np.linspace(foot * 0.9, foot * 1.36, 8), np.linspace(0.03, 0.04, 8), 16), plain(bells))
    ends = np.array([0.0, radius - 0.02, 0.0]), np.array([0.0, radius + 0.17, 0.0])
    model.add(tube(np.linspace(*ends, 7), 0.014, 10, cap=2), plain(METALS[0]))
    model.add(superellipsoid((0.05, 0.03, 0.03), 0.8, 18, 12), plain(bells), at=ends[1])
    return f"{article(case.name)} clock with {article(dial.name)} face, {ink.name} hands and {bells.name} bells"


def _ribbed(radius: float, tall: float, ribs: int, taper: float):
    """An upright rounded column with ribs."""
    angle = np.arange(8 * ribs) * (2 * np.pi / (8 * ribs))
    y = np.concatenate([np.linspace(0, 0.7, 12), 0.7 + 0.3 * np.sin(np.linspace(0, np.pi / 2, 11)[1:])])[:, None]
    across = np.where(y < 0.7, 0.88 + 0.12 * np.sin(np.pi * y / 1.4), np.sqrt(np.maximum(1 - ((y - 0.7) / 0.3)**2, 0)))
    across = across * (1 - taper * y) * radius * (1 + 0.09 * np.cos(angle * ribs))
    across[-1] = 0
    rings = np.stack([across * np.sin(angle), tall * y + 0 * angle, across * np.cos(angle)], -1)
    return loft(np.concatenate([rings[:1] * (0, 1, 0), rings]), creases=(1,))


def cactus(draw: Draw, model: Model) -> str:
    green, clay = draw.pick(LEAVES[:3]), draw.pick((*BRIGHT, *PALE))
    flower = draw.pick((BRIGHT[0], BRIGHT[2], BRIGHT[10], BRIGHT[11], BRIGHT[1], WHITE))
    pot, high = draw.uniform(0.17, 0.23), draw.uniform(0.2, 0.28)
    pattern, words = decorated(draw, clay, contrasting(draw, clay), 0.7)
    outside = [(0, 0), (pot * 0.72, 0), (pot, high * 0.8), (pot * 1.12, high * 0.8), (pot * 1.12, high),
               (pot * 0.92, high), (pot * 0.9, high - 0.035), (0, high - 0.035)]
    earth = where(lambda s: np.minimum(pot * 0.91 - np.hypot(s.points[..., 0], s.points[..., 2]),
                                       s.points[..., 1] - high * 0.5), plain(WOODS[1]), pattern)
    model.add(lathe(rounded(outside, 0.008, 2), 48, 0.05), earth)
    radius, tall, ribs = draw.uniform(0.1, 0.14), draw.uniform(0.52, 0.66), draw.integer(6, 9)
    seed = draw.integer(0, 9999)
    skin = lambda n: where(lambda s: np.cos(np.arctan2(s.points[..., 0], s.points[..., 2]) * n) * 0.012 - 0.009,
                           plain(PALE[3]), speckled(green, seed, 24, 0.2))
    model.add(_ribbed(radius, tall, ribs, 0.12), skin(ribs), at=(0, high - 0.06, 0))
    arms = draw.integer(0, 3)
    tips = [np.array([0.0, high - 0.06 + tall, 0.0])]
    for i in range(arms):
        a = draw.uniform(-0.5, 0.5) + (np.pi / 2, -np.pi / 2, 0.0)[i]
        way, y = np.array([np.sin(a), 0, np.cos(a)]), high + tall * draw.uniform(0.22, 0.5)
        out, up = radius + draw.uniform(0.07, 0.11), draw.uniform(0.14, 0.24)
        points = [way * radius * 0.5 + (0, y, 0), way * out * 0.92 + (0, y + 0.02, 0), way * (out + 0.025) +
                  (0, y + 0.1, 0), way * (out + 0.02) + (0, y + up, 0)]
        model.add(tube(curve(points, 18), np.full(18, radius * 0.46), 24, cap=6), speckled(green, seed + i, 24, 0.25))
        tips.append(points[-1] + (0, radius * 0.24, 0))
    blooms = tips if draw.chance(0.7) else []
    heart = BRIGHT[2] if flower is not BRIGHT[2] else WHITE
    for tip in blooms:
        for k in range(5):
            a = 2 * np.pi * k / 5 + 0.3
            model.add(superellipsoid((0.024, 0.012, 0.042), 1, 14, 8), plain(flower), turn=(-25, np.degrees(a), 0),
                      at=tip + (0.034 * np.sin(a), 0.012, 0.034 * np.cos(a)))
        model.add(superellipsoid((0.022, 0.02, 0.022), 1, 14, 8), plain(heart), at=tip + (0, 0.014, 0))
    things = having(f"{number(arms)} arm{'s' * (arms != 1)}", f"{flower.name} flowers" if blooms else "")
    return f"{article(green.name)} cactus {things} in {article(clay.name)} pot with {words}"


def lighthouse(draw: Draw, model: Model) -> str:
    wall = draw.pick(PALE)
    stripe = contrasting(draw, wall, BRIGHT)
    roof, tall = draw.pick((stripe, *BRIGHT)), draw.uniform(0.56, 0.66)
    low, high = draw.uniform(0.16, 0.2), draw.uniform(0.1, 0.13)
    spiral = draw.chance(0.35)
    paint = wedges(wall, stripe, draw.integer(2, 4), draw.uniform(0.5, 1.0)) if spiral else bands(
        wall, stripe, tall / draw.integer(2, 4), 0.5)
    side = curve([(low, 0), (low * 0.86, tall * 0.3), ((low + high) * 0.46, tall * 0.7), (high, tall)], 20)
    model.add(lathe([(0, 0), *side, (0, tall)], 48), paint)
    at = lambda y: np.interp(y, side[:, 1], side[:, 0])
    rim = high * 1.45
    model.add(lathe(rounded([(0, 0), (rim, 0), (rim, 0.03), (0, 0.03)], 0.01), 48), plain(METALS[3]),
              at=(0, tall - 0.008, 0))
    model.add(tube(circle(rim * 0.93, 40, tall + 0.09), 0.009, 8, closed=True), plain(METALS[3]))
    for k in range(8):
        a = 2 * np.pi * k / 8
        foot = np.array([rim * 0.93 * np.sin(a), tall + 0.01, rim * 0.93 * np.cos(a)])
        model.add(tube(np.linspace(foot, foot + (0, 0.08, 0), 5), 0.008, 8, cap=2), plain(METALS[3]))
    lamp = high * 0.75
    model.add(lathe(rounded([(0, 0), (lamp, 0), (lamp, 0.13), (0, 0.13)], 0.01), 40),
              wedges(BRIGHT[2], METALS[3], 8), at=(0, tall + 0.012, 0))
    model.add(lathe(rounded([(0, 0), (lamp * 1.35, 0), (lamp * 0.5, 0.1), (0, 0.15)], 0.02), 40), plain(roof),
              at=(0, tall + 0.13, 0))
    model.add(superellipsoid((0.022, 0.022, 0.022), 1, 14, 10), plain(METALS[1]), at=(0, tall + 0.285, 0))
    door = contrasting(draw, wall, BRIGHT)
    model.add(box((0.1, 0.17, 0.05), 0.015), wood(door, draw.integer(0, 9999)), at=(0, 0.1, at(0.1) + 0.002))
    for k in range(draw.integer(1, 3)):
        y = tall * (0.45 + 0.18 * k)
        model.add(superellipsoid((0.03, 0.04, 0.022), 0.7, 18, 12), plain(BRIGHT[7]), at=(0, y, at(y)))
    rock = draw.pick((METALS[0], LEAVES[0], PALE[2]))
    wide = low + draw.uniform(0.1, 0.16)
    for k in range(6):
        a = 2 * np.pi * k / 6 + draw.uniform(0, 0.6)
        size = draw.uniform(0.06, 0.1)
        model.add(superellipsoid((size * 1.3, size, size * 1.2), 0.75, 18, 12), speckled(rock, k, 20, 0.4),
                  at=(wide * 0.9 * np.sin(a), 0.0, wide * 0.9 * np.cos(a)), turn=(0, draw.uniform(0, 90), 0))
    model.add(lathe(rounded([(0, -0.08), (wide * 1.1, -0.08), (wide, 0.02), (0, 0.035)], 0.03), 40),
              speckled(rock, draw.integer(0, 9999), 14, 0.35))
    stripes = f"{stripe.name} {'spirals' if spiral else 'stripes'}"
    return (f"{article(wall.name)} lighthouse "
            f"{having(stripes, article(roof.name) + ' roof', article(door.name) + ' door')}")


def drum(draw: Draw, model: Model) -> str:
    side, skin = draw.pick(BRIGHT), draw.pick(PALE)
    hoop, rope = contrasting(draw, side, BRIGHT + METALS), contrasting(draw, side, PALE)
    radius, tall = draw.uniform(0.3, 0.38), draw.uniform(0.34, 0.52)
    pattern, words = decorated(draw, side, contrasting(draw, side), 1.1)
    model.add(lathe([(0, 0.012), (radius - 0.02, 0.012), (radius, 0.02), (radius, tall - 0.02),
                     (radius - 0.02, tall - 0.012), (0, tall - 0.012)], 56, 0.06),
              where(lambda s: (np.abs(s.normals[..., 1]) - 0.7) * 0.05, plain(skin), pattern))
    for y in (0.03, tall - 0.03):
        profile = [(radius - 0.03, -0.034), (radius + 0.02, -0.034), (radius + 0.02, 0.034), (radius - 0.03, 0.034)]
        profile = rounded(profile, 0.01, 2, closed=True)
        model.add(ring([*profile, profile[0]], 56), plain(hoop), at=(0, y, 0))
    count = 2 * draw.integer(4, 7)
    for k in range(count):
        a, b = 2 * np.pi * k / count, 2 * np.pi * (k + 1) / count
        y0, y1 = (0.04, tall - 0.04)[::1 if k % 2 else -1]
        t = np.linspace(0, 1, 9)
        angle, out = a + (b - a) * t, radius + 0.003
        path = np.column_stack([out * np.sin(angle), y0 + (y1 - y0) * t, out * np.cos(angle)])
        model.add(tube(path, 0.011 + 0.0004 * (k % 2), 8, cap=2), plain(rope))
    sticks = draw.chance(0.6)
    for k in range(2 * sticks):
        timber, turn = draw.pick(WOODS), draw.uniform(20, 70) * (1, -1)[k]
        level = tall - 0.004 + 0.033 * k
        model.add(tube(np.linspace((0, 0, -0.24), (0, 0, 0.22), 10), np.linspace(0.014, 0.018, 10), 12, cap=2),
                  plain(timber), at=(0, level, 0), turn=(0, turn, 0))
        a = np.radians(turn)
        model.add(superellipsoid((0.03, 0.03, 0.036), 1, 18, 12), plain(timber),
                  at=(0.23 * np.sin(a), level, 0.23 * np.cos(a)), turn=(0, turn, 0))
    sticks = "two sticks" if sticks else ""
    return f"{article(side.name)} drum {having(words, hoop.name + ' hoops', rope.name + ' ropes', sticks)}"


def gift(draw: Draw, model: Model) -> str:
    paper = draw.pick(BRIGHT + PALE)
    ribbon = contrasting(draw, paper, BRIGHT + PALE[:2] + METALS[1:2])
    wide, deep, tall = draw.uniform(0.33, 0.41), draw.uniform(0.33, 0.41), draw.uniform(0.53, 0.64)
    pattern, words = coated(draw, paper, contrasting(draw, paper), ("dots", "bands", "stripes", "patches"), 0)
    model.add(box((wide, tall, deep), 0.02, 2, 0.05), pattern, at=(0, tall / 2, 0))
    lid = draw.chance(0.5)
    if lid:
        model.add(box((wide + 0.05, 0.12, deep + 0.05), 0.02, 2, 0.06), plain(paper), at=(0, tall - 0.02, 0))
    top, band = tall + (0.04 if lid else 0), draw.uniform(0.06, 0.1)
    edge = 0.075 if lid else 0.022
    model.add(box((band, top + 0.016, deep + edge), 0.01, 2, 0.06), plain(ribbon), at=(0, top / 2, 0))
    model.add(box((wide + edge, top + 0.02, band), 0.01, 2, 0.06), plain(ribbon), at=(0, top / 2 + 0.0005, 0))
    loops, size = draw.pick((2, 4, 6)), draw.uniform(0.16, 0.22)
    for k in range(loops):
        a = 2 * np.pi * k / loops + np.pi / 2 + 0.15
        way = np.array([np.sin(a), 0, np.cos(a)])
        t = np.linspace(0, 1, 24)
        out, up = np.sin(np.pi * t) * size, 0.24 * t + 0.07 * np.sin(2 * np.pi * t) - 0.06 * np.sin(np.pi * t)
        path = way * out[:, None] + np.column_stack([0 * t, top + 0.004 + up * 0.9, 0 * t])
        model.add(tube(path, 0.02, 12, 1.6), plain(ribbon))
    model.add(superellipsoid((0.05, 0.13, 0.05), 0.9, 22, 14), plain(ribbon), at=(0, top + 0.11, 0))
    return f"{article(paper.name)} gift {having(words, 'a lid' if lid else '', article(ribbon.name) + ' bow')}"
