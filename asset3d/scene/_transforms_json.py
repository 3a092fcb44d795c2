"""View sets described by transforms.json, in the dialects of NeRF-synthetic, instant-ngp, nerfstudio, and our own.

| key | meaning |
|---|---|
| `frames[].file_path` | image, relative to the file, with or without suffix |
| `frames[].transform_matrix` | camera-to-world, OpenGL axes |
| `frames[].mask_path` | image of the mask, optional |
| `frames[].depth_file_path` | depth map, optional: gray PNG, or .npy; along the optical axis, 0 = none |
| `frames[].normal_file_path` | normal map, optional: PNG of (n + 1) / 2, or .npy; unit, in the world of the file |
| `depth_unit_scale_factor` | input units per 1 in depth maps; missing: 0.001 for whole numbers, 1 for floats |
| `fl_x fl_y cx cy w h` | pixels, per file or per frame |
| `camera_angle_x camera_angle_y` | fields of view in radians, used where `fl_x` is missing |
| `k1 k2 k3 k4 p1 p2`, `camera_model` | OpenCV distortion; OPENCV_FISHEYE for the fisheye polynomial |
| `up_axis` | "y" or "z"; "z" when missing, as Blender and the programs above write it |
| `train_filenames test_filenames val_filenames` | nerfstudio's splits |
"""
import json
import math
from pathlib import Path

import numpy as np

from asset3d.errors import InputError
from asset3d.scene._lens import Lens
from asset3d.scene._maps import MapFiles
from asset3d.scene._photos import Photo, find_image, inside
from asset3d.scene._untrusted import LARGEST, is_number, printable
from asset3d.scene.conventions import rigid, y_up_from_z_up
from asset3d.scene.image import image_size

MAX_JSON_BYTES = 64 * 2**20
MAX_FRAMES = 10_000
MAX_LENS_PIXELS = 1e7
"""Of sizes, focal lengths and principal points; float32 tells the pixels of such an image apart."""
SMALLEST_ANGLE = 1e-6
"""Radians of a field of view: a telescope."""
CAMERA_MODELS = {"PINHOLE", "SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV", "OPENCV_FISHEYE"}


def read_transforms(path: Path) -> tuple[list[Photo], str]:
    """The photos of a transforms*.json file or of a folder with such files, and the up axis ("y" or "z").

    Raises:
        InputError: A file is missing, no JSON, or says something that cannot be; the text names file, frame and key.
    """
    path = Path(path)
    files = [(path, "train")] if path.is_file() else split_files(path)
    if not files:
        raise InputError(f"{path}: has neither transforms.json nor transforms_train.json")
    photos, axes = [], set()
    for file, split in files:
        document = _document(file)
        axis = document.get("up_axis", "z")
        if axis not in ("y", "z"):
            raise InputError(f"{file}: up_axis is '{printable(axis)}'; give \"y\" or \"z\"")
        axes.add(axis)
        named = _named_splits(file, document)
        photos += [_photo(file, document, index, frame, named, split, axis)
                   for index, frame in enumerate(document["frames"])]
    if len(axes) > 1:
        raise InputError(f"{path}: up_axis differs between the files of one view set; make them equal")
    return photos, axes.pop()


def split_files(folder: Path) -> list[tuple[Path, str]]:
    """The camera files of a folder with the split that each holds."""
    named = [(folder / f"transforms_{split}.json", split) for split in ("train", "test", "val")]
    named = [(file, split) for file, split in named if file.is_file()]
    if any(split == "train" for _, split in named):
        return named
    single = folder / "transforms.json"
    return [(single, "train"), *named] if single.is_file() else []


def _document(file: Path) -> dict:
    try:
        if file.stat().st_size > MAX_JSON_BYTES:
            raise InputError(f"{file}: has more than {MAX_JSON_BYTES >> 20} MiB, too much for a list of cameras")
        document = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error}); check the path") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: is not valid JSON ({error}); export it again") from None
    frames = document.get("frames") if isinstance(document, dict) else None
    if not isinstance(frames, list) or not frames or not all(isinstance(f, dict) for f in frames):
        raise InputError(f"{file}: 'frames' must be a list of at least one camera; export the cameras again")
    if len(frames) > MAX_FRAMES:
        raise InputError(f"{file}: {len(frames)} frames are more than the limit of {MAX_FRAMES}; use fewer")
    return document


def _named_splits(file: Path, document: dict) -> dict[str, set[str]]:
    """The files of each split that the document lists by name; a file listed twice is of the last one."""
    out = {}
    for split in ("test", "val", "train"):
        files = document.get(f"{split}_filenames") or []
        if not isinstance(files, list) or not all(isinstance(name, str) for name in files):
            raise InputError(f"{file}: '{split}_filenames' must be a list of file names, got {printable(files)}")
        out[split] = set(files)
    return out


