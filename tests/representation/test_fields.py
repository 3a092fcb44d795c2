"""The fields: their derivatives, where rays may look, and that a few small photos teach them a ball."""
import pytest
import torch

from asset3d.errors import Cancelled, EmptySurface, InputError
from asset3d.loss.mask import Mask, MaskConfig
from asset3d.loss.photometric import Photometric, PhotometricConfig
from asset3d.renderer.volume import VolumeConfig, VolumeRenderer
from asset3d.representation._field import mlp
from asset3d.representation._occupancy import OccupancyGrid
from asset3d.representation.hash_grid_field import HashGridField, HashGridFieldConfig
from asset3d.representation.sdf_field import SdfField, SdfFieldConfig, signed_distance
from asset3d.representation.tet_mesh import TetMesh, TetMeshConfig
from asset3d.scene.camera import orbit
from asset3d.scene.views import Views
from asset3d.stage._fit import Fit, FitConfig
from asset3d.stage.base import Context
from asset3d.stage.convert import field_mesh

SMALL = dict(n_levels=3, base_resolution=4, max_resolution=16, log2_hashmap_size=10, width=16, occupancy_resolution=24)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def sdf_field(**fields):
    """A small untrained field whose hash grid is not flat."""
    field = SdfField(SdfFieldConfig(**(SMALL | fields)), generator())
    with torch.no_grad():
        field.encoding.table.uniform_(-0.1, 0.1, generator=generator(1))
    return field


