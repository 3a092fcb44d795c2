"""The result of a training, as a model that comes with asset3d: half the bytes, and nothing twice."""
import json
import shutil
from pathlib import Path
from typing import Any

import torch

from asset3d import models
from asset3d.errors import InputError
from asset3d.models.policy import COMMERCIAL
from asset3d.registry import names
from asset3d.workspace import atomic_folder

NOISE = ("_name_or_path", "name_or_path", "_diffusers_version", "transformers_version")
"""Keys of configs that say where and by which version of a library a part was saved."""
ALSO = {("tokenizer_class", "TokenizersBackend"): "PreTrainedTokenizerFast"}
"""What transformers 5 writes, and what 4 understands too."""
LICENCE, INDEX = "CC0-1.0", "model_index.json"


def embed(run: Path, name: str, home: Path | None = None) -> Path:
    """Write the model of a training run into a folder of its own: float16, with its card.

    A part that another model in `home` has too, to the bit of float16, is left out; the card names that model as
    `uses`.

    Args:
        run: Folder of a run of a recipe under train/, finished; or a folder with a model and its card.
        name: Of the model.
        home: Where models lie side by side; by default inside the package.

    Raises:
        InputError: `run` has no model, the name is no name, a weight is too large for float16, or another model is
            built on the one that would be replaced.
    """
    run, home = Path(run), models.EMBEDDED if home is None else Path(home)
    if not models.NAME.fullmatch(name):
        raise InputError(f"embed: {name!r} is no name of a model: letters, digits, '.', '_' and '-' only")
    source = run / "result" / "model" if (run / "result" / "model").is_dir() else run
    card = models.card_of(source)
    if not card:
        raise InputError(f"embed: {run} holds no result/model/{models.CARD}; give the folder of a finished training")
    with atomic_folder(home / name) as folder:
        for part in _parts(source):
            (folder / part.name).mkdir()
            for file in sorted(part.iterdir()):
                _copy(file, folder / part.name / file.name)
        if (source / INDEX).is_file():
            _copy(source / INDEX, folder / INDEX)
        shared = _shared(folder, home, name)
        for part in shared.get("parts", ()):
            shutil.rmtree(folder / part)
        _refuse_to_change_what_is_used(folder, home, name)
        _write(folder / models.CARD, _card(card, name, run, shared.get("uses")))
    return home / name


def size_of(folder: Path) -> int:
    """Bytes of all files in a folder."""
    return sum(path.stat().st_size for path in Path(folder).rglob("*") if path.is_file())


def _parts(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if path.is_dir())


def _copy(source: Path, target: Path) -> None:
    """Weights as float16; configs without traces of where they were saved."""
    if source.suffix == ".safetensors":
        _copy_weights(source, target)
    elif source.suffix == ".json":
        document = json.loads(source.read_text("utf-8"))
        if isinstance(document, dict):
            document = {key: ALSO.get((key, str(value)), value) for key, value in document.items() if key not in NOISE}
        _write(target, document)
    else:
        shutil.copyfile(source, target)


def _copy_weights(source: Path, target: Path) -> None:
    from safetensors.torch import load_file, save_file

    weights = load_file(source)
    halves = {key: value.half() if value.is_floating_point() else value for key, value in weights.items()}
    too_large = [key for key, value in halves.items() if not torch.isfinite(value).all()]
    if too_large:
        raise InputError(f"{source}: `{too_large[0]}` does not fit into float16 or is not finite")
    save_file({key: value.contiguous() for key, value in halves.items()}, target, metadata={"format": "pt"})


def _shared(folder: Path, home: Path, name: str) -> dict[str, Any]:
    """The model of `home` that has most parts of `folder`, itself built on none, and the names of those parts."""
    best: dict[str, Any] = {}
    for other in sorted(path.parent for path in home.glob(f"*/{models.CARD}")):
        if other.name == name or other == folder or models.card_of(other).get("uses"):
            continue
        parts = [part.name for part in _parts(folder) if _equal(part, other / part.name)]
        if len(parts) > len(best.get("parts", ())):
            best = {"uses": other.name, "parts": parts}
    return best


def _refuse_to_change_what_is_used(folder: Path, home: Path, name: str) -> None:
    """A network that was trained on latents of one autoencoder draws nonsense through another."""
    users = [path.parent for path in sorted(home.glob(f"*/{models.CARD}"))
             if models.card_of(path.parent).get("uses") == name]
    changed = [part.name for part in _parts(home / name) if not _equal(part, folder / part.name)] if users else []
    if changed:
        raise InputError(f"embed: {users[0].name} is built on {', '.join(changed)} of {name} as it is; choose another "
                         f"name, or remove {users[0]} first")


def _equal(one: Path, other: Path) -> bool:
    """The same files with the same bytes."""
    def files(folder: Path) -> dict[str, bytes]:
        return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.is_dir() else {}

    return bool(files(one)) and files(one) == files(other)


def _card(card: dict[str, Any], name: str, run: Path, uses: str | None) -> dict[str, Any]:
    training = _training(run / "recipe.yaml")
    trained = training["train"].get("type") if training else None
    said = {"name": name, "prior": card.get("prior", trained if trained in names("prior") else None), "uses": uses,
            "licence": LICENCE, "use": COMMERCIAL, "training": training}
    said = {key: value for key, value in said.items() if value is not None}
    return said | {key: value for key, value in card.items() if key not in said}


def _training(recipe: Path) -> dict[str, Any] | None:
    """The stage that trained, as the run wrote it down, paths by their last part."""
    from ruamel.yaml import YAML

    if not recipe.is_file():
        return None
    stages = YAML(typ="safe").load(recipe.read_text("utf-8")).get("stage", ())
    return next((_portable(stage) for stage in stages if "train" in stage), None)


def _portable(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _portable(item) for key, item in value.items() if key not in ("cache", "from", "as")}
    if isinstance(value, (list, tuple)):
        return [_portable(item) for item in value]
    return Path(value).name if isinstance(value, str) and Path(value).is_absolute() else value


def _write(path: Path, document: Any) -> None:
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
