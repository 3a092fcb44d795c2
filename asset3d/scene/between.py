"""Cameras between given ones. Letters in shapes: B cameras, M new ones."""
from dataclasses import replace
from typing import Literal

import numpy as np

from asset3d.scene.camera import Camera
from asset3d.scene.conventions import quaternion_from_rotation, rotation_from_quaternion

NEIGHBOURS = 6
"""Cameras that each is joined to, where the best places between neighbours are looked for."""
PARTS = (0.5, 1 / 3, 2 / 3)
"""Places on the way from one neighbour to the other."""


def cameras_between(camera: Camera, count: int, order: Literal["nearest", "sequence"] = "nearest") -> Camera:
    """`count` cameras, each on the way from one of the given to another, around the origin.

    Args:
        camera: At least 2 cameras.
        count: How many are made.
        order: "nearest": where the gaps between neighbours are widest, whatever the order of the cameras; "sequence":
            evenly along the way from the first to the last.

    Raises:
        ValueError: There are fewer than 2 cameras.
    """
    if len(camera) < 2:
        raise ValueError(f"cameras_between: at least 2 cameras are needed, got {len(camera)}")
    ways = _along(len(camera), count) if order == "sequence" else _in_gaps(camera, count)
    made = [_interpolated(camera, *way) for way in ways]
    like = camera.camera_to_world
    matrices = np.stack([matrix for matrix, _ in made]) if made else np.zeros((0, 4, 4))
    lenses = np.stack([lens for _, lens in made]) if made else np.zeros((0, 4))
    return replace(camera, camera_to_world=like.new_tensor(matrices), intrinsics=like.new_tensor(lenses))


def _along(given: int, count: int) -> list[tuple[int, int, float]]:
    """Evenly over the sequence, leaving its own cameras out where they would be met."""
    places = [(given - 1) * (k + 0.5) / count for k in range(count)]
    return [(min(int(p), given - 2), min(int(p), given - 2) + 1, p - min(int(p), given - 2)) for p in places]


def _directions(camera: Camera) -> np.ndarray:
    position = camera.position.detach().cpu().double().numpy()
    return position / np.linalg.norm(position, axis=1, keepdims=True).clip(1e-9)


def _in_gaps(camera: Camera, count: int) -> list[tuple[int, int, float]]:
    """Greedily, the place on a way between neighbours that is farthest from all cameras there are, M times."""
    direction = _directions(camera)
    cosine = direction @ direction.T - 4 * np.eye(len(direction))
    nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :NEIGHBOURS]
    pairs = sorted({(min(a, b), max(a, b)) for a, row in enumerate(nearest.tolist()) for b in row if a != b})
    ways = [(a, b, t) for t in PARTS for a, b in pairs]
    place = np.stack([_interpolated(camera, *way)[0][:3, 3] for way in ways])
    place /= np.linalg.norm(place, axis=1, keepdims=True).clip(1e-9)
    gap = 1 - (place @ direction.T).max(1)
    chosen = []
    for _ in range(count):
        best = int(np.argmax(gap))
        if gap[best] < 0:  # every place is taken: begin again with all of them
            gap = 1 - (place @ direction.T).max(1)
            best = int(np.argmax(gap))
        chosen.append(ways[best])
        gap = np.minimum(gap, 1 - place @ place[best])
        gap[best] = -1
    return chosen


def _interpolated(camera: Camera, a: int, b: int, t: float) -> tuple[np.ndarray, np.ndarray]:
    """(4, 4) pose and (4,) intrinsics at a share t of the way. The origin is seen where it is on the way from where one
    camera sees it to where the other does, so that the object stays in the picture."""
    first, second = camera.camera_to_world[[a, b]].detach().cpu().double().numpy()
    rotation = rotation_from_quaternion(_slerp(quaternion_from_rotation(first[:3, :3]),
                                               quaternion_from_rotation(second[:3, :3]), t))
    origin = [-m[:3, :3].T @ m[:3, 3] for m in (first, second)]  # in the cameras' own axes
    pose = np.eye(4)
    pose[:3, :3] = rotation
    pose[:3, 3] = -rotation @ ((1 - t) * origin[0] + t * origin[1])
    lens = camera.intrinsics[[a, b]].detach().cpu().double().numpy()
    return pose, (1 - t) * lens[0] + t * lens[1]


def _slerp(a: np.ndarray, b: np.ndarray, t: float) -> np.ndarray:
    """Quaternions on the shorter way around."""
    cosine = float(a @ b)
    if cosine < 0:
        b, cosine = -b, -cosine
    angle = np.arccos(min(cosine, 1.0))
    if angle < 1e-6:
        return (1 - t) * a + t * b
    return (np.sin((1 - t) * angle) * a + np.sin(t * angle) * b) / np.sin(angle)

