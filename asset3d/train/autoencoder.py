"""An autoencoder of images, and encoders of images and captions into one space: what every small prior is built on."""
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from asset3d.metric.psnr import psnr
from asset3d.prior.base import pretrained, without_bars
from asset3d.prior._caption import CAPTIONS, PART
from asset3d.registry import Config, InputPath, register
from asset3d.train._pool import AnyPool, PoolConfig, ViewPool
from asset3d.train.base import Draw, Trainer, picture, seeded

N_VALIDATED = 64


class AutoencoderConfig(Config):
    type: Literal["autoencoder"] = "autoencoder"
    data: AnyPool = PoolConfig()
    """What is learned from: toys, or files of your own."""
    channels: tuple[int, ...] = (16, 32, 64)
    """Of the levels of the autoencoder, each half the size of the one before."""
    latent_channels: int = Field(8, ge=1)
    kl: float = Field(1e-6, ge=0)
    """Weight of the divergence of latents from the normal distribution (Rombach et al. 2022)."""
    edges: float = Field(0.25, ge=0)
    """Weight of the difference between neighbouring pixels, which keeps edges sharp where no perceptual loss is."""
    hue: float = Field(1.0, ge=0)
    """Weight of the difference of colours without their brightness. Networks learn one axis of colour after the other,
    by how much it varies; without this weight, and without images in permuted colours, green and magenta came last and
    looked grey after 4500 steps."""
    contrast: float = Field(0.02, ge=0)
    """Weight of the contrastive loss of images and captions (Radford et al. 2021)."""
    width: int = Field(64, ge=8)
    """Of the space that images and captions share."""
    initial: InputPath | None = None
    """A model to go on from; weights whose shapes differ start anew."""


