"""Toys that drive, swim and fly, toward +Z: each function turns random choices into a model and its caption.

Sizes are about 1 unit, since patterns and bevels are absolute; the mesh is scaled to a longest side of 1 at the end.
Parts reach into one another; no two faces of different parts may lie in one plane.
"""
import numpy as np

from asset3d.toybox.draw import Draw
from asset3d.toybox.model import Model
from asset3d.toybox.pattern import (BRIGHT, CHARCOAL, METALS, PALE, WHITE, WOODS, bands, checks, coated, contrasting,
                                    decorated, gradient, plain, where, wood)
from asset3d.toybox.shape import box, extrude, lathe, loft, refine, rounded, superellipsoid, tube
from asset3d.toybox.words import article, having, number

SIDEWAYS = (0, -90, 0)
"""Turns an outline in x and y into one in z and y."""
FORWARD = (90, 0, 0)
"""Turns what stands along +Y toward +Z."""
GLASS = BRIGHT[6]


def _outline(corners, radius: float, longest: float = 0.05) -> np.ndarray:
    """A closed outline with rounded corners and short segments, for `extrude`."""
    points = rounded(corners, radius, closed=True)
    return refine(np.concatenate([points, points[:1]]), longest)[:-1]


def _wheel(model: Model, hub, at, radius: float, width: float) -> None:
    """A tyre with a hub, its axle along x."""
    half = width / 2
    profile = rounded([(0, -half * 0.8), (radius * 0.5, -half * 0.8), (radius * 0.6, -half), (radius, -half),
                       (radius, half), (radius * 0.6, half), (radius * 0.5, half * 0.8), (0, half * 0.8)], 0.018, 2)
    pattern = where(lambda s: 0.62 * radius - np.hypot(s.points[..., 0], s.points[..., 2]), plain(hub), plain(CHARCOAL))
    model.add(lathe(profile, 28), pattern, at=at, turn=(0, 0, 90))


def car(draw: Draw, model: Model) -> str:
    paint = draw.pick(BRIGHT + PALE)
    roof, hub = contrasting(draw, paint), draw.pick(METALS[:3] + PALE[:2])
    length, width, wheel = draw.uniform(0.8, 1.0), draw.uniform(0.42, 0.5), draw.uniform(0.1, 0.135)
    tall, kind = draw.uniform(0.17, 0.23), draw.pick(("car", "delivery car", "pickup car"))
    middle = wheel + 0.02 + tall / 2
    pattern, words = coated(draw, paint, contrasting(draw, paint), ("plain", "bands", "dots", "racing"))
    model.add(box((width, tall, length), 0.06, 3, 0.07), pattern, at=(0, middle, 0))
    cabin = draw.uniform(0.17, 0.23)
    back, front = {"car": (-0.3, 0.2), "delivery car": (-0.44, 0.32), "pickup car": (-0.08, 0.3)}[kind]
    back, front = back * length, front * length
    corners = [(back, 0), (front, 0), (front - 0.11, cabin), (back + (0.03 if kind == "delivery car" else 0.08), cabin)]
    pillar = (back + front) / 2
    pane = lambda s: np.minimum(np.minimum(s.points[..., 1] - 0.055, cabin - 0.045 - s.points[..., 1]),
                                np.abs(s.points[..., 0] - pillar) - 0.016)
    model.add(extrude(_outline(corners, 0.04), width * 0.84, 0.03, 5),
              where(pane, gradient(BRIGHT[7], GLASS), plain(roof)), at=(0, middle + tall / 2 - 0.02, 0), turn=SIDEWAYS)
    for side in (-1, 1):
        for end in (-1, 1):
            _wheel(model, hub, (side * (width / 2 - 0.015), wheel, end * length * 0.3), wheel, 0.1)
        model.add(superellipsoid((0.045, 0.045, 0.03), 1, 18, 12), plain(BRIGHT[2]),
                  at=(side * width * 0.32, middle + 0.02, length / 2 - 0.004))
        model.add(superellipsoid((0.04, 0.03, 0.02), 1, 14, 10), plain(BRIGHT[0]),
                  at=(side * width * 0.34, middle + 0.02, -length / 2 + 0.004))
    for end in (-1, 1):
        model.add(box((width * 0.92, 0.055, 0.06), 0.02), plain(METALS[0]),
                  at=(0, wheel + 0.045, end * (length / 2 + 0.002)))
    if kind == "pickup car":
        load = contrasting(draw, paint, WOODS)
        model.add(box((width * 0.6, 0.14, length * 0.2), 0.02), wood(load, draw.integer(0, 9999)),
                  at=(0, middle + tall / 2 + 0.05, -length * 0.28))
        last = f"{article(load.name)} load"
    else:
        last = f"{hub.name} wheels"
    return f"{article(paint.name)} {kind} {having(words, article(roof.name) + ' roof', last)}"


