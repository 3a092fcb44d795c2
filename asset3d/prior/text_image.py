"""Images of words: Stable Diffusion 1 and 2 (Rombach et al. 2022), SDXL (Podell et al. 2023), DeepFloyd IF.

They differ in how words become tokens, and in what the network works on: latents of an autoencoder, or pixels (IF).
"""
import inspect
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from asset3d.errors import InputError
from asset3d.models import folder_of, part_folder
from asset3d.prior.base import Condition, Guide, Prior, PriorConfig, part, pretrained, without_bars
from asset3d.registry import register
from asset3d.scene.camera import Camera
from asset3d.scene.views import Views

T5_LENGTH = 77
"""Tokens that DeepFloyd IF was trained with."""
ENCODERS = ("CLIPTextModel", "CLIPTextModelWithProjection", "T5EncoderModel")


class TextImageConfig(PriorConfig):
    type: Literal["text_image"] = "text_image"


class Words(nn.Module):
    """A text encoder with its tokenizer."""

    def __init__(self, encoder: nn.Module, tokenizer, penultimate: bool = False):
        super().__init__()
        self.encoder, self.tokenizer = encoder, tokenizer
        self.penultimate = penultimate
        """Whether tokens are those before the last layer, as SDXL wants them."""

    @classmethod
    def load(cls, folder: Path, number: str = "", penultimate: bool = False) -> "Words":
        """text_encoder/ and tokenizer/ of a model folder; those with a number of models that have several."""
        import transformers

        config = part(folder, f"text_encoder{number}",
                      lambda path: json.loads((path / "config.json").read_text("utf-8")))
        kind = (config.get("architectures") or [None])[0]
        if kind not in ENCODERS:
            raise InputError(f"model {folder}: text_encoder{number}/ is a {kind}; known are {', '.join(ENCODERS)}")
        encoder = pretrained(folder, f"text_encoder{number}", getattr(transformers, kind))
        tokenizer = part(folder, f"tokenizer{number}",
                         lambda path: transformers.AutoTokenizer.from_pretrained(path, local_files_only=True))
        return cls(encoder, tokenizer, penultimate)

    @property
    def is_t5(self) -> bool:
        return self.encoder.config.model_type.startswith("t5")

    def forward(self, prompts: list[str]) -> tuple[Float[Tensor, "B K D"], Float[Tensor, "B P"] | None]:
        """Tokens, and the embedding of the whole text where the encoder has one."""
        if self.is_t5:
            prompts = [text.lower().strip() for text in prompts]
        length = T5_LENGTH if self.is_t5 else min(self.tokenizer.model_max_length,
                                                  self.encoder.config.max_position_embeddings)
        given = self.tokenizer(prompts, padding="max_length", max_length=length, truncation=True, return_tensors="pt")
        # CLIP reads its padding too, as it was trained; T5 does not
        mask = given.attention_mask.to(self.device) if self.is_t5 else None
        out = self.encoder(given.input_ids.to(self.device), attention_mask=mask, output_hidden_states=self.penultimate)
        tokens = out.hidden_states[-2] if self.penultimate else out.last_hidden_state
        return tokens, getattr(out, "text_embeds", None)

    @property
    def device(self) -> torch.device:
        return next(self.encoder.parameters()).device


class Pixels(nn.Module):
    """In place of an autoencoder, for networks that work on pixels: latents are the pixels from -1 to 1."""

    config = SimpleNamespace(latent_channels=3, scaling_factor=1.0, block_out_channels=(3,))
    dtype = torch.float32

    def encode(self, images: Float[Tensor, "B 3 H W"]):
        return SimpleNamespace(latent_dist=SimpleNamespace(mode=lambda: images))

    def decode(self, latents: Float[Tensor, "B 3 H W"]):
        return SimpleNamespace(sample=latents)


