"""The camera of one photo: `chair.json` beside `chair.png`, with its field of view and its camera-to-world matrix."""
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from asset3d.errors import InputError, did_you_mean
from asset3d.scene._untrusted import is_file, is_number, printable
from asset3d.scene.conventions import rigid

MAX_BYTES = 2**20
KEYS = ("fov", "transform_matrix")
SAID_TWICE = ("azimuth", "elevation", "distance")
"""Keys that may be there for people to read, as in the files of the toybox: the matrix says the same."""
FOV = (1.0, 120.0)
STEEPEST = 89.0
"""Degrees of elevation, up or down: right above an object, its azimuth is undefined."""
OFF_CENTRE, ROLLED = 3.0, 3.0
"""Degrees that a camera may look beside the origin, and be turned about its axis."""


@dataclass(frozen=True)
class PhotoCamera:
    """A camera that looks at the origin."""

    fov: float
    """Vertical, degrees."""
    camera_to_world: np.ndarray
    """(4, 4) float64, OpenGL axes, +Y up."""

    @property
    def distance(self) -> float:
        return float(np.linalg.norm(self.camera_to_world[:3, 3]))

    @property
    def azimuth(self) -> float:
        """Degrees."""
        x, _, z = self.camera_to_world[:3, 3]
        return math.degrees(math.atan2(x, z))

    @property
    def elevation(self) -> float:
        """Degrees."""
        return math.degrees(math.asin(self.camera_to_world[1, 3] / self.distance))

    def turned(self, azimuth: float) -> "PhotoCamera":
        """The camera, moved around the vertical axis by so many degrees."""
        c, s = math.cos(math.radians(azimuth)), math.sin(math.radians(azimuth))
        turn = np.array([[c, 0, s, 0], [0, 1, 0, 0], [-s, 0, c, 0], [0, 0, 0, 1]])
        return PhotoCamera(self.fov, turn @ self.camera_to_world)


def camera_file(image: Path) -> Path | None:
    """`chair.json` for `chair.png`, where it is there."""
    if not image.name or image.suffix.lower() == ".json":
        return None  # no photo: what is wrong with it is told when it is read
    file = image.with_suffix(".json")
    return file if is_file(file) else None


def read_camera(file: Path) -> PhotoCamera:
    """The camera of a file.

    Raises:
        InputError: It is no such file, or its camera does not look at the origin, upright, from a side.
    """
    document = _document(file)
    if not is_number(document["fov"]) or not FOV[0] <= document["fov"] <= FOV[1]:
        raise InputError(f"{file}: fov: must be the vertical field of view, {FOV[0]:g} to {FOV[1]:g} degrees, got "
                         f"{printable(document['fov'])}")
    rows = document["transform_matrix"]
    if not (isinstance(rows, list) and len(rows) == 4
            and all(isinstance(row, list) and len(row) == 4 and all(map(is_number, row)) for row in rows)):
        raise InputError(f"{file}: transform_matrix: must be 4 rows of 4 numbers, camera-to-world, OpenGL axes")
    camera = PhotoCamera(float(document["fov"]), rigid(np.array(rows, dtype=np.float64), f"{file}: transform_matrix"))
    _check_aim(file, camera)
    return camera


def _document(file: Path) -> dict:
    what = ('it must hold {"fov": degrees, "transform_matrix": camera-to-world, 4 x 4}; correct it, or move it away '
            "from the photo")
    try:
        if file.stat().st_size > MAX_BYTES:
            raise InputError(f"{file}: is too large for the camera of a photo; {what}")
        document = json.loads(file.read_text("utf-8"))
    except OSError as error:
        raise InputError(f"{file}: cannot be read ({error.strerror or error}); {what}") from None
    except (ValueError, RecursionError) as error:
        raise InputError(f"{file}: is not valid JSON ({printable(error)}); {what}") from None
    if not isinstance(document, dict):
        raise InputError(f"{file}: is no camera; {what}")
    for key in document:
        if key not in (*KEYS, *SAID_TWICE):
            raise InputError(f"{file}: unknown key '{printable(key)}'{did_you_mean(printable(key), KEYS)}; {what}")
    missing = [key for key in KEYS if key not in document]
    if missing:
        raise InputError(f"{file}: {' and '.join(missing)} missing; {what}")
    return document


def _check_aim(file: Path, camera: PhotoCamera) -> None:
    """Refuses a camera whose photo is not what an upright camera that looks at the origin sees."""
    right, _, back = camera.camera_to_world[:3, :3].T
    if camera.distance < 0.1:
        raise InputError(f"{file}: the camera is in the origin, where the object is; give its real position")
    off = math.degrees(math.acos(float(np.clip(back @ camera.camera_to_world[:3, 3] / camera.distance, -1, 1))))
    if off > OFF_CENTRE:
        raise InputError(f"{file}: the camera looks {off:.0f} degrees beside the origin, where the object must be; "
                         "move the world, or use OpenGL axes (the camera looks along -z)")
    if abs(camera.elevation) > STEEPEST:
        raise InputError(f"{file}: the camera looks straight {'down' if camera.elevation > 0 else 'up'}; give a photo "
                         f"from an elevation of -{STEEPEST:g} to {STEEPEST:g} degrees")
    roll = math.degrees(math.asin(float(np.clip(right[1], -1, 1))))
    if abs(roll) > ROLLED or camera.camera_to_world[1, 1] < 0:
        raise InputError(f"{file}: the camera is not upright (+Y of the world must be up in the photo); turn the photo "
                         "and its camera upright, or convert from a +Z up world")
