"""Weights: which models are known, where they lie on this machine, and whether their licence allows what you do.

A model is a folder in diffusers format with a `card.json`. Embedded ones come with asset3d; published ones are fetched
or converted (`python -m asset3d.models`); any other folder is named by its path.
"""
import hashlib
import json
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

from pydantic_core import PydanticCustomError, core_schema

from asset3d.errors import InputError, did_you_mean
from asset3d.models import catalog, policy
from asset3d.registry import PathRule
from asset3d.workspace import tree_hash

EMBEDDED = Path(__file__).parent / "embedded"
CARD = "card.json"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
CHECKPOINTS = (".ckpt", ".pt", ".pth", ".bin", ".safetensors")
HINT = "published checkpoints are made one by `python -m asset3d.models convert`"


def home() -> Path:
    """Where fetched models are kept: ASSET3D_MODELS, else asset3d/models in the user's cache folder."""
    given = os.environ.get("ASSET3D_MODELS")
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(given).expanduser() if given else Path(cache, "asset3d", "models")


def embedded() -> list[str]:
    """Names of the models that come with asset3d."""
    return sorted(path.parent.name for path in EMBEDDED.glob(f"*/{CARD}"))


def fetched() -> list[str]:
    """Names of the models in `home()`."""
    return sorted(path.parent.name for path in home().glob("*/*.json") if path.name in (CARD, "model_index.json"))


def folder_of(model: str | Path) -> Path:
    """The folder of a model: an embedded one, one that was fetched, or a path. Nothing is downloaded.

    Raises:
        InputError: it is not on this machine, is no model, or its licence is refused (`asset3d.models.policy`).
    """
    folder = _find(model)
    card = card_of(folder)
    policy.check(card.get("name", folder.name), policy.use_of(card), card.get("licence", "no licence stated"),
                 card.get("alternative"))
    return folder


def _find(model: str | Path) -> Path:
    text = str(model)
    if isinstance(model, str) and NAME.fullmatch(text):
        for place in (EMBEDDED / text, home() / text):
            if place.is_dir():
                return place
        if text in catalog.PUBLISHED:
            raise InputError(_how_to_get(text))
    path = Path(text).expanduser()
    if path.is_dir():
        return path
    if path.is_file():
        raise InputError(f"model {text}: a model is a folder in diffusers format; {HINT}" if path.suffix in CHECKPOINTS
                         else f"model {text}: a model is a folder in diffusers format, this is a file")
    known = {*embedded(), *fetched(), *catalog.PUBLISHED}
    raise InputError(f"model {text}: no model of this name, and no folder{did_you_mean(text, known)}")


def _how_to_get(name: str) -> str:
    known = catalog.PUBLISHED[name]
    small = [other for other in embedded() if card_of(EMBEDDED / other).get("prior") == known.prior]
    offline = f"; without it, {small[0]} comes with asset3d" if small else ""
    return (f"model {name} is not on this machine: `python -m asset3d.models fetch {name}` downloads {known.source} "
            f"({known.gigabytes:g} GB, {known.licence}); on a machine without network give a copy, path=...{offline}")


def card_of(folder: Path) -> dict[str, Any]:
    """What the folder says about itself; empty where there is no card.

    Raises:
        InputError: the card is damaged.
    """
    path = Path(folder) / CARD
    if not path.is_file():
        return {}
    try:
        card = json.loads(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {error}") from error
    if not isinstance(card, dict):
        raise InputError(f"{path}: must hold a JSON object")
    return card


def part_folder(folder: Path, name: str) -> Path | None:
    """Where a part of a model lies: in its folder, or in that of the model beside it which its card names as `uses`, so
    that what several models share is stored once. None if there is none."""
    for place in (Path(folder), _used_by(Path(folder))):
        if place is not None and (place / name).is_dir():
            return place / name
    return None


def _used_by(folder: Path) -> Path | None:
    """The model that another is built on, beside it.

    Raises:
        InputError: it is not there.
    """
    uses = card_of(folder).get("uses")
    if uses is None:
        return None
    if not NAME.fullmatch(str(uses)) or not (folder.parent / str(uses)).is_dir():
        raise InputError(f"model {folder}: it is built on {uses}, which must lie beside it")
    return folder.parent / str(uses)


def describe(folder: Path, between: Callable[[], None] = lambda: None) -> dict[str, Any]:
    """What a manifest says of a model: name, licence, what it was trained on where its card says so, and the SHA-256 of
    all that it is made of.

    Args:
        folder: Of the model.
        between: Called before every file; may raise, to stop.
    """
    card = card_of(folder)
    said = {"name": card.get("name", Path(folder).name), "licence": card.get("licence", "unknown")}
    said |= {"trained on": str(card["trained on"])} if "trained on" in card else {}
    digest, used = hashlib.sha256(tree_hash(Path(folder), between=between).encode()), _used_by(Path(folder))
    if used is not None:
        digest.update(tree_hash(used, between=between).encode())
        said["uses"] = used.name
    return said | {"sha256": digest.hexdigest()}


class ModelRule(PathRule):
    """See `Model`. The validation context may hold `folder` (of the recipe) and `check_files`."""

    def means_path(self, text: str) -> bool:
        return not NAME.fullmatch(text) or Path(text).is_dir() and not _is_known(text)

    def __get_pydantic_core_schema__(self, source, handler):
        return core_schema.with_info_plain_validator_function(
            self.parse, serialization=core_schema.plain_serializer_function_ser_schema(str, when_used="json"))

    def __get_pydantic_json_schema__(self, schema, handler):
        return {"type": "string"}

    def parse(self, given: Any, info: core_schema.ValidationInfo) -> str | Path:
        context = info.context or {}
        text = str(given) if isinstance(given, (str, Path)) else ""
        if not text.strip() or "\0" in text or "://" in text:
            raise PydanticCustomError("model", "must be the name of a model or the path of a folder")
        known = NAME.fullmatch(text) and _is_known(text)
        model = text if known else Path(context.get("folder", "."), Path(text).expanduser()).absolute()
        if context.get("check_files", True):
            try:
                folder_of(text if NAME.fullmatch(text) and not Path(model).exists() else model)
            except InputError as error:
                raise PydanticCustomError("model", "{text}", {"text": str(error)}) from None
        return model


def _is_known(name: str) -> bool:
    return name in catalog.PUBLISHED or (EMBEDDED / name).is_dir() or (home() / name).is_dir()


Model = Annotated[str | Path, ModelRule()]
"""The name of an embedded or fetched model, or the path of a folder: relative to the recipe's folder, or, given on the
command line, to the current folder."""
