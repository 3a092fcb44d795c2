"""Attention against torch's scaled_dot_product_attention: self-attention of a UNet, two sources, cross-attention.

Rows of two sources also name the memory that one call needs beyond its inputs, in MiB: asset3d's, and that of torch
with the concatenation it needs. On CUDA the kernel itself is timed (asset3d.ops.attention hands plain calls to torch)
and every backend of torch is a baseline.
"""
import ctypes
import math
import re
from collections.abc import Callable
from pathlib import Path

import torch
from harness import compare, floor_seconds, row
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.functional import scaled_dot_product_attention

from asset3d.ops import attention as _  # noqa: F401  registers the operator

BACKENDS = {"torch flash": SDPBackend.FLASH_ATTENTION, "torch cudnn": SDPBackend.CUDNN_ATTENTION,
            "torch efficient": SDPBackend.EFFICIENT_ATTENTION, "torch math": SDPBackend.MATH}


def kernel(q, k, v, *more):
    """asset3d's operator for any number of sources, without the choice that its wrapper makes on CUDA."""
    keys, values = (k, *more[::2]), (v, *more[1::2])
    return torch.ops.asset3d.attention(q, list(keys), list(values), q.shape[-1] ** -0.5)[0]


def forced(backend: SDPBackend) -> Callable:
    def attend(*args):
        with sdpa_kernel(backend):
            return scaled_dot_product_attention(*args)

    return attend


def baselines(device: str, args: tuple[torch.Tensor, ...]) -> dict[str, Callable]:
    """Every implementation of torch that takes these arguments."""
    if device == "cpu":
        return {"torch SDPA": scaled_dot_product_attention}
    usable = {}
    for name, backend in BACKENDS.items():
        try:
            forced(backend)(*args)
            usable[name] = forced(backend)
        except RuntimeError:
            continue
    return usable


def joined(q, *sources):
    return q, torch.cat(sources[::2], 2), torch.cat(sources[1::2], 2)


def extra_memory(fn: Callable[[], object], device: str) -> float:
    """MiB that a call needs at its peak beyond what is there before."""
    fn()
    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        fn()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    status, reset = Path("/proc/self/status"), Path("/proc/self/clear_refs")
    if not reset.exists():
        return math.nan
    ctypes.CDLL(None).malloc_trim(0)  # or memory that was freed would count as there before
    kib = lambda key: int(re.search(rf"{key}:\s*(\d+)", status.read_text()).group(1))  # noqa: E731
    reset.write_text("5")  # the peak begins anew
    before = kib("VmRSS")
    fn()
    return (kib("VmHWM") - before) / 2**10


def case(device, dtype, batch, heads, queries, head_size, *keys):
    """q and then k, v of each source, laid out as diffusers leaves them: (B, N, H, D), transposed."""
    generator = torch.Generator().manual_seed(0)
    rows = [queries, *(n for n in keys for _ in "kv")]
    return [torch.randn(batch, n, heads, head_size, generator=generator).to(device, dtype).transpose(1, 2)
            for n in rows]


def rows_of(name, args, device, rounds, need, need_backward):
    """Forward, and forward with backward; `need` is the ratio asked for."""
    q, *sources = args
    operations = 4 * q.numel() * sum(k.shape[2] for k in sources[::2])
    rounds = min(max(rounds, int(5e9 / operations)), 10 * rounds)  # short ones suffer more from what else runs
    whole = joined(*args)
    peers = baselines(device, whole)
    torch.testing.assert_close(kernel(*args), scaled_dot_product_attention(*whole), rtol=2e-2, atol=2e-2)

    with torch.no_grad():
        forward = compare({"asset3d": lambda: kernel(*args)} | {k: lambda f=f: f(*whole) for k, f in peers.items()},
                          rounds, device)
    leaves, whole_leaves = ([t.detach().clone().requires_grad_() for t in ts] for ts in (args, whole))
    grad = torch.ones_like(q)
    both = compare(
        {"asset3d": lambda: torch.autograd.grad(kernel(*leaves), leaves, grad)}
        | {k: lambda f=f: torch.autograd.grad(f(*whole_leaves), whole_leaves, grad) for k, f in peers.items()},
        max(1, rounds // 2), device)
    kind = str(q.dtype).removeprefix("torch.")
    floor = floor_seconds(device, **{kind: operations}) if device == "cuda" else None
    best = min(peers, key=forward.get)
    best_both = min(peers, key=both.get)
    others = [row(name, forward, p, floor=floor) for p in peers if p != best]
    return [row(name, forward, best, need=need, floor=floor), *others,
            row(f"{name}, forward + backward", both, best_both, need=need_backward)]


def memory_note(args, device):
    with torch.no_grad():
        ours = extra_memory(lambda: kernel(*args), device)
        theirs = extra_memory(lambda: scaled_dot_product_attention(*joined(*args)), device)
    return f" ({ours:.0f} MiB; torch, with its concatenation, {theirs:.0f} MiB)"


def run(device: str = "cpu", rounds: int = 8, shrink: int = 1) -> list[dict]:
    """`shrink` divides the number of tokens, for tests."""
    gpu = device == "cuda"
    n, rows = 4096 // shrink, []
    for dtype, need in ((torch.float32, 1.0 if gpu else 1.05), (torch.bfloat16, 1.0 if gpu else 1.6)):
        kind = str(dtype).removeprefix("torch.")
        self_attention = case(device, dtype, 1, 5, n, 64, n)
        rows += rows_of(f"attention 4096 x 64 x 5 heads, {kind}", self_attention, device, rounds, need, 1.0)
        two = case(device, dtype, 1, 5, n, 64, n, n)
        name = f"attention to two sources of 4096 keys, {kind}" + memory_note(two, device)
        rows += rows_of(name, two, device, rounds, need, 1.0)
        for head_size, tokens in ((40, 4096), (80, 1024), (160, 256)):
            tokens //= shrink
            args = case(device, dtype, 2, 8, tokens, head_size, tokens)
            rows += rows_of(f"attention {tokens} x {head_size} x 2 x 8 heads, {kind}", args, device, rounds, None, None)
        for keys in (77, 5, 2, 1):
            args = case(device, dtype, 2, 8, n, 40, keys)
            name = f"attention 4096 x 40 x 2 x 8 heads to {keys} keys, {kind}"
            rows += rows_of(name, args, device, rounds, 1.0, None)
    return rows
