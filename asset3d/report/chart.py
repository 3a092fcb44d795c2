"""Numbers over steps as SVG, drawn for one narrow card."""
import math
from html import escape

WIDTH, HEIGHT = 360, 190
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 36, 24
BUCKETS = 160
"""Most points of a line: more than the card has pixels to tell apart."""

Bucket = tuple[float, float, float, float]
"""Step, lowest, mean and highest value."""


def buckets(series: list[tuple[int, float]]) -> list[Bucket]:
    """Neighbouring steps put together, so that a chart shows the spread and stays small."""
    size = math.ceil(len(series) / BUCKETS)
    out = []
    for first in range(0, len(series), max(size, 1)):
        part = series[first:first + size]
        values = [value for _, value in part]
        out.append((sum(step for step, _ in part) / len(part), min(values), sum(values) / len(values), max(values)))
    return out


def is_logarithmic(series: list[tuple[int, float]]) -> bool:
    """Losses that fall by orders of magnitude are read on a logarithmic axis."""
    values = [value for _, value in series]
    return min(values) > 0 and max(values) > 50 * min(values)


def number(value: float) -> str:
    """A number short enough for an axis."""
    if value == 0 or not math.isfinite(value):
        return f"{value:g}"
    return f"{value:.3g}" if 1e-3 <= abs(value) < 1e5 else f"{value:.1e}".replace("e-0", "e-").replace("e+0", "e")


def line_chart(name: str, series: list[tuple[int, float]]) -> str:
    """One series as an SVG with a title, three lines of a grid, and a text for those who cannot see it.

    Args:
        name: What the numbers are.
        series: (step, finite value) in the order of the steps; at least one.
    """
    logarithmic = is_logarithmic(series)
    scale = math.log10 if logarithmic else float
    points = buckets(series)
    low, high = scale(min(p[1] for p in points)), scale(max(p[3] for p in points))
    high = high if high > low else low + (abs(low) or 1.0)
    first, last = series[0][0], max(series[-1][0], series[0][0] + 1)

    def x(step: float) -> str:
        return f"{LEFT + (step - first) / (last - first) * (WIDTH - LEFT - RIGHT):.1f}"

    def y(value: float) -> str:
        return f"{HEIGHT - BOTTOM - (scale(value) - low) / (high - low) * (HEIGHT - TOP - BOTTOM):.1f}"

    ticks = [low + share * (high - low) for share in (0, 0.5, 1)]
    ticks = [10**tick if logarithmic else tick for tick in ticks]
    grid = "".join(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(t)}" y2="{y(t)}"/>'
                   f'<text x="{LEFT - 8}" y="{y(t)}" dy="4" text-anchor="end">{number(t)}</text>' for t in ticks)
    upper = " ".join(f"{x(p[0])},{y(p[3])}" for p in points)
    lower = " ".join(f"{x(p[0])},{y(p[1])}" for p in reversed(points))
    mean = " ".join(f"{x(p[0])},{y(p[2])}" for p in points)
    told = f"{name}: {number(series[0][1])} at step {first}, {number(series[-1][1])} at step {series[-1][0]}"
    return (
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(told)}"><title>{escape(told)}</title>'
        f'<text class="name" x="14" y="22">{escape(name)}</text>'
        f'<text x="{WIDTH - RIGHT}" y="22" text-anchor="end">{"log, " if logarithmic else ""}'
        f'last {number(series[-1][1])}</text>{grid}'
        f'<polygon class="band" points="{upper} {lower}"/><polyline class="line" points="{mean}"/>'
        f'<text x="{LEFT}" y="{HEIGHT - 7}">{first}</text>'
        f'<text x="{WIDTH - RIGHT}" y="{HEIGHT - 7}" text-anchor="end">step {series[-1][0]}</text></svg>'
    )
