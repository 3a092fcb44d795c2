"""YAML text to plain data with the place of every key. Nothing is constructed but text, numbers, lists, mappings."""
import math
import warnings
from dataclasses import dataclass, field
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent, NodeEvent, ScalarEvent
from ruamel.yaml.nodes import MappingNode, Node, ScalarNode
from ruamel.yaml.reader import ReaderError
from ruamel.yaml.scanner import Scanner

from asset3d.errors import RecipeError

MAX_BYTES = 256 * 1024
MAX_DEPTH = 32
MAX_NODES = 20_000
TAG = "tag:yaml.org,2002:"
Path = tuple[str | int, ...]


@dataclass(frozen=True, order=True)
class Place:
    """Where a value was written: `label` is `file:line:column` or `argument key=value`; the numbers sort."""

    rank: int
    line: int
    column: int
    label: str


@dataclass
class Document:
    """A recipe before it is checked: `data`, the place of every path in it, and the problems found so far."""

    name: str
    data: Any = None
    places: dict[Path, Place] = field(default_factory=dict)
    problems: list[tuple[Place, str, str]] = field(default_factory=list)
    faulty: set[Path] = field(default_factory=set)

    def place(self, path: Path) -> Place:
        """The place of a path, or of the nearest part of it that is written down."""
        while path and path not in self.places:
            path = path[:-1]
        return self.places.get(path, Place(0, 0, 0, self.name))

    def problem(self, path: Path, message: str, place: Place | None = None) -> None:
        """Note a problem; of several at one path, the first is told."""
        if any(path[:n] in self.faulty for n in range(1, len(path) + 1)) or (not path and () in self.faulty):
            return
        self.faulty.add(path)
        self.problems.append((place or self.place(path), ".".join(map(str, path)), message))

    def raise_problems(self) -> None:
        """Raise `RecipeError` with every problem so far, sorted by line."""
        if self.problems:
            lines = (": ".join(part for part in (place.label, path, text) if part)
                     for place, path, text in sorted(self.problems))
            raise RecipeError("\n".join(dict.fromkeys(lines)))


class _Scanner(Scanner):
    """YAML 1.2's rule for `?` inside brackets, which ruamel reads as 1.1 did: a key only before a space, so that
    `{image: ???}` is text."""

    def check_key(self) -> bool:
        return self.reader.peek(1) in "\0 \t\r\n\x85\u2028\u2029"

    def check_plain(self) -> bool:
        return super().check_plain() or (self.reader.peek() == "?" and not self.check_key())


def _yaml() -> YAML:
    yaml = YAML(typ="safe", pure=True)
    yaml.Scanner = _Scanner
    return yaml


def parse(text: str, name: str) -> Document:
    """Read one YAML 1.2 document.

    Raises:
        RecipeError: the text is no YAML, is nested or aliased beyond reason, or holds nothing. Tags, duplicate keys and
            values that JSON cannot express are noted in the document's problems.
    """
    document = Document(name)
    root = _compose(document, text)
    if root is None:
        document.problem((), "the file is empty; a recipe has at least the keys name and stage")
    else:
        document.data = _Builder(document).value(root, ())
    if document.data is None:
        document.raise_problems()
    return document


def parse_value(text: str) -> Any:
    """The value of `key=value`: a list or mapping in [] or {}, a quoted text, or a plain scalar.

    Raises:
        RecipeError: brackets or quotes that YAML cannot read.
    """
    text = text.strip()
    if text[:1] in tuple("[{\"'"):
        document = parse(f"value: {text}", "")
        document.raise_problems()
        return document.data["value"]
    tag = _yaml().resolver.resolve(ScalarNode, text, (True, False)) if text else TAG + "null"
    value, problem = _scalar(str(tag), text)
    return text if problem else value


def _compose(document: Document, text: str) -> Node | None:
    def refuse(mark, message):
        line, column = (mark.line, mark.column) if mark else (0, 0)
        document.problem((), message, _place(document.name, line, column))
        document.raise_problems()

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # reused anchors are legal
        try:
            _check_size(_yaml().parse(text), refuse)
            return _yaml().compose(text)
        except ReaderError as error:
            before = text[: error.position] if isinstance(error.position, int) else ""
            place = _place(document.name, before.count("\n"), len(before) - before.rfind("\n") - 1)
            document.problem((), f"not a text file: character {error.character!r} is not allowed in YAML", place)
        except MarkedYAMLError as error:
            refuse(error.problem_mark or error.context_mark, _syntax_message(error))
        except (YAMLError, ValueError, RecursionError) as error:
            refuse(None, f"not YAML: {str(error).splitlines()[0] if str(error) else type(error).__name__}")
    document.raise_problems()
    return None


def _syntax_message(error: MarkedYAMLError) -> str:
    text = " ".join(str(part) for part in (error.context, error.problem) if part)
    hint = "; indent with spaces, not tabs" if "'\\t'" in text else ""
    return f"not YAML: {text}{hint}"


