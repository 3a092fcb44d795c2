"""Names that a recipe may use in a `type:` key, and the plugins that add to them.

A kind is a folder of the package and a built-in component is a file in it: `type: sdf_field` under `representation:` is
asset3d/representation/sdf_field.py, imported when a recipe first names it.
"""
import importlib
import json
import pkgutil
from collections.abc import Callable
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field
from pydantic_core import PydanticCustomError, core_schema

from asset3d.errors import did_you_mean

KINDS = ("stage", "representation", "renderer", "prior", "loss", "train", "exporter", "metric")
_components: dict[str, dict[str, type]] = {kind: {} for kind in KINDS}
_broken_plugins: dict[str, Exception] = {}
_loaded_plugins: set[str] = set()


class Config(BaseModel):
    """Base of every config: unknown keys are errors, values cannot change after loading, defaults are checked too."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, validate_default=True,
                              allow_inf_nan=False, protected_namespaces=())


def register(kind: str, config: type[Config]) -> Callable[[type], type]:
    """Class decorator: make the class available to recipes under the name in its config's `type: Literal[...]`.

    Raises:
        ValueError: the kind is none of `KINDS`, or the name is taken.
        TypeError: the config's `type` is not a `Literal`, or a stage's config is no `StageConfig`.
    """
    if kind not in KINDS:
        raise ValueError(f"register: unknown kind '{kind}'{did_you_mean(kind, KINDS)}")
    field = config.model_fields.get("type")
    if field is None or get_origin(field.annotation) is not Literal:
        raise TypeError(f'{config.__name__}.type must be annotated as Literal["name"] with "name" as its default')
    if kind == "stage" and "from_" not in config.model_fields:
        raise TypeError(f"{config.__name__} must be a subclass of asset3d.StageConfig")
    name = get_args(field.annotation)[0]

    def add(cls: type) -> type:
        known = _components[kind].get(name)
        if known is not None and (known.__module__, known.__qualname__) != (cls.__module__, cls.__qualname__):
            raise ValueError(f"{kind} '{name}' is already registered by {known.__module__}")
        cls.Config = config
        _components[kind][name] = cls
        return cls

    return add


def component(kind: str, name: str) -> type | None:
    """The class of one name, or None: what is registered, then the built-in file of that name, then plugins."""
    if name not in _components[kind] and isinstance(name, str) and name in _built_in_names(kind):
        importlib.import_module(f"asset3d.{kind}.{name}")
    if name not in _components[kind]:
        load_plugins()
    return _components[kind].get(name)


def components(kind: str) -> dict[str, type]:
    """Every class of one kind, by name, built-in and from plugins; each has its config class as `Config`."""
    for name in _built_in_names(kind):
        importlib.import_module(f"asset3d.{kind}.{name}")
    load_plugins()
    return dict(sorted(_components[kind].items()))


def names(kind: str) -> list[str]:
    """The names that `type:` may have, without importing more than the plugins."""
    load_plugins()
    return sorted({*_built_in_names(kind), *_components[kind]})


def _built_in_names(kind: str) -> list[str]:
    spec = find_spec(f"asset3d.{kind}")
    folders = spec.submodule_search_locations if spec else None
    names = (module.name for module in pkgutil.iter_modules(folders or []))
    return [name for name in names if name != "base" and not name.startswith("_")]


def load_plugins() -> None:
    """Import every module listed under the entry-point group `asset3d.plugins`, each once."""
    for entry in entry_points(group="asset3d.plugins"):
        if entry.value in _loaded_plugins:
            continue
        _loaded_plugins.add(entry.value)
        try:
            entry.load()
        except Exception as error:  # one broken plugin must not stop a recipe that does not use it
            _broken_plugins[entry.name] = error


def unknown(kind: str, name: Any) -> str:
    """The message for a name that no one registered."""
    broken = "".join(f"\n    plugin '{p}' failed to import: {e!r}" for p, e in _broken_plugins.items())
    return f"unknown {kind} '{str(name)[:100]}'{did_you_mean(name, names(kind))}{broken}"


class OneOf:
    """A field that holds the config of any registered component of one kind, chosen by its `type:` key.

    `representation: Annotated[Config, OneOf("representation")]`, `loss: list[Annotated[Config, OneOf("loss")]]`. The
    choices are looked up when a value is checked, so that plugins loaded later count.
    """

    def __init__(self, kind: str):
        self.kind = kind

    def __get_pydantic_core_schema__(self, source, handler):
        return core_schema.with_info_plain_validator_function(
            self.parse, serialization=core_schema.plain_serializer_function_ser_schema(_dump, info_arg=True))

    def __get_pydantic_json_schema__(self, schema, handler):
        choices = [handler(cls.Config.__pydantic_core_schema__) for cls in components(self.kind).values()]
        for choice in choices:
            fields = handler.resolve_ref_schema(choice)
            fields["required"] = sorted({*fields.get("required", []), "type"})
        return {"oneOf": choices, "discriminator": {"propertyName": "type"}}

    def parse(self, given: Any, info: core_schema.ValidationInfo) -> Config:
        """The config of the component that `type:` names, checked."""
        if isinstance(given, Config) and component(self.kind, getattr(given, "type", None)) is not None:
            return given
        if not isinstance(given, dict):
            raise PydanticCustomError("not_a_mapping", "must be a mapping with the key 'type'")
        if "type" not in given:
            raise PydanticCustomError("type_missing", "key 'type' is missing: it says which {kind}",
                                      {"kind": self.kind})
        cls = component(self.kind, given["type"]) if isinstance(given["type"], str) else None
        if cls is None:
            text = unknown(self.kind, given["type"])
            raise PydanticCustomError("unknown_type", "{text}", {"text": text})
        if info.mode == "json":  # strict JSON mode: 1 is no bool, "1" no number, but a list may fill a tuple
            return cls.Config.model_validate_json(json.dumps(given), strict=True, context=info.context)
        return cls.Config.model_validate(given, context=info.context)


def _dump(config: Config, info: core_schema.SerializationInfo) -> dict:
    return config.model_dump(mode=info.mode, by_alias=True)


class PathRule:
    """Of a field that may hold a path to read: on the command line, that begins at the current folder."""

    def means_path(self, text: str) -> bool:
        """Whether a text is a path, and not a name of something."""
        return True


class InputPathRule(PathRule):
    """See `InputPath`. The validation context may hold `folder` (of the recipe) and `check_files`."""

    def __get_pydantic_core_schema__(self, source, handler):
        return core_schema.with_info_plain_validator_function(
            self.parse, serialization=core_schema.plain_serializer_function_ser_schema(
                str, when_used="json"))

    def __get_pydantic_json_schema__(self, schema, handler):
        return {"type": "string", "format": "path"}

    def parse(self, given: Any, info: core_schema.ValidationInfo) -> Path:
        context = info.context or {}
        if not isinstance(given, (str, Path)):
            raise _path_error(f"must be the path of a file or folder, got {given!r} "
                              f"(a name of digits is written ./{given})")
        text = str(given)
        if not text.strip() or "\0" in text:
            raise _path_error("must be the path of a file or folder, got an empty or unprintable text")
        if "://" in text:
            raise _path_error(f"is a URL; asset3d reads local files only: download {text[:100]} first")
        try:
            path = Path(context.get("folder", "."), Path(text).expanduser()).absolute()
        except RuntimeError:
            raise _path_error(f"there is no home folder of this name: {text[:100]}; write ./{text[:100]} for a file "
                              "that is called so") from None
        if context.get("check_files", True) and not _exists(path):
            raise _path_error(f"no such file or folder: {str(path)[:300]}")
        return path


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError:  # a name too long for the file system, a loop of links
        return False


def _path_error(text: str) -> PydanticCustomError:
    return PydanticCustomError("input_path", "{text}", {"text": text})


InputPath = Annotated[Path, InputPathRule()]
"""A file or folder to read. Relative to the recipe's folder, or, given on the command line, to the current folder."""

FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
"""The name of a file to write inside the result folder: a recipe cannot write anywhere else."""