def _named_file(file: Path, frame: dict, key: str, where: str) -> Path | None:
    """The file that an optional key of a frame names."""
    relative = frame.get(key)
    if relative is None or relative == "":
        return None
    if not isinstance(relative, str):
        raise InputError(f"{where}: '{key}' must be the name of a file, got {printable(relative)}")
    return inside(file.parent, relative, f"{where}: '{key}'")


def _photo(file: Path, document: dict, index: int, frame: dict, named: dict[str, set[str]], split: str,
           axis: str) -> Photo:
    where = f"{file}: frames[{index}]"
    relative = frame.get("file_path")
    if not isinstance(relative, str) or not relative:
        raise InputError(f"{where}: 'file_path' is missing or no text; name the image of this camera")
    image = find_image(file.parent, relative, where)
    matrix = _matrix(frame.get("transform_matrix"), where)
    mask = _named_file(file, frame, "mask_path", where)
    split = next((name for name, files in named.items() if relative in files), split)
    unit = _number(document, frame, "depth_unit_scale_factor", where)
    if unit is not None and unit <= 0:
        raise InputError(f"{where}: 'depth_unit_scale_factor' must be above 0, got {unit:g}")
    maps = MapFiles(_named_file(file, frame, "depth_file_path", where), unit,
                    _named_file(file, frame, "normal_file_path", where), axis)
    name = relative.replace("\\", "/").removeprefix("./")
    name = name[:-len(image.suffix)] if name.endswith(image.suffix) else name
    return Photo(name, image, y_up_from_z_up(matrix) if axis == "z" else matrix,
                 _lens(document, frame, image, where), mask, split, maps)


def _matrix(rows, where: str) -> np.ndarray:
    try:
        matrix = np.asarray(rows, dtype=np.float64)
    except (TypeError, ValueError, OverflowError):
        matrix = np.zeros(0)
    if matrix.shape == (3, 4):
        matrix = np.vstack([matrix, [0, 0, 0, 1]])
    if matrix.shape != (4, 4):
        raise InputError(f"{where}: 'transform_matrix' must be 4 x 4 numbers (camera-to-world), got {printable(rows)}")
    return rigid(matrix, f"{where}: 'transform_matrix'")


def _lens(document: dict, frame: dict, image: Path, where: str) -> Lens:
    """Intrinsics of a frame: its own keys first, then the file's."""
    def number(key: str, default: float | None = None) -> float | None:
        value = _number(document, frame, key, where)
        return default if value is None else value

    model = frame.get("camera_model", document.get("camera_model", "OPENCV"))
    if not isinstance(model, str) or model not in CAMERA_MODELS:
        raise InputError(f"{where}: camera_model '{printable(model)}' is not supported; undistort the images, or use "
                         f"one of {', '.join(sorted(CAMERA_MODELS))}")
    width, height = number("w"), number("h")
    if width is None or height is None:
        width, height = image_size(image)
    fx = _focal(number, "x", width)
    fy = _focal(number, "y", height)
    if fx is None and fy is None:
        raise InputError(f"{where}: no focal length; give fl_x (pixels) or camera_angle_x (radians)")
    fx, fy = fy if fx is None else fx, fx if fy is None else fy
    if min(width, height) < 1 or min(fx, fy) <= 0:
        raise InputError(f"{where}: w, h, fl_x and fl_y must be positive, got {width}, {height}, {fx}, {fy}")
    cx, cy = number("cx", width / 2), number("cy", height / 2)
    if max(width, height, fx, fy, abs(cx), abs(cy)) > MAX_LENS_PIXELS:
        raise InputError(f"{where}: w, h, fl_x, fl_y, cx and cy must be at most {MAX_LENS_PIXELS:g} pixels, got "
                         f"{width:g}, {height:g}, {fx:g}, {fy:g}, {cx:g}, {cy:g}; export the cameras again")
    radial = tuple(number(f"k{i}", 0.0) for i in (1, 2, 3, 4))
    fisheye = radial if model == "OPENCV_FISHEYE" else None
    return Lens(int(width), int(height), fx, fy, cx, cy,
                radial=() if fisheye else radial, fisheye=fisheye,
                tangential=(0.0, 0.0) if fisheye else (number("p1", 0.0), number("p2", 0.0)))


def _number(document: dict, frame: dict, key: str, where: str) -> float | None:
    """An optional number of a frame, else of the file."""
    value = frame.get(key, document.get(key))
    if value is not None and (not is_number(value) or abs(value) > LARGEST):
        raise InputError(f"{where}: '{key}' must be a finite number of at most {LARGEST:g}, got {printable(value)}")
    return value


def _focal(number, axis: str, size: float) -> float | None:
    focal = number(f"fl_{axis}")
    if focal is not None:
        return focal
    angle = number(f"camera_angle_{axis}")
    return size / 2 / math.tan(angle / 2) if angle and SMALLEST_ANGLE < angle < math.pi else None
