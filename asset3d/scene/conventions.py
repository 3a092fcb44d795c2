"""One table of conventions, and the conversions at the edges of the house.

asset3d's world is right-handed with +Y up and the front of the object at +Z, as in glTF; lengths are metres where they
mean anything. A foreign world is a 3 x 3 matrix (with a reflection where it is left-handed) and a unit.
"""
import math
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from asset3d.errors import InputError
from asset3d.scene._untrusted import LARGEST

STRETCH = 1e-4
"""What scales all directions alike, but for rounding, stretches none by more than this more or less than the mean."""


@dataclass(frozen=True)
class World:
    """Axes and unit of a program's world."""

    right: tuple[int, int, int]
    """Where asset3d's +X (the object's left hand, the viewer's right when seen from the front) goes."""
    up: tuple[int, int, int]
    """Where asset3d's +Y goes."""
    front: tuple[int, int, int]
    """Where asset3d's +Z, the front of the object, goes."""
    units_per_metre: float = 1.0

    @property
    def matrix(self) -> np.ndarray:
        """(3, 3) float64: foreign = matrix @ ours, without the unit."""
        return np.array([self.right, self.up, self.front], dtype=np.float64).T

    @property
    def left_handed(self) -> bool:
        """Whether triangles must be turned round to stay counter-clockwise seen from outside."""
        return bool(np.linalg.det(self.matrix) < 0)

    def from_ours(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) positions of asset3d in this world."""
        return points @ self.matrix.T * self.units_per_metre

    def to_ours(self, points: np.ndarray) -> np.ndarray:
        """(N, 3) positions of this world in asset3d."""
        return points @ self.matrix / self.units_per_metre

    def directions_from_ours(self, directions: np.ndarray) -> np.ndarray:
        """(N, 3) unit vectors (normals) of asset3d in this world."""
        return directions @ self.matrix.T

    def cameras_from_ours(self, camera_to_world: np.ndarray) -> np.ndarray:
        """(N, 4, 4) OpenGL cameras in a right-handed foreign world; a reflection has no such camera (ValueError)."""
        if self.left_handed:
            raise ValueError("a left-handed world has no right-handed cameras; convert positions and directions")
        out = np.array(camera_to_world, dtype=np.float64)
        out[..., :3, :3] = self.matrix @ out[..., :3, :3]
        out[..., :3, 3] = self.from_ours(out[..., :3, 3])
        return out

    def cameras_to_ours(self, camera_to_world: np.ndarray) -> np.ndarray:
        """The inverse of `cameras_from_ours`."""
        if self.left_handed:
            raise ValueError("a left-handed world has no right-handed cameras; convert positions and directions")
        out = np.array(camera_to_world, dtype=np.float64)
        out[..., :3, :3] = self.matrix.T @ out[..., :3, :3]
        out[..., :3, 3] = self.to_ours(out[..., :3, 3])
        return out


WORLDS = {
    "gltf": World((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    # Blender's front view looks along +Y: an object faces -Y.
    "blender": World((1, 0, 0), (0, 0, 1), (0, -1, 0)),
    # Unity's importers of glTF mirror X, so that the front stays at +Z.
    "unity": World((-1, 0, 0), (0, 1, 0), (0, 0, 1)),
    # Unreal: X forward, Y right, Z up, centimetres; seen from behind, right is the object's right hand, our -X.
    "unreal": World((0, -1, 0), (0, 0, 1), (1, 0, 0), 100.0),
    "maya": World((1, 0, 0), (0, 1, 0), (0, 0, 1), 100.0),
}
"""Where the axes of an asset go in other programs, and their unit of length."""

_FLIP_YZ = np.diag([1.0, -1.0, -1.0, 1.0])


def y_up_from_z_up(camera_to_world: np.ndarray) -> np.ndarray:
    """(..., 4, 4) cameras of a +Z up world (Blender, NeRF-synthetic, nerfstudio) in the +Y up one."""
    return WORLDS["blender"].cameras_to_ours(camera_to_world)


def opencv_from_opengl(camera_to_world: np.ndarray) -> np.ndarray:
    """(..., 4, 4) camera-to-world with OpenCV axes (x right, y down, looking along +z); its own inverse."""
    return np.asarray(camera_to_world, dtype=np.float64) @ _FLIP_YZ


opengl_from_opencv = opencv_from_opengl


def opencv_principal_point(cx: float, cy: float) -> tuple[float, float]:
    """OpenCV puts pixel centres at whole numbers, asset3d (and COLMAP, and transforms.json) at +0.5."""
    return cx - 0.5, cy - 0.5


def principal_point_from_opencv(cx: float, cy: float) -> tuple[float, float]:
    """The inverse of `opencv_principal_point`."""
    return cx + 0.5, cy + 0.5


def colmap_from_opengl(camera_to_world: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(4,) quaternion wxyz, w >= 0, and (3,) translation, world to camera with OpenCV axes, as COLMAP stores them."""
    view = np.linalg.inv(opencv_from_opengl(camera_to_world))
    return quaternion_from_rotation(view[:3, :3]), view[:3, 3]


