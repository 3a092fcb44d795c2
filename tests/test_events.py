"""The event log of a run."""
import errno
import io
import logging
from types import SimpleNamespace

from asset3d import _progress
from asset3d.events import EventLog, read


def test_a_full_disk_is_told_once_and_listeners_still_hear(tmp_path, caplog):
    heard = []
    log = EventLog(tmp_path / "events.jsonl", [heard.append])
    log.emit("step", step=1)
    log.close()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    log._file = SimpleNamespace(write=full, close=full)
    with caplog.at_level(logging.WARNING, logger="asset3d.events"):
        log.emit("step", step=2)
        log.emit("step", step=3)
        log.close()
    assert [event["step"] for event in heard] == [1, 2, 3]
    assert [event["step"] for event in read(tmp_path / "events.jsonl")] == [1]
    assert len(caplog.records) == 1 and "events.jsonl misses events from here on" in caplog.text


def test_progress_shows_what_the_run_itself_says():
    stream = io.StringIO()
    lines = _progress.Lines(stream)
    lines({"kind": "message", "text": "model toy"})
    lines({"kind": "message", "text": "cut out", "stage": "prepare"})
    lines({"kind": "warning", "text": "blurred", "stage": "prepare"})
    assert stream.getvalue() == "model toy\nprepare: cut out\nwarning: prepare: blurred\n"
