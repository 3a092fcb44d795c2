"""COLMAP models, text and binary (https://colmap.github.io/format.html).

A model is a folder with cameras, images and, optionally, points3D (.bin or .txt). COLMAP's principal point counts pixel
centres at +0.5, as asset3d does; its poses are world-to-camera with OpenCV axes. The world is kept as it is.
"""
import math
import struct
from pathlib import Path

import numpy as np

from asset3d.errors import InputError
from asset3d.scene._lens import Lens
from asset3d.scene._photos import Photo, inside
from asset3d.scene._untrusted import LARGEST, is_file, printable
from asset3d.scene.conventions import opengl_from_colmap, rigid

MODELS = {0: ("SIMPLE_PINHOLE", "f cx cy"), 1: ("PINHOLE", "fx fy cx cy"), 2: ("SIMPLE_RADIAL", "f cx cy k1"),
          3: ("RADIAL", "f cx cy k1 k2"), 4: ("OPENCV", "fx fy cx cy k1 k2 p1 p2"),
          5: ("OPENCV_FISHEYE", "fx fy cx cy k1 k2 k3 k4"),
          6: ("FULL_OPENCV", "fx fy cx cy k1 k2 p1 p2 k3 k4 k5 k6"),
          8: ("SIMPLE_RADIAL_FISHEYE", "f cx cy k1"), 9: ("RADIAL_FISHEYE", "f cx cy k1 k2")}
"""Number, name and parameters of the camera models that are read."""
OTHER_MODELS = {7: "FOV", 10: "THIN_PRISM_FISHEYE", 11: "RAD_TAN_THIN_PRISM_FISHEYE"}
MODEL_FOLDERS = (".", "sparse/0", "sparse", "colmap/sparse/0", "0")
MAX_MODEL_BYTES = 2**31


def find_model(path: Path) -> Path | None:
    """The folder of the COLMAP model in a view set, None when there is none."""
    for name in MODEL_FOLDERS:
        folder = path / name
        if any((folder / f"cameras{s}").is_file() and (folder / f"images{s}").is_file() for s in (".bin", ".txt")):
            return folder
    return None


def model_files(path: Path) -> list[Path]:
    """The files that `read_colmap` reads: cameras, images and, where there is one, the file of points."""
    model = find_model(path)
    suffix = ".bin" if (model / "cameras.bin").is_file() and (model / "images.bin").is_file() else ".txt"
    files = [model / f"{name}{suffix}" for name in ("cameras", "images", "points3D")]
    return files if files[2].is_file() else files[:2]


def read_colmap(path: Path, with_points: bool = True) -> tuple[list[Photo], np.ndarray]:
    """The photos of a COLMAP model, sorted by name, and its sparse points (N, 3).

    Args:
        path: The folder of the view set (with `images` and `sparse/0`), or of the model itself.
        with_points: Without them, which take long to read, there are none.

    Raises:
        InputError: A file is damaged, a camera model unknown, or an image missing.
    """
    model = find_model(path)
    cameras, images, *points = model_files(path)
    binary = cameras.suffix == ".bin"
    lenses = (_binary_cameras if binary else _text_cameras)(cameras)
    poses = (_binary_images if binary else _text_images)(images)
    read_points = _binary_points if binary else _text_points
    sparse = read_points(points[0]) if points and with_points else np.zeros((0, 3))
    if not poses:
        raise InputError(f"{model}: the model has no images; give a reconstruction that registered some")
    folder = _images_folder(path, model)
    photos = [_photo(folder, images, lenses, *pose) for pose in poses]
    return sorted(photos, key=lambda photo: photo.name), sparse


def _images_folder(path: Path, model: Path) -> Path:
    for folder in (path, model, *list(model.absolute().parents)[:3]):
        if (folder / "images").is_dir():
            return folder / "images"
    raise InputError(f"{path}: has a COLMAP model but no folder `images`; put the photos that it was made from there")


def _photo(folder: Path, file: Path, lenses: dict[int, Lens], name: str, camera: int, pose: np.ndarray) -> Photo:
    where = f"{file}: image '{printable(name)}'"
    if camera not in lenses:
        raise InputError(f"{where}: camera {camera} is not in the model; export the model again")
    if not (abs(pose) < LARGEST).all() or np.linalg.norm(pose[:4]) < 1e-6:
        raise InputError(f"{where}: the pose is not finite, too large, or has no rotation; export the model again")
    image = inside(folder, name, where)
    if not is_file(image):
        raise InputError(f"{where}: is missing in {folder}; put the photos that the model was made from there")
    matrix = rigid(opengl_from_colmap(pose[:4], pose[4:]), where)
    stem = name[:-len(image.suffix)] if image.suffix else name
    return Photo(stem.replace("\\", "/"), image, matrix, lenses[camera])


def _lens(where: str, model, width: int, height: int, values: list[float]) -> Lens:
    names = next((n.split() for number, (title, n) in MODELS.items() if model in (number, title)), None)
    if names is None:
        known = ", ".join(title for title, _ in MODELS.values())
        raise InputError(f"{where}: camera model {printable(OTHER_MODELS.get(model, model))} is not supported; run "
                         f"COLMAP's image_undistorter, or use one of {known}")
    if len(values) != len(names):
        raise InputError(f"{where}: {len(values)} parameters, {len(names)} expected; export the model again")
    p = dict(zip(names, values))
    fx, fy = p.get("fx", p.get("f")), p.get("fy", p.get("f"))
    if not all(map(math.isfinite, values)) or min(width, height) < 1 or min(fx, fy) <= 0:
        raise InputError(f"{where}: focal lengths and size must be positive and finite, got {width} x {height}, "
                         f"{values}; export the model again")
    fisheye = (model in (5, 8, 9) or "FISHEYE" in str(model))
    k = {i: p.get(f"k{i}", 0.0) for i in range(1, 7)}
    if fisheye:
        return Lens(width, height, fx, fy, p["cx"], p["cy"], fisheye=(k[1], k[2], k[3], k[4]))
    return Lens(width, height, fx, fy, p["cx"], p["cy"], radial=(k[1], k[2], k[3]), rational=(k[4], k[5], k[6]),
                tangential=(p.get("p1", 0.0), p.get("p2", 0.0)))


