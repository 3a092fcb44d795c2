"""rasterize, interpolate and antialias: reference, derivatives, shapes without data, refusals, determinism."""
import pytest
import torch
from tests.ops.triangle_scenes import ball, look, projection, random_faces, to_clip

from asset3d.ops.triangle import (
    antialias,
    antialias_reference,
    face_topology,
    face_topology_reference,
    interpolate,
    interpolate_reference,
    rasterize,
    rasterize_reference,
)

NEEDS_CUDA = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
DEVICES = ["cpu", pytest.param("cuda", marks=NEEDS_CUDA)]
RESOLUTION = (13, 17)


def weights(*shape, seed=1):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def ball_in_view(resolution=(24, 20)):
    vertices, faces = ball()
    positions = to_clip(vertices, projection() @ look())
    rast, _ = rasterize(positions, faces, resolution)
    color = torch.rand(1, *resolution, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    return color, rast, positions, faces


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("n_faces", [0, 1, 9, 40])
def test_rasterize_matches_reference(n_faces, device):
    positions, faces = (t.to(device) for t in random_faces(n_faces))
    expected = rasterize_reference(positions, faces, RESOLUTION)
    torch.testing.assert_close(rasterize(positions, faces, RESOLUTION), expected)


def test_rasterize_float32_matches_float64():
    positions, faces = random_faces(20)
    rast, rast_db = rasterize(positions.float(), faces, RESOLUTION)
    want, want_db = rasterize(positions, faces, RESOLUTION)
    assert torch.equal(rast[..., 3].double(), want[..., 3])
    torch.testing.assert_close(rast, want.float(), rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(rast_db, want_db.float(), rtol=1e-4, atol=1e-5)


def test_equal_depths_go_to_the_lowest_face():
    positions, faces = random_faces(1, batch=1, behind=False)
    rast, _ = rasterize(positions, faces.expand(5, 3), RESOLUTION)
    assert rast[..., 3].amax() == 1


def test_neighbouring_faces_leave_no_gap():
    """A fan whose edges pass through pixel centres covers every pixel once or more."""
    corner = [[-1.0, -1], [1, -1], [1, 1], [-1, 1], [0, 0]]
    positions = torch.tensor([[[x, y, 0, 1] for x, y in corner]])
    faces = torch.tensor([[0, 1, 4], [1, 2, 4], [2, 3, 4], [3, 0, 4]], dtype=torch.int32)
    for size in (8, 9, 33):
        assert (rasterize(positions, faces, (size, size))[0][..., 3] > 0).all()


@pytest.mark.parametrize("device", DEVICES)
def test_rasterize_gradient_matches_reference(device):
    positions, faces = (t.to(device) for t in random_faces(9))
    grads = []
    for fn in (rasterize, rasterize_reference):
        leaf = positions.clone().requires_grad_()
        rast, rast_db = fn(leaf, faces, RESOLUTION)
        total = (rast[..., :3] * weights(*rast.shape[:3], 3).to(device)).sum()
        total = total + 0.1 * (rast_db * weights(*rast_db.shape).to(device)).sum()
        grads += torch.autograd.grad(total, leaf)
    torch.testing.assert_close(*grads)


def test_rasterize_gradcheck():
    positions, faces = random_faces(3, batch=1)
    torch.autograd.gradcheck(
        lambda p: tuple(part[..., :3] for part in rasterize(p, faces, (5, 6))), positions.requires_grad_(), eps=1e-7
    )


@pytest.mark.parametrize("shared", [True, False])
@pytest.mark.parametrize("chosen", [None, [0, 2], "all"])
def test_interpolate_matches_reference(chosen, shared):
    positions, faces = random_faces(9)
    rast, rast_db = rasterize(positions, faces, RESOLUTION)
    attributes = weights(1 if shared else 2, positions.shape[1], 3)
    grads = []
    for fn in (interpolate, interpolate_reference):
        leaves = [t.clone().requires_grad_() for t in (attributes, rast, rast_db)]
        out, out_da = fn(leaves[0], leaves[1], faces, leaves[2], chosen)
        total = (out * weights(*out.shape)).sum() + (out_da * weights(*out_da.shape, seed=3)).sum()
        grads.append([out, out_da, *torch.autograd.grad(total, leaves, allow_unused=True, materialize_grads=True)])
    torch.testing.assert_close(*grads)


def test_interpolate_gradcheck():
    positions, faces = random_faces(3, batch=1)
    rast, rast_db = rasterize(positions, faces, (4, 5))
    inputs = [weights(1, positions.shape[1], 2), rast, rast_db]
    # The face number is not differentiable: only u, v and depth are disturbed.
    whole = lambda uvz: torch.cat([uvz, rast[..., 3:]], -1)  # noqa: E731
    inputs = [weights(1, positions.shape[1], 2).requires_grad_(), rast[..., :3].clone().requires_grad_(),
              rast_db.requires_grad_()]
    torch.autograd.gradcheck(lambda a, r, d: interpolate(a, whole(r), faces, d, "all"), inputs)


def test_topology_of_a_ball_is_closed():
    _, faces = ball()
    topology = face_topology(faces)
    assert torch.equal(topology, face_topology_reference(faces))
    half_edges = torch.arange(topology.numel(), dtype=torch.int32)
    assert (topology.flatten() != half_edges).all()
    assert torch.equal(topology.flatten()[topology.flatten().long()], half_edges)


def test_topology_of_borders_and_fans():
    faces = torch.tensor([[0, 1, 2], [1, 0, 3], [0, 1, 4]], dtype=torch.int32)
    topology = face_topology(faces)
    assert torch.equal(topology, face_topology_reference(faces))
    assert topology[:, 0].tolist() == [3, 6, 0] and topology[0, 1:].tolist() == [1, 2]


def test_topology_joins_seams_by_position():
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 1, 0], [1, 0, 0], [1, 1, 0]])
    faces = torch.tensor([[0, 1, 2], [3, 4, 5]], dtype=torch.int32)
    assert torch.equal(face_topology(faces).flatten(), torch.arange(6, dtype=torch.int32))
    assert face_topology(faces, vertices)[0, 1] == 3


