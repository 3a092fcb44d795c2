"""Read a recipe: YAML in, one typed and frozen `Recipe` out, or an error that names file, line, column of each fault.

Loading runs no code from the recipe: text becomes plain data (`_document`), overrides edit the data, and pydantic
checks it against the configs of registered components.
"""
import json
import os
import re
from collections.abc import Iterable, Mapping
from io import StringIO
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError
from ruamel.yaml import YAML

from asset3d import _document, _recipe_errors, registry
from asset3d._document import Document, Place
from asset3d.errors import InputError, RecipeError, did_you_mean
from asset3d.registry import Config, OneOf

NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"
RUN_OPTIONS = ("seed", "device", "deterministic", "checkpoint_every", "threads")
"""Keys of every recipe that `key=value` sets by their own name."""
MUST_BE_GIVEN = "???"


class Recipe(Config):
    """A list of stages, and what holds for all of them."""

    name: str = Field(pattern=NAME)
    """What the run is called: its default folder is outputs/<name>/<time>."""
    description: str = ""
    """What comes out, in a sentence; shown by --help."""
    arguments: dict[Annotated[str, Field(pattern=r"^[A-Za-z][A-Za-z0-9_]*$")], str | list[str]] = {}
    """Short names for fields that users set: `views: load.views`, or a list of fields to set alike."""
    seed: int = Field(0, ge=0, lt=2**53)
    """Decides every random choice."""
    device: str = Field("auto", pattern=r"^(auto|cpu|cuda(:\d{1,2})?)$")
    """cpu, cuda, cuda:1, or auto: cuda where there is a GPU and the CUDA kernels are built."""
    deterministic: bool = True
    """The same recipe on the same machine ends in the same bytes."""
    checkpoint_every: int | None = Field(None, ge=1)
    """Steps between checkpoints; by default there is one every 60 seconds. Does not change the result."""
    threads: int | None = Field(None, ge=1, le=1024)
    """CPU threads; by default one per core, at least two. Results repeat to the bit for one number of threads."""
    stage: list[Annotated[Config, OneOf("stage")]] = Field(min_length=1)
    """What is done, in this order."""


def load(source: str | Path | Mapping, overrides: Mapping[str, Any] | Iterable[str] = (), *,
         check_files: bool = True) -> Recipe:
    """Read a recipe, apply overrides, check everything.

    Args:
        source: A file, the name of a recipe that comes with asset3d (`quickstart`), or the data itself.
        overrides: `key=value` texts, or values by key. A key is a short name from `arguments`, a run option (seed,
            device, deterministic, ...), or `STAGE_NAME.field`.
        check_files: Whether paths to read must exist.

    Raises:
        RecipeError: every problem, one per line, sorted by line.
    """
    document, folder = _open(source)
    _apply(document, overrides)
    return _check(document, folder, check_files)


def _open(source: str | Path | Mapping) -> tuple[Document, Path]:
    if isinstance(source, Mapping):
        return Document("recipe", json.loads(json.dumps(source, default=str))), Path.cwd()
    path = find(source)
    document = _document.parse(_read(path), str(path))
    if not isinstance(document.data, dict):
        document.problem((), "a recipe is a mapping with the keys name and stage")
        document.raise_problems()
    return document, path.parent


def _check(document: Document, folder: Path, check_files: bool) -> Recipe:
    for path in _must_be_given(document.data):
        document.problem(path, f"must be given: {_argument_for(document.data, path)}=...")
    _check_arguments(document)
    context = {"folder": folder, "check_files": check_files}
    recipe = None
    try:
        recipe = Recipe.model_validate_json(json.dumps(document.data), strict=True, context=context)
    except ValidationError as error:
        _recipe_errors.note(document, Recipe, error.errors())
    if recipe is not None:
        recipe = recipe.model_copy(update={"stage": [_named(stage) for stage in recipe.stage]})
        _check_chain(document, recipe)
    document.raise_problems()
    return recipe


def _named(stage: Config) -> Config:
    return stage if stage.name else stage.model_copy(update={"name": stage.type})


# ---------------------------------------------------------------------------------------------- finding and writing


