"""python -m asset3d.toybox output=DIR [seed=N] [count=K] [category=A,B] [split=train] [size=256] [texture_size=1024]
                          [shading=1]

Writes K procedural objects, one folder each: asset.glb, caption.txt, object.json, input.png, input.json, and a view set
of 48 training and 12 test views. Object k is that of the seed N + k; the same seed gives the same bytes. The same
command goes on where it was stopped. split=held gives objects that no training has seen: seeds from 900000 on, where
some categories are found nowhere else.
"""
import sys
from difflib import get_close_matches
from pathlib import Path

from asset3d.errors import Asset3DError, DiskFull, InputError
from asset3d.toybox.catalog import (ALL_CATEGORIES, CATEGORIES, HELD_CATEGORIES, HELD_OUT, check_categories,
                                    check_split)


def _whole(low: int, high: int):
    def parse(name: str, text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or not low <= value <= high:
            raise InputError(f"toybox: {name}: must be a whole number from {low} to {high}, got {text!r}")
        return value
    return parse


def _share(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise InputError(f"toybox: {name}: must be a number from 0 to 1, got {text!r}")
    return value


def _split(name: str, text: str) -> str:
    if text not in ("train", "held"):
        raise InputError(f"toybox: {name}: must be train or held, got {text!r}")
    return text


def _folder(name: str, text: str) -> Path:
    if not text:
        raise InputError(f"toybox: {name}: must name a folder")
    return Path(text)


PARSERS = {"output": _folder, "seed": _whole(0, 2**53), "count": _whole(1, 1_000_000),
           "category": lambda name, text: check_categories(tuple(text.split(","))), "split": _split,
           "size": _whole(16, 4096), "texture_size": _whole(256, 8192), "shading": _share}


def parse(arguments: list[str]) -> dict:
    """The values of key=value arguments; InputError that names every fault."""
    values, faults = {}, []
    for argument in arguments:
        name, equals, text = argument.partition("=")
        if not equals or name not in PARSERS:
            close = get_close_matches(name, PARSERS, 1)
            hint = f"did you mean {close[0]}=?" if close else f"the keys are {', '.join(PARSERS)}"
            faults.append(f"toybox: {argument!r} is not known as key=value; {hint}")
        elif name in values:
            faults.append(f"toybox: {name}: is given twice")
        else:
            try:
                values[name] = PARSERS[name](name, text)
            except InputError as error:
                faults.append(str(error))
                values[name] = None
    if "output" not in values:
        faults.append("toybox: output: must be given, as output=DIR")
    if faults:
        raise InputError("\n".join(faults))
    split = values.pop("split", "train")
    values = {"seed": 0, "category": CATEGORIES} | values if split == "train" else {
        "seed": HELD_OUT, "category": ALL_CATEGORIES} | values
    for seed in (values["seed"], values["seed"] + values.get("count", 1) - 1):
        check_split(split, seed, values["category"])
    return values


def main(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("--help", "-h", "help"):
        print(f"{__doc__}\ncategories: {', '.join(CATEGORIES)}\nwith split=held also: {', '.join(HELD_CATEGORIES)}")
        return 0 if arguments else 2
    try:
        order = parse(arguments)
        from asset3d.toybox.write import Order, write_objects
        write_objects(Order(**order), lambda text: print(text, file=sys.stderr, flush=True))
    except DiskFull as error:
        print(f"toybox: {str(error).partition(';')[0]}: free some space; the same command goes on", file=sys.stderr)
        return error.exit_code
    except Asset3DError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"toybox: {error}; finished objects are complete, and the same command goes on", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("toybox: interrupted; finished objects are complete, and the same command goes on", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
