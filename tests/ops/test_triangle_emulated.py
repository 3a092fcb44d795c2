"""The CUDA schedules of the triangle operators, run by the emulator, against the CPU's: any order of the threads."""
import pytest
import torch
from tests.ops.triangle_scenes import ball, look, projection, random_faces, to_clip

from asset3d.ops.triangle import face_topology

SEEDS = range(8)
cpu = torch.ops.asset3d


@pytest.fixture(params=SEEDS)
def emulated(request):
    module = pytest.importorskip("asset3d._emulated", reason="built without ASSET3D_EMULATE=1")
    module.set_seed(request.param)
    yield torch.ops.asset3d_emulated
    module.set_seed(0)


def noise(*shape, seed=1):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def scene(which):
    """Positions and faces: large overlapping faces, some behind the camera; or a ball of small ones."""
    if which == "random":
        return random_faces(12)
    vertices, faces = ball()
    return to_clip(vertices, projection() @ look()), faces


@pytest.mark.parametrize("which", ["random", "ball"])
def test_emulated_equals_cpu(emulated, which):
    positions, faces = scene(which)
    batch, n_vertices, _ = positions.shape
    rast, rast_db = cpu.rasterize(positions, faces, 19, 23)
    torch.testing.assert_close(emulated.rasterize(positions, faces, 19, 23), (rast, rast_db))

    args = noise(*rast.shape), noise(*rast.shape, seed=2), positions, faces, rast
    torch.testing.assert_close(emulated.rasterize_backward(*args), cpu.rasterize_backward(*args))

    attributes, chosen = noise(1, n_vertices, 3), torch.tensor([0, 2])
    args = attributes, rast, faces, rast_db, chosen
    torch.testing.assert_close(emulated.interpolate(*args), cpu.interpolate(*args))
    args = noise(batch, 19, 23, 3), noise(batch, 19, 23, 4), *args
    torch.testing.assert_close(emulated.interpolate_backward(*args), cpu.interpolate_backward(*args))

    topology, color = face_topology(faces), noise(batch, 19, 23, 3)
    crossings = cpu.antialias_analyze(rast, positions, faces, topology)
    assert torch.equal(emulated.antialias_analyze(rast, positions, faces, topology), crossings)
    args = color, positions, faces, crossings
    torch.testing.assert_close(emulated.antialias(*args), cpu.antialias(*args))
    args = noise(*color.shape, seed=3), *args
    torch.testing.assert_close(emulated.antialias_backward(*args), cpu.antialias_backward(*args))


def test_emulated_scatters_repeat_to_the_bit(emulated):
    """Not only close: the same bits in every order, also in float32."""
    positions, faces = (t.float() if t.is_floating_point() else t for t in random_faces(12))
    rast, _ = cpu.rasterize(positions, faces, 19, 23)
    grads = noise(*rast.shape).float(), noise(*rast.shape, seed=2).float()
    got = emulated.rasterize_backward(*grads, positions, faces, rast)
    pytest.importorskip("asset3d._emulated").set_seed(0)
    assert torch.equal(got, emulated.rasterize_backward(*grads, positions, faces, rast))


def assert_full_sum(got, want):
    """A bound that is too small by a factor of two overflows and changes the sign."""
    torch.testing.assert_close(got, want, rtol=1e-9, atol=0)


def test_every_pixel_of_a_batch_may_meet_in_one_sum():
    """As many contributions as the operators allow for, all as large as the largest: the sums are nearly full."""
    pytest.importorskip("asset3d._emulated", reason="built without ASSET3D_EMULATE=1").set_seed(0)
    emulated = torch.ops.asset3d_emulated
    almost_two, pixels = 2 - 1e-9, 8 * 16 * 16
    grad = torch.full((8, 16, 16, 1), almost_two, dtype=torch.float64)
    corners = torch.zeros(8, 16, 16, 2, dtype=torch.float64)  # between four texels, which are one: 1/4 of `grad` each
    texel = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    nothing = texel.new_zeros(1, 0, 1), corners, texel.new_zeros(0)
    grad_texture = emulated.texture_backward(grad, texel, *nothing, 1, 1, 0)[0]
    assert_full_sum(grad_texture, texel * pixels * almost_two)

    rast = corners.new_tensor([1 / 3, 1 / 3, 0, 1]).expand(8, 16, 16, 4).contiguous()
    faces = torch.zeros(1, 3, dtype=torch.int32)  # all three corners are one vertex
    args = texel[0], rast, faces, rast, torch.zeros(0, dtype=torch.int64)
    grad_attributes = emulated.interpolate_backward(grad, grad[..., :0], *args)[0]
    assert_full_sum(grad_attributes, texel[0] * pixels * almost_two)


def test_emulated_empty(emulated):
    positions, faces = torch.zeros(1, 3, 4), torch.zeros(0, 3, dtype=torch.int32)
    rast, rast_db = emulated.rasterize(positions, faces, 4, 5)
    assert rast.shape == (1, 4, 5, 4) and not rast.any() and not rast_db.any()
    assert emulated.rasterize(positions[:0], faces, 4, 5)[0].shape == (0, 4, 5, 4)
