"""How published checkpoints name and shape things: networks of latent diffusion (LDM) and of CLIP.

`weights` are tensors by name, without the prefix of the network they belong to.
"""
import re
from collections.abc import Mapping
from typing import Any

from torch import Tensor

from asset3d.errors import InputError

Weights = Mapping[str, Tensor]
HEAD_WIDTH = 64
"""Channels of an attention head in CLIP, and in the networks of Stable Diffusion 2."""
# the blocks of CLIP's transformers: as OpenAI and OpenCLIP name them -> as transformers does
CLIP_BLOCK = {"ln_1": "layer_norm1", "ln_2": "layer_norm2", "mlp.c_fc": "mlp.fc1", "mlp.c_proj": "mlp.fc2",
              "attn.out_proj": "self_attn.out_proj"}
CLIP_VISION = {"class_embedding": "vision_model.embeddings.class_embedding",
               "conv1.weight": "vision_model.embeddings.patch_embedding.weight",
               "positional_embedding": "vision_model.embeddings.position_embedding.weight",
               "ln_pre": "vision_model.pre_layrnorm",  # sic
               "ln_post": "vision_model.post_layernorm"}
CLIP_TEXT = {"token_embedding.weight": "text_model.embeddings.token_embedding.weight",
             "positional_embedding": "text_model.embeddings.position_embedding.weight",
             "ln_final": "text_model.final_layer_norm"}


