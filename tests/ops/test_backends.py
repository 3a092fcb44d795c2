"""Optional backends: what is called and how (a contract with the documented signatures), what is refused, and, where
one is installed on a machine with a GPU, that it agrees with our kernels."""
import sys
from importlib.util import find_spec

import fake_backends
import kit
import pytest
import torch
from pydantic import ValidationError

from asset3d import recipe
from asset3d.errors import MissingDependency, RecipeError
from asset3d.ops import _backend
from asset3d.ops.hash_grid import hash_grid_encode, hash_grid_levels
from asset3d.ops.marching_tets import marching_tets, tet_grid
from asset3d.renderer.mesh import MeshRenderer, MeshRendererConfig
from asset3d.representation._field import HashGridEncoding
from asset3d.representation.hash_grid_field import HashGridFieldConfig
from asset3d.representation.tet_mesh import TetMeshConfig
from asset3d.scene.camera import orbit

CONFIGS = {"nvdiffrast": MeshRendererConfig, "tinycudann": HashGridFieldConfig, "kaolin": TetMeshConfig}


@pytest.fixture
def fake(monkeypatch):
    """Installs a stand-in; the module that adapts to it is imported anew."""

    def install(name: str, anywhere: bool = True) -> None:
        getattr(fake_backends, name)(monkeypatch)
        monkeypatch.delitem(sys.modules, f"asset3d.ops._{name}", raising=False)
        if anywhere:  # there is no CUDA device here
            monkeypatch.setattr(_backend, "need_cuda_float32", lambda *_: None)

    yield install
    for name in CONFIGS:
        sys.modules.pop(f"asset3d.ops._{name}", None)


class Ball:
    """A surface with a gradient, and colours by place."""

    def __init__(self, device: str = "cpu"):
        grid = tet_grid(12).to(device)
        self.vertices, self.faces = marching_tets(0.35 - grid.vertices.norm(dim=-1), grid.vertices, grid)
        self.vertices = self.vertices.detach().requires_grad_()

    def surface(self):
        return self.vertices, self.faces

    def color(self, x):
        return x + 0.5


def picture(backend: str, device: str = "cpu") -> tuple[torch.Tensor, torch.Tensor]:
    ball = Ball(device)
    renderer = MeshRenderer(MeshRendererConfig(backend=backend, normals=True))
    drawn = renderer.render(ball, orbit([20, 140], 15, 2.5, 30, 48).to(device))
    image = torch.cat([drawn.color, drawn.alpha, drawn.depth, drawn.normal], -1)
    return image, torch.autograd.grad(image.square().sum(), ball.vertices)[0]


def test_nvdiffrast_draws_what_we_draw(fake):
    fake("nvdiffrast")
    torch.testing.assert_close(picture("nvdiffrast"), picture("native"), rtol=0, atol=0)


@pytest.mark.parametrize("filter_mode", ["linear", "linear-mipmap-linear"])
def test_nvdiffrast_takes_our_arguments(fake, filter_mode):
    fake("nvdiffrast")
    generator = torch.Generator().manual_seed(0)
    positions = torch.rand(1, 30, 4, generator=generator) * 2 - 1
    positions[..., 3] = 1
    faces = torch.arange(30, dtype=torch.int32).reshape(10, 3)
    tex, uv = (torch.rand(1, 30, n, generator=generator) for n in (3, 2))
    drawn = {}
    for name in ("native", "nvdiffrast"):
        ops = _backend.backend("triangle", name)
        rast, rast_db = ops.rasterize(positions, faces, (24, 32))
        at, at_da = ops.interpolate(uv, rast, faces, rast_db, (0, 1))
        color = ops.texture(tex.reshape(1, 5, 6, 3)[:, :4, :4], at, at_da, filter_mode, "clamp", None)
        drawn[name] = rast, at, at_da, color, ops.antialias(color, rast, positions, faces)
    torch.testing.assert_close(drawn["nvdiffrast"], drawn["native"], rtol=0, atol=0)


@pytest.mark.parametrize("n_active", [1, 3, 6])
def test_tinycudann_reads_our_table(fake, n_active):
    """Levels that are not yet active are left out, as for our own kernel."""
    fake("tinycudann")
    config = dict(n_levels=6, max_resolution=100, log2_hashmap_size=12)
    made = {name: HashGridEncoding(HashGridFieldConfig(backend=name, **config), torch.Generator().manual_seed(0))
            for name in ("native", "tinycudann")}
    x = torch.rand(50, 3, generator=torch.Generator().manual_seed(1)) * 1.2 - 0.6
    found = {}
    for name, encoding in made.items():
        encoding.n_active = n_active
        points = x.clone().requires_grad_()
        out = encoding(points)
        found[name] = out, *torch.autograd.grad(out.sum(), (points, encoding.table))
    torch.testing.assert_close(found["tinycudann"], found["native"], rtol=1e-4, atol=1e-5)  # scales in float32


