"""Download a published model, once: from the Hugging Face hub or a mirror of the same layout, or from a copy at hand.

Every file is checked against a SHA-256: one that is given, else the one that the hub lists. Nothing is tried twice; a
download that broke off goes on where it was when it is asked for again.
"""
import json
import os
import shutil
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asset3d import models
from asset3d.errors import InputError, did_you_mean
from asset3d.models import catalog, policy
from asset3d.models.catalog import Published
from asset3d.workspace import atomic_folder, tree_hash

HUB = "https://huggingface.co"
TOKEN = "HF_TOKEN"
PARTS = ("unet", "vae", "text_encoder", "text_encoder_2", "tokenizer", "tokenizer_2", "scheduler", "model_index.json")
"""Of a folder in diffusers format, what priors read."""
SUFFIXES = (".json", ".txt", ".model", ".safetensors")
VARIANTS = (".fp16.", ".non_ema.")
"""In names of second copies of the same weights."""
TIMEOUT, CHUNK = 30, 1 << 22


@dataclass(frozen=True)
class Remote:
    """A file of a repository."""

    path: str
    size: int
    sha256: str | None
    """None for small files, which the hub keeps under another hash."""


def fetch(name: str, *, mirror: str | None = None, path: Path | None = None, sha256: str | None = None,
          tell: Callable[[str], None] = print) -> Path:
    """The folder of a published model in `models.home()`, made if it is not there.

    Args:
        name: Of a known model.
        mirror: Address to ask in place of the hub, with the same layout.
        path: A copy of the published checkpoint or folder, in place of a download.
        sha256: What the checkpoint must have; of a folder, what `models.describe` says of it.
        tell: Called with every message.

    Raises:
        InputError: the model is unknown, its licence refused, there is no network, or a file is not what it should be.
    """
    if name not in catalog.PUBLISHED:
        raise InputError(f"fetch: unknown model {name}{did_you_mean(name, catalog.PUBLISHED)}")
    known, folder = catalog.PUBLISHED[name], models.home() / name
    policy.check(name, known.use, known.licence, known.alternative)
    if folder.is_dir():
        tell(f"{folder} is there already")
        return folder
    partial = models.home() / ".partial" / name
    source = Path(path).expanduser() if path is not None else _download(name, known, mirror or HUB, partial, tell)
    if known.file is not None:
        _convert(source, folder, name, sha256, tell)
    else:
        _copy(source, folder, name, known, sha256)
    shutil.rmtree(partial, ignore_errors=True)
    tell(f"{folder}: {known.licence}")
    return folder


def _convert(source: Path, folder: Path, name: str, sha256: str | None, tell: Callable[[str], None]) -> None:
    from asset3d.models.convert import convert

    if not source.is_file():
        raise InputError(f"fetch: {source}: no such file; {name} is published as a checkpoint, {_file_of(name)}")
    _check_hash(source, sha256)
    tell(str(convert(source, folder, name=name)))


def _copy(source: Path, folder: Path, name: str, known: Published, sha256: str | None) -> None:
    if not source.is_dir():
        raise InputError(f"fetch: {source}: no such folder; {name} is published as a folder in diffusers format")
    parts = [source / part for part in PARTS if (source / part).exists()]
    for part in parts:
        weights = not part.name.startswith(("tokenizer", "scheduler", "model_index"))
        if weights and not [file for file in part.glob("*.safetensors") if _is_wanted(f"{part.name}/{file.name}")]:
            raise InputError(f"fetch: {part} has no weights as safetensors; others are not read")
    with atomic_folder(folder) as unfinished:
        for part in parts:
            for file in sorted(part.rglob("*")) if part.is_dir() else [part]:
                target = unfinished / file.relative_to(source)
                if file.is_file() and _is_wanted(file.relative_to(source).as_posix()):
                    target.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(file, target)
        if sha256 is not None and tree_hash(unfinished) != sha256:
            raise InputError(f"fetch: {source} has the SHA-256 {tree_hash(unfinished)}, not {sha256}")
        card = {"name": name, "prior": known.prior, "licence": known.licence, "use": known.use, "source": known.source,
                "alternative": known.alternative}
        card = {key: value for key, value in card.items() if value is not None}
        (unfinished / models.CARD).write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8")


def _is_wanted(path: str) -> bool:
    """Whether a file of a folder in diffusers format is read by a prior."""
    return (path.split("/")[0] in PARTS and path.endswith(SUFFIXES) and not path.endswith(".index.fp16.json")
            and not any(variant in path for variant in VARIANTS))


