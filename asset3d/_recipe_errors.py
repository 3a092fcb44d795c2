"""Pydantic's errors in the words of a recipe, and the way from a path in a document to the field that it fills."""
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from asset3d import registry
from asset3d._document import Document, Path
from asset3d.errors import did_you_mean


def note(document: Document, model: type[BaseModel], errors: list[dict]) -> None:
    """Add what pydantic found to the document's problems."""
    for error in errors:
        path = _path(document.data, error["loc"], keep_last=error["type"] == "missing")
        if error["type"] == "missing":
            _note_missing(document, path)
            continue
        if error["type"] == "unknown_type":
            path = (*path, "type")
        document.problem(path, _message(document, model, path, error))


def _path(data: Any, location: tuple, keep_last: bool) -> Path:
    """Pydantic's location without the names of alternatives, which are not in the document."""
    path: list[str | int] = []
    for number, key in enumerate(location):
        there = key in data if isinstance(data, dict) else isinstance(data, list) and isinstance(key, int)
        if there:
            data = item(data, key)
        if there or (keep_last and number == len(location) - 1):
            path.append(key)
    return tuple(path)


def _note_missing(document: Document, path: Path) -> None:
    if not any(path[:n] in document.faulty for n in range(len(path) + 1)):
        document.faulty.add(path)
        document.problems.append((document.place(path[:-1]), ".".join(map(str, path[:-1])),
                                  f"key '{path[-1]}' is missing"))


def _message(document: Document, model: type[BaseModel], path: Path, error: dict) -> str:
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        if path == ("output",):
            return "a recipe does not say where it writes; give output=DIR on the command line"
        owner = owner_of(model, document.data, path)
        return f"unknown key '{str(path[-1])[:100]}'{did_you_mean(path[-1], names(owner) if owner else ())}"
    if kind == "literal_error":
        expected = context["expected"].replace(" or ", ", ").replace("'", "").split(", ")
        return f"must be {context['expected']}, got {_short(error['input'])}{_only_close(error['input'], expected)}"
    if kind == "string_pattern_mismatch":
        return f"must match {context['pattern']}, got {_short(error['input'])}"
    message = error["msg"].replace("Input should be", "must be").replace("Value error, ", "")
    plain = kind in ("unknown_type", "schedule", "input_path", "type_missing") or "got" in message
    return message if plain else f"{message[:1].lower()}{message[1:]}, got {_short(error['input'])}"


def _only_close(given: Any, known: list[str]) -> str:
    hint = did_you_mean(str(given), known)
    return hint if "did you mean" in hint else ""


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if value is None:
        return "nothing"
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


def names(model: type[BaseModel]) -> list[str]:
    """The keys that a config takes."""
    return [field.alias or name for name, field in model.model_fields.items()]


def field_of(model: type[BaseModel], data: Any, path: Path) -> FieldInfo | None:
    """The field that a path of a document fills, or None where there is none (or it is an item of a list)."""
    owner = owner_of(model, data, path)
    if owner is None:
        return None
    return next((f for name, f in owner.model_fields.items() if (f.alias or name) == path[-1]), None)


def takes_path(model: type[BaseModel], data: Any, path: Path) -> bool:
    """Whether what is at a path of a document is the path of an input: an `InputPath`, or no name of a `Model`."""
    annotation, metadata = model, []
    for key in path:
        annotation, metadata = _child(annotation, metadata, data, key)
        data = item(data, key)
    notes = [*metadata, *(note for kind in _unfold(annotation) for note in getattr(kind, "__metadata__", ()))]
    return any(isinstance(note, registry.PathRule) and note.means_path(data) for note in notes)


def owner_of(model: type[BaseModel], data: Any, path: Path) -> type[BaseModel] | None:
    """The config class whose key the last part of a path is."""
    annotation, metadata = model, []
    for key in path[:-1]:
        annotation, metadata = _child(annotation, metadata, data, key)
        data = item(data, key)
    return _config_class(annotation, metadata, data)


def item(data: Any, key: str | int) -> Any:
    """What a document has under a key or number, or None."""
    if isinstance(data, dict):
        return data.get(key)
    return data[key] if isinstance(data, list) and isinstance(key, int) and 0 <= key < len(data) else None


def _child(annotation: Any, metadata: list, data: Any, key: str | int) -> tuple[Any, list]:
    owner = _config_class(annotation, metadata, data)
    if owner is not None:
        for name, field in owner.model_fields.items():
            if (field.alias or name) == key:
                return field.annotation, field.metadata
        return None, []
    for candidate in _unfold(annotation):
        candidate = get_args(candidate)[0] if get_origin(candidate) is Annotated else candidate
        arguments = get_args(candidate)
        if get_origin(candidate) in (list, tuple, dict) and arguments:
            index = min(key, len(arguments) - 1) if get_origin(candidate) is tuple and isinstance(key, int) else -1
            return arguments[index] if arguments[index] is not Ellipsis else arguments[0], []
    return None, []


def _unfold(annotation: Any) -> list:
    """The alternatives of a union; annotations stay on."""
    return list(get_args(annotation)) if get_origin(annotation) in (Union, UnionType) else [annotation]


def _config_class(annotation: Any, metadata: list, data: Any) -> type[BaseModel] | None:
    found = None
    for candidate in _unfold(annotation):
        extra = list(metadata)
        if get_origin(candidate) is Annotated:
            candidate, *more = get_args(candidate)
            extra += more
        for item in extra:
            if isinstance(item, registry.OneOf):
                name = data.get("type") if isinstance(data, dict) else None
                cls = registry.component(item.kind, name) if isinstance(name, str) else None
                return cls.Config if cls else None
        if isinstance(candidate, type) and issubclass(candidate, BaseModel):
            found = candidate if found is None or _is_of_type(candidate, data) else found
    return found


def _is_of_type(config: type[BaseModel], data: Any) -> bool:
    """Whether a config is the one, of several, that the `type` in a document means."""
    field, name = config.model_fields.get("type"), data.get("type") if isinstance(data, dict) else None
    return field is not None and name is not None and name in get_args(field.annotation)
