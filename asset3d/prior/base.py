"""What a prior is: a diffusion network on latents, with its autoencoder, its noise schedule and its conditions.

Letters in shapes: B samples, H rows and W columns of images, h and w of latents, K tokens of width D.
"""
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal
from weakref import WeakValueDictionary

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor, nn
from torch.nn.functional import interpolate
from torch.utils.checkpoint import checkpoint

from asset3d.errors import InputError
from asset3d.models import HINT, Model, part_folder
from asset3d.ops.attention import AttentionProcessor
from asset3d.prior._graph import Graphed
from asset3d.prior._memory import choose, memory_of
from asset3d.registry import Config, component
from asset3d.scene.camera import Camera
from asset3d.scene.views import Views


class PriorConfig(Config):
    model: Model
    """Name of a model that comes with asset3d or was fetched, or a folder in diffusers format."""
    precision: Literal["auto", "float32"] = "auto"
    """auto: bfloat16 for the network and the autoencoder on CUDA, float32 on the CPU, where it is the faster one."""
    memory_budget: float | None = Field(None, gt=0)
    """GB that the prior may take; fewer samples then go through its networks at once, and on CUDA its encoders rest on
    the CPU, as far as needed. Changes no result but by rounding."""


ADDED = ("text_embeds", "time_ids")
"""Names of diffusers' `added_cond_kwargs`: of SDXL, the embedding of the whole text, and sizes."""


@dataclass(frozen=True)
class Condition:
    """What a network is told besides the noisy latent, for B samples; made by the prior that takes it."""

    tokens: Float[Tensor, "B K D"]
    """What cross-attention sees."""
    latents: Float[Tensor, "B C h w"] | None = None
    """Channels put beside the noisy latent."""
    added: Mapping[str, Float[Tensor, "B ..."]] | None = None
    """What the network is given besides, by the names in `ADDED`."""
    unconditional: "Condition | None" = None
    """What the unconditional half is told, where that is not zeros: the tokens of a negative prompt."""

    def __len__(self) -> int:
        return len(self.tokens)

    def absent(self) -> "Condition":
        """The condition of the unconditional half: all zeros, unless `unconditional` says otherwise."""
        return self._each(torch.zeros_like) if self.unconditional is None else self.unconditional

    def beside(self, other: "Condition") -> "Condition":
        """The samples of both, one after the other."""
        if self.unconditional is None or other.unconditional is None:
            self, other = replace(self, unconditional=None), replace(other, unconditional=None)
        return self._each(torch.cat, other)

    def first(self, count: int) -> "Condition":
        """The first samples alone."""
        return self._each(lambda value: value[:count])

    def repeat(self, count: int) -> "Condition":
        """Every sample as often, its copies side by side."""
        return self._each(lambda value: value.repeat_interleave(count, 0))

    def _each(self, function: Callable, other: "Condition | None" = None) -> "Condition":
        """The result of a function for each tensor, or for the list of it and that of another condition."""
        def result(mine, theirs):
            return None if mine is None else function(mine if other is None else [mine, theirs])

        theirs = self if other is None else other
        added = None if self.added is None else {name: result(value, theirs.added[name])
                                                 for name, value in self.added.items()}
        unconditional = None if self.unconditional is None else self.unconditional._each(
            function, None if other is None else other.unconditional)
        return Condition(result(self.tokens, theirs.tokens), result(self.latents, theirs.latents), added, unconditional)


Guide = Callable[[Camera], Condition]
"""What a prior is told to see the object from cameras; it holds what the given views tell, computed once."""


