"""What a run left behind in its folder, as plain data for the page."""
import json
import math
import re
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from asset3d import events
from asset3d.errors import InputError

TURNTABLE = "turntable_*.png"
"""Frames of the turning object, in a stage's folder."""
PHOTO, RENDER = "_photo.png", "_render.png"
"""Ends of the names of two pictures that belong beside each other, in a stage's folder."""


@dataclass(frozen=True)
class Pair:
    """A photo and what the result looks like from its camera."""

    name: str
    photo: Path
    render: Path
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass
class StageRecord:
    """One stage as the events tell it."""

    name: str
    status: str = "waiting"
    seconds: float = 0.0
    """Working time over all sessions of the run, without the gaps before a resume and without steps done again."""
    steps: int = 0
    series: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    """Named numbers as (step, value); of a step that was done twice, the last one."""
    previews: list[Path] = field(default_factory=list)
    judges: bool = False
    """Whether its numbers are about views, shown beside them, and not about steps."""


@dataclass
class RunRecord:
    """Everything that the page shows."""

    name: str
    recipe_name: str
    status: str = "unfinished"
    started: str = ""
    seconds: float = 0.0
    version: str = ""
    stages: list[StageRecord] = field(default_factory=list)
    metrics: dict[str, float] = field(default_factory=dict)
    held_out: bool = False
    """Whether the metrics are over views that were not fitted."""
    pairs: list[Pair] = field(default_factory=list)
    messages: list[tuple[str, str]] = field(default_factory=list)
    """(where, text), in the order in which they came."""
    manifest: dict = field(default_factory=dict)
    recipe: str = ""
    asset: Path | None = None
    film: Path | None = None
    turntable: list[Path] = field(default_factory=list)


def read_json(path: Path) -> dict:
    """The object in a file, or an empty one where there is no such file.

    Raises:
        InputError: The file is no JSON object.
    """
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise InputError(f"{path}: not valid JSON ({error}); finish the run with --resume") from None
    if not isinstance(value, dict):
        raise InputError(f"{path}: holds no JSON object; finish the run with --resume")
    return value


def finite(value: object) -> bool:
    """Whether a value is a number that can be drawn."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def read_run(folder: Path) -> RunRecord:
    """Gather what a run has left in its folder; what is not there yet is left empty.

    Raises:
        InputError: The folder is none of a run, or one of its files is damaged.
    """
    folder = Path(folder)
    if not (folder / "recipe.yaml").is_file():
        raise InputError(f"{folder}: no run was started here (there is no recipe.yaml); "
                         "give the output folder of a run")
    result, recipe = folder / "result", (folder / "recipe.yaml").read_text("utf-8")
    log = events.read(folder / "events.jsonl") if (folder / "events.jsonl").is_file() else []
    curves = events.metrics_over_steps(folder / "events.jsonl") if log else {}
    name = re.search(r"(?m)^name:\s*[\"']?([^\s\"'#]+)", recipe)
    called, recipe_name = folder.resolve().name, name.group(1) if name else folder.name
    if re.fullmatch(r"[\d_-]+", called):  # a time, which is the name of a folder that nobody named
        called = recipe_name
    run = RunRecord(called, recipe_name, recipe=recipe, manifest=read_json(result / "manifest.json"))
    run.version = _version()
    _follow(run, log)
    for stage in run.stages:
        stage.series = {key: [(step, value) for step, value in series if finite(value)]
                        for key, series in curves.get(stage.name, {}).items()}
    _find_pictures(run, folder, log)
    _find_metrics(run, read_json(result / "metrics.json"))
    told = [folder / str(event.get("path")) for event in log if event.get("kind") == "file"]
    drawable = "gaussians" not in run.metrics  # the page's viewer draws triangles, no splats
    run.asset = next((path for path in told if drawable and path.suffix == ".glb" and path.is_file()), None)
    return run


def _version() -> str:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("asset3d")
    except PackageNotFoundError:  # run from a checkout that is not installed
        return ""


def _follow(run: RunRecord, log: list[dict]) -> None:
    """Status, times and messages. Time runs from event to event, but not over the gap before a resume."""
    stages: dict[str, StageRecord] = {}
    status = {"run_finished": "done", "failed": "failed", "cancelled": "stopped", "resumed": "unfinished"}
    before = None
    for event in sorted(log, key=lambda e: e.get("time", 0)):
        kind, now, name = event.get("kind"), event.get("time"), event.get("stage")
        if not finite(now):
            continue
        passed = now - before if before is not None and kind not in ("run_started", "resumed") else 0.0
        before, run.seconds = now, run.seconds + passed
        run.started = run.started or datetime.fromtimestamp(now).strftime("%-d %B %Y, %H:%M")
        run.status = status.get(kind, run.status)
        if isinstance(name, str):
            stage = stages.setdefault(name, StageRecord(name))
            stage.seconds += passed
            stage.status = {"stage_finished": "done", "stage_started": "running"}.get(kind, stage.status)
            stage.steps = max(stage.steps, event["step"] + 1) if kind == "step" else stage.steps
        if kind in ("warning", "message", "failed"):
            told = event.get("text") or event.get("message") or event.get("error") or ""
            run.messages += [(str(name or "run"), str(told))] if told else []
    run.stages = list(stages.values())
    for stage in run.stages:
        stage.status = run.status if stage.status in ("running", "waiting") else stage.status


def _told(pairs: list[Pair], stage: str, log: list[dict]) -> list[Pair]:
    """The pairs with their names and numbers, from the stage's preview events and from the steps that drew them."""
    told = {Path(str(e.get("path"))).name: e for e in log if e.get("kind") == "preview" and e.get("stage") == stage}
    numbers = {e.get("step"): e.get("metrics") for e in log if e.get("kind") == "step" and e.get("stage") == stage}
    out = []
    for pair in pairs:
        event = told.get(pair.render.name, {})
        values = numbers.get(event.get("step")) or {}
        out.append(Pair(str(event.get("name", pair.name)), pair.photo, pair.render,
                        {key: value for key, value in values.items() if finite(value)}))
    return out


def _find_pictures(run: RunRecord, folder: Path, log: list[dict]) -> None:
    """Pairs of photo and render, the turntable's frames, and all other pictures as previews."""
    stages = {stage.name: stage for stage in run.stages}
    for place in sorted((folder / "stages").glob("[0-9]*-*")):
        name = place.name.split("-", 1)[1]
        frames = sorted(place.glob(TURNTABLE))
        run.turntable = frames or run.turntable
        photos = [path for path in sorted(place.glob("*" + PHOTO))
                  if path.with_name(path.name.removesuffix(PHOTO) + RENDER).is_file()]
        pairs = [Pair(path.name.removesuffix(PHOTO), path, path.with_name(path.name.removesuffix(PHOTO) + RENDER))
                 for path in photos]
        run.pairs = _told(pairs, name, log) or run.pairs
        shown = {*frames, *(p.photo for p in pairs), *(p.render for p in pairs)}
        if name in stages:
            stages[name].previews = [path for path in sorted(place.glob("*.png")) if path not in shown]
            stages[name].judges = bool(pairs)


def _find_metrics(run: RunRecord, known: dict) -> None:
    """The numbers of the last stage that measured anything; the file has them by name, not in the order of stages."""
    order = [stage.name for stage in run.stages]
    for name in sorted(known, key=lambda name: order.index(name) if name in order else -1):
        if isinstance(known[name], dict):
            run.metrics = {key: value for key, value in known[name].items() if finite(value)}
    run.held_out = "test_views" in run.metrics
