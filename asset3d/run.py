"""Run a recipe.

    python -m asset3d.run RECIPE [key=value ...]     run it
    python -m asset3d.run --help RECIPE              its arguments
    python -m asset3d.run --dry-run RECIPE [...]     check all but the content of inputs, print the plan
    python -m asset3d.run --resume DIR               continue a run that was interrupted

RECIPE is a .yaml file or the name of a recipe that comes with asset3d. Every recipe takes output=DIR, seed=N,
device=cpu|cuda|cuda:1, deterministic=true|false, checkpoint_every=STEPS, threads=N, its own arguments, and any field as
STAGE_NAME.field=value. --events writes JSON lines to stdout. Ctrl-C stops after the current step; twice, at once.

Exit: 0 done, 1 failed, 2 refused input, 130 interrupted, 143 terminated.
"""
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from asset3d import _progress, registry
from asset3d import recipe as recipes
from asset3d._run import Run, resolve
from asset3d.errors import Asset3DError, InputError, did_you_mean
from asset3d.stage.base import StageConfig
from asset3d.workspace import check_empty

FLAGS = ("--help", "--dry-run", "--resume", "--events")
INTERRUPTED, TERMINATED = 130, 143
MEMORY_ADVICE = ("give smaller values for `max_size` of load_views, `rays` or `views_per_step` of optimize, or "
                 "`texture_size`, `supersample` or `views_per_step` of texture")


@dataclass
class Arguments:
    """A command line, taken apart."""

    flags: set[str] = field(default_factory=set)
    recipe: str | None = None
    output: str | None = None
    overrides: list[str] = field(default_factory=list)


def main(argv: list[str] | None = None) -> int:
    """The command; returns the exit status."""
    try:
        arguments = parse(sys.argv[1:] if argv is None else argv)
        if arguments.recipe is None:
            return print_usage(asked="--help" in arguments.flags)
        if "--help" in arguments.flags:
            return print_help(arguments.recipe)
        if "--dry-run" in arguments.flags:
            return print_plan(arguments)
        return run(arguments)
    except Asset3DError as error:
        _complain(str(error))
        return error.exit_code
    except KeyboardInterrupt:
        _complain("interrupted")
        return INTERRUPTED
    except BrokenPipeError:
        _silence_stdout()
        return TERMINATED


def parse(argv: list[str]) -> Arguments:
    """Flags, the recipe, and key=value pairs, in any order."""
    result = Arguments()
    for text in argv:
        text = "--help" if text == "-h" else text
        if text in FLAGS:
            result.flags.add(text)
        elif text.startswith("--resume="):
            result.flags.add("--resume")
            result.recipe = text.partition("=")[2]
        elif text.startswith("-"):
            raise InputError(f"unknown option {text}{did_you_mean(text, FLAGS)}")
        elif text.startswith("output="):
            result.output = text.partition("=")[2]
        elif "=" in text and not (result.recipe is None and recipes.is_file(text)):
            result.overrides.append(text)
        elif result.recipe is None:
            result.recipe = text
        else:
            raise InputError(f"argument {text}: a recipe is given already ({result.recipe}); write key=value")
    if "--resume" in result.flags and (result.overrides or result.output is not None):
        raise InputError("--resume takes no key=value: a run continues as it began")
    if result.output is not None and not result.output.strip("\0 "):
        raise InputError("output=: give a new or empty folder")
    return result


# ------------------------------------------------------------------------------------------------------- telling


def print_usage(asked: bool) -> int:
    """The whole help when asked for, else how to call this."""
    text = __doc__.strip()
    print(text if asked else text.split("\n\n")[1], file=sys.stdout if asked else sys.stderr)
    if asked:
        print("\nRecipes: " + ", ".join(recipes.packaged()))
    return 0 if asked else 2


def print_help(recipe: str) -> int:
    """The arguments of a recipe with what they mean, and its stages."""
    description, rows = recipes.arguments(recipe)
    print(f"python -m asset3d.run {recipe} [key=value ...]")
    print(f"\n{description}\n" if description else "")
    for name, fields, default, meaning in rows:
        print(f"  {name}=    {default}  ({fields})")
        for line in meaning.splitlines():
            print(f"      {line}")
    print("\n  output=    default outputs/<name>/<time>\n      A new or empty folder for the run.")
    for name in recipes.RUN_OPTIONS:
        info = recipes.Recipe.model_fields[name]
        print(f"  {name}=    default {str(info.default).lower()}\n      {info.description}")
    print("  STAGE_NAME.field=\n      Any other field; see docs/recipes.md.\n\nstages")
    for number, (name, kind) in enumerate(recipes.stages(recipe), 1):
        print(f"{number:3d}. {_called(name, kind)}")
    return 0


def print_plan(arguments: Arguments) -> int:
    """Check files, chain, configs, packages, and say what a run would do."""
    recipe = resolve(recipes.load(arguments.recipe, arguments.overrides))
    if arguments.output is not None:
        check_empty(arguments.output)
    print(f"{recipe.name}: seed {recipe.seed}, {recipe.device}, {recipe.threads} threads, "
          f"{'deterministic' if recipe.deterministic else 'not deterministic'}")
    print(f"output: {arguments.output or f'outputs/{recipe.name}/<time>'}")
    for index, config in enumerate(recipe.stage):
        registry.component("stage", config.type).check(config)
        print(f"{index + 1:3d}. {_plan_of(config)}")
        for line in _memory_of(config, recipe.device):
            print(f"     {line}")
    print("everything is there; nothing was written")
    return 0