class Prior(nn.Module, ABC):
    """Base of all priors. Made by its `load`, or of networks by a trainer; gradients reach its inputs, never weights
    that were frozen."""

    takes_words: ClassVar[bool] = False
    """Whether it is told what the object is, by a prompt."""

    def __init__(self, unet: nn.Module, vae: nn.Module, scheduler):
        super().__init__()
        self.unet, self.vae, self.scheduler = unet, vae, scheduler
        self.attention = AttentionProcessor(unet)
        """How images may share keys and values; with one key, gradients of queries and keys are exactly zero."""
        self._graphed = Graphed(self._run)
        self.together: int | None = None
        """Most samples that go through a network at once; None: all."""
        self.register_buffer("signal", scheduler.alphas_cumprod.float().clone(), persistent=False)

    @classmethod
    @abstractmethod
    def load(cls, folder: str | Path, device: torch.device | str = "cpu") -> "Prior":
        """The networks of a folder, frozen.

        Raises:
            InputError: a part is missing or does not fit.
        """

    @classmethod
    def of(cls, config: PriorConfig, device: torch.device | str = "cpu") -> "Prior":
        """The prior that a recipe names."""
        return cls.load(config.model, device)

    @abstractmethod
    def guide(self, views: Sequence[Views], prompt: str = "") -> Guide:
        """What is known of one object, from given views (of several sizes) or words, as conditions for its views from
        elsewhere."""

    @property
    def encoders(self) -> Sequence[nn.Module]:
        """Networks that only conditions need: they may be on another device than the prior."""
        return ()

    def lowered(self) -> "Prior":
        """With the network and the autoencoder in bfloat16 and channels last, as CUDA's tensor cores like them."""
        for network in (self.unet, self.vae):
            network.to(dtype=torch.bfloat16, memory_format=torch.channels_last)
        return self

    @property
    def image_size(self) -> int:
        """Rows and columns of the images that the network was trained on."""
        return self.unet.config.sample_size << (len(self.vae.config.block_out_channels) - 1)

    @property
    def n_times(self) -> int:
        """Steps of the noise schedule."""
        return len(self.signal)

    def encode(self, images: Float[Tensor, "B H W 3"]) -> Float[Tensor, "B 4 h w"]:
        """Latents of images in [0, 1], as the network wants them; differentiable."""
        return self.encode_unscaled(images) * self.vae.config.scaling_factor

    def encode_unscaled(self, images: Float[Tensor, "B H W 3"]) -> Float[Tensor, "B 4 h w"]:
        """The mode of the autoencoder's distribution."""
        if self.together is None or len(images) <= self.together:
            return self._encode(images)
        # what the gradient needs of one slice is computed again when its turn comes, and not kept for all
        return torch.cat([checkpoint(self._encode, some, use_reentrant=False) for some in images.split(self.together)])

    def _encode(self, images: Float[Tensor, "B H W 3"]) -> Float[Tensor, "B 4 h w"]:
        pixels = (images.permute(0, 3, 1, 2) * 2 - 1).to(self.vae.dtype)
        return self.vae.encode(pixels).latent_dist.mode().to(images.dtype)

    def decode(self, latents: Float[Tensor, "B 4 h w"]) -> Float[Tensor, "B H W 3"]:
        """Images in [0, 1] of latents."""
        if self.together is not None and len(latents) > self.together:
            return torch.cat([self.decode(some) for some in latents.split(self.together)])
        images = self.vae.decode((latents / self.vae.config.scaling_factor).to(self.vae.dtype)).sample.to(latents.dtype)
        return (images.permute(0, 2, 3, 1) / 2 + 0.5).clamp(0, 1)

    def add_noise(self, latents: Float[Tensor, "B 4 h w"], noise: Float[Tensor, "B 4 h w"],
                  times: Int64[Tensor, "B"]) -> Float[Tensor, "B 4 h w"]:
        """sqrt(signal) * latent + sqrt(1 - signal) * noise."""
        signal = self.signal[times].view(-1, 1, 1, 1)
        return signal.sqrt() * latents + (1 - signal).sqrt() * noise

    def noise_in(self, latents: Float[Tensor, "B 4 h w"], times: Int64[Tensor, "B"],
                 condition: Condition) -> Float[Tensor, "B 4 h w"]:
        """The noise that the network sees in noisy latents."""
        predicted = self.predicted(latents, times, condition)
        if not self.predicts_v:
            return predicted
        signal = self.signal[times].view(-1, 1, 1, 1)
        return signal.sqrt() * predicted + (1 - signal).sqrt() * latents

    @property
    def predicts_v(self) -> bool:
        """Whether the network predicts sqrt(signal) * noise - sqrt(1 - signal) * latent (Salimans & Ho 2022) instead of
        the noise."""
        return self.scheduler.config.prediction_type == "v_prediction"

    def predicted(self, latents: Float[Tensor, "B 4 h w"], times: Int64[Tensor, "B"],
                  condition: Condition) -> Float[Tensor, "B 4 h w"]:
        """What the network says, as it was trained: noise or v."""
        given = latents if condition.latents is None else torch.cat([latents, condition.latents], 1)
        run = self._graphed if latents.is_cuda and not torch.is_grad_enabled() else self._run
        added = () if condition.added is None else tuple(condition.added[name] for name in ADDED)
        slices = zip(*(x.split(self.together or len(given)) for x in (given, times, condition.tokens, *added)))
        said = torch.cat([run(*some) for some in slices]).to(latents.dtype)
        return said[:, : latents.shape[1]]  # what follows is a learned variance, which no sampler here uses

    def _run(self, given: Tensor, times: Tensor, tokens: Tensor, *added: Tensor) -> Tensor:
        dtype = self.unet.dtype
        more = {"added_cond_kwargs": {name: value.to(dtype) for name, value in zip(ADDED, added)}} if added else {}
        return self.unet(given.to(dtype), times, encoder_hidden_states=tokens.to(dtype), **more).sample

    def to_predict(self, latents: Float[Tensor, "B 4 h w"], noise: Float[Tensor, "B 4 h w"],
                   times: Int64[Tensor, "B"]) -> Float[Tensor, "B 4 h w"]:
        """What the network should have said, for latents without noise."""
        if not self.predicts_v:
            return noise
        signal = self.signal[times].view(-1, 1, 1, 1)
        return signal.sqrt() * noise - (1 - signal).sqrt() * latents

    def guided_noise(self, latents: Float[Tensor, "B 4 h w"], times: Int64[Tensor, "B"], condition: Condition,
                     guidance_scale: float) -> Float[Tensor, "B 4 h w"]:
        """Classifier-free guidance (Ho & Salimans 2022): absent + scale * (present - absent), in one call of the
        network; the unconditional half comes first, as diffusers orders them. Scale 1 is the condition alone."""
        if guidance_scale == 1:
            return self.noise_in(latents, times, condition)
        both = condition.absent().beside(condition)
        absent, present = self.noise_in(torch.cat([latents] * 2), torch.cat([times] * 2), both).chunk(2)
        return absent + guidance_scale * (present - absent)

    @torch.no_grad()
    def sample(self, condition: Condition, generator: torch.Generator | Sequence[torch.Generator], *, steps: int = 50,
               guidance_scale: float = 3.0, eta: float = 1.0) -> Float[Tensor, "B H W 3"]:
        """New images by DDIM (Song et al. 2021) with as many steps; eta 0 draws no noise on the way, 1 as much as the
        ancestral sampler. Noise is drawn sample after sample, or each from its own generator, so that a sample does not
        depend on its batch."""
        from diffusers import DDIMScheduler

        scheduler = DDIMScheduler.from_config(self.scheduler.config, clip_sample=False, set_alpha_to_one=False)
        scheduler.set_timesteps(steps)
        size, channels = self.unet.config.sample_size, self.vae.config.latent_channels
        generators = [generator] * len(condition) if isinstance(generator, torch.Generator) else generator
        noise = torch.stack([torch.randn(steps + 1, channels, size, size, generator=g) for g in generators], 1)
        noise = noise.to(self.signal.device)
        latents = noise[0]
        for k, time in enumerate(scheduler.timesteps):
            times = torch.full((len(latents),), int(time), device=latents.device)
            predicted = self.guided_noise(latents, times, condition, guidance_scale)
            latents = scheduler.step(self._as_predicted(predicted, latents, times), time, latents, eta=eta,
                                     variance_noise=noise[k + 1] if eta else None).prev_sample
        return self.decode(latents)

    def _as_predicted(self, noise: Tensor, latents: Tensor, times: Tensor) -> Tensor:
        """What the scheduler expects of a network, from the noise."""
        if not self.predicts_v:
            return noise
        signal = self.signal[times].view(-1, 1, 1, 1)
        return (noise - (1 - signal).sqrt() * latents) / signal.sqrt()