def test_antialias_matches_reference():
    color, rast, positions, faces = ball_in_view()
    results = []
    for fn in (antialias, antialias_reference):
        leaves = [color.clone().requires_grad_(), positions.clone().requires_grad_()]
        out = fn(leaves[0], rast, leaves[1], faces)
        results.append([out, *torch.autograd.grad((out * weights(*out.shape)).sum(), leaves)])
    torch.testing.assert_close(*results)
    assert (results[0][0] - color).abs().max() > 0.1


def test_antialias_matches_reference_on_overlapping_faces():
    positions, faces = random_faces(9)
    rast, _ = rasterize(positions, faces, RESOLUTION)
    color = weights(2, *RESOLUTION, 2)
    topology = face_topology(faces)
    torch.testing.assert_close(
        antialias(color, rast, positions, faces, topology), antialias_reference(color, rast, positions, faces, topology)
    )


def test_antialias_gradcheck():
    color, rast, positions, faces = ball_in_view((7, 8))
    torch.autograd.gradcheck(
        lambda c, p: antialias(c, rast, p, faces), [color.requires_grad_(), positions.requires_grad_()], fast_mode=True
    )


def test_antialias_gives_the_area_of_a_disc():
    """Coverage of a finely divided disc, and its growth with the radius, on pixels far larger than the faces."""
    angle = torch.arange(720, dtype=torch.float64) * (2 * torch.pi / 720)
    rim = torch.stack([angle.cos(), angle.sin(), 0 * angle, 0 * angle + 1], -1)
    centre = torch.tensor([[0.0, 0, 0, 1]], dtype=torch.float64)
    k = torch.arange(720)
    faces = torch.stack([torch.full_like(k, 720), k, (k + 1) % 720], 1).to(torch.int32)
    radius = torch.tensor(0.613, dtype=torch.float64, requires_grad=True)
    size = torch.stack([radius, radius, radius, torch.ones_like(radius)])
    positions = torch.cat([rim * size, centre])[None]
    rast, _ = rasterize(positions, faces, (64, 64))
    area = antialias((rast[..., 3:] > 0).double(), rast, positions, faces).sum() * (2 / 64) ** 2
    area.backward()
    assert area.item() == pytest.approx(torch.pi * 0.613**2, rel=2e-3)
    assert radius.grad.item() == pytest.approx(2 * torch.pi * 0.613, rel=2e-2)


def test_second_derivatives_are_refused():
    positions, faces = random_faces(3, batch=1)
    leaf = positions.requires_grad_()
    (grad,) = torch.autograd.grad(rasterize(leaf, faces, (5, 6))[0][..., 0].square().sum(), leaf, create_graph=True)
    with pytest.raises(NotImplementedError, match="rasterize has no second derivative"):
        grad.sum().backward()


