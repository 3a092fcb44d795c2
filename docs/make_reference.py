"""The reference of all that a recipe may say, from the components: python docs/make_reference.py [docs/recipes.md]."""
import inspect
import json
import sys
from pathlib import Path

from asset3d import registry
from asset3d.recipe import Recipe
from asset3d.train._pool import MeshesConfig, PoolConfig

HEAD = """# Recipe reference
Written by `make docs` from the components that are installed; do not edit.

A recipe is a YAML file; [concepts](concepts.md) explains how its parts play together. Numbers in brackets are the range
that is allowed. Where a type says "over steps", a value may change: `{0: 64, 1500: 128}` holds each value until the
next step named, `{from: 0, to: 10, until_step: 5000}` goes in a straight line.
"""
KINDS = {
    "stage": "What is done, one after another.",
    "representation": "What is fitted.",
    "renderer": "How it is turned into pictures.",
    "prior": "Networks that know what things look like.",
    "loss": "What the pictures are compared by.",
    "train": "What networks are taught.",
    "exporter": "Files to write.",
    "metric": "What is measured.",
}
BOUNDS = {"minimum": "≥ {}", "exclusiveMinimum": "> {}", "maximum": "≤ {}", "exclusiveMaximum": "< {}",
          "minLength": "≥ {} characters", "minItems": "≥ {} items", "multipleOf": "multiple of {}"}
POOLS = (PoolConfig, MeshesConfig)


def text() -> str:
    """The whole page."""
    out = [HEAD, "## recipe\nThe keys at the top.\n", table(Recipe)]
    for kind, about in KINDS.items():
        classes = registry.components(kind)
        if not classes:
            continue
        out.append(f"## {kind}\n{about}\n")
        for name, cls in classes.items():
            said = [inspect.cleandoc(d) for d in (cls.Config.__doc__, cls.__doc__) if d]
            out.append(f"### {kind}: {name}\n" + "\n\n".join(dict.fromkeys(said)) + "\n")
            out.append(artifacts(cls) if kind == "stage" else "")
            out.append(table(cls.Config))
        for pool in POOLS if kind == "train" else ():
            name = pool.model_json_schema()["properties"]["type"]["const"]
            out.append(f"### data: {name}\n{inspect.cleandoc(pool.__doc__)} What trainers learn from.\n")
            out.append(table(pool))
    return "\n".join(part for part in out if part)


def artifacts(cls) -> str:
    """What a stage reads and writes."""
    reads = [f"`{name}`" for name in cls.reads] + [f"`{name}` if there" for name in cls.reads_if_there]
    writes = [f"`{name}`" for name in cls.writes]
    return f"Reads {', '.join(reads) or 'nothing'}; writes {', '.join(writes) or 'nothing'}.\n"


def table(config) -> str:
    """The keys of one config."""
    schema = config.model_json_schema(by_alias=True)
    rows = []
    for key, field in schema.get("properties", {}).items():
        if key == "type" and "const" in field:
            continue
        default = "must be given" if key in schema.get("required", ()) else shown(field.get("default"))
        cells = (f"`{key}`", kind_of(field, schema.get("$defs", {})), default, field.get("description", ""))
        rows.append("| " + " | ".join(cell.replace("\n", " ").replace("|", "\\|") for cell in cells) + " |")
    if not rows:
        return "No keys.\n"
    return "\n".join(["| key | type | default | meaning |", "|---|---|---|---|", *rows]) + "\n"


def shown(default) -> str:
    """A default as one would write it in a recipe."""
    if isinstance(default, dict) and len(default.get("knots", ())) == 1:  # a value over steps that never changes
        default = default["knots"][0][1]
    if isinstance(default, dict) and "type" in default and len(default) > 1:
        return f"`{{type: {default['type']}}}`"
    if isinstance(default, list) and default and all(isinstance(d, dict) and "type" in d for d in default):
        return "`[" + ", ".join(f"{{type: {d['type']}}}" for d in default) + "]`"
    return f"`{json.dumps(default)}`" if default != "" else ""


def kind_of(field: dict, definitions: dict) -> str:
    """A JSON schema in words."""
    if "$ref" in field:
        field = definitions.get(field["$ref"].rsplit("/", 1)[-1], {}) | {k: v for k, v in field.items() if k != "$ref"}
    if "discriminator" in field:
        choices = (definitions[choice["$ref"].rsplit("/", 1)[-1]] if "$ref" in choice else choice
                   for choice in field["oneOf"])
        names = sorted(choice["properties"]["type"]["const"] for choice in choices)
        return "one of " + ", ".join(f"`{name}`" for name in names)
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    choices = field.get("anyOf") or field.get("oneOf")
    if choices:
        words = [kind_of(choice, definitions) for choice in choices]
        numbers = [word for word in words if word.startswith(("number", "integer"))]
        if numbers and any(word == "mapping" for word in words):
            return f"{numbers[0]}, over steps"
        return " or ".join(dict.fromkeys(words))
    kind = {"object": "mapping", "string": "text", "boolean": "true or false"}.get(field.get("type"), field.get("type"))
    if field.get("type") == "array":
        items = field.get("items") or {}
        kind = f"list: {kind_of(items, definitions)}" if items else "list"
    if field.get("format") == "path":
        kind = "path"
    bounds = [words.format(field[key]) for key, words in BOUNDS.items() if key in field]
    return (kind or "any") + (f" ({', '.join(bounds)})" if bounds else "")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text(), "utf-8")
    else:
        print(text(), end="")
