"""Names that a recipe may use in a `type:` key, and the plugins that add to them."""
from collections.abc import Callable
from difflib import get_close_matches
from importlib.metadata import entry_points
from typing import Literal, get_args, get_origin

from pydantic import BaseModel, ConfigDict

KINDS = ("stage", "representation", "renderer", "prior", "loss", "exporter", "metric")
_components: dict[str, dict[str, type]] = {kind: {} for kind in KINDS}
_broken_plugins: dict[str, Exception] = {}


class Config(BaseModel):
    """Base of every config: unknown keys are errors, values cannot change after loading."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def register(kind: str, config: type[Config]) -> Callable[[type], type]:
    """Class decorator: make the class available to recipes under the name in its config's `type: Literal[...]`."""
    annotation = config.model_fields["type"].annotation
    if get_origin(annotation) is not Literal:
        raise TypeError(f"{config.__name__}.type must be annotated as Literal[\"name\"], got {annotation}")
    name = get_args(annotation)[0]

    def add(cls: type) -> type:
        if name in _components[kind]:
            raise ValueError(f"{kind} '{name}' is already registered by {_components[kind][name].__module__}")
        cls.Config = config
        _components[kind][name] = cls
        return cls

    return add


def components(kind: str) -> dict[str, type]:
    """The registered classes of one kind, by name; each has its config class as `Config`."""
    return dict(_components[kind])


def load_plugins() -> None:
    """Import every module listed under the entry-point group `asset3d.plugins`."""
    for entry in entry_points(group="asset3d.plugins"):
        try:
            entry.load()
        except Exception as error:  # one broken plugin must not stop a recipe that does not use it
            _broken_plugins[entry.name] = error


def unknown(kind: str, name: str) -> str:
    """The message for a name that no one registered."""
    close = get_close_matches(str(name), _components[kind], n=1)
    hint = f"; did you mean '{close[0]}'?" if close else f"; known: {', '.join(sorted(_components[kind]))}"
    broken = "".join(f"\n    plugin '{p}' failed to import: {e!r}" for p, e in _broken_plugins.items())
    return f"unknown {kind} '{name}'{hint}{broken}"
