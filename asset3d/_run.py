"""A run: the stages of a recipe one after another, step by step, with checkpoints.

What decides the result depends on steps and counts alone; the clock decides only when a checkpoint is written and when
the log says that work goes on.
"""
import hashlib
import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import torch

from asset3d import recipe as recipes
from asset3d import registry
from asset3d._machine import choose_device, default_threads, require_device, settings, what_decides_bytes
from asset3d._manifest import input_hashes, manifest, told_of_models
from asset3d.errors import Cancelled, CheckpointError, InputError
from asset3d.events import EventLog, Listener, plain
from asset3d.recipe import Recipe
from asset3d.stage.base import Context, Stage
from asset3d.workspace import Checkpoint, Checkpoints, RunFolder, atomic_write, check_empty

CHECKPOINT_SECONDS = 60.0
WORKING_SECONDS = 5.0
"""After so long without an event, the log says that work goes on."""


@dataclass(frozen=True)
class State:
    """Where a run is: `step` steps of `n_steps` of a stage are done."""

    stage: str
    index: int
    n_stages: int
    step: int
    n_steps: int
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """What a finished run gives."""

    folder: Path
    """The result folder: the asset, metrics.json, manifest.json, ..."""
    artifacts: Mapping[str, Any]
    metrics: Mapping[str, Mapping[str, float]]
    """Numbers that stages measured, by stage."""
    files: tuple[Path, ...] = ()
    """Files of the asset that stages wrote, in order; the first is the one to open."""

    def __getattr__(self, name: str) -> Any:
        """`result.mesh` is `result.artifacts["mesh"]`."""
        artifacts = self.__dict__.get("artifacts", {})
        if name in artifacts:
            return artifacts[name]
        raise AttributeError(f"this run has no artifact '{name}'; it has {', '.join(sorted(artifacts))}")


