"""result/manifest.json: what a result was made of. No times, no folders of this machine: it repeats to the byte."""
import platform
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from asset3d import __version__
from asset3d.recipe import Recipe
from asset3d.workspace import tree_hash

PACKAGES = ("torch", "numpy", "pydantic", "safetensors", "trimesh", "xatlas", "pillow", "scipy",
            "fast-simplification")

NOT_HASHED = ("manifest.json", "report.html", "turntable.mp4")
"""Files of the result folder that are written after the manifest; the report tells times, and differs between runs."""


def input_paths(recipe: Recipe) -> Iterator[tuple[str, Path]]:
    """(STAGE_NAME.field, path) of every file or folder that a recipe reads."""
    for stage in recipe.stage:
        yield from _paths(stage.model_dump(), stage.name)


def _paths(value: Any, name: str) -> Iterator[tuple[str, Path]]:
    if isinstance(value, Path):
        yield name, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    for key, item in items:
        yield from _paths(item, f"{name}.{key}")


def input_hashes(recipe: Recipe, run_folder: Path, between: Callable[[], None]) -> dict[str, dict[str, str]]:
    """Name and SHA-256 of every input; a run folder inside an input folder does not count. `between` is called before
    every file and may raise, to stop."""
    return {name: {"name": path.name, "sha256": tree_hash(path, skip=run_folder, between=between)}
            for name, path in input_paths(recipe)}


def manifest(recipe: Recipe, inputs: dict, told: dict, result: Path) -> dict:
    """The content of manifest.json; `told` is what stages said about themselves, by stage."""
    files = {path.relative_to(result).as_posix(): tree_hash(path) for path in sorted(result.rglob("*"))
             if path.is_file() and path.name not in NOT_HASHED}
    versions = {"asset3d": __version__, "python": platform.python_version()} | {p: _version(p) for p in PACKAGES}
    told_by_user = recipe.model_dump(by_alias=True, exclude={"checkpoint_every"})  # which does not change the result
    return {"versions": versions, "recipe": _portable(told_by_user), "seed": recipe.seed, "device": recipe.device,
            "threads": recipe.threads, "deterministic": recipe.deterministic, "inputs": inputs, "stages": told,
            "files": files}


def _portable(value: Any) -> Any:
    """Paths by their last part; schedules as a recipe writes them."""
    if isinstance(value, dict):
        return {key: _portable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_portable(item) for item in value]
    return value.name if isinstance(value, Path) else value


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
