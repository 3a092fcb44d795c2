"""The recipe quickstart at small settings, stopped inside a stage and resumed: the same bytes as without the stop.

    python benchmarks/gpu_recipe.py [DEVICE]        default: cuda

Needs no network. Exit code 1, and the names of the files, where they differ.
"""
import sys
import tempfile
from pathlib import Path

import asset3d

SMALL = {
    "sample.size": 64, "field.steps": 60, "field.rays": 1024, "field.representation.hull_steps": 60,
    "to_mesh.resolution": 48, "texture.steps": 40, "texture.faces": 1000, "texture.texture_size": 128,
    "texture.supersample": 1, "evaluate.turntable_frames": 2,
}
STOPS = {("field", 23), ("texture", 20)}
PICTURES = {"report.html", "turntable.mp4"}
"""Hold times, or come from an encoder."""


def results(folder: Path) -> dict[str, bytes]:
    """The files of a finished run that must be the same every time."""
    return {path.name: path.read_bytes() for path in sorted((folder / "result").iterdir()) if path.name not in PICTURES}


def until_stop(run: asset3d.Run) -> bool:
    """Whether a run was left at one of STOPS; else it has finished."""
    with run:
        return any((state.stage, state.step) in STOPS for state in run)


def main(device: str) -> int:
    with tempfile.TemporaryDirectory() as base:
        whole, stopped = Path(base, "whole"), Path(base, "stopped")
        result = asset3d.Run("quickstart", whole, device=device, **SMALL).result
        going = until_stop(asset3d.Run("quickstart", stopped, device=device, **SMALL))
        while going:
            going = until_stop(asset3d.Run.resume(stopped))
        first, second = results(whole), results(stopped)
    differing = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
    print(f"recipe on {device}: {result.metrics['evaluate']}")
    print(f"differ after a stop: {', '.join(differing)}" if differing else f"{len(first)} files are the same")
    return 1 if differing else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:] or ["cuda"]))