# ------------------------------------------------------------------------------------------------------------- binary


class _Reader:
    """Little-endian fields of a file; InputError at its end."""

    def __init__(self, path: Path):
        self.path, self.at = path, 0
        self.data = _content(path)

    def take(self, layout: str) -> tuple:
        size = struct.calcsize("<" + layout)
        if self.at + size > len(self.data):
            raise InputError(f"{self.path}: ends after {len(self.data)} bytes within a record; export the model again")
        self.at += size
        return struct.unpack_from("<" + layout, self.data, self.at - size)

    def count(self, record_size: int) -> int:
        """A number of records that the rest of the file can hold."""
        n = self.take("Q")[0]
        if n * record_size > len(self.data) - self.at:
            raise InputError(f"{self.path}: promises {n} records but has {len(self.data)} bytes; "
                             "export the model again")
        return n

    def skip(self, size: int) -> None:
        if self.at + size > len(self.data):
            raise InputError(f"{self.path}: ends after {len(self.data)} bytes within a record; export the model again")
        self.at += size

    def text(self) -> str:
        end = self.data.find(b"\0", self.at, self.at + 4096)
        if end < 0:
            raise InputError(f"{self.path}: an image name does not end; export the model again")
        start, self.at = self.at, end + 1
        return self.data[start:end].decode("utf-8", "replace")


def _content(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_MODEL_BYTES:
            raise InputError(f"{path}: has more than {MAX_MODEL_BYTES >> 30} GiB; export the model without its tracks")
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); check the path") from None


def _binary_cameras(path: Path) -> dict[int, Lens]:
    reader, lenses = _Reader(path), {}
    for _ in range(reader.count(24)):
        number, model, width, height = reader.take("IiQQ")
        count = len(MODELS[model][1].split()) if model in MODELS else 0
        lenses[number] = _lens(f"{path}: camera {number}", model, width, height, list(reader.take(f"{count}d")))
    return lenses


def _binary_images(path: Path) -> list[tuple[str, int, np.ndarray]]:
    reader, poses = _Reader(path), []
    for _ in range(reader.count(72)):
        _, *pose = reader.take("I7d")
        camera = reader.take("I")[0]
        name = reader.text()
        reader.skip(24 * reader.count(24))
        poses.append((name, camera, np.array(pose)))
    return poses


def _binary_points(path: Path) -> np.ndarray:
    reader, points = _Reader(path), []
    for _ in range(reader.count(51)):
        points.append(reader.take("Q3d")[1:])
        reader.skip(11)
        reader.skip(8 * reader.count(8))
    return _finite(np.array(points).reshape(-1, 3))


# --------------------------------------------------------------------------------------------------------------- text


def _lines(path: Path) -> list[tuple[int, str]]:
    """Numbered lines without comments; empty ones count, because an image without points has an empty line."""
    text = _content(path).decode("utf-8", "replace")
    return [(n, line.strip()) for n, line in enumerate(text.split("\n"), 1) if not line.startswith("#")]


def _numbers(path: Path, line: int, words: list[str], kind=float) -> list:
    try:
        return [kind(word) for word in words]
    except ValueError:
        raise InputError(f"{path}:{line}: numbers expected, got '{printable(' '.join(words))}'; "
                         "export the model again") from None


def _text_cameras(path: Path) -> dict[int, Lens]:
    lenses = {}
    for line, text in _lines(path):
        words = text.split()
        if not words:
            continue
        if len(words) < 5:
            raise InputError(f"{path}:{line}: CAMERA_ID MODEL WIDTH HEIGHT PARAMS expected; export the model again")
        number, width, height = _numbers(path, line, [words[0], *words[2:4]], int)
        lenses[number] = _lens(f"{path}:{line}: camera {number}", words[1], width, height,
                               _numbers(path, line, words[4:]))
    return lenses


def _text_images(path: Path) -> list[tuple[str, int, np.ndarray]]:
    poses, pending = [], True
    for line, text in _lines(path):
        if not pending:  # the line of 2D points, which may be empty
            pending = True
            continue
        words = text.split(maxsplit=9)
        if not words:
            continue
        if len(words) < 10:
            raise InputError(f"{path}:{line}: IMAGE_ID QW QX QY QZ TX TY TZ CAMERA_ID NAME expected; "
                             "export the model again")
        pose = np.array(_numbers(path, line, words[1:8]))
        poses.append((words[9], _numbers(path, line, [words[8]], int)[0], pose))
        pending = False
    return poses


def _text_points(path: Path) -> np.ndarray:
    points = [_numbers(path, line, text.split()[1:4]) for line, text in _lines(path) if text]
    if any(len(p) != 3 for p in points):
        raise InputError(f"{path}: POINT3D_ID X Y Z ... expected; export the model again")
    return _finite(np.array(points).reshape(-1, 3))


def _finite(points: np.ndarray) -> np.ndarray:
    return points[np.isfinite(points).all(-1)]