def folders() -> list[Path]:
    """Where the recipes that come with asset3d are: in the installed package, or beside it in a checkout."""
    package = Path(__file__).parent
    return [folder for folder in (package / "recipes", package.parent / "recipes") if folder.is_dir()]


def packaged() -> dict[str, Path]:
    """Recipes that come with asset3d, by name; those in folders have names such as `train/autoencoder`."""
    return {path.relative_to(folder).with_suffix("").as_posix(): path
            for folder in reversed(folders()) for path in sorted(folder.rglob("*.yaml"))}


def find(source: str | Path) -> Path:
    """The file of a recipe given by path or by name.

    Raises:
        RecipeError: there is none.
    """
    text, path = str(source), Path(source)
    if "\0" in text or not text.strip():
        raise RecipeError("the recipe's name is empty or unprintable")
    known = packaged()
    if not path.suffix and not is_file(path) and (len(path.parts) == 1 or text in known):
        if text not in known:
            raise RecipeError(f"{text[:200]}: no recipe of this name comes with asset3d{did_you_mean(text, known)}")
        return known[text]
    if not is_file(path):
        what = "is a folder" if text and os.path.isdir(text) else "no such file"
        raise RecipeError(f"{text[:200]}: {what}; a recipe is a .yaml file or one of {', '.join(packaged())}")
    return path


def is_file(path: str | Path) -> bool:
    """Whether there is a file; also for names that no file system takes."""
    return os.path.isfile(path)


def _read(path: Path) -> str:
    try:
        with open(path, "rb") as file:
            content = file.read(_document.MAX_BYTES + 1)
    except OSError as error:
        raise RecipeError(f"{path}: cannot be read: {error.strerror}") from None
    if len(content) > _document.MAX_BYTES:
        raise RecipeError(f"{path}: larger than {_document.MAX_BYTES // 1024} KiB; this is no recipe")
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        column = error.start - (content.rfind(b"\n", 0, error.start) + 1) + 1
        raise RecipeError(f"{path}:{line}:{column}: not UTF-8 text (byte 0x{content[error.start]:02x}); "
                          "save the recipe as UTF-8") from None


def dump(recipe: Recipe) -> str:
    """The recipe as YAML with every default written out; `load` of it gives an equal recipe."""
    text = StringIO()
    yaml = YAML(typ="safe", pure=True)
    yaml.default_flow_style = None
    yaml.sort_base_mapping_type_on_output = False
    yaml.width = 110
    yaml.dump(recipe.model_dump(mode="json", by_alias=True), text)
    return text.getvalue()


# --------------------------------------------------------------------------------------------------------- overrides


def _apply(document: Document, overrides: Mapping[str, Any] | Iterable[str]) -> None:
    """Edit the document; relative paths in what is given start at the current folder."""
    changed: list[tuple] = []
    pairs = overrides.items() if isinstance(overrides, Mapping) else [_split(text) for text in overrides]
    for number, (key, value) in enumerate(pairs):
        label = f"argument {key}={value}" if len(str(value)) <= 80 else f"argument {key}"
        place = Place(1, number, 0, label)
        if isinstance(overrides, Mapping):
            value = json.loads(json.dumps(value, default=str))
        else:
            try:
                value = _document.parse_value(value)
            except RecipeError as error:
                document.problems.append((place, "", re.sub(r"^:\d+:\d+: ", "", str(error))))
                continue
        if any("\ud800" <= character <= "\udfff" for text in _texts(value) for character in text):
            document.problems.append((place, "", "not UTF-8 text"))
            continue
        for path in _targets(document, key, place):
            _set(document, path, json.loads(json.dumps(value)), place)  # each field a copy of its own
            changed.append(path)
    for path in changed:  # at the end: only now it is known what each field is
        _start_paths_here(document.data, path)


def _start_paths_here(data: dict, path: tuple) -> None:
    """Make the relative input paths in what was given at a path of the document absolute."""
    above, value = None, data
    for key in path:
        above, value = value, _recipe_errors.item(value, key)
    if isinstance(value, (dict, list)):
        for key in list(value) if isinstance(value, dict) else range(len(value)):
            _start_paths_here(data, (*path, key))
    elif isinstance(value, str) and value.strip() and value != MUST_BE_GIVEN and "://" not in value:
        if not value.startswith("~") and _recipe_errors.takes_path(Recipe, data, path):
            above[path[-1]] = str(Path.cwd() / value)