def opengl_from_colmap(quaternion: np.ndarray, translation: np.ndarray) -> np.ndarray:
    """(4, 4) camera-to-world with OpenGL axes from COLMAP's world-to-camera pose."""
    view = np.eye(4)
    view[:3, :3] = rotation_from_quaternion(quaternion)
    view[:3, 3] = translation
    return opengl_from_opencv(np.linalg.inv(view))


def rotation_from_quaternion(quaternion: np.ndarray) -> np.ndarray:
    """(3, 3) rotation of a wxyz quaternion of any length but zero."""
    quaternion = np.asarray(quaternion, dtype=np.float64)
    return rotation_matrices(torch.from_numpy(quaternion / np.linalg.norm(quaternion))).numpy()


def rotation_matrices(quats: Float[Tensor, "*N 4"]) -> Float[Tensor, "*N 3 3"]:
    """Rotations of unit quaternions wxyz; of others, what the same products give, which is none."""
    w, x, y, z = quats.unbind(-1)
    return torch.stack([1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
                        2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
                        2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)], -1).unflatten(-1, (3, 3))


def quaternion_from_rotation(rotation: np.ndarray) -> np.ndarray:
    """(..., 4) wxyz unit quaternions with w >= 0 of (..., 3, 3) rotations: eigenvectors of Bar-Itzhack's matrix, stable
    for every rotation."""
    rows = np.moveaxis(np.asarray(rotation, dtype=np.float64), (-2, -1), (0, 1))
    (a, b, c), (d, e, f), (g, h, i) = rows
    k = np.array([[a + e + i, h - f, c - g, d - b], [h - f, a - e - i, b + d, c + g],
                  [c - g, b + d, e - a - i, f + h], [d - b, c + g, f + h, i - a - e]])
    quaternion = np.linalg.eigh(np.moveaxis(k, (0, 1), (-2, -1)))[1][..., -1]
    return np.where(quaternion[..., :1] < 0, -quaternion, quaternion)


def similarity(linear: np.ndarray) -> tuple[float, np.ndarray]:
    """The scale and the (3, 3) rotation, or rotation and reflection, nearest to a (3, 3) matrix.

    Raises:
        ValueError: It stretches directions differently, by more than `STRETCH`, or has no inverse.
    """
    if not (abs(linear) < np.inf).all():
        raise ValueError("the matrix has values that are not finite")
    u, stretch, vt = np.linalg.svd(np.asarray(linear, dtype=np.float64))
    scale = float(stretch.mean())
    if not scale > 1e-12 or abs(stretch / scale - 1).max() > STRETCH:
        raise ValueError("what has axes of its own can be turned, mirrored and scaled alike in all directions; this "
                         f"matrix stretches by {stretch.tolist()}")
    return scale, u @ vt


def zero123_pose(camera_to_world: np.ndarray) -> tuple[float, float, float]:
    """Polar angle from the vertical (radians, 0 = above), azimuth (radians, in [0, 2 pi)) and radius of a camera.

    Zero-1-to-3 works in a +Z up world and measures the azimuth from +X toward +Y; there, our front (+Z) is -Y.
    """
    x, y, z = WORLDS["blender"].from_ours(np.asarray(camera_to_world, dtype=np.float64)[:3, 3])
    radius = math.sqrt(x * x + y * y + z * z)
    return math.acos(max(-1.0, min(1.0, z / radius))), math.atan2(y, x) % (2 * math.pi), radius


def position_from_zero123(polar: float, azimuth: float, radius: float) -> np.ndarray:
    """(3,) camera position in our world; the inverse of `zero123_pose`."""
    z_up = radius * np.array([math.sin(polar) * math.cos(azimuth), math.sin(polar) * math.sin(azimuth),
                              math.cos(polar)])
    return WORLDS["blender"].to_ours(z_up)


def zero123_condition(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """(4,) relative pose that Zero-1-to-3 is conditioned on: [d polar, sin d azimuth, cos d azimuth, d radius]."""
    polar0, azimuth0, radius0 = zero123_pose(source)
    polar1, azimuth1, radius1 = zero123_pose(target)
    turn = azimuth1 - azimuth0
    return np.array([polar1 - polar0, math.sin(turn), math.cos(turn), radius1 - radius0])


def rigid(matrix: np.ndarray, where: str) -> np.ndarray:
    """A camera-to-world matrix freed of uniform scale and rounding; InputError when it is no rigid motion."""
    rotation = matrix[:3, :3]
    if not (abs(matrix) < LARGEST).all():
        raise InputError(f"{where}: has values that are not finite or above {LARGEST:g}; export the cameras again")
    scale = np.cbrt(np.linalg.det(rotation))
    if scale <= 1e-6:
        raise InputError(f"{where}: mirrors the camera or has no extent (determinant {scale ** 3:.3g}); a "
                         "camera-to-world matrix with OpenGL axes is needed")
    u, _, vt = np.linalg.svd(rotation / scale)
    if abs(u @ vt - rotation / scale).max() > 1e-2:
        raise InputError(f"{where}: is not a rotation with translation (off by "
                         f"{abs(u @ vt - rotation / scale).max():.2g}); camera-to-world with OpenGL axes is needed")
    out = np.eye(4)
    out[:3, :3], out[:3, 3] = u @ vt, matrix[:3, 3]
    return out