def unet_config(weights: Weights, heads: int | None, size: int) -> dict[str, Any]:
    """The config of a UNet of diffusers that has these weights, of an LDM checkpoint.

    Args:
        weights: Of the UNet.
        heads: Heads of each attention, as in Stable Diffusion 1; None: as many as have 64 channels, as in 2.
        size: Rows and columns of the latents it was trained on.
    """
    widths, attended, per_level = [_shape(weights, "input_blocks.1.0.in_layers.2.weight")[0]], [False], [0]
    for i in range(1, _count(weights, r"input_blocks\.(\d+)\.")):
        if f"input_blocks.{i}.0.op.weight" in weights:
            widths, attended, per_level = [*widths, 0], [*attended, False], [*per_level, 0]
            continue
        widths[-1] = _shape(weights, f"input_blocks.{i}.0.in_layers.2.weight")[0]
        attended[-1] |= f"input_blocks.{i}.1.proj_in.weight" in weights
        per_level[-1] += 1
    block = "middle_block.1"
    if _count(weights, rf"{re.escape(block)}\.transformer_blocks\.(\d+)\.") != 1 or len(set(per_level)) != 1:
        raise InputError("convert: a network with several transformer layers in a block, such as that of SDXL; use its "
                         "folder in diffusers format")
    return {"sample_size": size, "in_channels": _shape(weights, "input_blocks.0.0.weight")[1],
            "out_channels": _shape(weights, "out.2.weight")[0], "layers_per_block": per_level[0],
            "block_out_channels": widths, "cross_attention_dim":
                _shape(weights, f"{block}.transformer_blocks.0.attn2.to_k.weight")[1],
            "down_block_types": ["CrossAttnDownBlock2D" if a else "DownBlock2D" for a in attended],
            "up_block_types": ["CrossAttnUpBlock2D" if a else "UpBlock2D" for a in reversed(attended)],
            # what diffusers calls so is the number of heads
            "attention_head_dim": heads or [max(width // HEAD_WIDTH, 1) for width in widths],
            "use_linear_projection": len(_shape(weights, f"{block}.proj_in.weight")) == 2}


def vae_config(weights: Weights, scale: float) -> dict[str, Any]:
    """The config of an autoencoder of diffusers that has these weights, of an LDM checkpoint."""
    levels = _count(weights, r"encoder\.down\.(\d+)\.")
    widths = [_shape(weights, f"encoder.down.{i}.block.0.conv2.weight")[0] for i in range(levels)]
    return {"in_channels": _shape(weights, "encoder.conv_in.weight")[1],
            "out_channels": _shape(weights, "decoder.conv_out.weight")[0],
            "latent_channels": _shape(weights, "post_quant_conv.weight")[0], "block_out_channels": widths,
            "layers_per_block": _count(weights, r"encoder\.down\.0\.block\.(\d+)\."), "scaling_factor": scale,
            "down_block_types": ["DownEncoderBlock2D"] * levels, "up_block_types": ["UpDecoderBlock2D"] * levels}


def vision_config(weights: Weights) -> dict[str, Any]:
    """The config of CLIP's vision model of transformers that has these weights, named as OpenAI does."""
    width, _, patch, _ = _shape(weights, "conv1.weight")
    side = round((_shape(weights, "positional_embedding")[0] - 1) ** 0.5)
    return {**_transformer_config(weights, width), "hidden_act": "quick_gelu", "patch_size": patch,
            "image_size": side * patch, "projection_dim": _shape(weights, "proj")[1]}


def text_config(weights: Weights, layers: int) -> dict[str, Any]:
    """The config of CLIP's text model of transformers with the first layers of weights that are named as OpenCLIP
    does."""
    words, width = _shape(weights, "token_embedding.weight")
    return {**_transformer_config(weights, width), "num_hidden_layers": layers, "hidden_act": "gelu",
            "vocab_size": words, "max_position_embeddings": _shape(weights, "positional_embedding")[0]}


def text_config_of_transformers(weights: Weights) -> dict[str, Any]:
    """The config of CLIP's text model with these weights, named as transformers does: that of Stable Diffusion 1."""
    words, width = _shape(weights, "text_model.embeddings.token_embedding.weight")
    return {"hidden_size": width, "vocab_size": words, "num_attention_heads": max(width // HEAD_WIDTH, 1),
            "intermediate_size": _shape(weights, "text_model.encoder.layers.0.mlp.fc1.weight")[0],
            "num_hidden_layers": layers_of(weights, "layers"), "hidden_act": "quick_gelu",
            "max_position_embeddings": _shape(weights, "text_model.embeddings.position_embedding.weight")[0]}


def _transformer_config(weights: Weights, width: int) -> dict[str, Any]:
    return {"hidden_size": width, "intermediate_size": _shape(weights, "transformer.resblocks.0.mlp.c_fc.weight")[0],
            "num_hidden_layers": layers_of(weights, "resblocks"), "num_attention_heads": max(width // HEAD_WIDTH, 1)}


def layers_of(weights: Weights, name: str) -> int:
    """How many layers a list of that name has."""
    return _count(weights, rf"(?:.*\.)?{name}\.(\d+)\.")


def from_clip(weights: Weights, names: Mapping[str, str], tower: str) -> dict[str, Tensor]:
    """Weights of CLIP under the names of transformers: one matrix for queries, keys and values becomes three.

    Args:
        weights: As OpenAI and OpenCLIP name them.
        names: Of what stands outside the blocks: `CLIP_VISION` or `CLIP_TEXT`.
        tower: `vision_model` or `text_model`.
    """
    out = {}
    for key, value in weights.items():
        block = re.fullmatch(r"transformer\.resblocks\.(\d+)\.(.+)", key)
        if block is None:
            name, _, last = key.rpartition(".")
            out[names[key] if key in names else f"{names.get(name, name)}.{last}".lstrip(".")] = value
            continue
        layer, inner = f"{tower}.encoder.layers.{block[1]}", block[2]
        if inner.startswith("attn.in_proj_"):
            for letter, third in zip("qkv", value.chunk(3)):
                out[f"{layer}.self_attn.{letter}_proj.{inner.removeprefix('attn.in_proj_')}"] = third
        else:
            name, _, last = inner.rpartition(".")
            out[f"{layer}.{CLIP_BLOCK.get(name, name)}.{last}"] = value
    if "proj" in out:  # OpenAI multiplies from the left
        out["visual_projection.weight"] = out.pop("proj").T
    return out


def _shape(weights: Weights, key: str) -> tuple[int, ...]:
    if key not in weights:
        raise InputError(f"convert: the checkpoint has no `{key}`; it is damaged, or of another layout")
    return tuple(weights[key].shape)


def _count(weights: Weights, pattern: str) -> int:
    """One more than the largest number that stands in the names at the group of a pattern."""
    return 1 + max((int(found[1]) for key in weights if (found := re.match(pattern, key))), default=-1)
