"""Progress of a run on stderr: one bar on a terminal, a line now and then elsewhere."""
import sys
import time
from collections.abc import Callable
from typing import TextIO

from asset3d.events import to_line

LINE_SECONDS = 10.0


def listener(stream: TextIO = sys.stderr) -> Callable[[dict], None]:
    """What shows a run's events on a stream."""
    return Bar(stream) if stream.isatty() else Lines(stream)


def json_lines(stream: TextIO) -> Callable[[dict], None]:
    """`--events`: every event as one line of JSON, at once."""
    def write(event: dict) -> None:
        stream.write(to_line(event))
        stream.flush()
    return write


def duration(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds + 0.5), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def numbers(metrics: dict) -> str:
    """The first few metrics, short."""
    shown = [f"{name} {value:.4g}" if isinstance(value, (int, float)) else f"{name} {value}"
             for name, value in list(metrics.items())[:4]]
    return "  ".join(shown)


def _where(event: dict) -> str:
    """The stage that says something, or nothing where the run itself does."""
    return f"{event['stage']}: " if "stage" in event else ""


class Lines:
    """Plain lines: the start and end of a stage, its steps every ten seconds or that it works, and messages."""

    def __init__(self, stream: TextIO):
        self.stream = stream
        self.n_stages = 0
        self.where = ""
        self.first_step = 0
        self.began = self.shown = time.monotonic()

    def __call__(self, event: dict) -> None:
        handler = getattr(self, f"on_{event['kind']}", None)
        if handler is not None:
            handler(event)

    def say(self, text: str) -> None:
        print(text, file=self.stream, flush=True)

    def on_run_started(self, event: dict) -> None:
        self.n_stages = len(event["stages"])
        self.say(f"{event['name']} -> {event['folder']}")

    on_resumed = on_run_started

    def on_stage_started(self, event: dict) -> None:
        self.where = self.place(event)
        self.shown = time.monotonic()
        self.say(self.where)

    def place(self, event: dict) -> str:
        return f"[{event['index'] + 1}/{self.n_stages}] {event['stage']}"

    def on_working(self, event: dict) -> None:
        if time.monotonic() - self.shown >= LINE_SECONDS:
            self.shown = time.monotonic()
            self.say(f"{self.where or 'inputs'}: working, {duration(event['seconds'])} so far")

    def on_stage_ready(self, event: dict) -> None:
        self.began = self.shown = time.monotonic()
        self.first_step = event["step"]
        if event["n_steps"]:
            at = f" from step {event['step']}" if event["step"] else ""
            self.say(f"{self.where}: {event['n_steps']} steps{at}")

    def remaining(self, event: dict) -> str:
        done = event["step"] + 1
        per_step = (time.monotonic() - self.began) / max(done - self.first_step, 1)
        return duration(per_step * (event["n_steps"] - done))

    def on_step(self, event: dict) -> None:
        if time.monotonic() - self.shown >= LINE_SECONDS:
            self.shown = time.monotonic()
            self.say(f"{self.where}: {event['step'] + 1}/{event['n_steps']}  {numbers(event['metrics'])}"
                     f"  {self.remaining(event)} left")

    def on_stage_finished(self, event: dict) -> None:
        self.say(f"{self.where}: done in {duration(event['seconds'])}")

    def on_message(self, event: dict) -> None:
        self.say(f"{_where(event)}{event.get('text', '')}")

    def on_warning(self, event: dict) -> None:
        self.say(f"warning: {_where(event)}{event.get('text', '')}")

    def on_metric(self, event: dict) -> None:
        values = {key: value for key, value in event.items() if key not in ("time", "kind", "stage")}
        self.say(f"{event['stage']}: {numbers(values)}")

    def close(self) -> None:
        """Leave the terminal as it was."""


class Bar(Lines):
    """A progress bar per stage, with metrics and the time that is left; while a stage starts, one that moves."""

    def __init__(self, stream: TextIO):
        super().__init__(stream)
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.progress = Progress(TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(),
                                 TimeRemainingColumn(), TextColumn("{task.fields[metrics]}", markup=False),
                                 console=Console(file=stream))
        self.task = None

    def say(self, text: str) -> None:
        self.progress.console.print(text, markup=False, highlight=False)

    def on_stage_started(self, event: dict) -> None:
        self.where = self.place(event)
        self.progress.start()
        self.show(total=None, metrics="starts")

    def on_working(self, event: dict) -> None:
        """The bar moves by itself."""

    def on_stage_ready(self, event: dict) -> None:
        super().on_stage_ready(event)
        if event["n_steps"]:
            self.show(total=event["n_steps"], completed=event["step"], metrics="")
        else:
            self.progress.update(self.task, visible=False)

    def show(self, **task) -> None:
        """A new bar in place of the one that is shown."""
        if self.task is not None:
            self.progress.remove_task(self.task)
        self.task = self.progress.add_task(self.where.replace("[", "\\["), **task)

    def on_step(self, event: dict) -> None:
        self.progress.update(self.task, completed=event["step"] + 1, metrics=numbers(event["metrics"]))

    def on_stage_finished(self, event: dict) -> None:
        self.close()
        super().on_stage_finished(event)

    def close(self) -> None:
        if self.task is not None:
            self.progress.stop()
            self.progress.remove_task(self.task)
            self.task = None
