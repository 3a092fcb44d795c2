"""ToyBench: how well are held-out toys seen from elsewhere, and turned into assets, from a single picture?

    python benchmarks/toybench.py views --model NAME_OR_FOLDER [--base NAME_OR_FOLDER] [--given 1 2 3 4] [--pairs 200]
    python benchmarks/toybench.py assets --recipe zero123 [--objects 20] [--small] [key=value ...]
    python benchmarks/toybench.py tables [--write]

`views`: novel views in the rig of Zero-1-to-3 at 64 x 64, against the given view copied and the mean image. With
`--base`, the model is the refiner of a cascade. `assets`: a picture of each toy is made into an asset by a recipe;
centred and scaled, it is scored from the 12 views to judge by, against the inflated silhouette
(inflate_silhouette.py, in the shared folder beside the checkout). Both print their table, with bootstrap intervals.
What is measured is kept in the output folder, row by row (`--label` names a row), and not repeated; `tables` shows
all rows, and with `--write` keeps them, and a plot of PSNR over azimuth, in benchmarks/results/toybench.md.
"""
import argparse
import json
import sys
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[1])]

import toybench_assets as assets
import toybench_plot
import toybench_views as novel

from asset3d.errors import InputError

RESULTS = Path(__file__).parent / "results"
PLOT = "toybench_azimuth.svg"
SMALL_SIZE = 128
SMALL: dict[str, list[str]] = {
    "zero123": ["prepare.size=128", "field.steps=120", "field.rays=1024", "field.camera.count=1",
                "field.loss.sds.time=[{from: 0.4, to: 0.02, until_step: 60}, {from: 0.85, to: 0.5, until_step: 60}]",
                "to_mesh.resolution=64", "texture.steps=20", "texture.faces=5000", "texture.texture_size=256",
                "evaluate.turntable_frames=0"],
}
"""ToyBench-S: settings of recipes by which an asset takes at most a minute on two cores."""
VIEWS = {"known": "views", "held": "views-held", "all": "views-all"}
"""Folders of the rows of `views`, by kinds."""


