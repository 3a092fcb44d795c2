"""docs/operators.md names every operator, and claims a run on a GPU only where a result is kept."""
import importlib
import inspect
import json
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
FAMILIES = ["hash_grid", "triangle", "marching_tets", "volume", "gaussian", "attention"]
BUILDERS = {"tet_grid", "cube_tet_grid", "hash_grid_levels", "mip_level_count"}  # plain Python, no kernel of their own


def rows() -> dict[str, list[str]]:
    text = (ROOT / "docs" / "operators.md").read_text()
    lines = [[cell.strip() for cell in line.strip("|").split("|")]
             for line in text.splitlines() if line.startswith("| `")]
    return {cells[0].strip("`"): cells[1:] for cells in lines if len(cells) == 5}


def public_operators(family: str) -> set[str]:
    module = importlib.import_module(f"asset3d.ops.{family}")
    return {name for name, value in vars(module).items()
            if inspect.isfunction(value) and value.__module__ == module.__name__
            and not name.startswith("_") and not name.endswith("_reference")} - BUILDERS


def test_every_operator_is_listed():
    listed = rows()
    for family in FAMILIES:
        assert {name for name, cells in listed.items() if cells[0] == family} == public_operators(family)


def test_runs_on_a_gpu_are_backed_by_results():
    results = [json.loads(path.read_text()) for path in (ROOT / "benchmarks" / "results").glob("*.json")]
    passed = any(r.get("steps", {}).get("tests", {}).get("exit") == "0" for r in results)
    for name, cells in rows().items():
        assert cells[3] == "not yet" or (passed and re.match("yes", cells[3])), f"{name}: {cells[3]}"