def _hull(length: float, width: float, depth: float):
    """A boat's hull with a slightly domed deck at height 0, its stern at -Z, its bow at +Z."""
    t = np.concatenate([[0, 0.004], np.linspace(0.05, 1, 25)])[:, None]
    ahead = np.maximum(t - 0.5, 0) / 0.5
    beam = width / 2 * np.where(t < 0.5, 0.82 + 0.72 * t * (1 - t), np.sqrt(np.maximum(1 - ahead**2.2, 0)))
    keel = depth * np.where(t < 0.6, 1.0, 1 - 0.75 * ((t - 0.6) / 0.4)**2)
    beam[[0, -1]], keel[[0, -1]] = 0, 0
    rise = 0.1 * np.maximum(t - 0.4, 0)**1.5
    angle = np.arange(36) * (2 * np.pi / 36)
    x, y = beam * np.cos(angle), np.sin(angle)
    y = np.where(y < 0, -keel * np.abs(y)**0.75, 0.12 * beam * y) + rise
    return loft(np.stack([x, y, length * (t - 0.5) + 0 * angle], -1), creases=(1,))


def boat(draw: Draw, model: Model) -> str:
    paint, timber = draw.pick(BRIGHT + PALE), draw.pick(WOODS)
    stripe = contrasting(draw, paint)
    length, width, depth = draw.uniform(0.7, 0.8), draw.uniform(0.26, 0.33), draw.uniform(0.14, 0.19)
    line = draw.uniform(0.35, 0.6)
    low = where(lambda s: -line * depth - s.points[..., 1], plain(stripe), plain(paint))
    deck = where(lambda s: (s.normals[..., 1] - 0.6) * 0.05, wood(timber, draw.integer(0, 9999), axis=2), low)
    model.add(_hull(length, width, depth), deck)
    build = draw.pick((_sails, _sails, _steamer))
    return f"{article(paint.name)} boat {build(draw, model, (length, width), timber)}"


def _sails(draw: Draw, model: Model, size, timber) -> str:
    length, _ = size
    cloth = draw.pick(PALE + BRIGHT)
    tall, reach = draw.uniform(0.62, 0.78), length * draw.uniform(0.36, 0.44)
    model.add(tube(np.linspace((0, -0.03, 0.05), (0, tall + 0.12, 0.05), 12), 0.019, 14, cap=2), plain(timber))
    pattern, words = coated(draw, cloth, contrasting(draw, cloth), ("plain", "bands", "dots", "stripes"))
    main = _outline([(-reach, 0.02), (0, 0), (0, tall), (-reach * 0.45, tall * 0.93)], 0.012)
    model.add(extrude(main, 0.022, 0.006, 5), pattern, at=(0, 0.09, 0.05), turn=SIDEWAYS)
    model.add(tube(np.linspace((0, 0.095, 0.06), (0, 0.112, 0.05 - reach), 9), 0.016, 12, cap=2), plain(timber))
    jib = _outline([(0, 0.03), (length * 0.34, 0), (length * 0.13, tall * 0.72), (0, tall * 0.78)], 0.012)
    model.add(extrude(jib, 0.02, 0.005, 5), plain(cloth), at=(0.002, 0.11, 0.052), turn=SIDEWAYS)
    flag = draw.pick(BRIGHT)
    model.add(extrude(_outline([(0, 0), (0.13, 0.015), (0.13, 0.085), (0, 0.09)], 0.01), 0.018, 0.004), plain(flag),
              at=(0, tall + 0.03, 0.045), turn=(0, 90, 0))
    return having(f"{cloth.name} sails", words, article(flag.name) + " flag")