@register("train", AutoencoderConfig)
class AutoencoderTrainer(Trainer):
    """Reconstructs views in front of white, and tells which caption belongs to which."""

    def build(self, generator: torch.Generator) -> None:
        from diffusers import AutoencoderKL
        from transformers import CLIPTextConfig, CLIPTextModelWithProjection
        from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

        c = self.config
        levels = len(c.channels)
        self.vae = seeded(lambda: AutoencoderKL(
            in_channels=3, out_channels=3, latent_channels=c.latent_channels, sample_size=c.data.size,
            block_out_channels=c.channels, layers_per_block=1, norm_num_groups=8, mid_block_add_attention=False,
            down_block_types=("DownEncoderBlock2D",) * levels,
            up_block_types=("UpDecoderBlock2D",) * levels), generator)
        small = dict(hidden_size=2 * c.width, intermediate_size=4 * c.width, num_attention_heads=4,
                     projection_dim=c.width)
        self.image_encoder = seeded(lambda: CLIPVisionModelWithProjection(CLIPVisionConfig(
            **small, num_hidden_layers=4, image_size=c.data.size, patch_size=c.data.size // 8)), generator)
        self.tokenizer = tokenizer_of(c.data.vocabulary())
        self.text_encoder = seeded(lambda: CLIPTextModelWithProjection(CLIPTextConfig(
            **small, num_hidden_layers=2, vocab_size=len(self.tokenizer), pad_token_id=self.tokenizer.pad_token_id,
            max_position_embeddings=self.tokenizer.model_max_length, bos_token_id=self.tokenizer.bos_token_id,
            eos_token_id=self.tokenizer.eos_token_id)), generator)
        self.sharpness = nn.Parameter(torch.tensor(2.0))
        if c.initial is not None:
            self._go_on_from(c.initial)

    def _go_on_from(self, folder: Path) -> None:
        for name in ("vae", "image_encoder", "text_encoder"):
            network = getattr(self, name)
            other, own = pretrained(folder, name, type(network)).state_dict(), network.state_dict()
            fitting = {key: value for key, value in other.items() if key in own and own[key].shape == value.shape}
            network.load_state_dict(own | fitting)

    def prepare(self, tell: Callable[[str], None], raise_if_cancelled: Callable[[], None]) -> None:
        self.pool = ViewPool(self.config.data).prepare(tell, raise_if_cancelled)
        held = self.config.data.held(N_VALIDATED).model_copy(update={"views": 2})
        self.held_pool = ViewPool(held, "held").prepare(tell, raise_if_cancelled)

    def loss(self, draw: Draw) -> dict[str, Tensor]:
        objects = torch.randperm(len(self.pool), generator=draw.generator)[:draw.batch]
        views = torch.randint(self.config.data.views, objects.shape, generator=draw.generator)
        images = self.pool.images(objects, views).to(draw.device)
        noise = torch.randn(self._latent_shape(len(objects)), generator=draw.generator).to(draw.device)
        painted = to_model(recolored(images, draw.generator))
        latent = self.vae.encode(painted).latent_dist
        difference = self.vae.decode(latent.mean + latent.std * noise).sample - painted
        hue = difference - difference.mean(1, keepdim=True)
        return {"color": difference.abs().mean(), "hue": self.config.hue * hue.abs().mean(),
                "edges": self.config.edges * edges(difference),
                "kl": self.config.kl * latent.kl().mean(),
                "contrast": self.config.contrast * self._contrast(images, [self.pool.captions[i] for i in objects])}

    def _latent_shape(self, batch: int) -> tuple[int, ...]:
        size = self.config.data.size >> (len(self.config.channels) - 1)
        return batch, self.config.latent_channels, size, size

    def _contrast(self, images: Float[Tensor, "B S S 3"], captions: list[str]) -> Tensor:
        """Which of the batch's captions belongs to which image; equal captions are no mistake."""
        scores = self.sharpness.exp() * self.image_embeddings(images) @ self.text_embeddings(captions).T
        same = torch.tensor([[a == b for b in captions] for a in captions], device=scores.device).float()
        want = same / same.sum(1, keepdim=True)
        return -(want * (scores.log_softmax(1) + scores.T.log_softmax(1))).sum(1).mean() / 2

    def image_embeddings(self, images: Float[Tensor, "B S S 3"]) -> Float[Tensor, "B D"]:
        """Unit vectors."""
        return nn.functional.normalize(self.image_encoder(pixel_values=to_model(images)).image_embeds, dim=-1)

    def text_embeddings(self, captions: list[str]) -> Float[Tensor, "B D"]:
        """Unit vectors."""
        tokens = self.tokenizer(captions, padding="max_length", truncation=True, return_tensors="pt")
        tokens = tokens.to(self.sharpness.device)
        return nn.functional.normalize(self.text_encoder(**tokens).text_embeds, dim=-1)

    def validate(self, draw: Draw) -> tuple[dict[str, float], Float[Tensor, "H W 3"]]:
        objects = torch.arange(len(self.held_pool))[:N_VALIDATED]
        images = self.held_pool.images(objects, torch.zeros_like(objects)).to(draw.device)
        got = from_model(self.vae.decode(self.vae.encode(to_model(images)).latent_dist.mean).sample).clamp(0, 1)
        scores = self.image_embeddings(images) @ self.text_embeddings(self.held_pool.captions[:N_VALIDATED]).T
        captions = self.held_pool.captions[:N_VALIDATED]
        right = sum(captions[i] == captions[j] for i, j in enumerate(scores.argmax(1).tolist()))
        numbers = {"validation psnr": psnr(images, got).mean().item(), "caption found": right / len(captions)}
        return numbers, picture([images[:8], got[:8]])

    @torch.no_grad()
    def save(self, folder: Path) -> Mapping[str, object]:
        objects = torch.arange(len(self.held_pool))[:N_VALIDATED]
        images = self.held_pool.images(objects, torch.ones_like(objects)).to(self.sharpness.device)
        latents = self.vae.encode(to_model(images)).latent_dist.mean
        self.vae.register_to_config(scaling_factor=round(1 / latents.std().item(), 5))
        with without_bars():
            for name in ("vae", "image_encoder", "text_encoder"):
                getattr(self, name).save_pretrained(folder / name, safe_serialization=True)
        self.tokenizer.save_pretrained(folder / "tokenizer")
        captions = dict.fromkeys(self.pool.captions)  # each once, in order
        (folder / PART).mkdir()
        (folder / PART / CAPTIONS).write_text("".join(f"{caption}\n" for caption in captions), encoding="utf-8")
        return {**self.pool.card, "recipe": "train/autoencoder"}


def recolored(images: Float[Tensor, "B H W 3"], generator: torch.Generator) -> Float[Tensor, "B H W 3"]:
    """Red, green and blue in a random order in each image: white stays white, and no hue is rarer than another."""
    order = torch.rand(len(images), 3, generator=generator).argsort(1).to(images.device)
    return images.gather(-1, order[:, None, None].expand_as(images))


def to_model(images: Float[Tensor, "B H W 3"]) -> Float[Tensor, "B 3 H W"]:
    """From [0, 1] to [-1, 1], channels first."""
    return images.permute(0, 3, 1, 2) * 2 - 1


def from_model(images: Float[Tensor, "B 3 H W"]) -> Float[Tensor, "B H W 3"]:
    return images.permute(0, 2, 3, 1) / 2 + 0.5


def edges(difference: Float[Tensor, "B C H W"]) -> Float[Tensor, ""]:
    """Mean absolute change between neighbours, along both directions."""
    return difference.diff(dim=2).abs().mean() + difference.diff(dim=3).abs().mean()


def tokenizer_of(words: tuple[str, ...]):
    """A tokenizer of whole words, in the format that transformers loads; other words become `[UNK]`."""
    from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ("[PAD]", "[UNK]", "[BOS]", "[EOS]")
    ids = {word: i for i, word in enumerate((*special, *words))}
    tokens = Tokenizer(models.WordLevel(ids, unk_token="[UNK]"))
    tokens.normalizer = normalizers.Lowercase()
    tokens.pre_tokenizer = pre_tokenizers.Split(Regex("[a-z-]+|,"), "removed", invert=True)
    tokens.post_processor = processors.TemplateProcessing(
        single="[BOS] $A [EOS]", special_tokens=[("[BOS]", ids["[BOS]"]), ("[EOS]", ids["[EOS]"])])
    return PreTrainedTokenizerFast(tokenizer_object=tokens, pad_token="[PAD]", unk_token="[UNK]", bos_token="[BOS]",
                                   eos_token="[EOS]", model_max_length=32)
