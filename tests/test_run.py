"""Runs: a clean stop, an honest end, and what they tell."""
import io
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import fake_stages
import pytest
import torch
from fake_stages import result_hash, walk

import asset3d
from asset3d import Cancelled, Diverged, InputError, Run, _machine, _run, events, registry
from asset3d.errors import CheckpointError, FolderInUse
from asset3d.run import MEMORY_ADVICE, main


# ------------------------------------------------------------------------------------------------------- stopping


@pytest.mark.parametrize("how, status", [("interrupt", 130), ("terminate", 143)])
def test_signals_stop_after_the_step(folder, capfd, how, status):
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    assert main(["r.yaml", "views=v.txt", "output=o", "second.fail_at=7", f"second.failure={how}"]) == status
    assert f"stopped; continue with: python -m asset3d.run --resume {folder / 'o'}" in capfd.readouterr().err
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == before
    assert [p.name for p in Path("o/stages/03-second/checkpoints").iterdir()] == ["step-00000008"]
    log = events.read("o/events.jsonl")
    assert [e["kind"] for e in log[-2:]] == ["checkpoint", "cancelled"]
    assert main(["--resume", "o"]) == 0
    assert [e["step"] for e in events.read("o/events.jsonl") if e.get("stage") == "second" and e["kind"] == "step"] == [
        *range(20)]


def test_second_interrupt_stops_at_once(folder, capfd):
    assert main(["r.yaml", "views=v.txt", "output=o", "checkpoint_every=3", "second.fail_at=7",
                 "second.failure=twice"]) == 130
    assert "interrupted" in capfd.readouterr().err
    kept = sorted(path.name for path in Path("o/stages/03-second/checkpoints").iterdir())
    assert kept == ["step-00000003", "step-00000006"]
    run = Run.resume("o")
    assert next(run).step == 7, "the step that was broken off is done again"
    run.close()


