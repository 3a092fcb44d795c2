"""Objects of the toybox: closed, attached, repeatable, in their box."""
import numpy as np
import pytest
import torch

from asset3d.errors import InputError
from asset3d.scene import rigs
from asset3d.toybox import ALL_CATEGORIES, CATEGORIES, HELD_CATEGORIES, HELD_OUT, make_object, sample_object
from asset3d.toybox.catalog import MAKERS
from asset3d.toybox.draw import Draw
from asset3d.toybox.model import Model, _apply, _pack, geometry_of

SEEDS = tuple(HELD_OUT + k for k in (0, 1, 5))
every = pytest.mark.parametrize("category", ALL_CATEGORIES)


def _model(category: str, seed: int) -> Model:
    model = Model()
    MAKERS[category](Draw(seed, ALL_CATEGORIES.index(category)), model)
    return model


def _welded(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    _, same = np.unique(vertices, axis=0, return_inverse=True)
    return same.reshape(-1)[faces]


@every
def test_mesh_is_closed_oriented_and_in_its_box(category):
    for seed in SEEDS:
        mesh = make_object(seed, (category,), texture_size=256).mesh
        faces = _welded(mesh.vertices.numpy() + 0.0, mesh.faces.numpy())
        edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
        forth, counts = np.unique(edges, axis=0, return_counts=True)
        back = np.unique(edges[:, ::-1], axis=0)
        assert (counts == 1).all() and np.array_equal(forth, back)   # every edge once each way
        low, high = mesh.vertices.min(0).values, mesh.vertices.max(0).values
        torch.testing.assert_close(low, -high, atol=1e-6, rtol=0)
        assert abs(float((high - low).max()) - 1) < 1e-6
        assert 2500 <= len(mesh.faces) <= 15500
        assert torch.unique(mesh.faces).numel() == len(mesh.vertices)
        a, b, c = (mesh.vertices[mesh.faces[:, k]] for k in range(3))
        normal = torch.linalg.cross(b - a, c - a)
        assert float(normal.norm(dim=1).min()) > 1e-8   # no slivers without area
        torch.testing.assert_close(mesh.normals.norm(dim=1), torch.ones(len(mesh.vertices)))
        shading = mesh.normals[mesh.faces].mean(1)
        assert float(((normal * shading).sum(1) > 0).double().mean()) > 0.995   # outward, as the faces
        assert float((normal * a).sum()) > 0


@every
def test_parts_hold_together_and_share_no_plane(category):
    trimesh = pytest.importorskip("trimesh")
    pytest.importorskip("embreex")
    for seed in SEEDS:
        solids = []
        for placed in _model(category, seed).placed:
            g = geometry_of(placed.part)
            world = _apply(placed.rotation, g.vertices) + placed.offset
            solids.append(trimesh.Trimesh(world, g.faces, process=False))
        _assert_attached(solids, category, seed)
        _assert_no_shared_plane(solids, category, seed)


def _inside(solid, points: np.ndarray) -> np.ndarray:
    """Which points a closed mesh encloses, by the parity of crossings along a skew direction."""
    direction = np.tile([0.3713, 0.5477, 0.7498], (len(points), 1))
    _, rays = solid.ray.intersects_id(points, direction, multiple_hits=True)
    return np.bincount(rays, minlength=len(points)) % 2 == 1


def _assert_attached(solids, category, seed):
    """Parts connected by the relation 'a vertex of one lies inside the other' are a single group."""
    group = list(range(len(solids)))
    for i, a in enumerate(solids):
        for j, b in enumerate(solids):
            if (
                i != j
                and group[i] != group[j]
                and (a.bounds[0] < b.bounds[1]).all()
                and (b.bounds[0] < a.bounds[1]).all()
            ):
                if _inside(a, b.vertices).any():
                    group = [group[i] if g == group[j] else g for g in group]
    assert len(set(group)) == 1, (category, seed, group)


def _assert_no_shared_plane(solids, category, seed):
    """No point on a part has another part's face in its own plane: such pairs would flicker."""
    for i, a in enumerate(solids):
        points, normals = a.triangles_center, a.face_normals
        for j, b in enumerate(solids):
            if i == j or not ((a.bounds[0] < b.bounds[1]).all() and (b.bounds[0] < a.bounds[1]).all()):
                continue
            faces, rays, hits = b.ray.intersects_id(
                points + 1e-3 * normals, -normals, return_locations=True, multiple_hits=False
            )
            if len(rays):
                close = np.abs(((hits - points[rays]) * normals[rays]).sum(1)) < 3e-4
                aligned = np.abs((b.face_normals[faces] * normals[rays]).sum(1)) > 0.9999
                assert not (close & aligned).any(), (category, seed, i, j)


@every
def test_every_scoring_view_shows_the_whole_object(category):
    for seed in range(HELD_OUT, HELD_OUT + 12):
        vertices = torch.from_numpy(_model(category, seed).vertices()).float()
        if float(vertices.norm(dim=1).max()) < 0.66:
            continue   # every scoring camera sees this ball: its radius is 2.6 sin(15) = 0.673, less a pixel
        for camera in rigs.views(256):
            pixel, _ = camera.project(vertices)
            assert 1 < float(pixel.min()) and float(pixel.max()) < 255, (category, seed)


@every
def test_seeds_differ_and_repeat(category):
    seeds = HELD_OUT + 3, HELD_OUT + 3, HELD_OUT + 4
    first, again, other = (make_object(seed, (category,), texture_size=256) for seed in seeds)
    assert first.caption == again.caption
    for name in ("vertices", "faces", "normals", "uvs"):
        assert torch.equal(getattr(first.mesh, name), getattr(again.mesh, name))
    assert torch.equal(first.mesh.material.base_color, again.mesh.material.base_color)
    assert not torch.equal(first.mesh.vertices[:100], other.mesh.vertices[:100])
    assert category in first.caption and first.caption.split()[0] in ("a", "an")


def test_texture_coordinates_do_not_overlap_and_stay_inside_their_patch():
    model = _model("house", 2)
    lengths = np.random.default_rng(0).uniform(0.02, 1, (150, 2))
    corners, sizes = _pack(lengths, 512)
    taken = np.zeros((512, 512), int)
    for (x, y), (w, h) in zip(corners, sizes):
        taken[y - 4:y + h + 4, x - 4:x + w + 4] += 1
    assert taken.max() == 1 and taken.mean() > 0.6
    mesh = model.mesh(512)
    assert 0 < float(mesh.uvs.min()) and float(mesh.uvs.max()) < 1
    texels = mesh.material.base_color * 255
    torch.testing.assert_close(texels, texels.round(), atol=1e-4, rtol=0)


def test_colours_follow_the_surface_not_the_texture_layout():
    """The same point of the mesh has the same colour whatever the size of the texture, up to its resolution."""
    coarse, fine = (make_object(2, ("vase",), texture_size=size).mesh for size in (512, 1024))
    colour = lambda m: m.material.base_color[(m.uvs[:, 1] * len(m.material.base_color)).long(),
                                             (m.uvs[:, 0] * len(m.material.base_color)).long()]
    assert float((colour(coarse) - colour(fine)).abs().mean()) < 0.01


def test_shading_is_mild_and_can_be_switched_off():
    flat, lit = (make_object(0, ("robot",), texture_size=256, shading=s).mesh.material.base_color for s in (0.0, 1.0))
    ratio = lit.sum(-1) / flat.sum(-1)
    assert 0.6 < float(ratio.min()) and float(ratio.max()) < 1.1
    assert 0.75 < float(ratio.mean()) < 0.95


def test_consecutive_seeds_walk_through_the_categories():
    names = [make_object(seed, ("mug", "vase", "barrel"), texture_size=256).category for seed in range(3)]
    assert names == ["mug", "vase", "barrel"]
    assert sample_object().caption == "a purple mushroom with white spots and a cream stem, beside two small ones"


@pytest.mark.parametrize("call, words", [(lambda: make_object(-1), "seed"), (lambda: make_object(0, ("mugg",)), "mugg"),
                                         (lambda: make_object(0, ()), "choose from")])
def test_refusals(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_draws_are_those_of_the_bit_generator():
    draw = Draw(7, 1)
    assert [round(draw.uniform(), 6) for _ in range(2)] == [round(x, 6) for x in EXPECTED]
    assert all(2 <= Draw(k).integer(2, 4) <= 4 for k in range(50))
    assert sorted(Draw(1).several("abcd", 4)) == list("abcd")


EXPECTED = tuple((int(x) >> 11) * 2.0**-53 for x in np.random.PCG64(np.random.SeedSequence([7, 1])).random_raw(2))
