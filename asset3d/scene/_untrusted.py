"""Values of documents that anyone may have written: how they are checked, and how messages name them."""
import math
from pathlib import Path
from unicodedata import category

LARGEST = 1e15
"""Of coordinates: float32 still computes with them, and so do squares and cubes in float64."""


def printable(value, most: int = 80) -> str:
    """The text of a value for a message: at most so long, without characters that a terminal obeys or cannot show."""
    try:
        text = value if isinstance(value, str) else str(value)
    except (RecursionError, ValueError):  # nested too deeply, or a number of thousands of digits
        text = f"a {type(value).__name__}"
    text = text if len(text) <= most else text[:most - 1] + "…"
    return escaped(text)


def escaped(text: str) -> str:
    """The text with control characters and lone surrogates written as escapes."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def is_number(value) -> bool:
    """Whether a value of a JSON document is a number that float64 can hold."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    try:
        return math.isfinite(value)
    except OverflowError:  # JSON's whole numbers have no limit
        return False


def is_name(text: str) -> bool:
    """Whether a text can be the name of a file and be shown: JSON's can hold halves of characters, and controls."""
    return not any(category(c) in ("Cc", "Cs") for c in text)


def is_file(path: Path) -> bool:
    """`path.is_file()`, and False for a name that no file system takes, as one of 300 letters."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False