def test_tinycudann_refuses_levels_that_it_does_not_know(fake):
    fake("tinycudann")
    encode = _backend.backend("hash_grid", "tinycudann").hash_grid_encode
    with pytest.raises(ValueError, match="grow geometrically"):
        encode(torch.rand(2, 3), torch.zeros(5000, 2), [3.0, 4.0, 11.0], [4, 5, 12], [0, 64, 192, 2000])


def test_kaolin_finds_our_surface(fake):
    fake("kaolin")
    grid = tet_grid(8)
    sdf = 0.3 - grid.vertices.norm(dim=-1)
    found = {}
    for name in ("native", "kaolin"):
        leaf = sdf.clone().requires_grad_()
        vertices, faces = _backend.backend("marching_tets", name).marching_tets(leaf, grid.vertices, grid)
        found[name] = vertices, faces, torch.autograd.grad(vertices.square().sum(), leaf)[0]
    assert torch.equal(found["kaolin"][1], found["native"][1])
    torch.testing.assert_close(found["kaolin"][::2], found["native"][::2], rtol=1e-5, atol=1e-6)


# -- refusals -----------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name", CONFIGS)
def test_a_missing_package_is_refused_by_name(name):
    if find_spec(name):
        pytest.skip(f"{name} is installed on this machine")
    family = next(family for family, names in _backend.FAMILIES.items() if name in names)
    told = f"'{name}' is not installed; get it from https://.*leave `backend` out"
    with pytest.raises(MissingDependency, match=told):
        _backend.backend(family, name)
    with pytest.raises(ValidationError, match=f"'{name}' is not installed"):
        CONFIGS[name](backend=name)


def test_a_recipe_says_where_it_asks_for_it(tmp_path):
    if find_spec("nvdiffrast"):
        pytest.skip("nvdiffrast is installed on this machine")
    (tmp_path / "r.yaml").write_text(
        "name: r\nstage:\n  - type: optimize\n    renderer: {type: mesh, backend: nvdiffrast}\n"
        "    loss: [{type: mask}]\n")
    with pytest.raises(RecipeError, match=r"r\.yaml:4:\d+: .*backend.*nvdiffrast' is not installed"):
        recipe.load(tmp_path / "r.yaml")


@pytest.mark.parametrize("name", CONFIGS)
def test_another_package_of_the_name_is_refused(monkeypatch, name):
    fake_backends.install(monkeypatch, {"nvdiffrast": "nvdiffrast.torch", "kaolin": "kaolin.ops.conversions"}.get(
        name, name), something="else")
    monkeypatch.delitem(sys.modules, f"asset3d.ops._{name}", raising=False)
    family = next(family for family, names in _backend.FAMILIES.items() if name in names)
    with pytest.raises(MissingDependency, match="another one of this name: it has no"):
        _backend.backend(family, name)


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match="triangle: `backend` must be one of native, nvdiffrast, got 'kaolin'"):
        _backend.backend("triangle", "kaolin")


@pytest.mark.parametrize("name", ["nvdiffrast", "tinycudann"])
def test_tensors_that_would_crash_it_are_refused(fake, name):
    fake(name, anywhere=False)
    with pytest.raises(ValueError, match=f"'{name}' runs on CUDA only, got a tensor on cpu"):
        if name == "nvdiffrast":
            picture(name)
        else:
            _backend.backend("hash_grid", name).hash_grid_encode(
                torch.rand(2, 3), torch.zeros(64, 2), *hash_grid_levels(1, 4, 4, 10))


# -- the packages themselves, on a GPU ----------------------------------------------------------------------------

def need(name: str) -> None:
    if not kit.HAS_CUDA:
        pytest.skip("no CUDA device")
    pytest.importorskip(name)


def test_nvdiffrast_equals_native_on_cuda():
    """Away from silhouettes, where the two blend differently: 99 % of the pixels."""
    need("nvdiffrast")
    ours, theirs = picture("native", "cuda")[0], picture("nvdiffrast", "cuda")[0]
    same = ((ours - theirs).abs() < 1e-3).all(-1)  # their depth and ours round z/w differently
    assert same.float().mean() > 0.99


def test_tinycudann_equals_native_on_cuda():
    """To half precision, in which it keeps its table."""
    need("tinycudann")
    levels = hash_grid_levels(8, 16, 256, 14)
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(1000, 3, generator=generator).cuda()
    table = torch.rand(levels.first_rows[-1], 2, generator=generator).cuda()
    theirs = _backend.backend("hash_grid", "tinycudann").hash_grid_encode(x, table, *levels)
    torch.testing.assert_close(theirs.float(), hash_grid_encode(x, table, *levels), rtol=0, atol=2e-3)


def test_kaolin_equals_native_on_cuda():
    need("kaolin")
    grid = tet_grid(24).to("cuda")
    sdf = 0.3 - grid.vertices.norm(dim=-1)
    theirs = _backend.backend("marching_tets", "kaolin").marching_tets(sdf, grid.vertices, grid)
    ours = marching_tets(sdf, grid.vertices, grid)
    assert torch.equal(theirs[1], ours[1])
    torch.testing.assert_close(theirs[0], ours[0], rtol=0, atol=1e-5)
