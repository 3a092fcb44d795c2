"""Conversions there and back, and known points of each foreign convention."""
import math

import numpy as np
import pytest
from asset3d.errors import InputError
from asset3d.scene import conventions as c
from asset3d.scene.camera import orbit

RANDOM = np.random.default_rng(0)
POINTS = RANDOM.normal(size=(50, 3))
CAMERAS = orbit([0, 30, 200, -100], [10, -20, 60, 0], [2, 3, 1, 4], 40, 8).camera_to_world.double().numpy()


@pytest.mark.parametrize("name", c.WORLDS)
def test_worlds_there_and_back(name):
    world = c.WORLDS[name]
    assert world.to_ours(world.from_ours(POINTS)) == pytest.approx(POINTS, abs=1e-12)
    assert abs(abs(np.linalg.det(world.matrix)) - 1) < 1e-12
    lengths = np.linalg.norm(world.from_ours(POINTS), axis=1)
    assert lengths == pytest.approx(np.linalg.norm(POINTS, axis=1) * world.units_per_metre)


@pytest.mark.parametrize("name, left_handed, right, up, front", [
    ("gltf", False, (1, 0, 0), (0, 1, 0), (0, 0, 1)),
    ("blender", False, (1, 0, 0), (0, 0, 1), (0, -1, 0)),  # numpad 1 sees the front: looks along +Y
    ("unity", True, (-1, 0, 0), (0, 1, 0), (0, 0, 1)),  # transform.forward is +Z
    ("unreal", True, (0, -100, 0), (0, 0, 100), (100, 0, 0)),  # forward +X, up +Z, centimetres
    ("maya", False, (100, 0, 0), (0, 100, 0), (0, 0, 100)),
])
def test_worlds_known_points(name, left_handed, right, up, front):
    world = c.WORLDS[name]
    assert world.left_handed is left_handed
    assert world.from_ours(np.eye(3)).tolist() == [list(right), list(up), list(front)]


@pytest.mark.parametrize("name", ["gltf", "blender", "maya"])
def test_cameras_of_right_handed_worlds(name):
    world = c.WORLDS[name]
    there = world.cameras_from_ours(CAMERAS)
    assert world.cameras_to_ours(there) == pytest.approx(CAMERAS, abs=1e-12)
    assert np.linalg.det(there[:, :3, :3]) == pytest.approx(1)
    # A point keeps its place in the picture.
    local = (world.from_ours(POINTS)[0] - there[1, :3, 3]) @ there[1, :3, :3] / world.units_per_metre
    assert local == pytest.approx((POINTS[0] - CAMERAS[1, :3, 3]) @ CAMERAS[1, :3, :3])


def test_left_handed_worlds_have_no_cameras():
    for name in ("unity", "unreal"):
        with pytest.raises(ValueError, match="left-handed"):
            c.WORLDS[name].cameras_from_ours(CAMERAS)


def test_opencv_cameras():
    assert c.opengl_from_opencv(c.opencv_from_opengl(CAMERAS)) == pytest.approx(CAMERAS)
    front = c.opencv_from_opengl(CAMERAS[0])
    assert front[:3, 2] @ CAMERAS[0, :3, 3] < 0  # +z looks at the object
    assert front[1, 1] < 0  # y points down
    assert c.principal_point_from_opencv(*c.opencv_principal_point(3.25, 7.5)) == (3.25, 7.5)
    assert c.opencv_principal_point(320, 240) == (319.5, 239.5)


def test_colmap_poses():
    for camera in CAMERAS:
        quaternion, translation = c.colmap_from_opengl(camera)
        assert c.opengl_from_colmap(quaternion, translation) == pytest.approx(camera, abs=1e-7)  # float32 matrices
        # The world's origin, which every camera looks at, is straight ahead at its distance.
        assert translation == pytest.approx([0, 0, np.linalg.norm(camera[:3, 3])], abs=1e-6)


def test_quaternions():
    for quaternion in RANDOM.normal(size=(100, 4)):
        quaternion /= np.linalg.norm(quaternion) * np.sign(quaternion[0])
        assert c.quaternion_from_rotation(c.rotation_from_quaternion(quaternion)) == pytest.approx(quaternion, abs=1e-9)
    half_turn = c.quaternion_from_rotation(np.diag([-1.0, -1.0, 1.0]))
    assert abs(half_turn) == pytest.approx([0, 0, 0, 1], abs=1e-9)
    assert c.rotation_from_quaternion([math.sqrt(0.5), 0, 0, math.sqrt(0.5)]) @ [1, 0, 0] == pytest.approx([0, 1, 0])


def test_y_up_from_z_up():
    """A camera above the object in Blender is above it here; Blender's front view is ours."""
    above = np.eye(4)
    above[2, 3] = 3
    assert c.y_up_from_z_up(above)[:3, 3].tolist() == [0, 3, 0]
    front = np.eye(4)
    front[1, 3] = -3
    assert c.y_up_from_z_up(front)[:3, 3].tolist() == [0, 0, 3]


@pytest.mark.parametrize("azimuth", [0, 30, 135, 270])
@pytest.mark.parametrize("elevation", [-30, 0, 80])
def test_zero123(azimuth, elevation):
    camera = orbit(azimuth, elevation, 1.8, 49.1, 8).camera_to_world[0].double().numpy()
    polar, turn, radius = c.zero123_pose(camera)
    assert math.degrees(polar) == pytest.approx(90 - elevation, abs=1e-4) and radius == pytest.approx(1.8)
    # Azimuth grows the same way; only the zero differs.
    assert math.degrees(turn) == pytest.approx((azimuth - 90) % 360, abs=1e-4)
    assert c.position_from_zero123(polar, turn, radius) == pytest.approx(camera[:3, 3], abs=1e-6)


def test_zero123_condition():
    source, target = orbit([10, 40], [0, 20], [1.5, 2.0], 49.1, 8).camera_to_world.double().numpy()
    expected = [math.radians(-20), math.sin(math.radians(30)), math.cos(math.radians(30)), 0.5]
    assert c.zero123_condition(source, target) == pytest.approx(expected, abs=1e-6)
    assert c.zero123_condition(source, source) == pytest.approx([0, 0, 1, 0])


def test_rigid():
    scaled = CAMERAS[1].copy()
    scaled[:3, :3] *= 2.5
    assert c.rigid(scaled, "here") == pytest.approx(CAMERAS[1], abs=1e-7)
    for wrong, message in ((np.full((4, 4), np.nan), "finite"), (np.diag([1, 1, -1, 1.0]), "mirrors"),
                           (np.zeros((4, 4)), "no extent"), (np.diag([1, 2, 3, 1.0]), "rotation")):
        with pytest.raises(InputError, match=message):
            c.rigid(wrong, "here")
