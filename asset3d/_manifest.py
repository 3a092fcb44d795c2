"""result/manifest.json: what a result was made of. No times, no folders of this machine: it repeats to the byte."""
import hashlib
import os
import platform
from collections.abc import Callable, Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, get_args

from asset3d import __version__, models
from asset3d.recipe import Recipe
from asset3d.registry import Config, component
from asset3d.workspace import tree_hash

PACKAGES = ("torch", "numpy", "pydantic", "safetensors", "trimesh", "xatlas", "pillow", "scipy",
            "fast-simplification", "diffusers", "transformers")

NOT_HASHED = ("manifest.json", "report.html", "turntable.mp4")
"""Files of the result folder that are written after the manifest; the report tells times, and differs between runs."""


def input_hashes(recipe: Recipe, run_folder: Path, between: Callable[[], None]) -> dict[str, dict[str, Any]]:
    """Name and SHA-256 of every input, by STAGE_NAME.field; of models the licence too.

    Of an input that a stage knows to stand for certain files, those are hashed; else the file, or the whole folder but
    for a run folder inside it. `between` is called before every file and may raise, to stop.
    """
    out, described = {}, {}
    for stage in recipe.stage:
        files = component("stage", stage.type).files_of(stage)
        for field, path in _paths(stage.model_dump()):
            sha256 = (_files_hash(files[field], path, between) if field in files else
                      tree_hash(path, skip=run_folder, between=between))
            out[f"{stage.name}.{field}"] = {"name": path.name, "sha256": sha256}
        for field, model in _models(stage):
            if model not in described:
                described[model] = models.describe(models.folder_of(model), between)
            out[f"{stage.name}.{field}"] = described[model]
    return out


def told_of_models(inputs: dict[str, dict[str, Any]]) -> list[str]:
    """What a run says of its models: one line each."""
    models_used = {entry["sha256"]: entry for entry in inputs.values() if "licence" in entry}
    return [f"model {entry['name']}, licence {entry['licence']}" +
            (f", trained on {entry['trained on']}: it knows nothing else" if "trained on" in entry else "")
            for entry in models_used.values()]


def _models(config: Config, name: str = "") -> Iterator[tuple[str, str | Path]]:
    """(field, model) of every model that a config names; of nested ones with dots between."""
    for key, field in type(config).model_fields.items():
        value = getattr(config, key)
        kinds = [note for kind in get_args(field.annotation) for note in getattr(kind, "__metadata__", ())]
        if value is not None and any(isinstance(note, models.ModelRule) for note in [*field.metadata, *kinds]):
            yield name + key, value
        inner = enumerate(value) if isinstance(value, (list, tuple)) else [(None, value)]
        for index, item in inner:
            if isinstance(item, Config):
                yield from _models(item, f"{name}{key}." if index is None else f"{name}{key}.{index}.")


def _paths(value: Any, name: str = "") -> Iterator[tuple[str, Path]]:
    """(field, path) of every path in a config; of nested ones with dots between."""
    if isinstance(value, Path):
        yield name, value
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, (list, tuple)) else ()
    for key, item in items:
        yield from _paths(item, f"{name}.{key}" if name else str(key))


def _files_hash(files: Iterable[Path], path: Path, between: Callable[[], None]) -> str:
    """SHA-256 of the names, as seen from a path, and the contents of files."""
    start, digest = path if path.is_dir() else path.parent, hashlib.sha256()
    hashes = {Path(os.path.relpath(file, start)).as_posix(): tree_hash(file, between=between) for file in files}
    for name in sorted(hashes):
        digest.update(f"{name}\0{hashes[name]}\n".encode(errors="replace"))
    return digest.hexdigest()


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
