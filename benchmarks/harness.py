"""Times functions side by side in one run: their ratio means something even on a machine that is shared or throttled.

    rows = compare({"asset3d": ours, "torch": baseline}, rounds=5)

Every round calls each function once, in turn; the shortest time of each counts, since noise only adds. A row may name
its floor, the time that the machine needs at least: bytes that must move at the rate of a copy, operations at the rate
of a matrix product, both measured in the same run.
"""
import gc
import json
import os
import platform
import time
from collections.abc import Callable
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

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
        floor: float | None = None, **extra) -> dict:
    """One line of the table: `need` is the ratio that is asked for, `floor` the seconds of the roofline."""
    ratio = times[baseline] / times[ours] if baseline in times else None
    return dict(work=work, milliseconds=times[ours] * 1e3, baseline=baseline if baseline in times else None,
                baseline_milliseconds=times[baseline] * 1e3 if baseline in times else None,
                ratio=ratio, need=need, roofline=floor and floor / times[ours], **extra)


def rows_of_peers(work: str, times: dict[str, float], peers: dict[str, float], **extra) -> list[dict]:
    """A line for each peer that took part; the number is what is asked for against it."""
    return [row(work, times, name, need=need, **extra) for name, need in peers.items() if name in times]


def peers(family: str, device: str) -> dict[str, ModuleType]:
    """Other people's kernels of a family of operators that are installed and run on a device, by name."""
    from asset3d.ops import _backend

    usable = [name for name in _backend.FAMILIES[family] if device == "cuda" and find_spec(name)]
    return {name: _backend.backend(family, name) for name in usable}


@lru_cache
def ceilings(device: str) -> dict[str, float]:
    """What this machine can do: bytes per second of a copy (read and written), and operations per second of matrix
    products; on CUDA also bytes per second of its L2 cache, from clock and multiprocessors (64 bytes each per clock).
    """
    n = 1 << (28 if device == "cuda" else 25)
    source, target = (torch.zeros(n, device=device) for _ in range(2))
    rates = dict(bytes=8 * n / compare({"copy": lambda: target.copy_(source)}, 5, device)["copy"])
    side = 8192 if device == "cuda" else 1024
    for dtype in (torch.float32, torch.bfloat16):
        matrix = torch.ones(side, side, device=device, dtype=dtype)
        seconds_taken = compare({"product": lambda m=matrix: m @ m}, 5, device)["product"]
        rates[str(dtype).removeprefix("torch.")] = 2 * side**3 / seconds_taken
    if device == "cuda":
        gpu = torch.cuda.get_device_properties(0)
        rates["l2_bytes"] = 64.0 * gpu.multi_processor_count * getattr(gpu, "clock_rate", 1.98e6) * 1e3
    return rates


def floor_seconds(device: str, **work: float) -> float:
    """The roofline of some work: `bytes`, `float32`, `bfloat16` (operations), `l2_bytes`; what a device has no ceiling
    for does not count."""
    rates = ceilings(device)
    return max(amount / rates[kind] for kind, amount in work.items() if kind in rates)


def machine(device: str = "cpu") -> dict:
    from asset3d import _C

    info = dict(platform=platform.platform(), cpu=cpu_name(), threads=torch.get_num_threads(), torch=torch.__version__,
                **{key: value for key, value in _C.build_info().items() if key != "threads"})
    if device == "cuda":
        info["gpu"] = torch.cuda.get_device_name()
        info["capability"] = ".".join(map(str, torch.cuda.get_device_capability()))
    if ceilings.cache_info().currsize:
        info["ceilings, G/s"] = {kind: round(rate / 1e9, 1) for kind, rate in ceilings(device).items()}
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
    lines = ["| work | asset3d ms | baseline | ms | ratio | asked | of roofline |", "|---|---|---|---|---|---|---|"]
    for r in rows:
        ratio = "" if r["ratio"] is None else f"{r['ratio']:.1f}x"
        missed = r["ratio"] is not None and r["need"] is not None and r["ratio"] < r["need"]
        base = "" if r["baseline"] is None else r["baseline"]
        base_ms = "" if r["baseline"] is None else f"{r['baseline_milliseconds']:.2f}"
        asked = "" if r["need"] is None else f"{r['need']:g}x" + (" (missed)" if missed else "")
        share = "" if r["roofline"] is None else f"{r['roofline']:.0%}"
        lines.append(f"| {r['work']} | {r['milliseconds']:.2f} | {base} | {base_ms} | {ratio} | {asked} | {share} |")
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
