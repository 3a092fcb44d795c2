"""Words of captions."""


def article(word: str) -> str:
    """The word with `a` or `an` before it."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def number(count: int) -> str:
    """Zero to six in words."""
    return ("no", "one", "two", "three", "four", "five", "six")[count]