def _split(text: str) -> tuple[str, str]:
    key, separator, value = text.partition("=")
    if not separator or not key:
        raise RecipeError(f"argument {text[:100]}: write key=value")
    return key, value


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        return [text for item in value for text in _texts(item)]
    return [value] if isinstance(value, str) else []


def _targets(document: Document, key: str, place: Place) -> list[tuple]:
    """The paths that an override's key stands for; an unknown key is noted as a problem."""
    data = document.data
    arguments = data.get("arguments") if isinstance(data.get("arguments"), dict) else {}
    if key in arguments:
        fields = arguments[key] if isinstance(arguments[key], list) else [arguments[key]]
        return [path for path in (_resolve(data, str(field)) for field in fields) if path]
    if key in RUN_OPTIONS:
        return [(key,)]
    path = _resolve(data, key) if "." in key else None
    if path is None:
        stage, dot, field = key.partition(".")
        what = f"no stage '{stage[:100]}'" if dot else f"unknown argument '{key[:100]}'"
        known = [f"{n}.{field}" for n in _stage_names(data)] if dot else [*arguments, *RUN_OPTIONS, "output"]
        document.problems.append((place, "", f"{what}{did_you_mean(key, known)}"))
        return []
    return [path]


def _stage_names(data: dict) -> list[str]:
    stages = data.get("stage") if isinstance(data.get("stage"), list) else []
    return [str(s.get("name") or s.get("type") or "") if isinstance(s, dict) else "" for s in stages]


def _resolve(data: dict, field: str) -> tuple | None:
    """`coarse.loss.photometric.weight` -> ('stage', 1, 'loss', 0, 'weight'); None when there is no such stage."""
    first, *rest = field.split(".")
    stages = _stage_names(data)
    if first not in stages or not rest:
        return None
    path, node = ["stage", stages.index(first)], data["stage"][stages.index(first)]
    for part in rest:
        if isinstance(node, list):
            types = [item.get("type") if isinstance(item, dict) else None for item in node]
            part = int(part) if re.fullmatch("[0-9]{1,6}", part) else types.index(part) if part in types else part
            node = node[part] if isinstance(part, int) and part < len(node) else None
        else:
            node = node.get(part) if isinstance(node, dict) else None
        path.append(part)
    return tuple(path)


def _set(document: Document, path: tuple, value: Any, place: Place) -> None:
    node = document.data
    for depth, key in enumerate(path[:-1]):
        if isinstance(node, dict):
            if not isinstance(node.get(key), (dict, list)):
                node[key] = {}
                document.places[path[: depth + 1]] = place
            node = node[key]
        elif isinstance(key, int) and key < len(node):
            node = node[key]
        else:
            document.problem(path[: depth + 1], f"no item '{key}' in this list", place)
            return
    if isinstance(node, list) and not (isinstance(path[-1], int) and path[-1] < len(node)):
        document.problem(path, f"no item '{path[-1]}' in this list of {len(node)}", place)
        return
    node[path[-1]] = value
    for known in [p for p in document.places if p[: len(path)] == path]:
        del document.places[known]
    document.faulty.discard(path)
    document.places[path] = place


# ------------------------------------------------------------------------------------------------------------- checks


def _must_be_given(value: Any, path: tuple = ()) -> list[tuple]:
    if value == MUST_BE_GIVEN:
        return [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, item in items for found in _must_be_given(item, path + (key,))]


def _argument_for(data: dict, path: tuple) -> str:
    """The shortest key that sets a path."""
    for name, fields in _arguments(data).items():
        if path in [_resolve(data, field) for field in fields]:
            return name
    if path[:1] == ("stage",) and len(path) > 2:
        return ".".join([_stage_names(data)[path[1]], *map(str, path[2:])])
    return ".".join(map(str, path))


def _arguments(data: dict) -> dict[str, list[str]]:
    arguments = data.get("arguments")
    if not isinstance(arguments, dict):
        return {}
    return {name: [f for f in (fields if isinstance(fields, list) else [fields]) if isinstance(f, str)]
            for name, fields in arguments.items()}