def _check_size(events, refuse) -> None:
    """Refuse deep nesting, and aliases that unfold to more than `MAX_NODES` values, before anything is built."""
    sizes, stack, total = {}, [], 0  # stack: (anchor, nodes before)
    for event in events:
        if isinstance(event, CollectionEndEvent):
            anchor, before = stack.pop()
            sizes[anchor] = total - before
        elif isinstance(event, AliasEvent):
            if any(anchor == event.anchor for anchor, _ in stack):
                refuse(event.start_mark, f"alias *{event.anchor} refers to what it is part of")
            total += sizes.get(event.anchor, 1)
        elif isinstance(event, NodeEvent):
            total += 1
            if isinstance(event, CollectionStartEvent):
                stack.append((event.anchor, total - 1))
            elif isinstance(event, ScalarEvent):
                sizes[event.anchor] = 1
        if len(stack) > MAX_DEPTH:
            refuse(event.start_mark, f"nested more than {MAX_DEPTH} levels deep")
        if total > MAX_NODES:
            refuse(event.start_mark, f"more than {MAX_NODES} values, aliases unfolded")


class _Builder:
    """Nodes to plain data, with the place of each key and item noted in the document."""

    def __init__(self, document: Document):
        self.document = document

    def value(self, node: Node, path: Path) -> Any:
        if not path:
            self.document.places[()] = self.place(node)
        tag = str(node.tag)
        if isinstance(node, ScalarNode):
            value, problem = _scalar(tag, node.value)
            if problem:
                self.document.problem(path, problem, self.place(node) if "tag" in problem else None)
            return value
        if tag not in (TAG + "map", TAG + "seq"):
            self.document.problem(path, _tag_message(tag), self.place(node))
            return None
        return self.mapping(node, path) if isinstance(node, MappingNode) else self.sequence(node, path)

    def mapping(self, node: MappingNode, path: Path) -> dict:
        result, first = {}, {}
        for key_node, value_node in node.value:
            key = self.key(key_node, path)
            if key is None:
                continue
            if key in result:
                self.document.problems.append((self.place(key_node), ".".join(map(str, path + (key,))),
                                               f"duplicate key '{key}', first in line {first[key]}"))
                continue
            self.document.places[path + (key,)] = self.place(key_node)
            first[key] = key_node.start_mark.line + 1
            result[key] = self.value(value_node, path + (key,))
        return result

    def key(self, node: Node, path: Path) -> str | None:
        tag = str(node.tag)
        if isinstance(node, ScalarNode) and tag in (TAG + "str", TAG + "int", TAG + "timestamp"):
            value, problem = _scalar(tag, node.value)
            if not problem:
                return str(value)
        message = "merge keys (<<) are not part of YAML 1.2; write the keys out" if tag == TAG + "merge" else \
            "a key must be a name or a step number"
        self.document.problems.append((self.place(node), ".".join(map(str, path)), message))
        return None

    def sequence(self, node: Node, path: Path) -> list:
        for index, item in enumerate(node.value):
            self.document.places[path + (index,)] = self.place(item)
        return [self.value(item, path + (index,)) for index, item in enumerate(node.value)]

    def place(self, node: Node) -> Place:
        return _place(self.document.name, node.start_mark.line, node.start_mark.column)


def _place(name: str, line: int, column: int) -> Place:
    return Place(0, line + 1, column + 1, f"{name}:{line + 1}:{column + 1}")


def _tag_message(tag: str) -> str:
    return f"tag '!{tag.removeprefix(TAG).lstrip('!')}' is not allowed: a recipe holds plain data"


def _scalar(tag: str, text: str) -> tuple[Any, str]:
    """The value of a scalar and, where there is none, why."""
    kind = tag.removeprefix(TAG)
    if kind in ("str", "timestamp"):
        valid = text.isascii() or not any("\ud800" <= character <= "\udfff" for character in text)
        return (text, "") if valid else (None, "half of a surrogate pair is not a character")
    if kind == "null":
        return None, ""
    if kind == "bool":
        return text.lower() == "true", ""
    if kind in ("int", "float"):
        return _number(kind, text)
    return None, _tag_message(tag)


def _number(kind: str, text: str) -> tuple[Any, str]:
    digits = text.replace("_", "").lower()
    try:
        if len(digits) > 40:
            return None, f"a number of {len(digits)} digits"
        if kind == "int":
            return int(digits, 0 if digits.lstrip("+-")[:2] in ("0x", "0o", "0b") else 10), ""
        value = float(digits.replace(".inf", "inf").replace(".nan", "nan"))
    except ValueError:
        return None, f"not a number: {text[:40]}"
    if not math.isfinite(value):
        return None, f"must be finite, got {text}"
    # 1e3 is how people write an integer; fields of floats take integers as well
    return (int(value), "") if value.is_integer() and abs(value) < 2**53 and "e" in digits else (value, "")
