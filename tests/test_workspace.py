"""The run folder: whole files, locks, and checkpoints that know when they are damaged."""
import errno
import json
import os
import random
import shutil
from pathlib import Path

import pytest
import torch

from asset3d import workspace
from asset3d.errors import CheckpointError, DiskFull, FolderInUse, InputError
from asset3d.workspace import (Checkpoint, Checkpoints, RunFolder, atomic_folder, atomic_path, atomic_write,
                               tree_hash)

IDENTITY = {"recipe": "r", "stage": "s"}


def checkpoint(step: int, size: int = 50) -> Checkpoint:
    values = torch.randn(size, generator=torch.Generator().manual_seed(step), dtype=torch.float64)
    tensors = {"values": values, "step": torch.tensor(step), "mask": values > 0, "empty": torch.zeros(0, 3),
               "half": values.to(torch.bfloat16), "view": values[::2]}
    return Checkpoint(step, 100, tensors, {"metric": {"psnr": 30.5}})


@pytest.fixture
def store(tmp_path):
    return Checkpoints(tmp_path / "checkpoints", IDENTITY)


def assert_is(found: Checkpoint, step: int) -> None:
    expected = checkpoint(step)
    assert (found.step, found.n_steps, found.notes) == (step, 100, expected.notes)
    assert found.tensors.keys() == expected.tensors.keys()
    for name, tensor in expected.tensors.items():
        assert found.tensors[name].dtype == tensor.dtype and torch.equal(found.tensors[name], tensor)


def test_save_and_load(store):
    assert store.latest() == (None, [])
    store.save(checkpoint(10))
    found, damaged = store.latest()
    assert_is(found, 10)
    assert damaged == []


def test_last_two_are_kept(store):
    for step in (5, 10, 15, 20):
        store.save(checkpoint(step))
    assert [path.name for path in store.all()] == ["step-00000015", "step-00000020"]


def test_same_step_again(store):
    store.save(checkpoint(10))
    store.save(checkpoint(10))
    assert_is(store.latest()[0], 10)


def test_other_recipe_is_refused(store, tmp_path):
    store.save(checkpoint(10))
    other = Checkpoints(store.folder, IDENTITY | {"recipe": "other"})
    with pytest.raises(CheckpointError, match="belongs to another recipe"):
        other.latest()
    assert len(store.all()) == 1


def assert_damage_is_detected(store, how) -> None:
    """Save two checkpoints, damage the newer, and see that the older is used and the newer named."""
    shutil.rmtree(store.folder, ignore_errors=True)
    store.save(checkpoint(10))
    newest = store.save(checkpoint(20))
    how(newest)
    found, damaged = store.latest()
    assert_is(found, 10)
    assert len(damaged) == 1 and "step-00000020 is damaged" in damaged[0]


def sizes_of(store) -> dict[str, int]:
    folder = store.save(checkpoint(20))
    return {name: (folder / name).stat().st_size for name in ("state.safetensors", "manifest.json")}


def random_positions(store, seed: int, n: int) -> list[tuple[str, int]]:
    """n distinct (file, byte) of a checkpoint; one third in the manifest."""
    generator, sizes = random.Random(seed), sizes_of(store)
    names = ["manifest.json" if i % 3 == 0 else "state.safetensors" for i in range(n)]
    positions = set()
    for name in names:
        while (place := (name, generator.randrange(sizes[name]))) in positions:
            pass
        positions.add(place)
    return sorted(positions)


def test_100_truncations_are_detected(store):
    for name, length in random_positions(store, 1, 100):
        assert_damage_is_detected(store, lambda folder: os.truncate(folder / name, length))


def test_100_bit_flips_are_detected(store):
    for number, (name, position) in enumerate(random_positions(store, 2, 100)):
        def flip(folder):
            content = bytearray((folder / name).read_bytes())
            content[position] ^= 1 << number % 8
            (folder / name).write_bytes(content)
        assert_damage_is_detected(store, flip)


def test_swapped_and_stale_files_are_detected(store):
    older = store.folder / "step-00000010"
    assert_damage_is_detected(store, lambda folder: shutil.copy(older / "state.safetensors", folder))
    assert_damage_is_detected(store, lambda folder: (folder / "state.safetensors").unlink())
    assert_damage_is_detected(store, lambda folder: (folder / "manifest.json").unlink())
    assert_damage_is_detected(store, lambda folder: (folder / "manifest.json").write_text("[" * 100_000))
    assert_damage_is_detected(store, lambda folder: (folder / "manifest.json").write_text("[]"))
    assert_damage_is_detected(store, lambda folder: os.truncate(folder / "state.safetensors", 0))


