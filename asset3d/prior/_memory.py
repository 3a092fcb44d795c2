"""What the networks of a prior need of memory, found by running them on tensors without data.

Shapes and lifetimes are those of real calls, so that what is counted is what an allocator is asked for, without its
rounding, and without workspaces of libraries.
"""
import json
import math
import weakref
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from asset3d.errors import InputError
from asset3d.models import folder_of, part_folder

ENCODERS = ("text_encoder", "text_encoder_2", "image_encoder")
TOKENS = {"text": 77, "views": 5}
"""Of texts, and of a cascade's views."""
MOST = 256
"""Samples that are never worth running together."""


@dataclass(frozen=True)
class Cost:
    """Bytes that a call takes besides the weights: at first, and for each sample more."""

    first: int = 0
    more: int = 0

    def of(self, samples: int) -> int:
        return self.first + (samples - 1) * self.more if samples else 0


@dataclass(frozen=True)
class Memory:
    """What the parts of a prior take."""

    networks: int
    """Bytes of the network and the autoencoder."""
    encoders: int
    """Bytes of the encoders of words or of given views, which may rest on the CPU."""
    draw: Cost
    """Of the network."""
    encode: Cost
    """Of the encoder of images, forward and back to them."""
    decode: Cost

    def weights(self, offload: bool = False) -> int:
        """Bytes of weights on the device."""
        return self.networks + (0 if offload else self.encoders)

    def work(self, images: int, gradient: bool, together: int | None = None) -> int:
        """Most bytes besides, for as many images, both halves of guidance.

        Args:
            images: Drawn, or looked at, in one step.
            gradient: Whether images are looked at, and a gradient is wanted; else they are drawn.
            together: Most samples that go through a network at once.
        """
        at_once = min(images, together or images)
        coding = (self.encode if gradient else self.decode).of(at_once)
        return max(self.draw.of(min(2 * images, together or 2 * images)), coding)


def choose(memory: Memory, budget: int, can_offload: bool) -> tuple[int | None, bool]:
    """How many samples may go through a network at once (None: all), and whether encoders have to rest on the CPU, so
    that a prior takes no more than `budget` bytes.

    Raises:
        InputError: it cannot; the text says what it needs.
    """
    for offload in (False, True) if can_offload else (False,):
        fits = [n for n in range(1, MOST + 1) if memory.weights(offload) + memory.work(n, True, n) <= budget
                and memory.weights(offload) + memory.work(n, False, n) <= budget]
        if fits:
            return None if fits[-1] == MOST else fits[-1], offload
    needed = memory.weights(can_offload) + max(memory.work(1, True, 1), memory.work(1, False, 1))
    raise InputError(f"memory_budget: {budget / 1e9:.3g} GB are not enough; this model needs {needed / 1e9:.3g} GB")


@lru_cache(maxsize=16)
def memory_of(model: str | Path, low: bool) -> Memory:
    """Of a model; its weights are not read.

    Args:
        model: Name or folder.
        low: Whether network and autoencoder are in bfloat16.

    Raises:
        InputError: it is not on this machine.
    """
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from torch._subclasses.fake_tensor import FakeTensorMode

    folder = folder_of(model)
    dtype = torch.bfloat16 if low else torch.float32
    with FakeTensorMode():
        unet = _without_data(folder, "unet", UNet2DConditionModel, dtype)
        vae = None if part_folder(folder, "vae") is None else _without_data(folder, "vae", AutoencoderKL, dtype)
        tokens = TOKENS["views" if part_folder(folder, "image_encoder") is not None else "text"]
        draw = _cost(lambda n: _draw(unet, n, tokens, dtype))
        encode, decode = Cost(), Cost()
        if vae is not None:
            size = unet.config.sample_size
            encode = _cost(lambda n: _encode(vae, n, size << (len(vae.config.block_out_channels) - 1), dtype))
            decode = _cost(lambda n: _decode(vae, n, size, dtype))
        networks = sum(p.numel() * p.element_size() for m in (unet, vae) if m is not None for p in m.parameters())
    encoders = sum(4 * _numbers_in(part_folder(folder, name)) for name in ENCODERS
                   if part_folder(folder, name) is not None)
    return Memory(networks, encoders, draw, encode, decode)


def _without_data(folder: Path, part: str, network: type, dtype: torch.dtype) -> nn.Module:
    place = part_folder(folder, part)
    if place is None or not (place / "config.json").is_file():
        raise InputError(f"model {folder}: {part}/config.json is missing")
    config, before = json.loads((place / "config.json").read_text("utf-8")), torch.get_default_dtype()
    torch.set_default_dtype(dtype)  # a fake network cannot be converted
    try:
        return network.from_config(config).requires_grad_(False).eval()
    finally:
        torch.set_default_dtype(before)


def _numbers_in(folder: Path) -> int:
    """How many weights the files of a part hold."""
    from safetensors import safe_open

    count = 0
    for path in folder.glob("*.safetensors"):
        with safe_open(path, "pt") as file:
            count += sum(math.prod(file.get_slice(key).get_shape()) for key in file.keys())
    return count


def _cost(call: Callable[[int], object]) -> Cost:
    one, two = peak_of(lambda: call(1)), peak_of(lambda: call(2))
    return Cost(one, two - one)


@torch.no_grad()
def _draw(unet: nn.Module, samples: int, tokens: int, dtype: torch.dtype) -> Tensor:
    config, size, more = unet.config, unet.config.sample_size, {}
    if config.addition_embed_type == "text_time":
        width = config.projection_class_embeddings_input_dim - 6 * config.addition_time_embed_dim
        more = {"added_cond_kwargs": {"text_embeds": torch.zeros(samples, width, dtype=dtype),
                                      "time_ids": torch.zeros(samples, 6, dtype=dtype)}}
    given = torch.zeros(samples, config.in_channels, size, size, dtype=dtype)
    words = torch.zeros(samples, tokens, config.encoder_hid_dim or config.cross_attention_dim, dtype=dtype)
    return unet(given, torch.zeros(samples, dtype=torch.long), encoder_hidden_states=words, **more).sample


def _encode(vae: nn.Module, images: int, size: int, dtype: torch.dtype) -> None:
    pixels = torch.zeros(images, vae.config.in_channels, size, size, dtype=dtype, requires_grad=True)
    vae.encode(pixels).latent_dist.mode().sum().backward()


@torch.no_grad()
def _decode(vae: nn.Module, images: int, size: int, dtype: torch.dtype) -> Tensor:
    return vae.decode(torch.zeros(images, vae.config.latent_channels, size, size, dtype=dtype)).sample


class _Live(TorchDispatchMode):
    """Counts the bytes of storages that are made inside, and drops those that are gone."""

    def __init__(self):
        super().__init__()
        self.now, self.peak, self.known = 0, 0, set()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        self._note((args, kwargs), counted=False)  # weights, and whatever else was there before
        out = function(*args, **kwargs)
        self._note(out, counted=True)
        return out

    def _note(self, tree, counted: bool) -> None:
        for tensor in tree_leaves(tree):
            storage = tensor.untyped_storage() if isinstance(tensor, Tensor) else None
            if storage is not None and storage._cdata not in self.known:
                self.known.add(storage._cdata)
                size = storage.nbytes() if counted else 0
                self.now += size
                self.peak = max(self.peak, self.now)
                weakref.finalize(storage, self._drop, storage._cdata, size)

    def _drop(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


def peak_of(call: Callable[[], object]) -> int:
    """Most bytes that are alive at once, of those that a function makes."""
    with _Live() as live:
        result = call()
        del result
    return live.peak
