"""What published pipelines compute, step by step, from modules of diffusers, without a line of asset3d's priors."""
import torch
from diffusers import DDIMScheduler

LATENT = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False,
          "set_alpha_to_one": False, "steps_offset": 1}


@torch.no_grad()
def ddim(network, start, present, absent, noise, scale, beside=(None, None), added=(None, None), **schedule):
    """The last latent of DDIM: two calls of the network for each step, one for each half of guidance.

    Args:
        network: UNet2DConditionModel.
        start: Noise to start from.
        present, absent: Tokens of the two halves.
        noise: One more for each step, whose scale is eta; None for eta 0.
        scale: Of guidance.
        beside: Channels to put beside the latent, for the present and the absent half.
        added: added_cond_kwargs of both halves.
        schedule: Settings of DDIMScheduler that differ from those of Stable Diffusion 1.
    """
    scheduler = DDIMScheduler(**{**LATENT, **schedule})
    steps = len(noise)
    scheduler.set_timesteps(steps)
    x = start
    for time, fresh in zip(scheduler.timesteps, noise):
        said = []
        for tokens, channels, more in zip((present, absent), beside, added):
            given = x if channels is None else torch.cat([x, channels], 1)
            out = network(given, time, encoder_hidden_states=tokens, added_cond_kwargs=more).sample
            said.append(out[:, : x.shape[1]])
        guided = said[1] + scale * (said[0] - said[1])
        x = scheduler.step(guided, time, x, eta=1.0, variance_noise=fresh).prev_sample
    return x


@torch.no_grad()
def decoded(vae, latents):
    """Images in [0, 1], channels last."""
    return (vae.decode(latents / vae.config.scaling_factor).sample.permute(0, 2, 3, 1) / 2 + 0.5).clamp(0, 1)


@torch.no_grad()
def zero123(networks, image, pose, noise, scale):
    """Zero-1-to-3: `networks` has unet, vae, image_encoder and linear, the projection of image and pose to a token."""
    pixels = image.permute(0, 3, 1, 2) * 2 - 1
    size = networks.image_encoder.config.image_size
    mean = torch.tensor([0.48145466, 0.4578275, 0.40821073]).view(3, 1, 1)
    deviation = torch.tensor([0.26862954, 0.26130258, 0.27577711]).view(3, 1, 1)
    resized = torch.nn.functional.interpolate(image.permute(0, 3, 1, 2), (size, size), mode="bicubic",
                                              align_corners=True)
    embedding = networks.image_encoder(pixel_values=(resized - mean) / deviation).image_embeds
    token = networks.linear(torch.cat([embedding, pose], -1))[:, None]
    latent = networks.vae.encode(pixels).latent_dist.mode()
    x = ddim(networks.unet, noise[0], token, torch.zeros_like(token), noise[1:], scale,
             (latent, torch.zeros_like(latent)))
    return decoded(networks.vae, x)


@torch.no_grad()
def text_image(networks, ids, negative_ids, noise, scale, depth=None, **schedule):
    """Stable Diffusion 1, 2 and 2-depth: `networks` has unet, vae and text_encoder."""
    present, absent = (networks.text_encoder(i).last_hidden_state for i in (ids, negative_ids))
    x = ddim(networks.unet, noise[0], present, absent, noise[1:], scale, (depth, depth), **schedule)
    return decoded(networks.vae, x)


@torch.no_grad()
def sdxl(networks, ids, noise, scale, size):
    """SDXL without a negative prompt: `networks` has unet, vae, text_encoder and text_encoder_2."""
    first = networks.text_encoder(ids, output_hidden_states=True)
    second = networks.text_encoder_2(ids, output_hidden_states=True)
    tokens = torch.cat([first.hidden_states[-2], second.hidden_states[-2]], -1)
    time_ids = torch.tensor([[size, size, 0, 0, size, size]] * len(ids)).float()
    present = {"text_embeds": second.text_embeds, "time_ids": time_ids}
    absent = {"text_embeds": torch.zeros_like(second.text_embeds), "time_ids": time_ids}
    x = ddim(networks.unet, noise[0], tokens, torch.zeros_like(tokens), noise[1:], scale, added=(present, absent))
    return decoded(networks.vae, x)


@torch.no_grad()
def deepfloyd(networks, given, negative, noise, scale, **schedule):
    """DeepFloyd IF: `networks` has unet and text_encoder; `given` and `negative` are what a T5 tokenizer gives."""
    present, absent = (networks.text_encoder(g.input_ids, attention_mask=g.attention_mask)[0]
                       for g in (given, negative))
    x = ddim(networks.unet, noise[0], present, absent, noise[1:], scale, **schedule)
    return (x.permute(0, 2, 3, 1) / 2 + 0.5).clamp(0, 1)