@pytest.mark.parametrize("n_faces", [0, 1, 5])
def test_opcheck(n_faces):
    positions, faces = random_faces(n_faces, dtype=torch.float32)
    leaf = positions.clone().requires_grad_()
    ops = torch.ops.asset3d
    torch.library.opcheck(ops.rasterize.default, (leaf, faces, 5, 6))
    rast, rast_db = (t.requires_grad_() for t in rasterize(positions, faces, (5, 6)))
    chosen = torch.tensor([1], dtype=torch.int64)
    attributes = torch.rand(1, positions.shape[1], 2, requires_grad=True)
    torch.library.opcheck(ops.interpolate.default, (attributes, rast, faces, rast_db, chosen))
    topology = face_topology(faces)
    torch.library.opcheck(ops.face_topology.default, (faces, positions.shape[1]))
    torch.library.opcheck(ops.antialias_analyze.default, (rast.detach(), positions, faces, topology))
    crossings = ops.antialias_analyze(rast.detach(), positions, faces, topology)
    torch.library.opcheck(ops.antialias.default, (torch.rand(2, 5, 6, 3, requires_grad=True), leaf, faces, crossings))


def test_compiles_without_graph_break():
    positions, faces = random_faces(9, dtype=torch.float32)
    topology = face_topology(faces)

    def render(p):
        rast, rast_db = rasterize(p, faces, RESOLUTION)
        color, _ = interpolate(p[..., :3].contiguous(), rast, faces, rast_db, [0])
        return antialias(color, rast, p, faces, topology).square().sum()

    compiled = torch.compile(render, fullgraph=True, backend="aot_eager")
    grads = []
    for fn in (render, compiled):
        leaf = positions.clone().requires_grad_()
        grads.append([fn(leaf), *torch.autograd.grad(fn(leaf), leaf)])
    torch.testing.assert_close(*grads)


def test_repeats_to_the_bit():
    _, _, positions, faces = ball_in_view((64, 64))
    positions = positions.float()

    def once():
        leaf = positions.clone().requires_grad_()
        rast, rast_db = rasterize(leaf, faces, (64, 64))
        out = interpolate(leaf, rast, faces, rast_db, "all")
        image = antialias(out[0], rast, leaf, faces)
        total = image.square().sum() + out[1].square().sum()
        return [image, *torch.autograd.grad(total, leaf)]

    threads = torch.get_num_threads()
    results = []
    try:
        for n in (1, 2, 3, 2):
            torch.set_num_threads(n)
            results.append(once())
    finally:
        torch.set_num_threads(threads)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))


P, F = torch.rand(1, 4, 4), torch.tensor([[0, 1, 2]], dtype=torch.int32)


@pytest.mark.parametrize("error, message, call", [
    (ValueError, r"rasterize: `positions` must have shape \(B, V, 4\), got \(4, 4\)",
     lambda: rasterize(P[0], F, (4, 4))),
    (TypeError, r"rasterize: `faces` must be torch.int32, got torch.int64", lambda: rasterize(P, F.long(), (4, 4))),
    (ValueError, r"rasterize: `faces` must index 4 vertices, got indices from 0 to 4",
     lambda: rasterize(P, F + torch.tensor([[0, 0, 2]], dtype=torch.int32), (4, 4))),
    (ValueError, r"rasterize: `faces` must index 4 vertices, got indices from -1 to 1",
     lambda: rasterize(P, F - 1, (4, 4))),
    (ValueError, r"rasterize: `resolution` must be between 0 and 16384, got \(-1, 4\)",
     lambda: rasterize(P, F, (-1, 4))),
    (ValueError, r"rasterize: `positions` has values that are not finite",
     lambda: rasterize(P * float("nan"), F, (4, 4))),
    (TypeError, r"rasterize: `positions` must be float32 or float64, got torch.float16",
     lambda: rasterize(P.half(), F, (4, 4))),
    (ValueError, r"interpolate: `attributes` must have batch 1 or 1, got 2",
     lambda: interpolate(torch.rand(2, 4, 3), torch.zeros(1, 4, 4, 4), F)),
    (ValueError, r"interpolate: `diff_attributes` needs `rast_db`",
     lambda: interpolate(torch.rand(1, 4, 3), torch.zeros(1, 4, 4, 4), F, None, [0])),
    (ValueError, r"interpolate: `diff_attributes` must be in \[0, 3\), got 3",
     lambda: interpolate(torch.rand(1, 4, 3), torch.zeros(1, 4, 4, 4), F, torch.zeros(1, 4, 4, 4), [3])),
    (TypeError, r"antialias: `rast` is torch.float64 but `color` is torch.float32",
     lambda: antialias(torch.rand(1, 4, 4, 3), torch.zeros(1, 4, 4, 4, dtype=torch.float64), P, F)),
    (ValueError, r"antialias: `topology` must have shape \(F, 3\) where F=1, got \(2, 3\)",
     lambda: antialias(torch.rand(1, 4, 4, 3), torch.zeros(1, 4, 4, 4), P, F, F.expand(2, 3))),
])
def test_refusals(error, message, call):
    with pytest.raises(error, match=message):
        call()
