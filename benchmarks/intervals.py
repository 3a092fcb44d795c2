"""Means with the intervals that chance leaves, for the tables of toybench."""
import numpy as np

DRAWS = 4000


def bootstrap(values, seed: int = 0) -> tuple[float, float, float]:
    """The mean, and the 2.5 and 97.5 percentiles of the means of samples drawn with replacement (Efron 1979)."""
    values = np.asarray(values, dtype=np.float64)
    if not len(values):
        return float("nan"), float("nan"), float("nan")
    drawn = np.random.default_rng(seed).integers(len(values), size=(DRAWS, len(values)))
    low, high = np.percentile(values[drawn].mean(1), [2.5, 97.5])
    return float(values.mean()), float(low), float(high)


def ratio_bootstrap(above, below, seed: int = 0) -> tuple[float, float, float]:
    """The ratio of the means of paired numbers, and its interval."""
    above, below = (np.asarray(values, dtype=np.float64) for values in (above, below))
    drawn = np.random.default_rng(seed).integers(len(above), size=(DRAWS, len(above)))
    low, high = np.percentile(above[drawn].mean(1) / below[drawn].mean(1), [2.5, 97.5])
    return float(above.mean() / below.mean()), float(low), float(high)


def shown(estimate: tuple[float, float, float], digits: int = 2, sign: bool = False) -> str:
    """`17.31 [17.02, 17.60]`; a dash where there is nothing to average."""
    if np.isnan(estimate[0]):
        return "–"
    mean, low, high = (f"{value:{'+' if sign else ''}.{digits}f}" for value in estimate)
    return f"{mean} [{low}, {high}]"


def settings(rows: list[dict]) -> str:
    """How the rows were made, a line for each; nothing for those that have no settings."""
    lines = [f"- {row['label']}: " + ", ".join(f"{key} {value}" for key, value in row["how"].items())
             for row in rows if row["how"]]
    return "\n" + "\n".join(lines) + "\n" if lines else ""


def table(head: list[str], rows: list[list[str]]) -> str:
    """A table in Markdown."""
    return "\n".join("| " + " | ".join(row) + " |" for row in (head, ["---"] * len(head), *rows))