@register("prior", TextImageConfig)
class TextImage(Prior):
    """Images of words. The unconditional half of guidance is told the negative prompt."""

    takes_words = True

    def __init__(self, unet: nn.Module, vae: nn.Module, scheduler, words: Sequence[Words], zero_negative: bool = False):
        super().__init__(unet, vae, scheduler)
        self.words = nn.ModuleList(words)
        self.zero_negative = zero_negative
        """Whether zeros stand for an empty negative prompt, as in SDXL; `force_zeros_for_empty_prompt` in a folder."""

    @classmethod
    def load(cls, folder: str | Path, device: torch.device | str = "cpu") -> "TextImage":
        from diffusers import AutoencoderKL, UNet2DConditionModel

        folder = folder_of(folder)
        unet = pretrained(folder, "unet", UNet2DConditionModel)
        on_pixels = part_folder(folder, "vae") is None and unet.config.in_channels == Pixels.config.latent_channels
        vae = Pixels() if on_pixels else pretrained(folder, "vae", AutoencoderKL)
        cls.check_channels(folder, unet.config.in_channels, vae.config.latent_channels)
        two = part_folder(folder, "text_encoder_2") is not None
        words = [Words.load(folder, number, penultimate=two) for number in (("", "_2") if two else ("",))]
        prior = cls(unet, vae, schedule_of(folder), words, _zero_negative(folder, default=two))
        return prior.requires_grad_(False).eval().to(device)

    @classmethod
    def check_channels(cls, folder: Path, given: int, latent: int) -> None:
        """Refuse a network that wants more than a noisy latent; a fifth channel, of depth, may be left out.

        Raises:
            InputError: it is such a network.
        """
        if given - latent not in (0, 1):
            raise InputError(f"model {folder}: its network takes {given} channels; text_image has {latent} of the "
                             "noisy latent, and at most one of depth")

    def save(self, folder: Path) -> None:
        """Write all parts in the layout that `load` reads."""
        networks = {"unet": self.unet} | ({} if isinstance(self.vae, Pixels) else {"vae": self.vae})
        networks |= {f"text_encoder{number}": words.encoder for number, words in zip(("", "_2"), self.words)}
        with without_bars():
            for name, network in networks.items():
                network.save_pretrained(folder / name, safe_serialization=True)
        self.scheduler.save_pretrained(folder / "scheduler")
        for number, words in zip(("", "_2"), self.words):
            words.tokenizer.save_pretrained(folder / f"tokenizer{number}")
        index = {"_class_name": type(self).__name__, "force_zeros_for_empty_prompt": self.zero_negative}
        (folder / "model_index.json").write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")

    @property
    def encoders(self) -> Sequence[nn.Module]:
        return self.words

    @property
    def takes_depth(self) -> bool:
        """Whether the network has a channel for depth."""
        return self.unet.config.in_channels > self.vae.config.latent_channels

    @torch.no_grad()
    def condition(self, prompts: list[str], negative: str = "") -> Condition:
        """What the network is told to draw images of texts.

        Args:
            prompts: One for each sample.
            negative: What no image should be of.
        """
        absent = self._told([negative] * len(prompts))
        if self.zero_negative and not negative:
            added = absent.added and {**absent.added, "text_embeds": torch.zeros_like(absent.added["text_embeds"])}
            absent = replace(absent, tokens=torch.zeros_like(absent.tokens), added=added)
        return replace(self._told(prompts), unconditional=absent)

    def _told(self, prompts: list[str]) -> Condition:
        """Without an unconditional half."""
        device = self.signal.device
        tokens, pooled = zip(*((told.to(device), None if whole is None else whole.to(device))
                               for told, whole in (words(prompts) for words in self.words)))
        added = None
        if self.unet.config.addition_embed_type == "text_time":
            size = self.image_size  # of the original, of the corner it was cut at, and of the target
            times = torch.tensor([[size, size, 0, 0, size, size]], device=pooled[-1].device, dtype=pooled[-1].dtype)
            added = {"text_embeds": pooled[-1], "time_ids": times.expand(len(prompts), -1)}
        size = self.unet.config.sample_size
        flat = tokens[0].new_zeros(len(prompts), 1, size, size) if self.takes_depth else None
        return Condition(torch.cat(tokens, -1), flat, added)

    @torch.no_grad()
    def guide(self, views: Sequence[Views], prompt: str = "") -> Guide:
        """The prompt, whatever the camera; `views` are not used."""
        condition = self.condition([prompt])

        def of(camera: Camera) -> Condition:
            return condition.repeat(len(camera))

        return of


def schedule_of(folder: Path):
    """The noise schedule of a model folder, whichever sampler it was saved for."""
    from diffusers import DDIMScheduler

    known = inspect.signature(DDIMScheduler).parameters

    def load(path: Path):
        config = json.loads((path / "scheduler_config.json").read_text("utf-8"))
        return DDIMScheduler.from_config({key: value for key, value in config.items() if key in known})

    return part(folder, "scheduler", load)


def _zero_negative(folder: Path, default: bool) -> bool:
    index = folder / "model_index.json"
    said = json.loads(index.read_text("utf-8")) if index.is_file() else {}
    return bool(said.get("force_zeros_for_empty_prompt", default))
