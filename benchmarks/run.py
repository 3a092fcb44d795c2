"""Runs every operator's benchmark in this folder and writes one JSON and one table to benchmarks/results/.

    python benchmarks/run.py [--device cpu|cuda] [--only hash_grid] [--threads 2] [--name NAME]

Each bench_OP.py has run(device) -> rows, see harness.row. A benchmark that fails is listed with its error, and the
others still run; the exit code then is 1.
"""
import argparse
import importlib
import re
import sys
import traceback
from pathlib import Path

import torch

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--only", default="", help="run the benchmarks whose name contains this")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--name", help="of the result files; default: the machine's")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    import harness

    rows, errors = [], {}
    for path in sorted(HERE.glob("bench_*.py")):
        if arguments.only not in path.stem:
            continue
        print(f"{path.stem} ...", file=sys.stderr, flush=True)
        try:
            rows += importlib.import_module(path.stem).run(arguments.device)
        except Exception as error:
            traceback.print_exc()
            errors[path.stem] = f"{type(error).__name__}: {error}"
    info = harness.machine(arguments.device)
    processor = info.get("gpu") or f"{info['cpu']}-{info['isa']}"
    name = arguments.name or re.sub(r"[^A-Za-z0-9]+", "-", processor).strip("-").lower()
    if not arguments.only:
        harness.write(name, rows, arguments.device, **({"errors": errors} if errors else {}))
    print(harness.table(rows))
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
