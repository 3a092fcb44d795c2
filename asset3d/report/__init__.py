"""The page that tells what a run made, from what and how well."""
from pathlib import Path


def write_report(run_folder: str | Path) -> Path:
    """Write `result/report.html`, and `result/turntable.mp4` where there are frames, from what a run left behind.

    Shown, as far as it is there: the first .glb that a stage has told of, `result/metrics.json`,
    `result/manifest.json`, `recipe.yaml`, `events.jsonl`, and the pictures in the folders of the stages:
    `NAME_photo.png` with `NAME_render.png`, `turntable_000.png` and following, every other `.png` as a preview.

    Returns:
        The path of the page.

    Raises:
        InputError: The folder is none of a run, or one of its files is damaged.
    """
    from asset3d.report.page import render_page
    from asset3d.report.record import read_run
    from asset3d.report.turntable import write_turntable
    from asset3d.workspace import atomic_write

    run = read_run(Path(run_folder))
    result = Path(run_folder) / "result"
    result.mkdir(exist_ok=True)
    if run.turntable and write_turntable(run.turntable, result / "turntable.mp4"):
        run.film = result / "turntable.mp4"
    return atomic_write(result / "report.html", render_page(run))
