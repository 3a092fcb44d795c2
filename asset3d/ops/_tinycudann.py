"""`hash_grid_encode` by tiny-cuda-nn (Müller et al. 2022): the same table, laid out the same way.

Where it differs: CUDA only, the table is rounded to half precision inside unless it was built otherwise, and there are
no third derivatives either.
"""
import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.func import functional_call

from asset3d.ops import _backend

_tcnn = _backend.package("tinycudann")


def hash_grid_encode(x: Tensor, table: Tensor, scales: list[float], resolutions: list[int],
                     first_rows: list[int]) -> Tensor:
    _backend.need_cuda_float32("hash_grid_encode", "tinycudann", x, table)
    count, base, growth = len(scales), round(scales[0] + 1), _growth(scales)
    made = [math.ceil(base * growth**level - 1 - 1e-4) + 1 for level in range(count)]
    if made != list(resolutions):
        raise ValueError("hash_grid_encode: tinycudann knows only levels that grow geometrically, as "
                         f"`hash_grid_levels` makes them, got resolutions {list(resolutions)}; leave `backend` out")
    log2_rows = math.ceil(math.log2(max(b - a for a, b in zip(first_rows, first_rows[1:]))))
    encoding = _encoding(count, base, growth, log2_rows, table.shape[1])
    rows = table[first_rows[0]:first_rows[-1]].reshape(-1)
    if rows.numel() != encoding.params.numel():
        raise ValueError(f"hash_grid_encode: tinycudann wants {encoding.params.numel()} values for these levels, the "
                         f"table has {rows.numel()}; leave `backend` out")
    return functional_call(encoding, {"params": rows}, (x.clamp(0, 1),))


def _growth(scales: list[float]) -> float:
    """From one level to the next: resolutions are base * growth ** level."""
    return ((scales[-1] + 1) / (scales[0] + 1)) ** (1 / max(len(scales) - 1, 1))


@lru_cache
def _encoding(n_levels: int, base_resolution: int, growth: float, log2_rows: int, n_features: int):
    return _tcnn.Encoding(n_input_dims=3, dtype=torch.float32, encoding_config={
        "otype": "HashGrid", "n_levels": n_levels, "n_features_per_level": n_features,
        "log2_hashmap_size": log2_rows, "base_resolution": base_resolution, "per_level_scale": growth,
        "interpolation": "Linear"})