def test_edited_manifest_is_detected(store):
    def edit(folder):
        data = json.loads((folder / "manifest.json").read_text()) | {"step": 30}
        (folder / "manifest.json").write_text(json.dumps(data, sort_keys=True, indent=1) + "\n")
    assert_damage_is_detected(store, edit)


def test_all_damaged(store):
    for step in (10, 20):
        os.truncate(store.save(checkpoint(step)) / "state.safetensors", 9)
    found, damaged = store.latest()
    assert found is None and len(damaged) == 2
    assert store.all() == []


@pytest.mark.parametrize("n_calls", range(6))
def test_full_disk_leaves_the_checkpoint_before(store, monkeypatch, n_calls):
    """The disk is full at each flush of a save in turn."""
    store.save(checkpoint(10))
    calls = iter(range(100))

    def full(descriptor, flush=os.fsync):
        if next(calls) == n_calls:
            raise OSError(errno.ENOSPC, "No space left on device")
        flush(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    if n_calls < 4:  # two files, their folder, the folder of checkpoints
        with pytest.raises(DiskFull, match=r"bytes needed.*--resume"):
            store.save(checkpoint(20))
    else:
        store.save(checkpoint(20))
    monkeypatch.undo()
    found, damaged = store.latest()
    assert_is(found, 10 if n_calls < 3 else 20)
    assert damaged == [] and not list(store.folder.glob(".asset3d-tmp-*"))


def test_atomic_write(tmp_path):
    path = atomic_write(tmp_path / "new" / "file.txt", "one")
    atomic_write(path, b"two")
    assert path.read_text() == "two" and [p.name for p in path.parent.iterdir()] == ["file.txt"]


def test_atomic_path_keeps_what_was_there(tmp_path):
    path = atomic_write(tmp_path / "asset.glb", "good")
    with pytest.raises(RuntimeError, match="half way"):
        with atomic_path(path) as temporary:
            assert temporary.suffix == ".glb"
            temporary.write_text("half")
            raise RuntimeError("half way")
    with pytest.raises(DiskFull, match="asset.glb: no space left"):
        with atomic_path(path):
            raise OSError(errno.ENOSPC, "No space left on device")
    assert path.read_text() == "good" and [p.name for p in tmp_path.iterdir()] == ["asset.glb"]


def test_non_empty_output_is_refused(tmp_path):
    (tmp_path / "x").touch()
    with pytest.raises(InputError, match="not empty"):
        RunFolder.create(tmp_path)
    with pytest.raises(InputError, match="is a file"):
        RunFolder.create(tmp_path / "x")
    with pytest.raises(InputError, match="x is a file"):
        RunFolder.create(tmp_path / "x" / "y")


def test_what_a_run_killed_at_once_left_does_not_count(tmp_path):
    RunFolder.create(tmp_path / "run").close()
    (tmp_path / "run" / ".asset3d-tmp-recipe.yaml").write_text("half")
    folder = RunFolder.create(tmp_path / "run")
    assert sorted(os.listdir(folder.path)) == [".lock"]
    folder.close()


@pytest.mark.parametrize("name, is_folder", [(".tmp-notes.txt", False), (".asset3d-tmp-recipe.yaml", True),
                                             (".asset3d-tmp-mine", False)])
def test_files_that_no_run_left_are_not_swept(tmp_path, name, is_folder):
    mine = tmp_path / "run" / name / "deep" if is_folder else tmp_path / "run" / name
    mine.parent.mkdir(parents=True)
    mine.write_text("mine")
    with pytest.raises(InputError, match="not empty"):
        RunFolder.create(tmp_path / "run")
    assert mine.read_text() == "mine"


def test_a_continued_run_sweeps_no_file_of_the_user(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    atomic_write(folder.path / "recipe.yaml", "name: x")
    (folder.path / ".tmp-notes.txt").write_text("mine")
    folder.close()
    RunFolder.reopen(folder.path).close()
    assert (folder.path / ".tmp-notes.txt").read_text() == "mine"


@pytest.mark.parametrize("number", [errno.EMFILE, errno.EIO])
def test_a_checkpoint_that_cannot_be_read_just_now_is_not_damaged(store, monkeypatch, number):
    store.save(checkpoint(10))

    def refuse(path):
        raise OSError(number, os.strerror(number), str(path))

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(OSError, match=os.strerror(number)):
        store.latest()
    monkeypatch.undo()
    assert_is(store.latest()[0], 10)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_is_named(tmp_path, monkeypatch, number):
    def refuse(descriptor, how):
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(workspace.fcntl, "flock", refuse)
    with pytest.raises(InputError, match="gives no lock .*local disk") as caught:
        RunFolder.create(tmp_path / "run")
    assert not isinstance(caught.value, FolderInUse)


def test_a_refusal_gives_the_lock_back(tmp_path, monkeypatch):
    """Another process was faster: it filled the folder between the first look and the lock."""
    def take(path, lock=workspace._take_lock):
        (path / "x").touch()
        return lock(path)

    monkeypatch.setattr(workspace, "_take_lock", take)
    with pytest.raises(InputError, match="not empty"):
        RunFolder.create(tmp_path / "run")
    (tmp_path / "run" / "x").unlink()
    monkeypatch.undo()
    RunFolder.create(tmp_path / "run").close()


def test_output_that_cannot_be_reached(tmp_path, monkeypatch):
    def refuse(path, **options):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "stat", refuse)
    with pytest.raises(InputError, match="run: cannot be reached: Permission denied; give a folder"):
        workspace.check_empty(tmp_path / "closed" / "run")


def test_atomic_folder(tmp_path):
    for content in ("one", "two"):
        with atomic_folder(tmp_path / "views") as folder:
            (folder / "train").mkdir()
            (folder / "train" / "0.png").write_text(content)
    with pytest.raises(RuntimeError, match="half way"):
        with atomic_folder(tmp_path / "views") as folder:
            (folder / "x").touch()
            raise RuntimeError("half way")
    assert [path.name for path in tmp_path.iterdir()] == ["views"]
    assert [path.name for path in (tmp_path / "views").rglob("*")] == ["train", "0.png"]
    assert (tmp_path / "views" / "train" / "0.png").read_text() == "two"


def test_atomic_folder_is_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(workspace, "_flush", lambda path: flushed.append((path.name, (tmp_path / "views").exists())))
    with atomic_folder(tmp_path / "views") as folder:
        (folder / "0.png").write_text("x")
    assert flushed == [("0.png", False), (".asset3d-tmp-views", False), (tmp_path.name, True)]


def test_one_process_at_a_time(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    with pytest.raises(FolderInUse, match="another process"):
        RunFolder.create(tmp_path / "run")
    atomic_write(folder.path / "recipe.yaml", "name: x")
    with pytest.raises(FolderInUse):
        RunFolder.reopen(tmp_path / "run")
    folder.close()
    RunFolder.reopen(tmp_path / "run").close()


def test_reopen_sweeps_what_was_half_written(tmp_path):
    folder = RunFolder.create(tmp_path / "run")
    atomic_write(folder.path / "recipe.yaml", "name: x")
    stage = folder.stage(0, "walk")
    (stage / ".asset3d-tmp-step-00000001" / "deep").mkdir(parents=True)
    (stage / ".asset3d-tmp-preview.png").touch()
    folder.close()
    RunFolder.reopen(folder.path).close()
    assert list(stage.iterdir()) == []


def test_no_run_folder(tmp_path):
    with pytest.raises(InputError, match="no run was started here"):
        RunFolder.reopen(tmp_path)


def test_tree_hash_sees_names_and_contents(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "x").write_text("1")
    before = tree_hash(tmp_path)
    assert tree_hash(tmp_path) == before
    (tmp_path / "a" / "x").rename(tmp_path / "a" / "y")
    renamed = tree_hash(tmp_path)
    (tmp_path / "a" / "y").write_text("2")
    assert len({before, renamed, tree_hash(tmp_path)}) == 3
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "z").touch()
    assert tree_hash(tmp_path, skip=tmp_path / "out") != tree_hash(tmp_path)


def test_tree_hash_follows_links_and_ends(tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "x").write_text("1")
    (tmp_path / "photos" / "images").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "back").symlink_to(tmp_path / "photos")
    before = tree_hash(tmp_path / "photos")
    (tmp_path / "elsewhere" / "x").write_text("2")
    assert tree_hash(tmp_path / "photos") != before
    (tmp_path / "elsewhere" / "x").write_text("1")
    assert tree_hash(tmp_path / "photos") == before
    run = tmp_path / "elsewhere" / "run"
    run.mkdir()
    assert tree_hash(tmp_path / "photos", skip=run) == before, "a run folder does not count, however it is reached"