def at_size(images: Float[Tensor, "B H W C"], size: int) -> Float[Tensor, "B S S C"]:
    """Square images with that many rows, filtered where they get smaller."""
    if images.shape[1:3] == (size, size):
        return images
    pixels = interpolate(images.permute(0, 3, 1, 2), (size, size), mode="bilinear", antialias=True)
    return pixels.permute(0, 2, 3, 1)


_loaded: WeakValueDictionary[tuple, Prior] = WeakValueDictionary()


def shared(config: Config, device: torch.device | str) -> Prior:
    """The prior that a recipe names, frozen; loaded once for as long as someone holds it."""
    key = (config.type, config.model_dump_json(), str(device))
    prior = _loaded.get(key)
    if prior is None:
        prior = _placed(config, torch.device(device))
        _loaded[key] = prior
    return prior


def _placed(config: Config, device: torch.device) -> Prior:
    """The prior of a config on a device, within its memory budget."""
    low = device.type == "cuda" and config.precision == "auto"
    if config.memory_budget is None:
        prior = component("prior", config.type).of(config, device)
        return prior.lowered() if low else prior
    together, offload = choose(memory_of(config.model, low), int(config.memory_budget * 1e9), device.type == "cuda")
    prior = component("prior", config.type).of(config, "cpu")
    prior.together = together
    encoders = {id(module) for encoder in prior.encoders for module in encoder.modules()} if offload else ()
    if low:
        prior.lowered()
    for module in prior.modules():
        if id(module) not in encoders:
            _move(module, device)
    return prior


