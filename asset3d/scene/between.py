"""Cameras between given ones. Letters in shapes: B cameras, M new ones."""
from collections import Counter
from dataclasses import replace
from math import gcd
from typing import Literal

import numpy as np

from asset3d.scene.camera import Camera
from asset3d.scene.conventions import quaternion_from_rotation, rotation_from_quaternion

NEIGHBOURS = 6
"""Cameras that each is joined to, where the best places between neighbours are looked for."""
TAKEN = 1e-12
"""One less the cosine between two directions that are the same."""


def cameras_between(camera: Camera, count: int, order: Literal["nearest", "sequence"] = "nearest") -> Camera:
    """`count` cameras, each on the way from one of the given to another, around the origin.

    None is one of the given, and no two are the same, as long as the given differ from one another.

    Args:
        camera: At least 2 cameras.
        count: How many are made.
        order: "nearest": where the gaps between neighbours are widest, whatever the order of the cameras; "sequence":
            along the way from the first to the last, as many as can be alike between each and the next.

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
    """Evenly inside of the ways from each to the next, over which they are spread evenly."""
    made = Counter((given - 1) * (2 * k + 1) // (2 * count) for k in range(count))
    return [(way, way + 1, (k + 1) / (many + 1)) for way, many in made.items() for k in range(many)]


def _parts(round_: int) -> list[float]:
    """Places on the way from one neighbour to the other: halves and thirds, then quarters and fifths, and so on, each
    place once."""
    return [k / n for n in (2 * round_ + 2, 2 * round_ + 3) for k in range(1, n) if gcd(k, n) == 1]


def _directions(camera: Camera) -> np.ndarray:
    position = camera.position.detach().cpu().double().numpy()
    return position / np.linalg.norm(position, axis=1, keepdims=True).clip(1e-9)


def _in_gaps(camera: Camera, count: int) -> list[tuple[int, int, float]]:
    """Greedily, the place on a way between neighbours that is farthest from all cameras there are, M times; when no
    place is left free, there are finer ones."""
    direction = _directions(camera)
    cosine = direction @ direction.T - 4 * np.eye(len(direction))
    nearest = np.argsort(-cosine, axis=1, kind="stable")[:, :NEIGHBOURS]
    pairs = sorted({(min(a, b), max(a, b)) for a, row in enumerate(nearest.tolist()) for b in row if a != b})
    chosen, round_ = [], 0
    while len(chosen) < count:
        ways = [(a, b, t) for t in _parts(round_) for a, b in pairs]
        place = np.stack([_interpolated(camera, *way)[0][:3, 3] for way in ways])
        place /= np.linalg.norm(place, axis=1, keepdims=True).clip(1e-9)
        gap = 1 - (place @ direction.T).max(1)
        best = int(np.argmax(gap))
        while True:  # once at least: from one direction, cameras differ in their distance only
            chosen.append(ways[best])
            direction = np.append(direction, place[best:best + 1], 0)
            gap = np.minimum(gap, 1 - place @ place[best])
            best = int(np.argmax(gap))
            if len(chosen) == count or gap[best] < TAKEN:
                break
        round_ += 1
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