def _check_hash(path: Path, sha256: str | None) -> None:
    if sha256 is not None and (found := tree_hash(path)) != sha256.lower():
        raise InputError(f"fetch: {path} has the SHA-256 {found}, not {sha256}; it is damaged, or another file")


def _file_of(name: str) -> str:
    known = catalog.PUBLISHED[name]
    return f"{known.file} of {known.source}" if known.file else known.source


# ------------------------------------------------------------------------------------------------------ the network


def _download(name: str, known: Published, base: str, folder: Path, tell: Callable[[str], None]) -> Path:
    """The checkpoint, or the folder, below `folder`."""
    if not base.startswith(("https://", "http://")):
        raise InputError(f"fetch: mirror={base}: must begin with https:// or http://; a copy is given as path=")
    base = base.rstrip("/")
    listed = _listing(name, known, base)
    wanted = [file for file in listed if (file.path == known.file if known.file else _is_wanted(file.path))]
    if not wanted:
        raise InputError(f"fetch: {base}/{known.source} has no {known.file or 'folder in diffusers format'} any more")
    tell(f"{name}: {sum(file.size for file in wanted) / 1e9:.2f} GB from {base}/{known.source} ({known.licence})")
    for file in wanted:
        target = folder / file.path
        target.parent.mkdir(parents=True, exist_ok=True)
        _file(name, f"{base}/{known.source}/resolve/main/{urllib.parse.quote(file.path)}", target, file, tell)
    return folder / known.file if known.file else folder


def _listing(name: str, known: Published, base: str) -> list[Remote]:
    with _open(name, f"{base}/api/models/{known.source}/tree/main?recursive=true") as answer:
        try:
            entries: Any = json.loads(answer.read(1 << 24))
            return [Remote(e["path"], int(e["size"]), e.get("lfs", {}).get("oid")) for e in entries
                    if e["type"] == "file" and ".." not in e["path"].split("/") and not e["path"].startswith("/")]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"fetch: {base} does not answer as the Hugging Face hub does: {error!r}") from error


def _file(name: str, url: str, target: Path, file: Remote, tell: Callable[[str], None]) -> None:
    """Download what is missing of a file, and check all of it."""
    target.touch()
    there = target.stat().st_size
    if there < file.size:
        with _open(name, url, there) as answer, open(target, "ab" if answer.status == 206 else "wb") as out:
            _receive(name, answer, out, file, tell)
    found = target.stat().st_size
    if found < file.size:
        raise InputError(f"fetch: {url} broke off after {found} of {file.size} bytes; the same command goes on from "
                         "there")
    if found > file.size or file.sha256 is not None and tree_hash(target) != file.sha256:
        target.unlink()
        raise InputError(f"fetch: {url} is not the file that is listed (SHA-256 {file.sha256}); it was thrown away")


def _receive(name: str, answer, out, file: Remote, tell: Callable[[str], None]) -> None:
    said = out.tell()
    try:
        while chunk := answer.read(CHUNK):
            out.write(chunk)
            if out.tell() - said > max(file.size // 10, 1 << 27):
                said = out.tell()
                tell(f"{name}: {file.path} {said / 1e9:.2f} of {file.size / 1e9:.2f} GB")
    except (OSError, ValueError) as error:
        raise InputError(f"fetch: {file.path} broke off ({error}); the same command goes on from there") from error


def _open(name: str, url: str, start: int = 0):
    """Ask once.

    Raises:
        InputError: there is no answer, or a refusal; the text says what to do.
    """
    request = urllib.request.Request(url, headers={"User-Agent": "asset3d"})
    if os.environ.get(TOKEN) and url.startswith(HUB + "/"):  # a token is shown to the hub alone
        request.add_unredirected_header("Authorization", f"Bearer {os.environ[TOKEN]}")
    if start:
        request.add_header("Range", f"bytes={start}-")
    try:
        return urllib.request.urlopen(request, timeout=TIMEOUT)
    except urllib.error.HTTPError as error:
        hint = (f"; accept the licence at {HUB}/{catalog.PUBLISHED[name].source} and set {TOKEN}"
                if error.code in (401, 403) else "")
        raise InputError(f"fetch: {url} answers {error.code} {error.reason}{hint}") from error
    except OSError as error:
        reason = getattr(error, "reason", error)
        raise InputError(f"fetch: {url} cannot be reached ({reason}). On a machine without network, copy "
                         f"{_file_of(name)} here and give path=..., or mirror=ADDRESS") from error