def _steamer(draw: Draw, model: Model, size, timber) -> str:
    length, width = size
    house, funnel = draw.pick(PALE), draw.pick(BRIGHT)
    tall, tip = draw.uniform(0.14, 0.2), contrasting(draw, funnel, (CHARCOAL, WHITE))
    pane = lambda s: np.minimum(0.035 - np.abs(s.points[..., 1]), 0.03 - np.abs(s.points[..., 2] % 0.1 - 0.05))
    model.add(box((width * 0.62, tall, length * 0.42), 0.025, 2, 0.08), where(pane, plain(BRIGHT[7]), plain(house)),
              at=(0, tall / 2 - 0.015, -0.08))
    model.add(box((width * 0.72, 0.035, length * 0.46), 0.012), plain(timber), at=(0, tall - 0.01, -0.08))
    many = draw.integer(1, 3)
    for i in range(many):
        z = -0.08 + (i - (many - 1) / 2) * 0.13
        high = draw.uniform(0.2, 0.3)
        model.add(lathe(rounded([(0, 0), (0.045, 0), (0.05, high), (0, high)], 0.008), 32),
                  bands(funnel, tip, high / 1.5, 0.3), at=(0, tall - 0.015, z), turn=(-8, 0, 0))
    model.add(tube(np.linspace((0, -0.02, length * 0.28), (0, 0.4, length * 0.28), 10), 0.013, 12, cap=2),
              plain(METALS[1]))
    funnels = f"{number(many)} {funnel.name} funnel{'s' * (many > 1)}"
    return f"with {article(house.name)} cabin and {funnels}"


def plane(draw: Draw, model: Model) -> str:
    paint = draw.pick(BRIGHT + PALE)
    wing, nose = contrasting(draw, paint), draw.pick(METALS[:3])
    length, thick, span = draw.uniform(0.74, 0.88), draw.uniform(0.085, 0.115), draw.uniform(0.86, 1.0)
    body = [(0, -length / 2), (thick * 0.25, -length / 2 + 0.01), (thick * 0.6, -length * 0.25), (thick, 0.05),
            (thick * 0.95, length * 0.34), (thick * 0.6, length * 0.46), (0, length * 0.48)]
    pattern, words = coated(draw, paint, contrasting(draw, paint), ("plain", "bands", "dots"), along=1)
    model.add(lathe(rounded(body, 0.06), 40), pattern, turn=FORWARD)
    sweep, chord = draw.uniform(0.02, 0.1), draw.uniform(0.15, 0.19)
    two = draw.chance(0.45)
    for level in (-thick * 0.4, thick * 1.9)[:1 + two]:
        half = span / 2
        shape = _outline([(-half, -sweep - chord * 0.35), (0, -chord * 0.5), (half, -sweep - chord * 0.35),
                          (half, -sweep + chord * 0.3), (0, chord * 0.5), (-half, -sweep + chord * 0.3)], 0.05)
        tips = where(lambda s: np.abs(s.points[..., 0]) - half * 0.78, plain(nose), plain(wing))
        model.add(extrude(shape, 0.034, 0.012, 5), tips, at=(0, level, 0.1), turn=FORWARD)
    if two:
        for x in (-0.3, -0.12, 0.12, 0.3):
            ends = (x * span, -thick * 0.4, 0.08 - sweep * 0.5), (x * span, thick * 1.9, 0.08 - sweep * 0.5)
            model.add(tube(np.linspace(*ends, 8), 0.012, 10, cap=2), plain(nose))
    tail = _outline([(-0.16, -0.06), (0.16, -0.06), (0.13, 0.03), (0, 0.06), (-0.13, 0.03)], 0.02)
    model.add(extrude(tail, 0.028, 0.01), plain(wing), at=(0, 0.012, -length * 0.43), turn=FORWARD)
    fin = _outline([(-0.08, 0), (0.09, 0), (-0.01, 0.18), (-0.08, 0.18)], 0.02)
    model.add(extrude(fin, 0.03, 0.01), plain(wing), at=(0, 0.01, -length * 0.42), turn=SIDEWAYS)
    model.add(superellipsoid((thick * 0.62, thick * 0.66, 0.12), 1, 28, 18), gradient(BRIGHT[7], GLASS),
              at=(0, thick * 0.72, 0.0))
    _propeller(draw, model, nose, (0, 0, length * 0.48), draw.pick((2, 3, 4)))
    for side in (-1, 1):
        model.add(tube(np.linspace((0, 0, 0.16), (side * 0.12, -0.2, 0.18), 7), 0.016, 10, cap=2), plain(nose))
        _wheel(model, nose, (side * 0.13, -0.2, 0.18), 0.055, 0.045)
    wings = f"{'two pairs of ' if two else ''}{wing.name} wings"
    return f"{article(paint.name)} plane {having(words, wings)}"