def _move(module: nn.Module, device: torch.device) -> None:
    """A module without those in it."""
    for p in module.parameters(recurse=False):
        p.data = p.data.to(device)
    for name, buffer in module.named_buffers(recurse=False):
        module._buffers[name] = buffer.to(device)


def part(folder: Path, name: str, load):
    """A part of a model folder, by `from_pretrained` of its class; safetensors only, no download. One that is not in
    the folder is taken from the model that it is built on (`asset3d.models.part_folder`).

    Raises:
        InputError: it is missing or damaged.
    """
    place = part_folder(folder, name)
    if place is None:
        raise InputError(f"model {folder}: the folder {name}/ is missing; a model is a folder in diffusers format, "
                         f"{HINT}")
    try:
        return load(place)
    except (OSError, ValueError, KeyError, RuntimeError, ImportError) as error:  # some tokenizers need a package
        raise InputError(f"model {place}: cannot be loaded: {error}") from error


def pretrained(folder: Path, name: str, network: type) -> nn.Module:
    """A network of diffusers or transformers in a model folder, as float32; from safetensors, without a look at any
    network.

    Raises:
        InputError: it is missing or damaged, or weights are missing or unexpected.
    """
    with without_bars():
        made, told = part(folder, name, lambda path: network.from_pretrained(
            path, use_safetensors=True, local_files_only=True, output_loading_info=True))
    wrong = [f"{kind.removesuffix('_keys')} {key}" for kind in ("missing_keys", "unexpected_keys", "mismatched_keys")
             for key in told.get(kind, ()) if not str(key).endswith("position_ids")]  # which old versions have stored
    if wrong:
        raise InputError(f"model {folder}: {len(wrong)} weights of {name}/ do not fit: {', '.join(wrong[:8])}")
    return made.float()


@contextmanager
def without_bars() -> Iterator[None]:
    """Loading and saving without the progress bars of transformers: a run shows its own progress."""
    from transformers.utils import logging

    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
