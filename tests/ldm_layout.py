"""Checkpoints as latent diffusion, OpenAI's CLIP and OpenCLIP lay them out, of networks of diffusers and transformers.

Written from the modules of those projects: which module stands where in `input_blocks`, `middle_block`, `output_blocks`
and in `resblocks`, block by block.
"""
import sys
import types

import torch

RESNET = {"in_layers.0": "norm1", "in_layers.2": "conv1", "emb_layers.1": "time_emb_proj", "out_layers.0": "norm2",
          "out_layers.3": "conv2", "skip_connection": "conv_shortcut"}
ATTENTION = {"norm": "norm", "proj_in": "proj_in", "proj_out": "proj_out"}
TRANSFORMER = ("norm1", "norm2", "norm3", "ff.net.0.proj", "ff.net.2", *(f"attn{n}.{name}" for n in (1, 2) for name in (
    "to_q", "to_k", "to_v", "to_out.0")))
VAE_RESNET = {"norm1": "norm1", "conv1": "conv1", "norm2": "norm2", "conv2": "conv2", "nin_shortcut": "conv_shortcut"}
VAE_ATTENTION = {"norm": "group_norm", "q": "to_q", "k": "to_k", "v": "to_v", "proj_out": "to_out.0"}


class Layout(dict):
    """Tensors by name."""

    def put(self, name, module, parts=None):
        """The parameters of a module, or of parts of it under other names."""
        for theirs, ours in (parts or {"": ""}).items():
            try:
                part = module.get_submodule(ours)
            except AttributeError:
                continue  # a shortcut is only where channels change
            if part is None:
                continue
            for key, value in part.named_parameters(recurse=False):
                self[".".join(filter(None, (name, theirs, key)))] = value.detach().clone()

    def put_transformer(self, name, module):
        self.put(name, module, ATTENTION)
        for n, block in enumerate(module.transformer_blocks):
            self.put(f"{name}.transformer_blocks.{n}", block, {part: part for part in TRANSFORMER})


def unet(network) -> Layout:
    """UNetModel of ldm/modules/diffusionmodules/openaimodel.py."""
    out = Layout()
    out.put("time_embed.0", network.time_embedding.linear_1)
    out.put("time_embed.2", network.time_embedding.linear_2)
    out.put("input_blocks.0.0", network.conv_in)
    n = 1
    for block in network.down_blocks:
        for j, resnet in enumerate(block.resnets):
            out.put(f"input_blocks.{n}.0", resnet, RESNET)
            if hasattr(block, "attentions"):
                out.put_transformer(f"input_blocks.{n}.1", block.attentions[j])
            n += 1
        if block.downsamplers:
            out.put(f"input_blocks.{n}.0.op", block.downsamplers[0].conv)
            n += 1
    out.put("middle_block.0", network.mid_block.resnets[0], RESNET)
    out.put_transformer("middle_block.1", network.mid_block.attentions[0])
    out.put("middle_block.2", network.mid_block.resnets[1], RESNET)
    n = 0
    for block in network.up_blocks:
        for j, resnet in enumerate(block.resnets):
            out.put(f"output_blocks.{n}.0", resnet, RESNET)
            place = 1
            if hasattr(block, "attentions"):
                out.put_transformer(f"output_blocks.{n}.1", block.attentions[j])
                place = 2
            if j == len(block.resnets) - 1 and block.upsamplers:
                out.put(f"output_blocks.{n}.{place}.conv", block.upsamplers[0].conv)
            n += 1
    out.put("out.0", network.conv_norm_out)
    out.put("out.2", network.conv_out)
    return out


def autoencoder(network) -> Layout:
    """AutoencoderKL of ldm/models/autoencoder.py; its attention is of convolutions."""
    out = Layout()
    for half, coder, blocks in (("encoder", network.encoder, network.encoder.down_blocks),
                                ("decoder", network.decoder, network.decoder.up_blocks[::-1])):
        out.put(f"{half}.conv_in", coder.conv_in)
        for i, block in enumerate(blocks):
            way = "down" if half == "encoder" else "up"
            for j, resnet in enumerate(block.resnets):
                out.put(f"{half}.{way}.{i}.block.{j}", resnet, VAE_RESNET)
            sampler = block.downsamplers if half == "encoder" else block.upsamplers
            if sampler:
                out.put(f"{half}.{way}.{i}.{way}sample.conv", sampler[0].conv)
        out.put(f"{half}.mid.block_1", coder.mid_block.resnets[0], VAE_RESNET)
        out.put(f"{half}.mid.attn_1", coder.mid_block.attentions[0], VAE_ATTENTION)
        out.put(f"{half}.mid.block_2", coder.mid_block.resnets[1], VAE_RESNET)
        out.put(f"{half}.norm_out", coder.conv_norm_out)
        out.put(f"{half}.conv_out", coder.conv_out)
    out.put("quant_conv", network.quant_conv)
    out.put("post_quant_conv", network.post_quant_conv)
    for key in out:
        if any(f"attn_1.{name}.weight" in key for name in ("q", "k", "v", "proj_out")):
            out[key] = out[key][:, :, None, None]
    return out


