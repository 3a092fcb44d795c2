"""What one command costs.

    python benchmarks/measure.py COST.json COMMAND...

Runs the command and, when it succeeds, writes its seconds and its peak memory in GiB. A process of its own, because on
Linux the peak that the system counts for a child begins at the memory of whoever started it.
"""
import json
import os
import subprocess
import sys
import time
from pathlib import Path


def cost_of(command: list[str]) -> dict[str, float]:
    """Seconds and peak memory (GiB) of a command; ends with its exit status when it fails."""
    start = time.time()
    child = subprocess.Popen(command)
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(child.returncode if child.returncode > 0 else 128 - child.returncode)
    unit = 2**30 if sys.platform == "darwin" else 2**20  # bytes there, KiB here
    return {"seconds": round(time.time() - start, 1), "peak_gib": round(usage.ru_maxrss / unit, 2)}


if __name__ == "__main__":
    Path(sys.argv[1]).write_text(json.dumps(cost_of(sys.argv[2:])))