def _propeller(draw: Draw, model: Model, metal, at, blades: int) -> None:
    """Blades around a spinner that points to +Z."""
    start = draw.uniform(0, 180)
    for i in range(blades):
        angle = start + 360 / blades * i
        a = np.radians(angle)
        model.add(superellipsoid((0.1, 0.024, 0.012), 1, 16, 10), plain(CHARCOAL),
                  at=np.asarray(at) + (0.09 * np.cos(a), 0.09 * np.sin(a), 0.022 + 0.001 * i), turn=(0, 0, angle))
    model.add(lathe(rounded([(0, -0.03), (0.042, -0.03), (0.035, 0.03), (0, 0.07)], 0.02), 20), plain(metal), at=at,
              turn=FORWARD)


def locomotive(draw: Draw, model: Model) -> str:
    paint, frame = draw.pick(BRIGHT), draw.pick((CHARCOAL, *METALS[3:], *BRIGHT[:2]))
    second, metal = contrasting(draw, paint), draw.pick(METALS[:3])
    length, width, wheel = draw.uniform(0.86, 1.0), draw.uniform(0.3, 0.36), draw.uniform(0.075, 0.095)
    base, radius = wheel * 1.55, width * draw.uniform(0.4, 0.47)
    model.add(box((width, 0.08, length), 0.02, 2, 0.1), plain(frame), at=(0, base, 0))
    boiler = length * draw.uniform(0.56, 0.64)
    pattern = bands(paint, second, boiler / draw.integer(3, 5), 0.18)
    tank = rounded([(0, 0), (radius, 0), (radius, boiler), (radius * 0.85, boiler + 0.03), (0, boiler + 0.03)], 0.015)
    level = base + 0.02 + radius
    model.add(lathe(tank, 40), pattern, at=(0, level, length / 2 - boiler - 0.05), turn=FORWARD)
    model.add(superellipsoid((0.05, 0.05, 0.03), 1, 20, 12), plain(BRIGHT[2]), at=(0, level, length / 2 - 0.02))
    deep, tall = length - boiler - 0.03, draw.uniform(0.4, 0.48)
    pane = lambda s: np.minimum(np.minimum(s.points[..., 1] - tall * 0.1, tall * 0.36 - s.points[..., 1]), np.maximum(
        deep * 0.3 - np.abs(s.points[..., 2]), width * 0.32 - np.abs(s.points[..., 0])))
    model.add(box((width * 0.97, tall, deep), 0.02, 2, 0.07), where(pane, plain(GLASS), plain(paint)),
              at=(0, base + 0.025 + tall / 2, -length / 2 + deep / 2 + 0.012))
    model.add(box((width * 1.12, 0.045, deep + 0.08), 0.018), plain(second),
              at=(0, base + 0.03 + tall, -length / 2 + deep / 2 + 0.01))
    top, z = level + radius, length / 2
    high, flare = draw.uniform(0.16, 0.24), draw.uniform(1.0, 1.7)
    pipe = [(0, -0.05), (0.045, -0.05), (0.045, high * 0.6), (0.045 * flare + 0.012, high), (0, high)]
    model.add(lathe(rounded(pipe, 0.012), 28), where(lambda s: s.points[..., 1] - high * 0.72, plain(metal),
                                                     plain(frame)), at=(0, top, z - 0.14))
    model.add(superellipsoid((0.06, 0.075, 0.06), 1, 24, 14), plain(metal), at=(0, top, z - 0.36))
    each = draw.integer(2, 4)
    for side in (-1, 1):
        for i in range(each):
            at = (side * (width / 2 - 0.005), wheel, (i + 0.5 - each / 2) * length * 0.86 / each)
            _wheel(model, second, at, wheel, 0.06)
    plow = _outline([(-width * 0.5, 0), (width * 0.5, 0), (width * 0.36, 0.1), (-width * 0.36, 0.1)], 0.015)
    model.add(extrude(plow, 0.07, 0.02), plain(metal), at=(0, base - 0.07, length / 2 + 0.015), turn=(-18, 0, 0))
    return (f"{article(paint.name)} locomotive with {second.name} wheels, {article(metal.name)} dome "
            f"and {article(frame.name)} chimney")


