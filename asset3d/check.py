"""Whether asset3d can read files: `python -m asset3d.check FILE...`

Images, meshes, Gaussian splats, view sets (folders or transforms.json) and recipes, by their suffix. One line per file:
accept, accept with a warning, or refuse, with the reason and what to do. Images are judged as photos of an object, of
which an asset shall be made. Exit: 0 all accepted, 2 any refused. Nothing
is written.
"""
import argparse
import sys
from dataclasses import dataclass
from pathlib import Path

from asset3d.errors import Asset3DError, InputError
from asset3d.scene._untrusted import escaped

IMAGES = (".png", ".jpg", ".jpeg", ".webp")
MESHES = (".glb", ".gltf", ".obj", ".ply")
RECIPES = (".yaml", ".yml")
NO_TEST_VIEWS = "has no test views; quality can be measured on training views only"
FEW, FEW_VIEWS = 12, "has {} views to fit; 30 to 100, from all sides, make a good asset"
CHECK_SIZE = 256
"""View sets are checked at this size: every file is decoded, little memory is needed."""


@dataclass(frozen=True)
class Verdict:
    """What was found about one file."""

    path: Path
    accepted: bool
    text: str = ""
    """Warnings of an accepted file, the reason of a refused one; empty when all is well."""

    def __str__(self) -> str:
        word = "refuse" if not self.accepted else "accept with warning" if self.text else "accept"
        named = self.text.startswith(f"{self.path}:")
        text = self.text if named else ": ".join(filter(None, (str(self.path), self.text)))
        return f"{word}: {escaped('; '.join(text.splitlines()))}"


def check(path: Path) -> Verdict:
    """Read one file as a run would, and tell how it went; raises nothing for a bad file."""
    path = Path(path)
    try:
        return Verdict(path, True, "; ".join(_warnings(path)))
    except Asset3DError as error:
        return Verdict(path, False, str(error))
    except MemoryError:
        return Verdict(path, False, "needs more memory than there is; use a smaller file")


def _warnings(path: Path) -> list[str]:
    """What is unusual about a file that can be read; Asset3DError when it cannot."""
    suffix = path.suffix.lower()
    if not path.exists():
        raise Asset3DError("no such file or folder")
    if path.is_dir() or suffix == ".json":
        from asset3d.scene.views import load_view_set
        views = load_view_set(path, max_size=CHECK_SIZE)
        few = [FEW_VIEWS.format(len(views.train))] if len(views.train) < FEW else []
        return [*views.notes, *few, *([] if views.test else [NO_TEST_VIEWS])]
    if suffix in IMAGES:
        return _picture_warnings(path)
    if suffix in MESHES:
        from asset3d.scene.mesh import load_parts
        from asset3d.scene.splats import holds_splats, load_splats
        return list((load_splats if holds_splats(path) else load_parts)(path)[1])
    if suffix in RECIPES:
        from asset3d import recipe
        recipe.load(path, check_files=False)
        return []
    raise Asset3DError(f"'{suffix or path.name}' is no file that is read; give an image ({', '.join(IMAGES)}), a mesh "
                       f"({', '.join(MESHES)}), a view set (folder or .json), or a recipe (.yaml)")


def _picture_warnings(path: Path) -> list[str]:
    """Of a picture, which may be one of an object: what `prepare_image` would say of it."""
    from asset3d.scene.camera_file import camera_file, read_camera
    from asset3d.scene.image import load_image
    from asset3d.scene.matting import read_matte
    from asset3d.scene.photo_remarks import remarks
    notes = load_image(path).notes
    try:
        if camera_file(path) is not None:
            read_camera(camera_file(path))
        return [*notes, *remarks(read_matte(path))]
    except InputError as error:
        return [*notes, f"cannot be made into an asset by itself: {str(error).removeprefix(f'{path}: ')}"]


def main(arguments: list[str] | None = None) -> int:
    """The command line; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m asset3d.check", description=__doc__.split("\n")[0])
    parser.add_argument("file", nargs="+", type=Path, help="image, mesh, splats, view set, or recipe")
    verdicts = []
    for path in parser.parse_args(arguments).file:
        verdicts.append(check(path))
        print(verdicts[-1], flush=True)
    return 0 if all(v.accepted for v in verdicts) else 2


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