class Run:
    """A recipe on its way to a result.

    Iterate it for states, one per step, and stop where you like: leaving it unfinished (`close`, the end of a `with`)
    writes a checkpoint, and `Run.resume(folder)` continues. `result` runs what is left.

        run = asset3d.Run("recipe.yaml", image="chair.png")
        for state in run:
            show(state.step / state.n_steps)
        run.result.mesh
    """

    def __init__(self, recipe: str | Path | Mapping | Recipe, output: str | Path | None = None, *,
                 listeners: Iterable[Listener] = (), tap: Callable[[str, int, Any], Any] | None = None, **arguments):
        """Check everything; write nothing yet.

        Args:
            recipe: A file, the name of a recipe that comes with asset3d, a mapping, or a loaded recipe.
            output: A new or empty folder; by default outputs/<name>/<time>.
            listeners: Called with every event.
            tap: For tests, see `Context.tap`.
            arguments: Overrides: `image="chair.png"`, `seed=1`, `**{"optimize.steps": 100}`.

        Raises:
            RecipeError: the recipe or an argument is wrong. InputError: the output folder is not empty, the device is
                missing, or a stage cannot do what its config asks for.
        """
        if isinstance(recipe, Recipe) and arguments:
            raise InputError("Run: a loaded recipe takes no arguments; give them to asset3d.load_recipe")
        loaded = recipe if isinstance(recipe, Recipe) else recipes.load(recipe, arguments)
        self.recipe = resolve(loaded)
        self.path = Path(output).absolute() if output is not None else _default_output(self.recipe.name)
        check_empty(self.path)
        self._prepare(listeners, tap, resumed=False)

    @classmethod
    def resume(cls, folder: str | Path, *, listeners: Iterable[Listener] = (),
               tap: Callable[[str, int, Any], Any] | None = None) -> "Run":
        """The run of a folder, to be continued from its last checkpoint, or from the start where there is none yet."""
        run = cls.__new__(cls)
        run.path = Path(folder).absolute()
        if not (run.path / "recipe.yaml").is_file():
            raise InputError(f"--resume {folder}: no run was started here (there is no recipe.yaml)")
        run.recipe = recipes.load(run.path / "recipe.yaml")
        require_device(run.recipe.device)
        run._prepare(listeners, tap, resumed=True)
        return run

    def _prepare(self, listeners, tap, resumed: bool) -> None:
        for config in self.recipe.stage:
            registry.component("stage", config.type).check(config)
        self._listeners = list(listeners)
        self._tap = tap or (lambda name, step, value: value)
        self._resumed = resumed
        self._cancelled: int | None = None
        self._result: Result | None = None
        self._notes: dict[str, dict[str, dict]] = {}
        self._inputs: dict[str, dict] = {}
        self._n_saved = 0
        self._began = self._told = time.monotonic()
        self._states = self._run()

    # ------------------------------------------------------------------------------------------------ for the host

    def __iter__(self) -> Iterator[State]:
        return self

    def __next__(self) -> State:
        return next(self._states)

    def __enter__(self) -> "Run":
        return self

    def __exit__(self, *exception) -> None:
        self.close()

    @property
    def result(self) -> Result:
        """The result; runs what is left to run.

        Raises:
            Cancelled: the run was closed before its end.
        """
        for _ in self._states:
            pass
        if self._result is None:
            raise Cancelled(f"the run was stopped before its end; continue with Run.resume({str(self.path)!r})")
        return self._result

    def cancel(self, exit_code: int = 130) -> None:
        """Ask the run to stop: before the next step it writes a checkpoint and raises `Cancelled`. Safe to call from a
        signal handler or another thread."""
        self._cancelled = exit_code

    @property
    def is_cancelled(self) -> bool:
        return self._cancelled is not None

    def close(self) -> None:
        """Stop here; an unfinished stage leaves a checkpoint."""
        self._states.close()

    # ------------------------------------------------------------------------------------------------------ the loop

    def _run(self) -> Iterator[State]:
        self._folder = RunFolder.reopen(self.path) if self._resumed else RunFolder.create(self.path)
        try:
            self._begin()
            artifacts: dict[str, Any] = {}
            for index in range(len(self.recipe.stage)):
                yield from self._stage(index, artifacts)
            self._finish(artifacts)
        except BaseException as error:
            self._end_badly(error)
            raise
        finally:
            self._log_close()
            self._folder.close()

    def _begin(self) -> None:
        text = recipes.dump(self.recipe)
        self._identity = hashlib.sha256(text.encode()).hexdigest()
        if not self._resumed:
            atomic_write(self.path / "recipe.yaml", text)
        self._folder.result.mkdir(exist_ok=True)
        self._log = EventLog(self.path / "events.jsonl", self._listeners)
        self._log.emit("resumed" if self._resumed else "run_started", name=self.recipe.name, folder=self.path,
                       stages=[config.name for config in self.recipe.stage])
        self._began = self._told = time.monotonic()
        self._inputs = self._check_inputs()
        for text in [] if self._resumed else told_of_models(self._inputs):
            self._log.emit("message", text=text)
        self._warn_of_another_machine()

    def _warn_of_another_machine(self) -> None:
        """A run may go on under other versions or on another machine; that its bytes may then differ is told."""
        here, note = what_decides_bytes(self.recipe.device), self.path / "machine.json"
        if not self._resumed:
            _write_json(note, here)
        elif note.is_file():
            before = json.loads(note.read_text())
            changed = [f"{name} was {before.get(name)} and is {value}" for name, value in here.items()
                       if before.get(name) != value]
            if changed:
                self._log.emit("warning", text=f"since the run began {', '.join(changed)}: its result may differ in "
                                               "bytes from that of an uninterrupted run")

    def _check_inputs(self) -> dict[str, dict]:
        """Hashes of all inputs; continuing with others than the run began with would end in neither's result."""
        inputs, note = input_hashes(self.recipe, self.path, self._between), self.path / "inputs.json"
        if self._resumed and note.is_file():
            before = json.loads(note.read_text())
            changed = [name for name, entry in inputs.items() if before.get(name) != entry]
            if changed:
                raise InputError(f"--resume {self.path}: {', '.join(changed)} changed since the run began; restore "
                                 "what it read, or start anew in an empty folder")
        else:
            _write_json(note, inputs)
        return inputs

    def _stage(self, index: int, artifacts: dict[str, Any]) -> Iterator[State]:
        config = self.recipe.stage[index]
        cls: type[Stage] = registry.component("stage", config.type)
        self._raise_if_cancelled()
        context = self._context(index, config.name)
        self._began = time.monotonic()
        self._emit(config.name, "stage_started", index=index)
        stage = cls(config, context)
        needed = [*cls.reads_of(config), *cls.reads_if_there]
        given = {a: artifacts[config.from_.get(a, a)] for a in needed if config.from_.get(a, a) in artifacts}
        with self._settings():
            n_steps = stage.start(**given)
        store = Checkpoints(context.folder / "checkpoints", self._identity_of(config.name))
        first = self._restore(stage, store, config.name, n_steps)
        self._emit(config.name, "stage_ready", step=first, n_steps=n_steps)
        yield from self._steps(stage, store, index, first, n_steps)
        with self._settings():
            written = dict(stage.finish())
        missing = [name for name in cls.writes_of(config) if name not in written]
        if missing:
            raise TypeError(f"stage '{config.name}': {cls.__name__}.finish gave no {', '.join(missing)}")
        artifacts |= {config.as_.get(name, name): value for name, value in written.items()}
        self._emit(config.name, "stage_finished", index=index, seconds=round(time.monotonic() - self._began, 3))

    def _steps(self, stage: Stage, store: Checkpoints, index: int, first: int, n_steps: int) -> Iterator[State]:
        name, every = stage.context.name, self.recipe.checkpoint_every
        saved, saved_at, done = first, time.monotonic(), first
        try:
            for step in range(first, n_steps):
                self._raise_if_cancelled()
                with self._settings():
                    metrics = {key: float(value) for key, value in stage.step(step).items()}
                done = step + 1
                self._emit(name, "step", step=step, n_steps=n_steps, metrics=metrics)
                due = done % every == 0 if every else time.monotonic() - saved_at >= CHECKPOINT_SECONDS
                if due or done == n_steps:
                    self._save(stage, store, done, n_steps)
                    saved, saved_at = done, time.monotonic()
                yield State(name, index, len(self.recipe.stage), done, n_steps, metrics)
        except (Cancelled, GeneratorExit):
            if done > saved:
                self._save(stage, store, done, n_steps)
            raise

    def _save(self, stage: Stage, store: Checkpoints, step: int, n_steps: int) -> None:
        name = stage.context.name
        with self._settings():
            tensors = stage.state()
        store.save(Checkpoint(step, n_steps, tensors, self._notes.get(name, {})))
        self._n_saved += 1
        self._emit(name, "checkpoint", step=step)

    def _restore(self, stage: Stage, store: Checkpoints, name: str, n_steps: int) -> int:
        """Load the newest sound checkpoint into a started stage; returns the number of steps that are done."""
        if not self._resumed:
            return 0
        checkpoint, damaged = store.latest()
        where = f"its checkpoint at step {checkpoint.step}" if checkpoint else "the start of the stage"
        for line in damaged:
            self._emit(name, "warning", text=f"{line}; continuing from {where}")
        if checkpoint is None:
            return 0
        if checkpoint.n_steps != n_steps:
            raise CheckpointError(f"stage '{name}' has {n_steps} steps, its checkpoint was made with "
                                  f"{checkpoint.n_steps}: an input has changed; start the run anew")
        self._notes[name] = checkpoint.notes
        with self._settings():
            stage.load_state(checkpoint.tensors)
        return checkpoint.step

    # ------------------------------------------------------------------------------------------------- beginning, end

    def _finish(self, artifacts: dict[str, Any]) -> None:
        metrics = {stage: notes["metric"] for stage, notes in self._notes.items() if "metric" in notes}
        _write_json(self._folder.result / "metrics.json", metrics)
        told = {stage: notes["manifest"] for stage, notes in self._notes.items() if "manifest" in notes}
        made = manifest(self.recipe, self._inputs, told, self._folder.result)
        _write_json(self._folder.result / "manifest.json", made)
        files = [file for config in self.recipe.stage for file in self._notes.get(config.name, {}).get("file", {})]
        self._result = Result(self._folder.result, artifacts, metrics, tuple(self.path / file for file in files))
        self._log.emit("run_finished", result=self._folder.result, files=files)
        self._report()

    def _report(self) -> None:
        """The asset is finished: a page that cannot be drawn is told, and takes nothing away."""
        from asset3d.report import write_report

        try:
            write_report(self.path)
        except Exception as error:
            self._log.emit("warning", text=f"the report could not be written ({error}); the result is complete")

    def _end_badly(self, error: BaseException) -> None:
        if isinstance(error, InputError) and not self._resumed and self._n_saved == 0:
            self._log_close()
            self._folder.discard()  # refused before anything was done: leave no trace
        elif not hasattr(self, "_log"):
            return
        elif isinstance(error, (Cancelled, GeneratorExit, KeyboardInterrupt)):
            self._log.emit("cancelled", text=str(error) or "stopped")
        else:
            self._log.emit("failed", error=type(error).__name__, text=str(error))

    def _log_close(self) -> None:
        if hasattr(self, "_log"):
            self._log.close()

    # ----------------------------------------------------------------------------------------------------------- lent

    def _context(self, index: int, name: str) -> Context:
        folder = self._folder.stage(index, name)
        places = {"preview": folder, "file": self._folder.result}

        def emit(kind: str, **data: Any) -> None:
            if kind in places:
                data["path"] = Path(os.path.relpath(places[kind] / data["path"], self.path)).as_posix()
            self._emit(name, kind, **data)

        return Context(name=name, seed=self.recipe.seed, device=torch.device(self.recipe.device),
                       folder=folder, result=self._folder.result, emit=emit,
                       raise_if_cancelled=lambda: self._between(name), tap=self._tap,
                       deterministic=self.recipe.deterministic)

    def _emit(self, stage: str, kind: str, **data: Any) -> None:
        if kind == "file":
            self._notes.setdefault(stage, {}).setdefault(kind, {})[data["path"]] = True
        elif kind in ("metric", "manifest"):
            self._notes.setdefault(stage, {}).setdefault(kind, {}).update(plain(data))
        self._log.emit(kind, stage=stage, **data)
        self._told = time.monotonic()

    def _between(self, stage: str | None = None) -> None:
        """What loops call that take long: a stop is obeyed, and whoever watches sees that work goes on."""
        self._raise_if_cancelled()
        now = time.monotonic()
        if now - self._told >= WORKING_SECONDS:
            self._told = now
            self._log.emit("working", **({"stage": stage} if stage else {}), seconds=round(now - self._began, 3))

    def _raise_if_cancelled(self) -> None:
        if self._cancelled is not None:
            raise Cancelled(f"stopped; continue with: python -m asset3d.run --resume {self.path}", self._cancelled)

    def _identity_of(self, stage: str) -> dict[str, str]:
        return {"recipe": self._identity, "stage": stage}

    def _settings(self) -> AbstractContextManager[None]:
        return settings(self.recipe.threads, self.recipe.deterministic)


def resolve(recipe: Recipe) -> Recipe:
    """Replace what depends on the machine (device auto, number of threads) by what is here.

    Raises:
        InputError: the device is not here, or has no kernels.
    """
    device = choose_device(recipe.device)
    require_device(device)
    return recipe.model_copy(update={"device": device, "threads": recipe.threads or default_threads()})


def _default_output(name: str) -> Path:
    base = Path("outputs", name, datetime.now().strftime("%Y-%m-%d_%H-%M-%S")).absolute()
    candidates = [base, *(base.with_name(f"{base.name}-{number}") for number in range(2, 100))]
    return next(path for path in candidates if not path.exists())


def _write_json(path: Path, data: Any) -> None:
    atomic_write(path, json.dumps(data, indent=1, sort_keys=True, allow_nan=False) + "\n")