def ball_views(radius=0.3, size=24, count=6):
    """Photos of a red ball around the origin, whose outline is found in closed form."""
    camera = orbit(torch.arange(count) * 360.0 / count, torch.tensor([40.0, -20, 10] * (count // 3)), 2.6, 30, size)
    origins, directions = camera.rays()
    along = (origins * directions).sum(-1)
    alpha = ((origins.square().sum(-1) - along.square()).sqrt() < radius).float()[..., None]
    return Views(camera, torch.tensor([0.9, 0.2, 0.1]).expand(*alpha.shape[:3], 3), alpha, ("x",) * count)


def test_the_gradient_of_the_distance_is_that_of_finite_differences():
    field = sdf_field().double()
    x, step = torch.rand(64, 3, generator=generator(2), dtype=torch.float64) * 0.8 - 0.4, 1e-6
    with torch.no_grad():
        ends = [[field.sdf(x + sign * step * axis) for sign in (1, -1)] for axis in torch.eye(3, dtype=torch.float64)]
    numeric = torch.stack([(ahead - behind) / (2 * step) for ahead, behind in ends], -1)
    torch.testing.assert_close(field.gradient(x).detach(), numeric, atol=1e-6, rtol=1e-6)


def test_the_eikonal_term_has_a_derivative_in_every_parameter_of_the_distance():
    """Against a finite difference along the derivative itself: the second derivative of grid and network is right."""
    field = sdf_field().double()
    x = torch.rand(64, 3, generator=generator(2), dtype=torch.float64) * 0.8 - 0.4
    term = lambda: (field.gradient(x).norm(dim=-1) - 1).square().mean()
    parameters = [field.encoding.table, field.geometry[0].weight, field.geometry[-1].weight]
    found = torch.autograd.grad(term(), parameters)
    for parameter, slope in zip(parameters, found):
        length, way = float(slope.norm()), slope / slope.norm()
        values = []
        for sign in (1, -1):
            with torch.no_grad():
                parameter.add_(sign * 1e-6 * way)
            values.append(float(term().detach()))
            with torch.no_grad():
                parameter.sub_(sign * 1e-6 * way)
        assert length > 1e-3 and abs((values[0] - values[1]) / 2e-6 - length) < 1e-4 * length


def test_no_gradient_is_kept_where_none_is_wanted():
    field = sdf_field()
    with torch.no_grad():
        assert not field.gradient(torch.zeros(2, 3)).requires_grad
    assert field.gradient(torch.zeros(2, 3)).requires_grad
    assert field.gradient(torch.zeros(0, 3)).shape == (0, 3)


def test_a_network_depends_on_its_generator_alone():
    before = torch.get_rng_state()
    first, second = (mlp([3, 8, 2], generator()).state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert torch.equal(torch.get_rng_state(), before)


def test_signed_distance_of_a_slab():
    inside = torch.zeros(8, 8, 8, dtype=torch.bool)
    inside[:4] = True
    want = (torch.arange(8) - 3.5)[:, None, None].expand(8, 8, 8) / 8
    torch.testing.assert_close(signed_distance(inside), want)


def test_rays_look_at_the_hull_and_a_margin_around_it_only():
    grid = OccupancyGrid(24)
    hull = grid.allow_hull(ball_views(), 0.5)
    radius = grid.centers().norm(dim=-1).reshape(24, 24, 24)
    assert hull[radius < 0.25].all() and not hull[radius > 0.45].any()
    assert grid.allowed[radius < 0.4].all() and torch.equal(grid.allowed, grid.occupied) and not grid.allowed.all()
    grid.set(torch.ones_like(hull))
    assert torch.equal(grid.occupied, grid.allowed)


def test_masks_that_do_not_meet_are_refused():
    views = ball_views()
    empty = Views(views.camera, views.color, torch.zeros_like(views.alpha), views.names)
    for field in (sdf_field(), HashGridField(HashGridFieldConfig(**SMALL), generator())):
        with pytest.raises(InputError, match="no cell of the occupancy grid .* inside the masks of all 6 views"):
            field.initialise(empty, generator())


def test_the_fit_to_the_hull_can_be_stopped():
    looks = []

    def stop():
        looks.append(1)
        if len(looks) == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        sdf_field(hull_steps=80, occupancy_resolution=8).initialise(ball_views(), generator(3), stop)
    assert len(looks) == 3


@pytest.mark.parametrize("resolution", [8, 24])
def test_a_distance_field_starts_as_the_hull(resolution):
    field = sdf_field(hull_steps=80, occupancy_resolution=resolution)
    field.initialise(ball_views(), generator(3))
    mesh = field_mesh(field, 24)
    assert abs(float(mesh.vertices.norm(dim=-1).median()) - 0.3) < 0.05  # a hull of six views is a little fatter
    radius = field.occupancy.centers().norm(dim=-1)
    assert field.occupancy.occupied.flatten()[(radius - 0.3).abs() < 0.02].all()


def test_levels_and_sharpness_grow_to_their_ends():
    field = sdf_field(initial_levels=1, all_levels_at=0.5, initial_sharpness=10, final_sharpness=1000)
    seen = []
    for step in range(11):
        field.begin_step(step, 11, generator())
        seen.append((field.encoding.n_active, round(float(field.sharpness), 3)))
    assert seen[0] == (1, 10.0) and seen[5] == (3, 100.0) and seen[10] == (3, 1000.0)
    other = sdf_field(initial_levels=1)
    other.load_state_dict(field.state_dict())
    assert other.encoding.n_active == 3 and float(other.sharpness) == float(field.sharpness)


def test_few_small_photos_teach_a_density_field(tmp_path):
    field, views = HashGridField(HashGridFieldConfig(**SMALL), generator()), ball_views()
    field.initialise(views, generator())
    context = Context("fit", 0, torch.device("cpu"), tmp_path, tmp_path)
    fit = Fit(FitConfig(steps=160, rays=512, learning_rate=0.02), context, field,
              VolumeRenderer(VolumeConfig(step_size=1 / 48)),
              [Photometric(PhotometricConfig()), Mask(MaskConfig())], views)
    terms = [fit.step(step) for step in range(21)]
    assert terms[-1]["photometric"] < 0.8 * terms[0]["photometric"] and terms[-1]["mask"] < terms[0]["mask"]
    assert not (field.occupancy.occupied & ~field.occupancy.allowed).any()


def test_a_tetrahedral_mesh_needs_a_field_with_a_surface():
    field = sdf_field()
    field.evaluate = lambda x: torch.ones(len(x))
    with pytest.raises(EmptySurface, match="the field has no surface"):
        TetMesh(TetMeshConfig(resolution=8), field)
