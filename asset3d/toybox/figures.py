"""Toys found in toy chests: each function turns random choices into a model and its caption.

Sizes are about 1 unit, since patterns and bevels are absolute; the mesh is scaled to a longest side of 1 at the end.
Parts reach into one another; no two faces of different parts may lie in one plane.
"""
import numpy as np

from asset3d.toybox.draw import Draw
from asset3d.toybox.model import Model
from asset3d.toybox.pattern import (BRIGHT, CHARCOAL, METALS, PALE, SNOW, WHITE, WOODS, bands, contrasting, dots,
                                    gradient, plain, speckled, wedges, where, wood)
from asset3d.toybox.shape import box, circle, curve, extrude, lathe, rounded, superellipsoid, tube
from asset3d.toybox.words import article, number


def robot(draw: Draw, model: Model) -> str:
    shell = draw.pick(BRIGHT + PALE + METALS[:3])
    accent = contrasting(draw, shell, BRIGHT)
    metal = contrasting(draw, shell, METALS)
    width, depth, height = draw.uniform(0.34, 0.44), draw.uniform(0.24, 0.3), draw.uniform(0.32, 0.4)
    leg = draw.uniform(0.18, 0.24)
    trim = draw.pick(("plain", "bands", "dots"))
    hide = {"plain": speckled(shell, 3, 20, 0.08), "bands": bands(shell, accent, height / 2.5, 0.3),
            "dots": dots(shell, accent, 0.13, 0.022)}[trim]
    model.add(box((width, height, depth), 0.045, 3, 0.08), hide, at=(0, leg + height / 2, 0))
    panel = box((width * 0.62, height * 0.5, 0.04), 0.015)
    model.add(panel, plain(metal), at=(0, leg + height * 0.52, depth / 2))
    for i in range(draw.integer(2, 3)):
        model.add(superellipsoid((0.03, 0.03, 0.016), 1, 16, 10), plain(BRIGHT[(0, 2, 4)[i]]),
                  at=(-0.075 + 0.075 * i, leg + height * 0.6, depth / 2 + 0.02))
    model.add(box((width * 0.42, 0.03, 0.03), 0.008), plain(CHARCOAL), at=(0, leg + height * 0.4, depth / 2 + 0.0127))
    _limbs(draw, model, (accent, metal), (width, leg, height))
    _head(draw, model, (shell, accent, metal), (width, depth, leg + height))
    words = {"plain": "", "bands": f"{accent.name} bands, ", "dots": f"{accent.name} dots, "}[trim]
    return f"{article(shell.name)} robot with {words}{accent.name} hands and {metal.name} limbs"


def _limbs(draw: Draw, model: Model, colours, size) -> None:
    """Two legs with feet, two arms with hands."""
    (accent, metal), (width, leg, height) = colours, size
    for side in (-1, 1):
        x = side * width * 0.26
        model.add(tube(np.linspace((x, 0.03, 0), (x, leg + 0.04, 0), 8), 0.042, 18, cap=3),
                  bands(metal, CHARCOAL, 0.035, 0.25))
        model.add(box((0.13, 0.08, 0.2), 0.025, 3, 0.07), plain(accent), at=(x, 0.04, 0.03))
        lift = draw.uniform(-0.2, 0.16)
        shoulder = (side * width * 0.46, leg + height * 0.8, 0)
        hand = (side * (width / 2 + 0.15), leg + height * 0.3 + lift, 0.1)
        elbow = (side * (width / 2 + 0.12), leg + height * 0.6 + lift * 0.4, 0.0)
        model.add(tube(curve([shoulder, elbow, hand], 18), 0.034, 16, cap=3), bands(metal, CHARCOAL, 0.035, 0.25))
        model.add(superellipsoid((0.055, 0.055, 0.055), 1, 22, 14), plain(accent), at=hand)
        model.add(
            superellipsoid((0.06, 0.06, 0.06), 1, 22, 14), plain(metal), at=(side * width * 0.49, leg + height * 0.8, 0)
        )


