"""The functions of ops/triangle.py by nvdiffrast (Laine et al. 2020), as its documentation describes them.

Where it differs: CUDA and float32 only; `antialias` finds the neighbours of faces itself, by vertex number, so that
texture seams count as silhouettes; mip levels are not refused at odd sizes but by nvdiffrast's own rules.
"""
from functools import lru_cache

from torch import Tensor

from asset3d.ops import _backend

_dr = _backend.package("nvdiffrast.torch")


def rasterize(positions: Tensor, faces: Tensor, resolution: tuple[int, int]) -> tuple[Tensor, Tensor]:
    _backend.need_cuda_float32("rasterize", "nvdiffrast", positions, faces)
    return _dr.rasterize(_context(positions.device), positions.contiguous(), faces.contiguous(), list(resolution))


def interpolate(attributes, rast, faces, rast_db=None, diff_attributes=None) -> tuple[Tensor, Tensor]:
    _backend.need_cuda_float32("interpolate", "nvdiffrast", attributes, rast)
    chosen = diff_attributes if isinstance(diff_attributes, str) else list(diff_attributes or ()) or None
    return _dr.interpolate(attributes.contiguous(), rast.contiguous(), faces.contiguous(),
                           rast_db=rast_db if chosen else None, diff_attrs=chosen)


def texture(tex, uv, uv_da=None, filter_mode="linear", boundary_mode="wrap", max_mip_level=None) -> Tensor:
    _backend.need_cuda_float32("texture", "nvdiffrast", tex, uv)
    mip_maps = "mipmap" in filter_mode
    return _dr.texture(tex.contiguous(), uv.contiguous(), uv_da=uv_da if mip_maps else None, filter_mode=filter_mode,
                       boundary_mode=boundary_mode, max_mip_level=max_mip_level if mip_maps else None)


def antialias(color, rast, positions, faces, topology=None) -> Tensor:
    _backend.need_cuda_float32("antialias", "nvdiffrast", color, positions)
    return _dr.antialias(color.contiguous(), rast.contiguous(), positions.contiguous(), faces.contiguous())


@lru_cache
def _context(device):
    """One per device: making it takes long, and it keeps buffers of its own."""
    return _dr.RasterizeCudaContext(device=device)
