"""Words of captions: a small vocabulary, and its numbers for text encoders."""
import re

from asset3d.errors import InputError

VOCABULARY = tuple("""
    , a an and arm arms autumn back balloon bands barrel base basket bellied bells beside bill birch black blossom
    blue boarded boat bow brass brick brown bushy cabin cactus cake candle candles cap car cat chair checks cherries
    cherry chimney clock collar copper coral cream cushion dark delivery dome door dots drum duck ears face fade fins
    fir fish five flag flowers four fruit funnel funnels gift ginger golden gray green handle handles hands hat hoops
    house icing in inside iron it lamp lavender layer layers legs lid light lighthouse limbs lime load locomotive
    magenta marbling maroon mint mug mushroom navy no oak of on one ones orange over pairs panel patches peach pickup
    pine pink plane plaster pot purple red robot rocket roof ropes round sails scarf shade shell six sky slats slim
    small snowman spindles spirals spots square square-edged stacked stand star steel stem sticks stripes table tap
    teal teapot three to top tree trunk turquoise turtle two upright vase walnut wheels white window windows wings
    with wood woolen yellow yellow-green
""".split())
"""All words of all captions. Their places are the numbers that trained text encoders know: new ones go to the end."""
PADDING = 0
"""The number of no word; word k of the vocabulary has the number k + 1."""
MAX_WORDS = 32
"""No caption has more."""
_NUMBERS = {word: number for number, word in enumerate(VOCABULARY, 1)}


def article(word: str) -> str:
    """The word with `a` or `an` before it."""
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"


def number(count: int) -> str:
    """Zero to six in words."""
    return ("no", "one", "two", "three", "four", "five", "six")[count]


def having(*things: str) -> str:
    """`with` a list of things, from which empty ones are left out."""
    things = [thing for thing in things if thing]
    return f"with {', '.join(things[:-1])} and {things[-1]}" if len(things) > 1 else f"with {things[0]}"


def words_of(caption: str) -> list[str]:
    """The words of a caption, in lower case, commas among them."""
    return re.findall(r"[a-z-]+|,", caption.lower())


def encode(caption: str, length: int = MAX_WORDS) -> list[int]:
    """The numbers of a caption's words, padded with 0.

    Raises:
        InputError: words that the toybox does not know, or more of them than `length`.
    """
    words = words_of(caption)
    unknown = sorted({word for word in words if word not in _NUMBERS})
    if unknown:
        raise InputError(f"toybox: caption: {', '.join(unknown)} is not in the vocabulary; "
                         "describe the object as its captions do, asset3d.toybox.VOCABULARY lists their words")
    if len(words) > length:
        raise InputError(f"toybox: caption: must have at most {length} words, got {len(words)}")
    return [_NUMBERS[word] for word in words] + [PADDING] * (length - len(words))