def test_interrupt_from_outside(folder):
    """A process of its own, stopped by Ctrl-C while it runs; its lock is gone and it can be continued."""
    command = [sys.executable, str(fake_stages.FOLDER / "fake_stages.py"), "r.yaml", "views=v.txt", "output=o",
               "first.pause=0.02", "steps=5000"]
    environment = os.environ | {"PYTHONPATH": str(fake_stages.FOLDER.parent)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    wait_for(lambda: Path("o/events.jsonl").exists() and '"step"' in Path("o/events.jsonl").read_text(), process)
    with pytest.raises(FolderInUse):
        Run.resume("o").result
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in err
    run = Run.resume("o")
    state = next(run)
    assert state.stage == "first" and state.step > 1
    run.close()


def test_closed_pipe_stops_the_run(folder):
    """Who asked for --events went away: a checkpoint is written and the run ends as if it were terminated."""
    command = [sys.executable, str(fake_stages.FOLDER / "fake_stages.py"), "--events", "r.yaml", "views=v.txt",
               "output=o", "first.pause=0.01", "steps=5000"]
    environment = os.environ | {"PYTHONPATH": str(fake_stages.FOLDER.parent)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    assert json.loads(process.stdout.readline())["kind"] == "run_started"
    while json.loads(process.stdout.readline())["kind"] != "step":
        pass
    process.stdout.close()
    process.wait(timeout=60)
    err = process.stderr.read()
    process.stderr.close()
    assert process.returncode == 143 and "Traceback" not in err and "BrokenPipe" not in err
    assert list(Path("o/stages/02-first/checkpoints").iterdir())


def wait_for(condition, process) -> None:
    for _ in range(3000):
        if condition():
            return
        if process.poll() is not None:
            raise AssertionError(process.communicate())
        time.sleep(0.02)
    raise AssertionError("waited for a minute")


def test_cancel_from_the_host(folder, expected):
    run = walk("o")
    with pytest.raises(Cancelled) as caught:
        for state in run:
            if state.step == 5:
                run.cancel()
    assert caught.value.exit_code == 130
    with pytest.raises(Cancelled, match="stopped before its end"):
        run.result
    Run.resume("o").result
    assert result_hash("o") == expected


def test_cancel_inside_a_long_start(folder):
    run = walk("o")
    run.cancel(143)
    with pytest.raises(Cancelled):
        next(run)


# ------------------------------------------------------------------------------------------------------- bad ends


def test_failures(folder, capfd):
    base = ["r.yaml", "views=v.txt", "second.fail_at=3"]
    assert main([*base, "output=a", "second.failure=diverged"]) == 1
    err = capfd.readouterr().err
    assert "stage 'second': loss was nan at step 3; lower the stride" in err and "Traceback" not in err
    assert events.read("a/events.jsonl")[-1]["error"] == "Diverged"
    assert main([*base, "output=b", "second.failure=bug"]) == 1
    err = capfd.readouterr().err
    assert "Traceback" in err and "please report it; continue with: python -m asset3d.run --resume" in err


def test_too_little_memory(folder, capfd):
    assert main(["r.yaml", "views=v.txt", "output=o", "second.fail_at=3", "second.failure=memory"]) == 1
    err = capfd.readouterr().err
    assert "cannot allocate 99 GB\nThere is not enough memory: give smaller values for" in err
    assert "Traceback" not in err


def test_advice_about_memory_names_fields_that_exist():
    stages = [registry.component("stage", name) for name in ("load_views", "optimize", "texture")]
    fields = {name for stage in stages for name in stage.Config.model_fields}
    assert set(re.findall("`([a-z_]+)`", MEMORY_ADVICE)) <= fields


def test_diverged_tells_term_and_step(folder):
    with pytest.raises(Diverged) as caught:
        walk("o", **{"second.fail_at": 3}).result
    assert (caught.value.term, caught.value.step) == ("loss", 3)


def test_refused_input_leaves_nothing(folder, capfd):
    Path("bad.txt").write_text("BAD")
    Path("empty").mkdir()
    before = sorted(folder.rglob("*"))
    assert main(["r.yaml", "views=bad.txt", "output=new/o"]) == 2
    assert main(["r.yaml", "views=bad.txt", "output=empty"]) == 2
    assert "bad.txt: is bad; give a good one" in capfd.readouterr().err
    assert sorted(folder.rglob("*")) == sorted([*before, folder / "new"])


def test_late_refusal_keeps_what_was_done(folder):
    with pytest.raises(InputError):
        walk("o", **{"second.fail_at": 3, "second.failure": "input"}).result
    assert Path("o/stages/02-first/checkpoints").exists()


def test_changed_input_is_noticed(folder):
    run = walk("o")
    next(run)
    run.close()
    Path("v.txt").write_text("other")
    with pytest.raises(InputError, match="fake_read.views changed since the run began"):
        Run.resume("o").result


def test_another_version_is_told_and_goes_on(folder, expected, monkeypatch):
    run = walk("o")
    next(run)
    run.close()
    monkeypatch.setattr(_machine, "__version__", "9.9")
    warnings = []
    Run.resume("o", listeners=[lambda e: e["kind"] == "warning" and warnings.append(e["text"])]).result
    assert warnings == [f"since the run began asset3d was {asset3d.__version__} and is 9.9: its result may differ in "
                        "bytes from that of an uninterrupted run"]
    assert result_hash("o") == expected


def test_edited_recipe_is_noticed(folder):
    run = walk("o")
    next(run)
    run.close()
    file = Path("o/recipe.yaml")
    file.write_text(file.read_text().replace("seed: 0", "seed: 1"))
    with pytest.raises(CheckpointError, match="belongs to another recipe"):
        Run.resume("o").result


def test_nan_can_be_put_anywhere(folder):
    """What tests of roll-back use: a value on its way through the stage is replaced."""
    poison = lambda name, step, value: value * float("nan") if (name, step) == ("loss", 4) else value
    states = list(Run("r.yaml", "o", tap=poison, views="v.txt"))
    assert [s.step for s in states if s.metrics.get("loss") != s.metrics.get("loss")] == [5, 5]
    steps = [event for event in events.read("o/events.jsonl") if event["kind"] == "step"]
    assert [event["metrics"]["loss"] for event in steps if event["step"] == 4] == ["nan", "nan"]


def test_resume_refuses_other_arguments(folder, capfd):
    assert main(["--resume", "o"]) == 2
    assert "no run was started here" in capfd.readouterr().err
    walk("o").result
    assert main(["--resume", "o", "seed=3"]) == 2
    assert "a run continues as it began" in capfd.readouterr().err


# --------------------------------------------------------------------------------------------- telling and asking


def test_events_on_stdout(folder, capfd):
    assert main(["--events", "r.yaml", "views=v.txt", "output=o"]) == 0
    out, err = capfd.readouterr()
    lines = [json.loads(line) for line in out.splitlines()]
    assert lines == [json.loads(line) for line in Path("o/events.jsonl").read_text().splitlines()]
    assert lines[0]["kind"] == "run_started" and lines[-1] | {"time": 0} == {
        "time": 0, "kind": "run_finished", "result": str(folder / "o" / "result"), "files": ["result/walk.bin"]}
    assert "[2/4] first: 20 steps" in err


def test_a_host_finds_the_pictures(folder, monkeypatch):
    def finish(self):
        (self.context.folder / "look.png").write_bytes(b"picture")
        self.context.emit("preview", path="look.png", name="front", step=3)
        return {"representation": self.position}

    monkeypatch.setattr(fake_stages.Walk, "finish", finish)
    heard = []
    walk("o", listeners=[heard.append]).result
    previews = [event for event in heard if event["kind"] == "preview"]
    assert [event["path"] for event in previews] == ["stages/02-first/look.png", "stages/03-second/look.png"]
    assert Path("o", previews[0]["path"]).read_bytes() == b"picture"
    assert (previews[0]["name"], previews[0]["step"]) == ("front", 3)


def test_curves_have_every_step_once(folder):
    run = walk("o", checkpoint_every=4)
    for state in run:
        if state.step == 10:
            break
    del run  # like a kill, but for the checkpoint
    with open("o/events.jsonl", "a") as file:
        file.write('{"kind": "step", "stage": "fir')
    Run.resume("o").result
    curves = events.metrics_over_steps("o/events.jsonl")
    assert [step for step, _ in curves["first"]["loss"]] == [*range(20)]
    assert curves == events.metrics_over_steps("o/events.jsonl")
    walk("p").result
    assert events.metrics_over_steps("p/events.jsonl") == curves


def test_progress_on_a_terminal(monkeypatch):
    """A bar per stage with numbers and the time that is left; everything else above it."""
    from asset3d._progress import listener

    class Terminal(io.StringIO):
        isatty = lambda self: True

    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    stream = Terminal()
    bar = listener(stream)
    step = {"kind": "step", "stage": "walk", "n_steps": 4, "metrics": {"loss": 0.25, "note": "nan"}}
    bar({"kind": "run_started", "name": "x", "folder": "/o", "stages": ["walk"]})
    bar({"kind": "stage_started", "stage": "walk", "index": 0})
    bar({"kind": "working", "stage": "walk", "seconds": 5.0})
    assert "[1/1] walk" in stream.getvalue() and "starts" in stream.getvalue(), "seen before the first step"
    bar({"kind": "stage_ready", "stage": "walk", "step": 1, "n_steps": 4})
    bar({"kind": "warning", "text": "[bold] is no markup"})
    for number in range(1, 4):
        bar(step | {"step": number})
    bar({"kind": "stage_finished", "stage": "walk", "index": 0, "seconds": 61.4})
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", stream.getvalue())
    for part in ("x -> /o", "[1/1] walk", "4/4", "loss 0.25  note nan", "warning: [bold] is no markup", "done in 1:01"):
        assert part in text
    bar.close()


def test_progress_in_a_file(monkeypatch):
    from asset3d import _progress

    stream, now = io.StringIO(), iter(range(0, 10_000, 4))
    monkeypatch.setattr(_progress.time, "monotonic", lambda: next(now))
    show = _progress.listener(stream)
    show({"kind": "run_started", "name": "x", "folder": "/o", "stages": ["walk"]})
    show({"kind": "stage_started", "stage": "walk", "index": 0})
    for seconds in (5.0, 10.0, 65.0):
        show({"kind": "working", "stage": "walk", "seconds": seconds})
    show({"kind": "stage_ready", "stage": "walk", "step": 0, "n_steps": 400})
    for number in range(6):
        show({"kind": "step", "stage": "walk", "step": number, "n_steps": 400, "metrics": {"loss": 0.5}})
    lines = stream.getvalue().splitlines()
    assert lines[:4] == ["x -> /o", "[1/1] walk", "[1/1] walk: working, 1:05 so far", "[1/1] walk: 400 steps"]
    assert len(lines) == 6 and lines[4].startswith("[1/1] walk: 3/400  loss 0.5  ") and lines[4].endswith(" left")


def test_a_long_start_is_seen(folder, monkeypatch):
    """The stage is told before it starts, and loops inside `start` and over inputs show that work goes on."""
    def start(self) -> int:
        for _ in range(2):
            self.context.raise_if_cancelled()
        self.views = torch.ones(3)
        return 0

    monkeypatch.setattr(fake_stages.Read, "start", start)
    monkeypatch.setattr(_run, "WORKING_SECONDS", 0.0)
    heard = []
    walk("o", listeners=[heard.append]).result
    kinds = [(event["kind"], event.get("stage")) for event in heard]
    read = "fake_read"
    assert kinds[:6] == [("run_started", None), ("working", None), ("stage_started", read), ("working", read),
                         ("working", read), ("stage_ready", read)]
    assert heard[2]["index"] == 0 and heard[5]["n_steps"] == 0 and heard[3]["seconds"] >= 0


def test_the_file_to_open_is_the_one_that_was_written(folder, capfd):
    assert main(["r.yaml", "views=v.txt", "output=o", "fake_write.file=chair.bin"]) == 0
    file = folder / "o/result/chair.bin"
    assert capfd.readouterr().out == f"{file}\n"
    assert main(["--resume", "o"]) == 0, "the stage is done and tells nothing again: its checkpoint knows"
    assert capfd.readouterr().out == f"{file}\n"
    assert Run.resume("o").result.files == (file,)


def test_default_output(folder):
    run = Run("r.yaml", views="v.txt")
    assert run.path.parent == folder / "outputs" / "walk" and not run.path.exists()
    run.result
    assert (run.path / "recipe.yaml").exists()


def test_result_by_name(folder):
    result = asset3d.Run("r.yaml", "o", views="v.txt").result
    assert result.asset == folder / "o" / "result" / "walk.bin" and result.asset.stat().st_size == 64 * 8
    with pytest.raises(AttributeError, match="has no artifact 'mesh'; it has asset, far, representation, views"):
        result.mesh
