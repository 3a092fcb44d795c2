"""How many views per second does the toybox give, objects included?

    python benchmarks/toybox_views.py [--size 64] [--count 12] [--objects 48] [--processes 2] [--threads 1] [--rounds 6]

Each process makes its own objects and renders COUNT views of each, as the workers of a DataLoader do. Prints views per
second of the best round, and the processor time that an object costs and where it goes; on a machine that does other
things too the first is too low, the second is not. `--write` keeps the table in benchmarks/results/.
"""
import argparse
import multiprocessing
import os
import sys
import time
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]


def make(arguments: tuple[int, int, int, int, int]) -> dict[str, float]:
    """Samples `first`, `first + step`, … in this process; returns the seconds of processor time of their two parts."""
    from asset3d.toybox import Samples, cameras, views

    first, step, objects, size, count = arguments
    samples = Samples("train", count=count, size=size)
    spent = {"objects": 0.0, "views": 0.0}
    for seed in range(first, objects, step):
        start = time.process_time()
        toy = samples.object(seed)
        middle = time.process_time()
        views(toy, cameras(seed, "zero123", count, size))
        spent["objects"] += middle - start
        spent["views"] += time.process_time() - middle
    return spent


def start(threads: int) -> None:
    """What a process does first."""
    import torch

    torch.set_num_threads(threads)
    import asset3d.toybox  # noqa: F401  so that rounds do not count the import


def measure(options: argparse.Namespace) -> tuple[float, dict[str, float]]:
    """Views per second of the best round; milliseconds of processor time per object in its cheapest round."""
    best, cheapest = 0.0, {}
    jobs = [(k, options.processes, options.objects, options.size, options.count) for k in range(options.processes)]
    with multiprocessing.get_context("spawn").Pool(options.processes, start, (options.threads,)) as pool:
        pool.map(make, [(k, 1, k + 1, options.size, options.count) for k in range(options.processes)], 1)   # warm-up
        for _ in range(options.rounds):
            began = time.perf_counter()
            spent = pool.map(make, jobs, 1)
            best = max(best, options.objects * options.count / (time.perf_counter() - began))
            cost = {name: sum(s[name] for s in spent) / options.objects * 1e3 for name in ("objects", "views")}
            cheapest = min(cheapest or cost, cost, key=lambda c: sum(c.values()))
    return best, cheapest


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    defaults = dict(size=64, count=12, objects=48, processes=2, threads=1, rounds=6)
    for name, value in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    import harness

    load = os.getloadavg()[0]
    best, cost = measure(options)
    rows = {"processor": harness.cpu_name(), "processes x threads": f"{options.processes} x {options.threads}",
            "load of the machine before": f"{load:.1f} on {os.cpu_count()} cores",
            "views": f"{options.objects} objects x {options.count} at {options.size}², 2 x 2 samples per pixel",
            "views per second, best of rounds": f"{best:.0f}",
            "processor time of an object, ms": f"{cost['objects']:.1f}",
            f"processor time of its {options.count} views, ms": f"{cost['views']:.1f}",
            "views per second of a free core, from these": f"{options.count / sum(cost.values()) * 1e3:.0f}"}
    text = "| | |\n|---|---|\n" + "".join(f"| {name} | {value} |\n" for name, value in rows.items())
    print(text, end="")
    if options.write:
        command = f"python benchmarks/toybox_views.py {' '.join(f'--{n} {getattr(options, n)}' for n in defaults)}"
        text = f"# Toybox, views per second\n\n`{command}`\n\n{text}"
        (harness.RESULTS / "toybox_views.md").write_text(text, "utf-8")


if __name__ == "__main__":
    main()
