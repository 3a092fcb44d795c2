"""What do photos that are less clean than renderings cost?

    python benchmarks/real_photos.py VIEWS --score score_glb.py [--photo BACKGROUND.jpg] [--only KIND] [key=value ...]

Makes the variants of tests/photo_variants.py of a view set (masks_only, white_background, photo_background, exposure,
colmap), reconstructs each and the original with the same settings, and prints the loss of PSNR on the original's
test views. A finished run is not repeated.
"""
import argparse
import shutil
import sys
from pathlib import Path

from quality import reconstruct, score

sys.path.append(str(Path(__file__).parent.parent / "tests"))
import photo_variants  # noqa: E402


def variant(kind: str, source: Path, target: Path, **options) -> Path:
    """The view set `target`, made from `source` unless it is there; written beside and renamed when it is whole."""
    if not target.exists():
        partial = target.with_name(f".partial-{target.name}")
        shutil.rmtree(partial, ignore_errors=True)
        photo_variants.KINDS[kind](source, partial, **options)
        partial.rename(target)
    return target


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("views", type=Path)
    parser.add_argument("--score", type=Path, required=True)
    parser.add_argument("--photo", type=Path)
    parser.add_argument("--only", action="append", choices=["original", *photo_variants.KINDS])
    parser.add_argument("--output", type=Path, default=Path("outputs/real_photos"))
    given, overrides = parser.parse_known_args()
    figures: dict[str, float] = {}
    for kind in given.only or ["original", *photo_variants.KINDS]:
        folder = given.output / given.views.name / kind
        folder.mkdir(parents=True, exist_ok=True)
        views = given.views
        if kind != "original":
            options = {"photo": given.photo} if kind == "photo_background" else {}
            views = variant(kind, given.views, folder / "views", **options)
        figures[kind] = score(given.score, reconstruct(views, folder, overrides)[0], given.views)["psnr"]
        print(f"{given.views.name} {kind}: {figures[kind]:.2f} dB, "
              f"{figures[kind] - figures.get('original', figures[kind]):+.2f} dB against the original", flush=True)


if __name__ == "__main__":
    main()
