"""Runs a recipe, kills it with kill -9 again and again, resumes it, and compares the results to the byte.

    python tests/kill_storm.py FOLDER KILLS SEED LONGEST_DELAY RECIPE [key=value ...]

Half of the kills come at a random moment, half at a random flush to the disk, which is inside the writing of a
checkpoint or of a result. Imports happen once: every attempt is a fork, so that an attempt costs what the recipe costs.
Prints one JSON object.
"""
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

from fake_stages import result_hash  # which registers its stages

from asset3d.run import main


def attempt(arguments: list[str], log: Path, kill_at_flush: int | None = None) -> int:
    """Fork a run; returns its process id."""
    child = os.fork()
    if child:
        return child
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    if kill_at_flush is not None:
        _kill_at(kill_at_flush)
    os._exit(main(arguments))


def _kill_at(number: int, flush=os.fsync) -> None:
    left = [number]

    def killing(descriptor):
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        left[0] -= 1
        flush(descriptor)

    os.fsync = killing


def wait(child: int) -> int:
    """0 when the run ended well, 1 when it was killed; anything else is an error."""
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL:
        return 1
    if status:
        raise SystemExit(f"a run ended with {os.waitstatus_to_exitcode(status)}")
    return 0


def storm(folder: Path, kills: int, seed: int, longest: float, recipe: list[str]) -> dict:
    """Kill until there were enough kills; every run that gets to its end must give the same bytes."""
    generator, log = random.Random(seed), folder / "log.txt"
    wait(attempt([*recipe, f"output={folder / 'whole'}"], log))
    expected = result_hash(folder / "whole")
    count = {"kills": 0, "half_written": 0, "runs": 0, "different": 0, "left_behind": 0, "resumed": 0}
    while count["kills"] < kills:
        output = folder / f"run-{count['runs']}"
        killed = 1
        while killed:
            begun = (output / "recipe.yaml").exists()
            arguments = ["--resume", str(output)] if begun else [*recipe, f"output={output}"]
            count["resumed"] += begun
            at_flush = generator.randrange(30) if generator.random() < 0.5 else None
            child = attempt(arguments, log, at_flush if count["kills"] < kills else None)
            if at_flush is None and count["kills"] < kills:
                time.sleep(generator.uniform(0, longest))
                os.kill(child, signal.SIGKILL)
            killed = wait(child)
            count["kills"] += killed
            count["half_written"] += killed and any(output.rglob(".asset3d-tmp-*"))
        count["runs"] += 1
        count["different"] += result_hash(output) != expected
        count["left_behind"] += len(list(output.rglob(".asset3d-tmp-*")))
    return count


if __name__ == "__main__":
    path, n_kills, first_seed, longest_delay, *rest = sys.argv[1:]
    print(json.dumps(storm(Path(path), int(n_kills), int(first_seed), float(longest_delay), rest)))