def _head(draw: Draw, model: Model, colours, size) -> None:
    """A head with eyes, a mouth, ears and an antenna, on a neck."""
    (shell, accent, metal), (width, depth, base) = colours, size
    w, h, d = width * draw.uniform(0.7, 0.9), draw.uniform(0.2, 0.26), depth * 0.85
    y = base + 0.045 + h / 2
    model.add(tube(np.linspace((0, base - 0.02, 0), (0, base + 0.08, 0), 5), 0.05, 18, cap=2), plain(metal))
    if draw.chance(0.5):
        model.add(box((w, h, d), 0.04, 3, 0.08), plain(shell), at=(0, y, 0))
        front = d / 2
    else:
        model.add(superellipsoid((w / 2, h / 2, d / 2), 0.6, 40, 24), plain(shell), at=(0, y, 0))
        front = d / 2 * 0.93
    for side in (-1, 1):
        x = side * w * 0.22
        model.add(superellipsoid((0.042, 0.042, 0.03), 1, 24, 14), plain(WHITE), at=(x, y + 0.025, front))
        model.add(superellipsoid((0.022, 0.022, 0.018), 1, 16, 10), plain(CHARCOAL), at=(x, y + 0.025, front + 0.02))
        model.add(superellipsoid((0.035, 0.045, 0.045), 1, 22, 14), plain(accent), at=(side * w / 2 * 0.97, y, 0))
    model.add(box((w * 0.4, 0.026, 0.03), 0.01), plain(accent), at=(0, y - h * 0.27, front - 0.003))
    model.add(tube(np.linspace((0, y + h / 2 - 0.03, 0), (0, y + h / 2 + 0.08, 0), 5), 0.012, 10, cap=2), plain(metal))
    model.add(superellipsoid((0.034, 0.034, 0.034), 1, 20, 14), plain(accent), at=(0, y + h / 2 + 0.1, 0))


def snowman(draw: Draw, model: Model) -> str:
    hat, scarf = draw.pick((CHARCOAL, *BRIGHT)), draw.pick(BRIGHT)
    accent = contrasting(draw, scarf, BRIGHT + PALE)
    low, middle, head = draw.uniform(0.26, 0.31), draw.uniform(0.19, 0.22), draw.uniform(0.14, 0.16)
    y1 = low * 0.9
    y2 = y1 + low * 0.66 + middle * 0.66
    y3 = y2 + middle * 0.66 + head * 0.72
    for seed, (y, radius) in enumerate(((y1, low), (y2, middle), (y3, head))):
        model.add(superellipsoid((radius, radius * 0.94, radius), 1, 44, 24), speckled(SNOW, 40 + seed, 12, 0.1),
                  at=(0, y, 0))
    _coals(draw, model, accent, (head, y3), (middle, y2))
    nose = [(0, -0.04), (0.03, -0.03), (0.024, 0.04), (0.008, 0.14), (0, 0.146)]
    model.add(lathe(nose, 20, crease=70), bands(BRIGHT[1], WOODS[3], 0.04, 0.12), at=(0, y3 - 0.012, head - 0.01),
              turn=(90, 0, 0))
    _scarf(model, wedges(scarf, accent, 14), bands(scarf, accent, 0.06, 0.45), (head, middle, y2 + middle * 0.66))
    _twigs(draw, model, (middle, y2))
    words = _hat(draw, model, hat, contrasting(draw, hat, BRIGHT), (head, y3))
    return f"a snowman with {words} and {article(scarf.name)} scarf with {accent.name} stripes"


def _coals(draw: Draw, model: Model, accent, head, body) -> None:
    """Eyes and a mouth on the head, buttons on the body: balls given by radius and height."""
    coal = lambda size: superellipsoid((size, size, size), 1, 14, 10)
    on = lambda radius, x, y: np.sqrt(max(radius**2 - x**2 - (y / 0.94)**2, 0))
    radius, middle = head
    for side in (-1, 1):
        model.add(coal(0.019), plain(CHARCOAL), at=(side * 0.05, middle + 0.035, on(radius, 0.05, 0.035)))
    for i in range(5):
        x, y = 0.032 * (i - 2), -0.062 + 0.008 * (i - 2)**2
        model.add(coal(0.01), plain(CHARCOAL), at=(x, middle + y, on(radius, x, y)))
    radius, middle = body
    for i in range(draw.integer(2, 3)):
        y = radius * (0.45 - 0.5 * i)
        model.add(coal(0.022), plain(contrasting(draw, SNOW, (CHARCOAL, accent))), at=(0, middle + y, on(radius, 0, y)))


def _scarf(model: Model, around, hanging, size) -> None:
    """A ring around the neck and one end that hangs down, each with its own pattern."""
    head, middle, neck = size
    model.add(tube(circle(head * 0.82, 48, neck), 0.045, 16, closed=True), around)
    end = curve([(0.06, neck + 0.005, head * 0.8), (0.09, neck - 0.06, middle + 0.03),
                 (0.1, neck - 0.2, middle + 0.045)], 14)
    model.add(tube(end, 0.04, 16, 0.45, cap=3), hanging)


def _twigs(draw: Draw, model: Model, body) -> None:
    """Two arms, each with a fork."""
    radius, middle = body
    for side in (-1, 1):
        start, lift = (side * radius * 0.85, middle + 0.03, 0), draw.uniform(0.02, 0.14)
        tip = (side * (radius + 0.22), middle + 0.06 + lift, 0.05)
        model.add(tube(np.linspace(start, tip, 10), np.linspace(0.018, 0.012, 10), 12, cap=2), wood(WOODS[1], 9))
        fork = (side * (radius + 0.14), middle + 0.052 + lift * 0.68, 0.04)
        end = (fork[0] + side * 0.05, fork[1] + 0.07, 0.06)
        model.add(tube(np.linspace(fork, end, 6), 0.011, 10, cap=2), wood(WOODS[1], 9))


