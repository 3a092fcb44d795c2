"""The log of a run: one JSON object per line, in events.jsonl of the run folder and, on request, on stdout.

Kinds: run_started, stage_started, stage_ready, working, step, checkpoint, message, warning, preview, file,
metric, stage_finished, run_finished, resumed, cancelled, failed. Each has `time` (seconds since 1970) and, inside a
stage, `stage`.
"""
import json
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

Listener = Callable[[dict], None]


class EventLog:
    """Appends events to a file and hands them to listeners."""

    def __init__(self, path: Path, listeners: Iterable[Listener] = ()):
        self.listeners = list(listeners)
        self._path, self._lost = path, False
        _drop_torn_line(path)
        self._file = open(path, "a", encoding="utf-8", buffering=1)

    def emit(self, kind: str, **data: Any) -> None:
        """Write one event; numbers that JSON cannot hold are written as text (`"nan"`)."""
        event = {"time": round(time.time(), 3), "kind": kind} | {key: plain(value) for key, value in data.items()}
        try:
            self._file.write(to_line(event))
        except OSError as error:
            self._say_lost(error)
        for listener in self.listeners:
            listener(event)

    def close(self) -> None:
        try:
            self._file.close()
        except OSError as error:  # what was still in the buffer
            self._say_lost(error)

    def _say_lost(self, error: OSError) -> None:
        """Once: a lost line must not stop a run, whose next checkpoint refuses a full disk itself."""
        if not self._lost:
            logging.getLogger(__name__).warning("%s misses events from here on: %s", self._path, error)
        self._lost = True


def to_line(event: dict) -> str:
    return json.dumps(event, allow_nan=False) + "\n"


def plain(value: Any) -> Any:
    """What JSON can hold: numbers, text, lists, mappings; a tensor of one element is its number."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    if isinstance(value, Path):
        return str(value)
    try:
        number = float(value)
    except (TypeError, ValueError, RuntimeError):
        return str(value)
    return number if math.isfinite(number) else str(number)


def _drop_torn_line(path: Path) -> None:
    """A killed process may have left half a line at the end."""
    if path.exists():
        content = path.read_bytes()
        if content and not content.endswith(b"\n"):
            with open(path, "r+b") as file:
                file.truncate(content.rfind(b"\n") + 1)


def read(path: str | Path) -> list[dict]:
    """The events of a run as if it had never been interrupted: of steps done twice, the later one counts."""
    events, position = [], {}
    for line in Path(path).read_text(encoding="utf-8").splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue  # a torn line
        if event.get("kind") == "step":
            key = (event.get("stage"), event.get("step"))
            if key in position:
                events[position[key]] = event
                continue
            position[key] = len(events)
        events.append(event)
    return events


def metrics_over_steps(path: str | Path) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """For each stage, each named number of its steps as (step, value), in order of steps: what curves show."""
    curves: dict[str, dict[str, list[tuple[int, float]]]] = {}
    for event in read(path):
        if event["kind"] == "step":
            for name, value in event.get("metrics", {}).items():
                if isinstance(value, (int, float)):
                    curves.setdefault(event["stage"], {}).setdefault(name, []).append((event["step"], value))
    return {stage: {name: sorted(points) for name, points in names.items()} for stage, names in curves.items()}
