"""Stand-ins for packages that are not installed: the signatures of their documentation, our references behind them."""
import importlib.machinery
import math
import sys
from types import ModuleType

import torch

from asset3d.ops import hash_grid, marching_tets, triangle


def install(monkeypatch, name: str, **contents) -> ModuleType:
    """Make `import name` give a module with these contents, for one test."""
    parts = name.split(".")
    for i in range(1, len(parts) + 1):
        module = ModuleType(".".join(parts[:i]))
        module.__spec__ = importlib.machinery.ModuleSpec(module.__name__, None)
        monkeypatch.setitem(sys.modules, module.__name__, module)
    vars(module).update(contents)
    return module


class RasterizeCudaContext:
    def __init__(self, device=None):
        self.device = device


def _rasterize(glctx, pos, tri, resolution, ranges=None, grad_db=True):
    assert isinstance(glctx, RasterizeCudaContext) and ranges is None and grad_db
    assert tri.dtype == torch.int32 and pos.is_contiguous() and tri.is_contiguous()
    return triangle.rasterize(pos, tri, tuple(resolution))


def _interpolate(attr, rast, tri, rast_db=None, diff_attrs=None):
    assert diff_attrs is None or diff_attrs == "all" or isinstance(diff_attrs, list)
    return triangle.interpolate(attr, rast, tri, rast_db, diff_attrs)


def _texture(tex, uv, uv_da=None, mip_level_bias=None, mip=None, filter_mode="auto", boundary_mode="wrap",
             max_mip_level=None):
    assert mip is None and mip_level_bias is None and filter_mode in triangle.FILTERS
    return triangle.texture(tex, uv, uv_da, filter_mode, boundary_mode, max_mip_level)


def _antialias(color, rast, pos, tri, topology_hash=None, pos_gradient_boost=1.0):
    assert topology_hash is None and pos_gradient_boost == 1.0
    return triangle.antialias(color, rast, pos, tri)


class Encoding(torch.nn.Module):
    """As `tinycudann.Encoding`: a module with one flat `params`."""

    def __init__(self, n_input_dims, encoding_config, seed=1337, dtype=None):
        super().__init__()
        self.config = encoding_config
        assert n_input_dims == 3 and dtype == torch.float32 and encoding_config["otype"] == "HashGrid"
        count, base = encoding_config["n_levels"], encoding_config["base_resolution"]
        scales = [float(torch.tensor(base * encoding_config["per_level_scale"]**i - 1, dtype=torch.float32))
                  for i in range(count)]
        resolutions = [math.ceil(scale - 1e-4) + 1 for scale in scales]
        rows = [min(-(-r**3 // 8) * 8, 2 ** encoding_config["log2_hashmap_size"]) for r in resolutions]
        self.levels = scales, resolutions, [sum(rows[:i]) for i in range(count + 1)]
        self.params = torch.nn.Parameter(torch.zeros(sum(rows) * encoding_config["n_features_per_level"]))

    def forward(self, x):
        assert x.min() >= 0 and x.max() <= 1
        table = self.params.reshape(-1, self.config["n_features_per_level"])
        return hash_grid.hash_grid_encode_reference(x, table, *self.levels)


def _marching_tetrahedra(vertices, tets, sdf, return_tet_idx=False):
    assert vertices.ndim == 3 and sdf.ndim == 2 and tets.dtype == torch.int64 and not return_tet_idx
    grid = marching_tets.TetGrid.of(vertices[0].detach(), tets.int())
    made, faces = marching_tets.marching_tets_reference(sdf[0], vertices[0], grid)
    return [made], [faces]


def nvdiffrast(monkeypatch) -> None:
    install(monkeypatch, "nvdiffrast.torch", RasterizeCudaContext=RasterizeCudaContext, rasterize=_rasterize,
            interpolate=_interpolate, texture=_texture, antialias=_antialias)


def tinycudann(monkeypatch) -> None:
    install(monkeypatch, "tinycudann", Encoding=Encoding)


def kaolin(monkeypatch) -> None:
    install(monkeypatch, "kaolin.ops.conversions", marching_tetrahedra=_marching_tetrahedra)
