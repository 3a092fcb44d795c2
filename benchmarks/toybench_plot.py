"""PSNR of novel views against how far the camera went around, as SVG (Cascade-Zero123's Figure 2)."""
from html import escape

from intervals import bootstrap

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 640, 360, 56, 220, 20, 44
STEP = 30
"""Degrees of azimuth that are averaged."""
COLORS = ("#1f6fb4", "#d1495b", "#2e933c", "#8d5bb8", "#c77d0a", "#118a8a", "#6b6b6b", "#a0522d")


def curve(numbers: dict) -> list[tuple[float, float, float, float]]:
    """Middle of the bin in degrees, mean PSNR and its interval, for bins with at least two pairs."""
    points = []
    for low in range(0, 180, STEP):
        values = [value for value, angle in zip(numbers["psnr"], numbers["azimuth_distance"])
                  if low <= angle < low + STEP or angle == low + STEP == 180]
        if len(values) > 1:
            points.append((low + STEP / 2, *bootstrap(values)))
    return points


def plot(curves: dict[str, list[tuple[float, float, float, float]]]) -> str:
    """Lines with bands, by label, and their names beside them."""
    values = [value for points in curves.values() for point in points for value in point[2:]]
    low, high = int(min(values)), int(max(values)) + 1
    x = lambda degrees: f"{LEFT + degrees / 180 * (WIDTH - LEFT - RIGHT):.1f}"
    y = lambda value: f"{HEIGHT - BOTTOM - (value - low) / (high - low) * (HEIGHT - TOP - BOTTOM):.1f}"
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
             f'font-size="12"><rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>'
             f'<text x="{LEFT}" y="{HEIGHT - 8}">degrees of azimuth from the given view; PSNR in dB</text>']
    for value in range(low, high + 1, max(1, (high - low) // 6)):
        parts.append(f'<line x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(value)}" y2="{y(value)}" stroke="#ddd"/>'
                     f'<text x="{LEFT - 8}" y="{y(value)}" dy="4" text-anchor="end">{value}</text>')
    for degrees in range(0, 181, 45):
        parts.append(f'<text x="{x(degrees)}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{degrees}</text>')
    for k, (label, points) in enumerate(curves.items()):
        color = COLORS[k % len(COLORS)]
        band = [f"{x(p[0])},{y(p[3])}" for p in points] + [f"{x(p[0])},{y(p[2])}" for p in reversed(points)]
        line = " ".join(f"{x(p[0])},{y(p[1])}" for p in points)
        parts.append(f'<polygon points="{" ".join(band)}" fill="{color}" opacity="0.12"/>'
                     f'<polyline points="{line}" fill="none" stroke="{color}" stroke-width="2"/>'
                     f'<text x="{WIDTH - RIGHT + 12}" y="{TOP + 16 + 18 * k}" fill="{color}">{escape(label)}</text>')
    return "".join(parts) + "</svg>\n"
