"""Models: what is known, and how to get it.

    python -m asset3d.models list                            known models: size, licence, use, where they are
    python -m asset3d.models fetch NAME [key=value ...]      download and convert a published model
    python -m asset3d.models convert FILE DIR [key=value ...]  a published checkpoint -> a folder in diffusers format
    python -m asset3d.models embed RUN NAME [to=DIR]         the result of a training -> an embedded model

convert takes name=NAME (of a known model, for its licence), tokenizer=DIR, prediction=epsilon|v_prediction.
fetch takes mirror=ADDRESS (of the same layout as the Hugging Face hub), path=FILE_OR_FOLDER (a copy that is at hand),
sha256=HEX.
ASSET3D_MODELS names the folder that fetched models are kept in; ASSET3D_MODEL_POLICY=commercial|research|any says which
licences are accepted.

Exit: 0 done, 1 failed, 2 refused input, 130 interrupted.
"""
import os
import sys
from pathlib import Path

from asset3d import models
from asset3d.errors import Asset3DError, InputError, did_you_mean
from asset3d.models import catalog, policy

INTERRUPTED = 130


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    argv = sys.argv[1:] if argv is None else argv
    if not argv or argv[0] in ("-h", "--help"):
        print(__doc__.strip(), file=sys.stdout if argv else sys.stderr)
        return 0 if argv else 2
    try:
        if argv[0] not in COMMANDS:
            raise InputError(f"unknown command {argv[0]}{did_you_mean(argv[0], COMMANDS)}")
        plain = [text for text in argv[1:] if "=" not in text]
        options = dict(text.split("=", 1) for text in argv[1:] if "=" in text)
        COMMANDS[argv[0]](plain, options)
        return 0
    except Asset3DError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # nobody reads on; without this Python complains once more when it ends
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        print(error, file=sys.stderr)
        return 1


def print_list(plain: list[str], options: dict[str, str]) -> None:
    """A table of all known models."""
    _expect("list", plain, options, 0)
    from asset3d.models.embed import size_of

    rows = [("name", "prior", "size", "use", "licence", "where")]
    local = {**{name: models.home() / name for name in models.fetched()},
             **{name: models.EMBEDDED / name for name in models.embedded()}}
    for name in sorted({*local, *catalog.PUBLISHED}):
        folder, known = local.get(name), catalog.PUBLISHED.get(name)
        card = models.card_of(folder) if folder else {
            "prior": known.prior, "use": known.use, "licence": known.licence}
        size = size_of(folder) if folder else known.gigabytes * 1e9
        size = f"{size / 1e9:.1f} GB" if size > 1e9 else f"{size / 1e6:.1f} MB"
        where = "embedded" if folder == models.EMBEDDED / name else str(folder) if folder else known.source
        rows.append((name, card.get("prior", "-"), size, policy.use_of(card), card.get("licence", "-"), where))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    for row in rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths)) + "  " + row[5])
    print(f"policy: {policy.current()} ({policy.VARIABLE})")


def fetch(plain: list[str], options: dict[str, str]) -> None:
    """Download a published model."""
    _expect("fetch", plain, options, 1, "mirror", "path", "sha256")
    from asset3d.models.fetch import fetch

    path = Path(options["path"]) if "path" in options else None
    fetch(plain[0], mirror=options.get("mirror"), path=path, sha256=options.get("sha256"))


def convert(plain: list[str], options: dict[str, str]) -> None:
    """Convert a checkpoint."""
    _expect("convert", plain, options, 2, "name", "tokenizer", "prediction")
    from asset3d.models.convert import PREDICTIONS, Told, convert

    if Path(plain[1]).exists():  # it would be replaced
        raise InputError(f"convert: {plain[1]} is there already")
    name, prediction = options.get("name"), options.get("prediction")
    if name is not None and name not in catalog.PUBLISHED:
        raise InputError(f"convert: unknown model {name}{did_you_mean(name, catalog.PUBLISHED)}")
    if prediction is not None and prediction not in PREDICTIONS:
        raise InputError(f"convert: prediction={prediction}{did_you_mean(prediction, PREDICTIONS)}")
    told = Told.second(prediction) if prediction else None
    tokenizer = Path(options["tokenizer"]) if "tokenizer" in options else None
    print(convert(Path(plain[0]), Path(plain[1]), name=name, tokenizer=tokenizer, told=told))


def embed(plain: list[str], options: dict[str, str]) -> None:
    """Write a trained model into the package."""
    _expect("embed", plain, options, 2, "to")
    from asset3d.models.embed import embed, size_of

    home = Path(options["to"]) if "to" in options else models.EMBEDDED
    folder = embed(Path(plain[0]), plain[1], home)
    together = sum(size_of(path.parent) for path in home.glob(f"*/{models.CARD}"))
    uses = models.card_of(folder).get("uses")
    print(f"{folder}: {size_of(folder) / 1e6:.2f} MB{f', uses {uses}' if uses else ''}; all models there: "
          f"{together / 1e6:.2f} MB")


def _expect(command: str, plain: list[str], options: dict[str, str], count: int, *known: str) -> None:
    """Refuse what the command does not take."""
    if len(plain) != count:
        raise InputError(f"{command}: takes {count} arguments, got {len(plain)}; see python -m asset3d.models --help")
    for name in options:
        if name not in known:
            raise InputError(f"{command}: unknown option {name}={did_you_mean(name, known)}")


COMMANDS = {"list": print_list, "fetch": fetch, "convert": convert, "embed": embed}

if __name__ == "__main__":
    sys.exit(main())
