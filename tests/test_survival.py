"""Survival: killed, stopped, damaged, short of disk, and always the same bytes."""
import errno
import json
import os
from pathlib import Path

import fake_stages
import pytest
import torch
from fake_stages import result_hash, walk

from asset3d import Run
from asset3d.errors import DiskFull


def test_twice_the_same_bytes(folder, expected):
    run = walk("again")
    states = list(run)
    assert result_hash("again") == expected
    assert [(s.stage, s.step, s.n_steps) for s in states] == [
        *(("first", i, 20) for i in range(1, 21)), *(("second", i, 20) for i in range(1, 21)), ("fake_write", 1, 1)]
    assert states[-1].index == 3 and states[-1].n_stages == 4
    walk("other", seed=1).result
    assert result_hash("other") != expected


def test_same_bytes_in_another_process(folder, expected):
    done = fake_stages.python(str(fake_stages.FOLDER / "fake_stages.py"), "r.yaml", "views=v.txt", "output=o",
                              cwd=folder)
    assert done.returncode == 0 and done.stdout == f"{folder / 'o/result/walk.bin'}\n"
    assert result_hash("o") == expected


@pytest.mark.parametrize("every", [1, 2, 7, 1000])
def test_checkpoints_do_not_change_the_result(folder, expected, every):
    walk("o", checkpoint_every=every).result
    assert result_hash("o") == expected


@pytest.mark.parametrize("every", [None, 4])
def test_stopping_anywhere_does_not_change_the_result(folder, expected, every):
    """Stopped by the host after every third step, and continued each time."""
    run, steps = walk("o", checkpoint_every=every), []
    while True:
        taken = [state for _, state in zip(range(3), run)]
        run.close()
        steps += [(state.stage, state.step) for state in taken]
        if len(taken) < 3:
            break
        run = Run.resume("o")
    assert result_hash("o") == expected
    assert len(steps) == len(set(steps)) == 41, "no step is done twice"


def test_finished_run_can_be_resumed(folder, expected):
    walk("o").result
    run = Run.resume("o")
    assert torch.equal(run.result.far, walk("p").result.far)
    assert result_hash("o") == expected


def test_deleted_checkpoints_are_made_again(folder, expected):
    """The result of a stage whose checkpoints are all damaged comes again from the start of that stage."""
    walk("o").result
    for file in Path("o/stages").rglob("state.safetensors"):
        os.truncate(file, 20)
    warnings = []
    Run.resume("o", listeners=[lambda e: e["kind"] == "warning" and warnings.append(e["text"])]).result
    assert result_hash("o") == expected
    assert len(warnings) == 3
    assert all("is damaged" in text and "continuing from the start of the stage" in text for text in warnings)


def test_damaged_checkpoint_falls_back_and_says_so(folder, expected):
    run = walk("o", checkpoint_every=5)
    for state in run:
        if (state.stage, state.step) == ("second", 12):
            break
    run.close()
    newest = sorted(Path("o/stages/03-second/checkpoints").iterdir())[-1]
    assert newest.name == "step-00000012"
    os.truncate(newest / "state.safetensors", 100)
    log = []
    Run.resume("o", listeners=[log.append]).result
    said = [event["text"] for event in log if event["kind"] == "warning"]
    assert said == [f"checkpoint {newest.absolute()} is damaged (state.safetensors is not the file that was saved); "
                    "continuing from its checkpoint at step 10"]
    assert result_hash("o") == expected


def test_notes_survive(folder):
    """Numbers told before an interruption are in metrics.json and manifest.json all the same."""
    run = walk("o")
    next(run)
    run.close()
    result = Run.resume("o").result
    assert result.metrics == {"fake_read": {"length": 5}}
    manifest = json.loads((result.folder / "manifest.json").read_text())
    assert manifest["stages"] == {"fake_write": {"size": 64}}
    assert manifest["inputs"]["fake_read.views"]["name"] == "v.txt"
    assert manifest["threads"] >= 2 and manifest["seed"] == 0 and manifest["versions"]["torch"] == torch.__version__
    assert manifest["files"].keys() == {"metrics.json", "walk.bin"}
    assert str(folder) not in (result.folder / "manifest.json").read_text()


def test_number_of_threads_is_kept(folder):
    run = walk("o", threads=3)
    next(run)
    run.close()
    resumed = Run.resume("o")
    assert resumed.recipe.threads == 3
    assert "threads: 3" in Path("o/recipe.yaml").read_text()


def test_global_switches_are_given_back(folder):
    threads, seen = torch.get_num_threads(), []

    def tap(name, step, value):
        seen.append((torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()))
        return value

    run = Run("r.yaml", "o", tap=tap, views="v.txt", threads=threads + 1)
    for _ in run:
        assert torch.get_num_threads() == threads and not torch.are_deterministic_algorithms_enabled()
    assert set(seen) == {(threads + 1, True)}


def kill_storm(folder: Path, kills: int, seed: int, longest: float, *recipe: str) -> dict[str, int]:
    """See kill_storm.py. Every result must be the undisturbed one, and nothing half-written may stay."""
    done = fake_stages.python(str(fake_stages.FOLDER / "kill_storm.py"), str(folder), str(kills), str(seed),
                              str(longest), *recipe, cwd=folder)
    log = folder / "log.txt"
    assert done.returncode == 0, done.stderr + (log.read_text()[-2000:] if log.exists() else "")
    count = json.loads(done.stdout)
    print(count)
    assert count["kills"] >= kills and count["different"] == 0 and count["left_behind"] == 0
    return count


@pytest.mark.parametrize("seed", [1, 2])
def test_kill_storm(folder, seed):
    count = kill_storm(folder, 25, seed, 0.25, "r.yaml", "views=v.txt", "steps=30", "checkpoint_every=3",
                       "first.size=20000", "first.pause=0.004", "second.size=20000")
    assert count["half_written"] >= 3, "some kills must fall into the writing of a file"
    assert count["resumed"] >= 15


@pytest.mark.long
def test_kill_storm_of_a_minute(folder):
    count = kill_storm(folder, 50, 3, 6.0, "r.yaml", "views=v.txt", "steps=300", "checkpoint_every=10",
                       "first.size=100000", "first.pause=0.1", "second.pause=0.1")
    assert count["half_written"] >= 5 and count["resumed"] >= 40


@pytest.mark.long
def test_kill_storm_of_a_whole_recipe(folder):
    count = kill_storm(folder, 5, 4, 60.0, "quickstart", "checkpoint_every=50")
    assert count["resumed"] >= 3


def test_file_size_limit(folder, expected):
    """A limit of the system on the size of a file, met inside the writing of a checkpoint."""
    code = ("import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000));"
            "import fake_stages; from asset3d.run import main; sys.exit(main())")
    done = fake_stages.python("-c", code, "r.yaml", "views=v.txt", "output=o", "second.size=10000", cwd=folder)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "step-00000020: no space left on the disk (160" in done.stderr and "continue with --resume" in done.stderr
    Run.resume("o").result
    walk("p", **{"second.size": 10000}).result
    assert result_hash("o") == result_hash("p")


def test_full_disk(folder, expected, monkeypatch):
    """The disk fills up in the middle of a run; with space again, the run continues to the same bytes."""
    run = walk("o", checkpoint_every=4)
    for state in run:
        if (state.stage, state.step) == ("second", 6):
            break

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFull, match="no space left"):
        run.result
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    Run.resume("o").result
    assert result_hash("o") == expected