def _plan_of(config: StageConfig) -> str:
    """What a stage reads and writes, and how many steps its config asks for; others find out when they start."""
    cls = registry.component("stage", config.type)
    reads = [config.from_.get(name, name) for name in cls.reads_of(config)]
    writes = [config.as_.get(name, name) for name in cls.writes_of(config)]
    steps = f", {config.steps} steps" if isinstance(getattr(config, "steps", None), int) else ""
    return (f"{_called(config.name, config.type)}: {', '.join(reads) or 'nothing'} -> "
            f"{', '.join(writes) or 'files'}{steps}")


def _memory_of(config: StageConfig, device: str) -> Iterator[str]:
    """What each prior of a stage takes of memory at most; what is fitted comes on top."""
    for prior, images, gradient in registry.component("stage", config.type).priors_of(config):
        from asset3d.prior._memory import choose, memory_of

        cuda = device.startswith("cuda")
        memory = memory_of(prior.model, cuda and prior.precision == "auto")
        together, offload = None, False
        if prior.memory_budget is not None:
            together, offload = choose(memory, int(prior.memory_budget * 1e9), cuda)
        weights, work = memory.weights(offload), memory.work(images, gradient, together)
        how = f", {together} samples at once" if together else ""
        how += ", encoders on the CPU" if offload else ""
        yield (f"{prior.type} {Path(prior.model).name}: at most {(weights + work) / 1e9:.2f} GB, "
               f"{weights / 1e9:.2f} of them weights{how}")


def _called(name: str, kind: str) -> str:
    """A stage by its name, and by its type where that is another."""
    return name if name == kind else f"{name} ({kind})"


# ------------------------------------------------------------------------------------------------------- running


def run(arguments: Arguments) -> int:
    """Run or continue, with progress; signals stop it after the current step. Of several processes that train together
    (`accelerate launch`) the first does this, and the others help."""
    if int(os.environ.get("WORLD_SIZE", 1)) > 1:
        from asset3d.train import _ranks

        if _ranks.number() > 0:
            return _help(arguments, _ranks)
        if "--resume" in arguments.flags:
            _ranks.Ranks(_recipe_of(arguments).device).wait()  # until the others have their copy
    progress = _progress.listener(sys.stderr)
    listeners = [progress]
    if "--events" in arguments.flags:
        listeners.append(_Pipe(sys.stdout))
    if "--resume" in arguments.flags:
        job = Run.resume(arguments.recipe, listeners=listeners)
    else:
        job = Run(recipes.load(arguments.recipe, arguments.overrides), arguments.output, listeners=listeners)
    if "--events" in arguments.flags:
        listeners[-1].job = job
    try:
        with _signals(job), job:
            for _ in job:
                pass
    except Asset3DError:
        raise
    except Exception as error:
        return _explain(error, job)
    finally:
        progress.close()
    if "--events" not in arguments.flags:
        print(next(iter(job.result.files), job.result.folder), flush=True)
    return 0


def _recipe_of(arguments: Arguments) -> recipes.Recipe:
    if "--resume" in arguments.flags:
        return recipes.load(Path(arguments.recipe, "recipe.yaml"))
    return resolve(recipes.load(arguments.recipe, arguments.overrides))


def _help(arguments: Arguments, ranks) -> int:
    """Train with the first process, silently, and stop when it does: signals are for it."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    resumed = Path(arguments.recipe) if "--resume" in arguments.flags else None
    recipe = _recipe_of(arguments)
    try:
        with ranks.own_folder(recipe.device, resumed) as folder:
            with Run.resume(folder) if resumed else Run(recipe, folder) as job:
                for _ in job:
                    pass
    except Exception as error:  # mostly that the first process has stopped, which says why
        _complain(f"process {ranks.number()}: {error}")
        return 1
    return 0


class _Pipe:
    """JSON lines to whoever listens; when nobody does any more, the run stops as if it were terminated."""

    def __init__(self, stream):
        self.write = _progress.json_lines(stream)
        self.job: Run | None = None
        self.open = True

    def __call__(self, event: dict) -> None:
        if not self.open:
            return
        try:
            self.write(event)
        except BrokenPipeError:
            self.open = False
            _silence_stdout()
            self.job.cancel(TERMINATED)


@contextmanager
def _signals(job: Run) -> Iterator[None]:
    """Ctrl-C and SIGTERM ask the run to stop; a second one stops it at once."""
    def handle(number, frame):
        if job.is_cancelled:
            raise KeyboardInterrupt
        job.cancel(INTERRUPTED if number == signal.SIGINT else TERMINATED)

    before = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _explain(error: Exception, job: Run) -> int:
    """Failures of the machine in a line; anything else is a fault of ours, with its traceback."""
    hint = f"; continue with: python -m asset3d.run --resume {job.path}" if (job.path / "recipe.yaml").is_file() else ""
    if isinstance(error, MemoryError) or "out of memory" in str(error).lower() or "can't allocate" in str(error):
        first = str(error).splitlines()[0] if str(error) else "out of memory"
        _complain(f"{first}\nThere is not enough memory: {MEMORY_ADVICE}{hint}")
    elif isinstance(error, OSError):
        _complain(f"{error}{hint}")
    else:
        traceback.print_exc()
        _complain(f"this is a fault of asset3d or of a plugin; please report it{hint}")
    return 1


def _complain(text: str) -> None:
    try:
        print(text, file=sys.stderr, flush=True)
    except BrokenPipeError:
        pass  # nobody reads stderr; the exit status still tells


def _silence_stdout() -> None:
    """Nobody reads stdout; without this Python complains once more when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == "__main__":
    sys.exit(main())