def _hat(draw: Draw, model: Model, colour, band, size) -> str:
    """A top hat or a woolen cap."""
    head, y = size
    if draw.chance(0.6):
        brim, tall = head * 1.2, draw.uniform(0.14, 0.22)
        profile = rounded(
            [(0, 0), (brim, 0), (brim, 0.025), (head * 0.8, 0.03), (head * 0.84, tall), (0, tall)], 0.012, 3
        )
        pattern = where(
            lambda s: np.where(s.points[..., 1] > 0.033, 0.075 - s.points[..., 1], -1), plain(band), plain(colour)
        )
        model.add(
            lathe(profile, 44, longest=0.035), pattern, at=(0, y + head * 0.62, 0), turn=(-5, 0, draw.uniform(-7, 7))
        )
        return f"{article(colour.name)} top hat"
    cap = [
        (0, -0.02),
        (head * 0.99, 0),
        *curve([(head * 1.04, 0.02), (head * 0.85, 0.1), (0.02, 0.17)], 12),
        (0, 0.171),
    ]
    model.add(lathe(cap, 44, longest=0.04), bands(colour, band, 0.06, 0.4), at=(0, y + head * 0.32, 0))
    model.add(
        superellipsoid((0.045, 0.045, 0.045), 1, 22, 14), speckled(band, 4, 40, 0.4), at=(0, y + head * 0.32 + 0.19, 0)
    )
    return f"{article(colour.name)} woolen cap"


def rocket(draw: Draw, model: Model) -> str:
    hull = draw.pick(PALE + BRIGHT)
    accent = contrasting(draw, hull, BRIGHT)
    second = contrasting(draw, accent, BRIGHT + METALS)
    radius, length = draw.uniform(0.15, 0.21), draw.uniform(0.62, 0.8)
    body = curve([(radius * 0.62, 0), (radius * 0.95, length * 0.25), (radius, length * 0.5),
                  (radius * 0.72, length * 0.8), (radius * 0.3, length), (0.0, length * 1.13)], 36)
    body[-1, 0] = 0
    tip = length * draw.uniform(0.78, 0.86)
    stripes = draw.chance(0.5)
    lower = bands(hull, second, draw.uniform(0.2, 0.3), 0.35) if stripes else wedges(hull, second, draw.pick((4, 6, 8)))
    model.add(lathe([(0, 0), *body], crease=70), where(lambda s: s.points[..., 1] - tip, plain(accent), lower))
    model.add(lathe(rounded([(0, 0.06), (radius * 0.4, 0.06), (radius * 0.58, -0.07), (radius * 0.46, -0.07),
                             (radius * 0.3, 0.0), (0, 0.01)], 0.01), 40), plain(METALS[0]))
    fins = _fins(draw, model, accent, radius)
    windows = _round_windows(draw, model, second, body, (radius, length))
    kind = f"{second.name} stripes" if stripes else f"upright {second.name} stripes"
    return (
        f"{article(hull.name)} rocket with {kind}, {number(fins)} {accent.name} fins and {number(windows)} round window"
        + "s" * (windows > 1)
    )


def _fins(draw: Draw, model: Model, colour, radius: float) -> int:
    """Fins around the lower end of a hull; returns how many."""
    count = draw.pick((3, 4))
    reach, low = draw.uniform(0.14, 0.22), draw.uniform(0.08, 0.14)
    outline = rounded([(0, 0.02), (reach, -low), (reach + 0.03, 0.06), (0.0, 0.3)], 0.03, closed=True)
    outline = np.concatenate([np.linspace(a, b, 3)[:-1] for a, b in zip(outline, np.roll(outline, -1, 0))])
    for i in range(count):
        turn = 360 / count * i + 45 * (count == 4)
        angle = np.radians(turn)
        at = (np.cos(angle) * radius * 0.6, 0, -np.sin(angle) * radius * 0.6)
        model.add(extrude(outline, 0.045, 0.012), plain(colour), at=at, turn=(0, turn, 0))
    return count


def _round_windows(draw: Draw, model: Model, colour, body: np.ndarray, size) -> int:
    """Framed panes one above the other in the front of a turned body; returns how many."""
    radius, length = size
    count = draw.integer(1, 2)
    for i in range(count):
        y = length * (0.62 - 0.24 * i)
        z = np.interp(y, body[:, 1], body[:, 0])
        pane = radius * (0.42 - 0.08 * i)
        frame = np.column_stack([pane * np.cos(t := np.arange(32) * 2 * np.pi / 32), pane * np.sin(t), 0 * t])
        model.add(tube(frame, pane * 0.26, 12, closed=True), plain(colour), at=(0, y, z - 0.012))
        model.add(superellipsoid((pane, pane, 0.035), 1, 28, 14), gradient(BRIGHT[7], BRIGHT[6]), at=(0, y, z - 0.02))
    return count
