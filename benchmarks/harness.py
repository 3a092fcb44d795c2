"""Times functions side by side in one run: their ratio means something even on a machine that is shared or throttled.

    rows = compare({"asset3d": ours, "torch": baseline}, rounds=5)

Every round calls each function once, in turn; the shortest time of each counts, since noise only adds.
"""
import gc
import json
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

import torch

RESULTS = Path(__file__).parent / "results"


def seconds(fn: Callable[[], object], device: str) -> float:
    """One call, with the device's queue empty before and after."""
    if device == "cuda":
        torch.cuda.synchronize()
    start = time.perf_counter()
    fn()
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


def compare(functions: dict[str, Callable[[], object]], rounds: int = 5, device: str = "cpu") -> dict[str, float]:
    """Best seconds of each function. The first call of each is a warm-up and does not count."""
    for fn in functions.values():
        seconds(fn, device)
    gc.collect()
    best = dict.fromkeys(functions, float("inf"))
    for _ in range(rounds):
        for name, fn in functions.items():
            best[name] = min(best[name], seconds(fn, device))
    return best


def row(work: str, times: dict[str, float], baseline: str, ours: str = "asset3d", need: float | None = None,
        **extra) -> dict:
    """One line of the table: `need` is the ratio that issue or design ask for."""
    ratio = times[baseline] / times[ours] if baseline in times else None
    return dict(work=work, milliseconds=times[ours] * 1e3, baseline=baseline if baseline in times else None,
                baseline_milliseconds=times[baseline] * 1e3 if baseline in times else None,
                ratio=ratio, need=need, **extra)


def machine(device: str = "cpu") -> dict:
    from asset3d import _C

    info = dict(platform=platform.platform(), cpu=cpu_name(), threads=torch.get_num_threads(), torch=torch.__version__,
                **{key: value for key, value in _C.build_info().items() if key != "threads"})
    if device == "cuda":
        info["gpu"] = torch.cuda.get_device_name()
        info["capability"] = ".".join(map(str, torch.cuda.get_device_capability()))
    return info


def cpu_name() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def table(rows: list[dict]) -> str:
    """Markdown; a ratio below what is asked for is marked."""
    lines = ["| work | asset3d ms | baseline | ms | ratio | asked |", "|---|---|---|---|---|---|"]
    for r in rows:
        ratio = "" if r["ratio"] is None else f"{r['ratio']:.1f}x"
        missed = r["ratio"] is not None and r["need"] is not None and r["ratio"] < r["need"]
        base = "" if r["baseline"] is None else r["baseline"]
        base_ms = "" if r["baseline"] is None else f"{r['baseline_milliseconds']:.2f}"
        asked = "" if r["need"] is None else f"{r['need']:g}x" + (" (missed)" if missed else "")
        lines.append(f"| {r['work']} | {r['milliseconds']:.2f} | {base} | {base_ms} | {ratio} | {asked} |")
    return "\n".join(lines)


def write(name: str, rows: list[dict], device: str, **extra) -> Path:
    """benchmarks/results/NAME.json and .md, replaced together."""
    RESULTS.mkdir(exist_ok=True)
    info = machine(device)
    for ending, text in [
        ("json", json.dumps(dict(machine=info, rows=rows, **extra), indent=2) + "\n"),
        ("md", f"# {name}\n\n" + "\n".join(f"- {key}: {value}" for key, value in info.items())
         + f"\n\n{table(rows)}\n" + "".join(f"\n{key}: {value}\n" for key, value in extra.items())),
    ]:
        path = RESULTS / f"{name}.{ending}"
        temporary = path.with_suffix(f".{ending}.part")
        temporary.write_text(text)
        os.replace(temporary, path)
    return RESULTS / f"{name}.json"
