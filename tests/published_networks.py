"""Networks of the shape that published checkpoints have, with few random weights."""
from types import SimpleNamespace

import torch
from diffusers import AutoencoderKL, UNet2DConditionModel
from tiny_models import seeded
from transformers import CLIPVisionConfig, CLIPVisionModelWithProjection

WIDTH = 48


def autoencoder():
    return seeded(lambda: AutoencoderKL(
        in_channels=3, out_channels=3, latent_channels=4, block_out_channels=(32, 32, 64), layers_per_block=1,
        down_block_types=("DownEncoderBlock2D",) * 3, up_block_types=("UpDecoderBlock2D",) * 3)).eval()


def unet(n_in: int = 8, linear: bool = False, heads=8):
    """One level without attention, as the last of Stable Diffusion."""
    return seeded(lambda: UNet2DConditionModel(
        sample_size=32, in_channels=n_in, layers_per_block=2, block_out_channels=(32, 64),
        down_block_types=("CrossAttnDownBlock2D", "DownBlock2D"), up_block_types=("UpBlock2D", "CrossAttnUpBlock2D"),
        cross_attention_dim=WIDTH, attention_head_dim=heads, use_linear_projection=linear)).eval()


def networks():
    """Those of Zero-1-to-3, small."""
    encoder = seeded(lambda: CLIPVisionModelWithProjection(CLIPVisionConfig(
        hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=1, image_size=32, patch_size=8,
        projection_dim=WIDTH))).eval()
    linear = seeded(lambda: torch.nn.Linear(WIDTH + 4, WIDTH))
    return SimpleNamespace(unet=unet(), vae=autoencoder(), image_encoder=encoder, linear=linear,
                           cc_projection=SimpleNamespace(projection=linear))
