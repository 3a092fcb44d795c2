"""The ablation of Cascade-Zero123 (Chen et al. 2024, table 7) on toys: every row trained at one budget and measured.

    python benchmarks/cascade_rows.py --base NAME_OR_FOLDER [--steps 4000] [--pairs 200] [--output DIR] [--cache DIR]
                                      [--rows nearby base ...] [--write]

Each row goes on from the same base for as many steps of 16 samples, as training runs of their own, which are resumed
where they were stopped; then it draws the same held-out pairs. The last column is the paper's PSNR (12 000 iterations
on Objaverse): the order can be compared, the height cannot. `--write` keeps the table in benchmarks/results.
"""
import argparse
import json
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import toybench_views as novel
from intervals import bootstrap, shown, table

LARGER = ((90, 0), (180, 0), (270, 0))
MORE = (*((azimuth, 0) for azimuth in (-135, -90, -45, 45, 90, 135)), (0, -10), (0, 30))
RESULT = Path(__file__).parent / "results" / "cascade.md"


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    paper: float
    """PSNR in the paper."""
    recipe: str | None = "train/cascade"
    """What trains it; None: nothing does."""
    settings: dict = field(default_factory=dict)
    """Of the trainer."""
    trained_as: str | None = None
    """The row whose model it is, where it has none of its own."""
    cascade: bool = True
    """Whether a base draws views for it, or it is given the source alone."""
    nearby: tuple | str = novel.NEARBY
    coarse_target: bool = True
    frozen: bool = False
    """Whether the base that draws for it is the one that all rows started from, instead of the row itself."""


ROWS = {
    "base": Row(18.68, "train/zero123", cascade=False),
    "two frozen": Row(17.67, None, frozen=True),
    "random views": Row(18.55, settings={"self_prompts": "random"}, nearby="random"),
    "larger rotations": Row(19.04, settings={"self_prompts": LARGER}, nearby=LARGER),
    "more views": Row(19.13, settings={"self_prompts": MORE}, nearby=MORE),
    "nearby": Row(20.04),
    "without coarse target": Row(19.99, settings={"coarse_target": False}, coarse_target=False),
    "without EMA": Row(19.89, settings={"base": "frozen"}, frozen=True),
    "refiner with one image": Row(19.39, None, trained_as="nearby", cascade=False),
}


def trained(name: str, row: Row, options: argparse.Namespace) -> str:
    """The model of a row, trained where it is not there yet."""
    if row.trained_as is not None:
        return trained(row.trained_as, ROWS[row.trained_as], options)
    if row.recipe is None:
        return options.base
    folder = options.output / "training" / name.replace(" ", "_")
    if not (folder / "result" / "model" / "card.json").is_file():
        command = [sys.executable, "-m", "asset3d.run"]
        if (folder / "recipe.yaml").is_file():
            command += ["--resume", str(folder)]
        else:
            given = {"initial" if row.recipe == "train/cascade" else "train.train.initial": options.base,
                     "steps": options.steps, "objects": options.objects, "output": folder}
            given |= {"cache": options.cache} if options.cache else {}
            given |= {f"train.train.{key}": json.dumps(value) for key, value in row.settings.items()}
            if row.recipe == "train/cascade":
                given |= {"train.train.sources": options.sources, "train.train.targets": options.targets}
            command += [row.recipe, *(f"{key}={value}" for key, value in given.items())]
        subprocess.run(command, check=True)
    return str(folder / "result" / "model")


def measured(name: str, options: argparse.Namespace) -> dict:
    """The numbers of a row over all pairs."""
    row, rules = ROWS[name], novel.Rules(options.pairs)
    model = trained(name, row, options)
    base = None if not row.cascade else options.base if row.frozen else model
    how = novel.Sampling(options.sampling_steps, options.guidance_scale, base, row.nearby, row.coarse_target)
    about = {"steps": options.steps, "sampling_steps": options.sampling_steps, "guidance": options.guidance_scale}
    return novel.measure(name, novel.model(model, how, rules), about, rules, options.output / "views",
                         tell=lambda text: print(text, file=sys.stderr, flush=True))["given"]["1"]


def report(numbers: dict[str, dict], options: argparse.Namespace) -> str:
    """The table, with differences to the base over the same pairs."""
    head = ["", "PSNR", "SSIM", "PSNR - base", *(f"{low}–{high}°" for low, high in novel.BINS), "paper's PSNR"]
    lines = []
    for name, row in numbers.items():
        gain = "–" if name == "base" or "base" not in numbers else shown(
            novel.difference(row, numbers["base"], "psnr"), sign=True)
        lines.append([name, shown(bootstrap(row["psnr"])), shown(bootstrap(row["ssim"]), 3), gain,
                      *(shown(bootstrap(novel.within(row, *limits))) for limits in novel.BINS),
                      f"{ROWS[name].paper:.2f}"])
    return (f"# Cascade-Zero123 on toys\n\nMade by `python benchmarks/cascade_rows.py --steps {options.steps}`: "
            f"{options.steps} steps of 16 samples for each row, from the same base; {options.pairs} held-out pairs, "
            f"bootstrap intervals of 95 %.\n\n{table(head, lines)}\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", required=True, help="what all rows go on from")
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS))
    parser.add_argument("--steps", type=int, default=4000)
    parser.add_argument("--objects", type=int, default=2000)
    parser.add_argument("--sources", type=int, default=2048)
    parser.add_argument("--targets", type=int, default=8)
    parser.add_argument("--pairs", type=int, default=200)
    parser.add_argument("--sampling-steps", type=int, default=25)
    parser.add_argument("--guidance-scale", type=float, default=3.0)
    parser.add_argument("--output", type=Path, default=Path("outputs/cascade"))
    parser.add_argument("--cache", type=Path)
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    text = report({name: measured(name, options) for name in options.rows}, options)
    print(text, end="")
    if options.write:
        RESULT.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
