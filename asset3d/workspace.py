"""The run folder: a lock, files that are whole or absent, and checkpoints that know when they are damaged."""
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from asset3d.errors import CheckpointError, DiskFull, FolderInUse, InputError

TEMPORARY = ".asset3d-tmp-"
"""How names begin that a killed process may leave behind; swept when a run continues. Nobody else's begin so."""
FIRST = TEMPORARY + "recipe.yaml"
"""All that a run killed in its first moment can leave behind, besides the lock."""
LOCK = ".lock"
KEPT = 2
"""Checkpoints kept per stage: the newest, and the one to fall back on."""
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


# ------------------------------------------------------------------------------------------------- whole or absent


@contextmanager
def atomic_path(path: str | Path) -> Iterator[Path]:
    """A temporary name, same ending, to write a file under; flushed to the disk and renamed to `path` at the end.

    Raises:
        DiskFull: there is no room; a file that was there before is intact.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(TEMPORARY + path.name)
    try:
        yield temporary
        _flush(temporary)
        os.replace(temporary, path)
        _flush(path.parent)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        _raise_disk_full(error, path)
        raise
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """An empty folder to fill; flushed to the disk and renamed to `path` at the end, in place of what was there.

    Raises:
        DiskFull: there is no room; what was there before is intact.
    """
    path = Path(path)
    temporary = path.with_name(TEMPORARY + path.name)
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        temporary.mkdir(parents=True)
        yield temporary
        for written in (*temporary.rglob("*"), temporary):
            _flush(written)
        shutil.rmtree(path, ignore_errors=True)
        os.rename(temporary, path)
        _flush(path.parent)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        _raise_disk_full(error, path)
        raise
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def atomic_write(path: str | Path, content: bytes | str) -> Path:
    """Write a file that is either whole or not there, whenever the process or the machine stops."""
    content = content.encode() if isinstance(content, str) else content
    with atomic_path(path) as temporary:
        with open(temporary, "wb") as file:
            file.write(content)
    return Path(path)


@contextmanager
def room_on_disk(path: str | Path, n_bytes: int) -> Iterator[None]:
    """For making a file of a size that is mapped into memory later: what the body makes is given its room on the disk
    now. Of a file with holes, a full disk would show when a page is written, as a signal that ends the process.

    Raises:
        DiskFull: there is no room; the file is gone.
    """
    path = Path(path)
    try:
        yield
        if hasattr(os, "posix_fallocate"):
            descriptor = os.open(path, os.O_RDWR)
            try:
                os.posix_fallocate(descriptor, 0, n_bytes)
            finally:
                os.close(descriptor)
    except OSError as error:
        if error.errno in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that cannot
            return
        path.unlink(missing_ok=True)
        _raise_disk_full(error, path, n_bytes)
        raise


def _flush(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _raise_disk_full(error: OSError, path: Path, needed: int | None = None) -> None:
    if error.errno in _NO_SPACE:
        size = f" ({needed} bytes needed)" if needed else ""
        raise DiskFull(f"{path}: no space left on the disk{size}; what was there before is intact: free some space, "
                       "then continue with --resume") from None


# ------------------------------------------------------------------------------------------------------- run folder


class RunFolder:
    """`output=DIR`: recipe.yaml, events.jsonl, stages/01-.../, result/. Locked while it is open."""

    def __init__(self, path: Path, lock: int, made: bool = False):
        self.path = path
        self._lock: int | None = lock
        self._made = made
        self.result = path / "result"

    @classmethod
    def create(cls, path: str | Path) -> "RunFolder":
        """Make a run folder.

        Raises:
            InputError: the folder has something in it, or cannot be made.
        """
        path = Path(path).absolute()
        check_empty(path)
        made = not path.exists()
        try:
            path.mkdir(parents=True, exist_ok=True)
            folder = cls(path, _take_lock(path), made)
        except OSError as error:
            raise InputError(f"output={path}: cannot be made: {error.strerror}; give another folder") from None
        try:
            check_empty(path)  # again: another process may have been faster
            (path / FIRST).unlink(missing_ok=True)
        except BaseException:
            folder.close()
            raise
        return folder

    @classmethod
    def reopen(cls, path: str | Path) -> "RunFolder":
        """Open the folder of a run that was interrupted, and sweep what it left half-written.

        Raises:
            InputError: this is no run folder. FolderInUse: a process works in it.
        """
        path = Path(path).absolute()
        if not (path / "recipe.yaml").is_file():
            raise InputError(f"--resume {path}: no run was started here (there is no recipe.yaml)")
        folder = cls(path, _take_lock(path))
        folder._sweep()
        return folder

    def _sweep(self) -> None:
        for leftover in sorted(self.path.rglob(TEMPORARY + "*"), reverse=True):
            shutil.rmtree(leftover) if leftover.is_dir() and not leftover.is_symlink() else leftover.unlink()

    def stage(self, index: int, name: str) -> Path:
        """The folder of the stage at an index, from 0; made if need be."""
        folder = self.path / "stages" / f"{index + 1:02d}-{name}"
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def close(self) -> None:
        if self._lock is not None:
            os.close(self._lock)  # which releases it
            self._lock = None

    def discard(self) -> None:
        """Remove everything: for a run whose input was refused before anything was done."""
        if self._made:
            shutil.rmtree(self.path, ignore_errors=True)
        else:
            for entry in self.path.iterdir():
                shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
        self.close()


def check_empty(path: str | Path) -> None:
    """Refuse an output folder with something in it; what a run killed in its first moment left does not count.

    Raises:
        InputError: it is a file, is not empty, or cannot be made.
    """
    path = Path(path)
    if any(len(os.fsencode(part)) > 255 for part in path.parts) or "\0" in str(path):
        raise InputError(f"output={str(path)[:100]}...: the name is too long or unprintable; give a new or empty "
                         "folder")
    try:
        if os.path.lexists(path) and not os.path.isdir(path):
            raise InputError(f"output={path}: is a file; give a new or empty folder")
        above = next(parent for parent in path.absolute().parents if parent.exists())
        if not above.is_dir() or not os.access(path if path.is_dir() else above, os.W_OK):
            why = "not writable" if above.is_dir() else "a file"
            raise InputError(f"output={path}: cannot be made: {above} is {why}")
        if path.is_dir() and not all(_is_left_behind(path / name) for name in os.listdir(path)):
            hint = f"continue that run with --resume {path}, or " if (path / "recipe.yaml").is_file() else ""
            raise InputError(f"output={path}: the folder is not empty; {hint}give a new or empty folder")
    except OSError as error:
        raise InputError(f"output={path}: cannot be reached: {error.strerror}; give a folder that you may read and "
                         "write") from None


def _is_left_behind(entry: Path) -> bool:
    """Whether a run that was killed in its first moment made it."""
    return entry.name in (LOCK, FIRST) and entry.is_file() and not entry.is_symlink()


def _take_lock(path: Path) -> int:
    """The kernel releases the lock when the process ends, however it ends."""
    descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN):
            raise FolderInUse(f"{path}: another process works in this run folder; wait for it or stop it") from None
        raise InputError(f"{path}: this file system gives no lock ({error.strerror}), without which two runs could "
                         "mix; use a folder on a local disk") from None
    return descriptor


def tree_hash(path: Path, skip: Path | None = None, between: Callable[[], None] = lambda: None) -> str:
    """SHA-256 of a file, or of the names and contents of every file under a folder, but for what is at `skip`.

    Links are followed. Of a folder that is met a second time, by a link, only where it was met first is hashed.
    `between` is called before every file.
    """
    if path.is_file():
        between()
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest() if hasattr(hashlib, "file_digest") else \
                hashlib.sha256(file.read()).hexdigest()
    digest, met = hashlib.sha256(), {_inode(path): "."}
    skipped = _inode(skip) if skip is not None and skip.is_dir() else None
    for folder, folders, files in os.walk(path, followlinks=True):
        names, folders[:] = sorted(folders), []
        for name in names:
            inode, place = _inode(Path(folder, name)), Path(folder, name).relative_to(path).as_posix()
            if inode in met:
                digest.update(f"{place}\0-> {met[inode]}\n".encode(errors="replace"))
            elif inode != skipped:
                met[inode] = place
                folders.append(name)
        for name in sorted(files):
            file = Path(folder, name)
            if file.is_file() and file != skip:
                line = f"{file.relative_to(path).as_posix()}\0{tree_hash(file, between=between)}\n"
                digest.update(line.encode(errors="replace"))
    return digest.hexdigest()


def _inode(path: Path) -> tuple[int, int]:
    """What a folder is, by whatever name."""
    status = path.stat()
    return status.st_dev, status.st_ino


# ------------------------------------------------------------------------------------------------------ checkpoints


@dataclass(frozen=True)
class Checkpoint:
    """A stage after `step` steps."""

    step: int
    n_steps: int
    tensors: dict[str, torch.Tensor]
    notes: dict[str, Any] = field(default_factory=dict)
    """Numbers for metrics.json and manifest.json that the stage has told so far."""


class Checkpoints:
    """The checkpoints of one stage: folders `step-00000120` with state.safetensors and manifest.json.

    The manifest holds the SHA-256 of the tensors' file and, of all else in it, its own, and must be byte for byte what
    would be written for its content: no flipped bit goes unseen. Never pickle.
    """

    def __init__(self, folder: Path, identity: Mapping[str, str]):
        self.folder = folder
        self.identity = dict(identity)
        """What a checkpoint must belong to: the recipe's hash and the stage's name."""

    def save(self, checkpoint: Checkpoint) -> Path:
        """Write a checkpoint to the disk, then forget all but the last two.

        Raises:
            DiskFull: there is no room; earlier checkpoints are intact.
        """
        from safetensors.torch import save as serialize

        tensors = {name: tensor.detach().to("cpu", copy=True).contiguous()
                   for name, tensor in sorted(checkpoint.tensors.items())}
        content = serialize(tensors)
        manifest = _seal({"format": 1, **self.identity, "step": checkpoint.step, "n_steps": checkpoint.n_steps,
                          "notes": checkpoint.notes, "files": {"state.safetensors": _entry(content)}})
        target = self.folder / f"step-{checkpoint.step:08d}"
        temporary = self.folder / (TEMPORARY + target.name)
        try:
            shutil.rmtree(temporary, ignore_errors=True)
            temporary.mkdir(parents=True)
            for name, data in (("state.safetensors", content), ("manifest.json", manifest)):
                with open(temporary / name, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fsync(file.fileno())
            _flush(temporary)
            shutil.rmtree(target, ignore_errors=True)  # the same step, saved before
            os.rename(temporary, target)
            _flush(self.folder)
        except OSError as error:
            shutil.rmtree(temporary, ignore_errors=True)
            _raise_disk_full(error, target, len(content) + len(manifest))
            raise
        for old in self.all()[:-KEPT]:
            shutil.rmtree(old)
        return target

    def all(self) -> list[Path]:
        """The folders of checkpoints, oldest first."""
        return sorted(self.folder.glob("step-????????"))

    def latest(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest sound checkpoint, if any, and a line for each damaged one, which is removed.

        Raises:
            CheckpointError: a sound checkpoint belongs to another recipe or stage.
        """
        damaged = []
        for folder in reversed(self.all()):
            try:
                return self.load(folder), damaged
            except _Damaged as error:
                damaged.append(f"checkpoint {folder} is damaged ({error})")
                shutil.rmtree(folder, ignore_errors=True)
        return None, damaged

    def load(self, folder: Path) -> Checkpoint:
        """Read a checkpoint and check every byte of it."""
        from safetensors.torch import load as deserialize

        manifest = _unseal(_read(folder / "manifest.json"))
        for key, value in self.identity.items():
            if manifest.get(key) != value:
                raise CheckpointError(f"{folder}: this checkpoint belongs to another {key}; nothing was changed. "
                                      "Start the run anew in an empty folder")
        content = _read(folder / "state.safetensors")
        if manifest["files"] != {"state.safetensors": _entry(content)}:
            raise _Damaged("state.safetensors is not the file that was saved")
        return Checkpoint(manifest["step"], manifest["n_steps"], deserialize(content), manifest["notes"])


class _Damaged(Exception):
    pass


def _entry(content: bytes) -> dict:
    return {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}


def _canonical(data: dict) -> bytes:
    return (json.dumps(data, sort_keys=True, indent=1) + "\n").encode()


def _seal(data: dict) -> bytes:
    return _canonical(data | {"sha256": hashlib.sha256(_canonical(data)).hexdigest()})


def _unseal(content: bytes) -> dict:
    try:
        data = json.loads(content)
        if _seal({key: value for key, value in data.items() if key != "sha256"}) != content:
            raise ValueError
    except (ValueError, AttributeError, RecursionError):
        raise _Damaged("manifest.json is not the file that was saved") from None
    return data


def _read(path: Path) -> bytes:
    """The bytes of a file; one that cannot be read just now (too many open files, a disk that stutters) is no damage:
    its OSError goes on, and the checkpoint stays."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError) as error:
        raise _Damaged(f"{path.name}: {error.strerror}") from None