def tell(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def run_views(options: argparse.Namespace) -> None:
    rules = novel.Rules(options.pairs, options.size, options.kinds, options.seed)
    folder = options.output / VIEWS[options.kinds]
    near = options.nearby if options.nearby == "random" else tuple(
        tuple(float(angle) for angle in pair.split(":")) for pair in options.nearby.split(","))
    how = novel.Sampling(options.steps, options.guidance_scale, options.base, near, options.coarse_target == "per_view")
    novel.measure("given view copied", novel.copied, {}, rules, folder, batch=options.batch)
    novel.measure("mean image", novel.mean_image(rules), {}, rules, folder, batch=options.batch)
    if options.base and options.given != [1]:
        raise InputError("--given: a cascade is given one view; leave it out, or --base")
    for name in options.model:
        if options.ceiling:
            label = f"{Path(name).name}: the wanted view through its autoencoder"
            draw = novel.through_autoencoder(name, rules, options.device)
            novel.measure(label, draw, {"model": Path(name).name}, rules, folder, batch=options.batch)
        label = options.label or "+".join(Path(part).name for part in (name, options.base) if part)
        draw = novel.model(name, how, rules, options.device)
        novel.measure(label, draw, {"model": Path(name).name, **novel.asdict(how)}, rules, folder, options.given,
                      options.batch, tell)
    print(views_text(folder, options.against))


def run_assets(options: argparse.Namespace) -> None:
    size = options.size or (SMALL_SIZE if options.small else 256)
    rules = assets.Rules(options.objects, size, options.given)
    folder = options.output / ("assets-small" if options.small else "assets")
    rows = {assets.BASELINE: (assets.inflated, {})}
    for recipe in options.recipe:
        overrides = [*(SMALL.get(recipe, []) if options.small else []), *options.overrides]
        label = options.label or Path(recipe).stem + (" small" if options.small else "")
        rows[label] = assets.by_recipe(recipe, overrides), {"recipe": Path(recipe).name, "overrides": overrides}
    for label, (make, how) in rows.items():
        row = assets.measure(label, make, how, rules, folder, tell)
        (folder / f"{label}.json").write_text(json.dumps(row), "utf-8")
    print(assets_text(folder))


def rows_of(folder: Path) -> list[dict]:
    """What was measured there: what is compared against first, then by label."""
    rows = [json.loads(path.read_text("utf-8")) for path in sorted(folder.glob("*.json"))]
    first = ("given view copied", "mean image", assets.BASELINE)
    return sorted(rows, key=lambda row: (row["label"] not in first, row["label"]))


def views_text(folder: Path, against: str | None) -> str:
    rows = rows_of(folder)
    return novel.report(rows, against) if rows else ""


def assets_text(folder: Path) -> str:
    rows = rows_of(folder)
    return assets.report(rows) if rows else ""


def show(options: argparse.Namespace) -> None:
    sections = {"Novel views": views_text(options.output / VIEWS["known"], options.against),
                "Novel views, kinds of things never seen": views_text(options.output / VIEWS["held"], options.against),
                "Novel views, all kinds of things": views_text(options.output / VIEWS["all"], options.against),
                "Assets, small settings (ToyBench-S)": assets_text(options.output / "assets-small"),
                "Assets": assets_text(options.output / "assets")}
    text = "# ToyBench\n\nHeld-out toys; made by `python benchmarks/toybench.py`.\n" + "".join(
        f"\n## {title}\n\n{body}" for title, body in sections.items() if body)
    print(text, end="")
    if not options.write:
        return
    rows = rows_of(options.output / VIEWS["known"])
    if rows:
        curves = {label: toybench_plot.curve(numbers) for label, numbers in novel.entries_of(rows)}
        (RESULTS / PLOT).write_text(toybench_plot.plot(curves), "utf-8")
        text = text.replace("\n## Novel views\n", f"\n## Novel views\n\n![PSNR by azimuth]({PLOT})\n")
    (RESULTS / "toybench.md").write_text(text, "utf-8")


def parser() -> argparse.ArgumentParser:
    main = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = main.add_subparsers(dest="command", required=True)
    views = commands.add_parser("views", help="novel views of a model")
    views.add_argument("--model", action="append", default=[], help="name or folder; may be repeated")
    views.add_argument("--base", help="draws what a refiner is given")
    views.add_argument("--nearby", default="45:0,-45:0,0:30", help="azimuth:elevation of these views, or random")
    views.add_argument("--coarse-target", choices=["per_view", "off"], default="per_view")
    views.add_argument("--given", type=int, nargs="+", default=[1], choices=range(1, novel.GIVEN + 1))
    views.add_argument("--ceiling", action="store_true", help="a row more: wanted views through the autoencoder")
    views.add_argument("--pairs", type=int, default=200)
    views.add_argument("--size", type=int, default=64)
    views.add_argument("--kinds", choices=list(novel.KINDS), default="known")
    views.add_argument("--seed", type=int, default=0)
    views.add_argument("--steps", type=int, default=25)
    views.add_argument("--guidance-scale", type=float, default=3.0)
    views.add_argument("--batch", type=int, default=20)
    views.add_argument("--device", default="cpu")
    made = commands.add_parser("assets", help="assets of a recipe")
    made.add_argument("overrides", nargs="*", help="key=value, for the recipe")
    made.add_argument("--recipe", action="append", default=[], help="name or file; may be repeated")
    made.add_argument("--objects", type=int, default=20)
    made.add_argument("--small", action="store_true", help="settings of a minute per asset (ToyBench-S)")
    made.add_argument("--size", type=int, help="rows of the pictures; default 256, small 128")
    made.add_argument("--given", type=int, default=1, choices=range(1, 5), help="pictures of each object")
    tables = commands.add_parser("tables", help="all that was measured")
    tables.add_argument("--write", action="store_true")
    for command in (views, made):
        command.add_argument("--label", help="of the row; default: the name of the model or recipe")
    for command in (views, tables):
        command.add_argument("--against", help="label of a row: show differences to it")
    for command in (views, made, tables):
        command.add_argument("--output", type=Path, default=Path("outputs/toybench"))
    return main


def main(arguments: list[str] | None = None) -> int:
    options = parser().parse_args(arguments)
    try:
        {"views": run_views, "assets": run_assets, "tables": show}[options.command](options)
    except InputError as error:
        tell(f"toybench: {error}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