def balloon(draw: Draw, model: Model) -> str:
    base = draw.pick(BRIGHT + PALE)
    accent, weave = contrasting(draw, base), draw.pick(WOODS)
    radius, tall = draw.uniform(0.3, 0.38), draw.uniform(0.66, 0.76)
    pattern, words = decorated(draw, base, accent, 1.3)
    t = np.linspace(0, 1, 24)
    bulge = radius * np.maximum(np.sin(np.pi * t**1.25 * 0.82 + 0.18 * np.pi * (1 - (1 - t)**6)), 0)**0.8
    bulge = np.maximum(bulge, np.where(t < 0.5, 0.07, 0))
    bulge[-1] = 0
    model.add(lathe([(0, 0.004), *zip(bulge, tall * t)], 56, crease=70), pattern, at=(0, 0.34, 0))
    side, high = draw.uniform(0.075, 0.095), draw.uniform(0.12, 0.15)
    round_one = draw.chance(0.5)
    if round_one:
        walls = rounded([(0, 0), (side, 0), (side * 1.15, high), (side * 0.95, high), (side * 0.85, 0.02), (0, 0.02)],
                        0.012)
        model.add(lathe(walls, 36), checks(weave, contrasting(draw, weave, WOODS), 16))
    else:
        model.add(box((2 * side, high, 2 * side), 0.02, 2, 0.05), bands(weave, WOODS[1], 0.03, 0.3),
                  at=(0, high / 2, 0))
    for i in range(4):
        a = np.pi / 4 + np.pi / 2 * i
        low, top = side * (1.03 if round_one else 1.15), 0.055
        model.add(tube(np.linspace((low * np.sin(a), high - 0.025, low * np.cos(a)),
                                   (top * np.sin(a), 0.36, top * np.cos(a)), 8), 0.01, 8, cap=2), plain(CHARCOAL))
    model.add(lathe(rounded([(0, 0), (0.03, 0), (0.022, 0.08), (0, 0.08)], 0.006), 20), plain(METALS[0]),
              at=(0, 0.285, 0))
    basket = f"{'round' if round_one else 'square'} {weave.name} basket"
    return f"{article(base.name)} balloon with {words} over {article(basket)}"
