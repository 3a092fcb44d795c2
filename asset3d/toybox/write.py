"""Folders of toybox objects: the asset, its caption, an input image, and a view set."""
import json
from dataclasses import dataclass
from pathlib import Path

from asset3d.errors import InputError
from asset3d.exporter.gltf import Gltf, GltfConfig
from asset3d.scene import rigs
from asset3d.scene.camera import orbit
from asset3d.scene.image import save_png
from asset3d.scene.mesh import Mesh
from asset3d.scene.view_files import seen_points, write_split, write_surface_points
from asset3d.toybox.catalog import CATEGORIES, VERSION, ToyObject, category_of, make_object
from asset3d.toybox.render import render_maps
from asset3d.workspace import TEMPORARY, atomic_folder

INPUT_VIEW = {"azimuth": 0.0, "elevation": 10.0, "fov": 30.0, "distance": 2.6}


@dataclass(frozen=True)
class Order:
    """What to write."""

    output: Path
    """A folder that does not exist yet, is empty, or holds what the same order has left when it was stopped."""
    seed: int = 0
    """Of the first object; the others count up."""
    count: int = 1
    category: tuple[str, ...] = CATEGORIES
    size: int = 256
    """Rows and columns of the images."""
    texture_size: int = 1024
    shading: float = 1.0
    """1 bakes a soft light from above into the texture, 0 leaves the colours flat."""


def write_input(mesh: Mesh, folder: Path, size: int = 256) -> None:
    """Write `input.png`, the single-image view of the object, and `input.json`, its camera."""
    camera = orbit(INPUT_VIEW["azimuth"], INPUT_VIEW["elevation"], INPUT_VIEW["distance"], INPUT_VIEW["fov"], size)
    maps = render_maps(mesh, camera)
    save_png(folder / "input.png", maps["color"][0], maps["alpha"][0])
    document = {**INPUT_VIEW, "transform_matrix": camera.camera_to_world[0].double().tolist()}
    (folder / "input.json").write_text(json.dumps(document, indent=1), encoding="utf-8")


def write_view_set(mesh: Mesh, folder: Path, size: int = 256) -> None:
    """Write the 48 training and 12 test views of a mesh and the surface points that the training views see."""
    for split, camera in zip(("train", "test"), rigs.views(size)):
        maps = render_maps(mesh, camera)
        write_split(folder, split, camera, maps["color"], maps["alpha"])
        if split == "train":
            write_surface_points(folder, *seen_points(maps["coordinate"], maps["normal"], maps["alpha"]))


def write_object(toy: ToyObject, folder: Path, size: int, record: dict) -> None:
    """Write everything about one object into a folder, which appears when it is complete; `record` is object.json."""
    with atomic_folder(folder) as unfinished:
        Gltf(GltfConfig()).export(toy.mesh, unfinished)
        (unfinished / "caption.txt").write_text(toy.caption + "\n", encoding="utf-8")
        (unfinished / "object.json").write_text(json.dumps(record, indent=1), encoding="utf-8")
        write_input(toy.mesh, unfinished, size)
        write_view_set(toy.mesh, unfinished, size)


def _record(order: Order, seed: int) -> dict:
    """All that decides the bytes of an object."""
    return {"generator": "asset3d.toybox", "version": VERSION, "category": category_of(seed, order.category),
            "seed": seed, "size": order.size, "texture_size": order.texture_size, "shading": order.shading}


def _name(order: Order, seed: int) -> str:
    return f"{seed:06d}_{category_of(seed, order.category)}"


def _is_ours(entry: Path, order: Order) -> bool:
    """Whether the same order, stopped before its end, left this behind."""
    name = entry.name.removeprefix(TEMPORARY)
    number = name.partition("_")[0]
    if not (number.isascii() and number.isdecimal()) or len(number) > 16:
        return False
    seed = int(number)
    if not order.seed <= seed < order.seed + order.count or name != _name(order, seed):
        return False
    if name != entry.name:  # half an object: a process was killed
        return True
    try:
        return json.loads((entry / "object.json").read_text("utf-8")) == _record(order, seed)
    except (OSError, ValueError):
        return False


def check_output(order: Order) -> None:
    """InputError unless the folder can be written and holds nothing, or what the same order has left there."""
    output = order.output
    if output.exists() and not output.is_dir():
        raise InputError(f"toybox: output: {output} is a file; name a folder")
    if output.is_dir() and not all(_is_ours(entry, order) for entry in output.iterdir()):
        raise InputError(f"toybox: output: {output} is not empty, and holds other things than this command makes; "
                         "name another folder")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            f"toybox: output: {output} cannot be created ({error.strerror}); name another folder"
        ) from None


def write_objects(order: Order, tell=lambda text: None) -> list[Path]:
    """Write every object of an order into a folder of its own, named by seed and category; returns the folders.

    Objects that the same order has finished before stay as they are.
    """
    check_output(order)
    folders = []
    for seed in range(order.seed, order.seed + order.count):
        folder = order.output / _name(order, seed)
        folders.append(folder)
        if folder.is_dir():
            tell(f"{len(folders)}/{order.count} {folder}: is there already")
            continue
        toy = make_object(seed, order.category, order.texture_size, order.shading)
        write_object(toy, folder, order.size, _record(order, seed))
        tell(f"{len(folders)}/{order.count} {folder}: {toy.caption}")
    return folders