def _check_arguments(document: Document) -> None:
    """Every short name must stand for a field that is there, and hide nothing."""
    data = document.data
    for name, fields in _arguments(data).items():
        path = ("arguments", name)
        if name in RUN_OPTIONS or name == "output":
            document.problem(path, f"'{name}' is an argument of every recipe; choose another name")
        for field in fields:
            target = _resolve(data, field)
            if target is None:
                known = [f"{stage}.{field.partition('.')[2]}" for stage in _stage_names(data)]
                document.problem(path, f"'{field}' is no STAGE_NAME.field{did_you_mean(field, known)}")
                continue
            owner = _recipe_errors.owner_of(Recipe, data, target)
            if owner is not None and target[-1] not in _recipe_errors.names(owner):
                hint = did_you_mean(str(target[-1]), _recipe_errors.names(owner))
                document.problem(path, f"'{field}': {owner.__name__} has no '{target[-1]}'{hint}")


def _check_chain(document: Document, recipe: Recipe) -> None:
    """Names are unique, and each stage finds the artifacts that it reads."""
    available: dict[str, tuple[str, ...] | None] = {}  # what is known about each artifact, see Stage.gives_of
    seen: dict[str, int] = {}
    for index, config in enumerate(recipe.stage):
        cls = registry.component("stage", config.type)
        if config.name.lower() in seen:
            document.problem(("stage", index, "name"), f"a second stage is called '{config.name}'; give it a name")
        seen[config.name.lower()] = index
        reads, writes = tuple(cls.reads_of(config)), tuple(cls.writes_of(config))
        _check_renames(document, ("stage", index, "from"), config.from_, reads + tuple(cls.reads_if_there), "reads")
        _check_renames(document, ("stage", index, "as"), config.as_, writes, "writes")
        for artifact in reads:
            wanted = config.from_.get(artifact, artifact)
            if wanted not in available:
                there = f"; there is {', '.join(sorted(available))}" if available else ""
                document.problem(("stage", index),
                                 f"'{config.name}' reads '{wanted}', which no earlier stage writes{there}")
        needed = (*reads, *cls.reads_if_there)
        given = {artifact: available.get(config.from_.get(artifact, artifact)) for artifact in needed}
        for keys, why in cls.faults_of(config, given):
            document.problem(("stage", index, *keys), why)
        known = cls.gives_of(config, given)
        available |= {config.as_.get(artifact, artifact): known.get(artifact) for artifact in writes}


def _check_renames(document: Document, path: tuple, renames: Mapping[str, str], known: tuple, verb: str) -> None:
    for name in renames:
        if name not in known:
            document.problem(path + (name,), f"the stage {verb} no '{name}'{did_you_mean(name, known)}")


def arguments(source: str | Path | Mapping) -> tuple[str, list[tuple[str, str, str, str]]]:
    """What `--help RECIPE` prints: the description, and (name, field, default, meaning) of each argument."""
    document, _ = _open(source)
    document.raise_problems()
    rows = []
    for name, fields in _arguments(document.data).items():
        path = _resolve(document.data, fields[0]) if fields else None
        if path is None:
            raise InputError(f"{document.place(('arguments', name)).label}: '{name}' stands for no field")
        info = _recipe_errors.field_of(Recipe, document.data, path)
        value = document.data
        for key in path:
            value = _recipe_errors.item(value, key)
        default = info.default if value is None and info is not None else value
        default = default.document() if hasattr(default, "document") else default
        default = "must be given" if value == MUST_BE_GIVEN else f"default {default}"
        rows.append((name, ", ".join(fields), default, (info.description if info else None) or ""))
    return str(document.data.get("description", "")), rows


def stages(source: str | Path | Mapping) -> list[tuple[str, str]]:
    """(name, type) of each stage of a recipe whose arguments need not be given yet."""
    document, _ = _open(source)
    document.raise_problems()
    types = [str(stage.get("type", "")) if isinstance(stage, dict) else "" for stage in document.data.get("stage", [])]
    return list(zip(_stage_names(document.data), types))