def blocks(layers) -> Layout:
    """The resblocks of CLIP: queries, keys and values in one matrix."""
    out = Layout()
    for n, layer in enumerate(layers):
        name = f"transformer.resblocks.{n}"
        attention = layer.self_attn
        three = (attention.q_proj, attention.k_proj, attention.v_proj)
        out[f"{name}.attn.in_proj_weight"] = torch.cat([p.weight.detach() for p in three])
        out[f"{name}.attn.in_proj_bias"] = torch.cat([p.bias.detach() for p in three])
        out.put(f"{name}.attn.out_proj", attention.out_proj)
        out.put(f"{name}.ln_1", layer.layer_norm1)
        out.put(f"{name}.ln_2", layer.layer_norm2)
        out.put(f"{name}.mlp.c_fc", layer.mlp.fc1)
        out.put(f"{name}.mlp.c_proj", layer.mlp.fc2)
    return out


def vision(network) -> Layout:
    """VisionTransformer of clip/model.py."""
    model = network.vision_model
    out = blocks(model.encoder.layers)
    out["class_embedding"] = model.embeddings.class_embedding.detach()
    out["conv1.weight"] = model.embeddings.patch_embedding.weight.detach()
    out["positional_embedding"] = model.embeddings.position_embedding.weight.detach()
    out.put("ln_pre", model.pre_layrnorm)
    out.put("ln_post", model.post_layernorm)
    out["proj"] = network.visual_projection.weight.detach().T.contiguous()
    return out


def open_text(network, width: int) -> Layout:
    """The text half of OpenCLIP's CLIP, with one layer more than Stable Diffusion 2 uses."""
    model = getattr(network, "text_model", network)
    out = blocks([*model.encoder.layers, model.encoder.layers[0]])
    out["token_embedding.weight"] = model.embeddings.token_embedding.weight.detach()
    out["positional_embedding"] = model.embeddings.position_embedding.weight.detach()
    out.put("ln_final", model.final_layer_norm)
    out |= {"text_projection": torch.ones(width, width), "logit_scale": torch.ones(())}
    return out


def hugging_text(network) -> Layout:
    """CLIPTextModel as transformers had it when Stable Diffusion 1 was published."""
    state = {key.removeprefix("text_model."): value.clone() for key, value in network.state_dict().items()}
    out = Layout({f"text_model.{key}": value for key, value in state.items()})
    out["text_model.embeddings.position_ids"] = torch.arange(8)[None]
    return out


def below(prefix: str, layout: Layout) -> dict:
    return {prefix + key: value for key, value in layout.items()}


def schedule() -> dict:
    """Buffers of DDPM in ldm/models/diffusion/ddpm.py."""
    return {name: torch.linspace(0, 1, 1000) for name in (
        "betas", "alphas_cumprod", "alphas_cumprod_prev", "sqrt_alphas_cumprod", "sqrt_one_minus_alphas_cumprod",
        "log_one_minus_alphas_cumprod", "sqrt_recip_alphas_cumprod", "sqrt_recipm1_alphas_cumprod",
        "posterior_variance", "posterior_log_variance_clipped", "posterior_mean_coef1", "posterior_mean_coef2",
        "logvar")}


def averages(layout: Layout) -> dict:
    """LitEma of ldm/modules/ema.py: buffers whose names have lost their dots."""
    out = {"model_ema." + ("diffusion_model." + key).replace(".", ""): value for key, value in layout.items()}
    return out | {"model_ema.decay": torch.tensor(0.9999), "model_ema.num_updates": torch.tensor(5)}


def zero123(prior) -> dict:
    """LatentDiffusion of Zero-1-to-3: averaged weights are those of the prior, trained ones are others."""
    layout = unet(prior.unet)
    other = Layout({key: value + 1 for key, value in layout.items()})
    width, out = prior.image_encoder.config.hidden_size, schedule()
    out |= below("model.diffusion_model.", other) | averages(layout)
    out |= below("first_stage_model.", autoencoder(prior.vae))
    out |= below("cond_stage_model.model.visual.", vision(prior.image_encoder))
    out |= {"cond_stage_model.model." + key: torch.zeros(width) for key in (
        "positional_embedding", "token_embedding.weight", "ln_final.weight", "ln_final.bias", "text_projection",
        "logit_scale")}
    out |= {"cond_stage_model.mean": torch.zeros(3), "cond_stage_model.std": torch.ones(3)}
    return out | below("cc_projection.", Layout({key: value.clone() for key, value in
                                                  prior.cc_projection.projection.state_dict().items()}))


def save_lightning(weights: dict, path, monkeypatch) -> None:
    """As the Trainer of Lightning saves: with the state of its callbacks by their classes."""
    name = "pytorch_lightning.callbacks.model_checkpoint"
    module = types.ModuleType(name)
    module.ModelCheckpoint = type("ModelCheckpoint", (), {"__module__": name})
    with monkeypatch.context() as patch:
        for part in ("pytorch_lightning", "pytorch_lightning.callbacks", name):
            patch.setitem(sys.modules, part, module)
        torch.save({"epoch": 1, "state_dict": weights, "callbacks": {module.ModelCheckpoint: {"best": 0.5}},
                    "optimizer_states": [{"state": {0: {"step": 3}}}]}, path)
