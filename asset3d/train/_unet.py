"""The network of small priors: that of Stable Diffusion with fewer levels and channels."""


def small_unet(channels: tuple[int, ...], size: int, n_in: int, n_out: int, token_width: int):
    """A UNet of diffusers with cross-attention at every level.

    Args:
        channels: Of the levels, each half the size of the one before.
        size: Rows and columns of its latents.
        n_in: Channels in; more than `n_out` where it is given latents beside the noisy one.
        n_out: Channels out.
        token_width: Width of the tokens of cross-attention.
    """
    from diffusers import UNet2DConditionModel

    levels = len(channels)
    return UNet2DConditionModel(
        sample_size=size, in_channels=n_in, out_channels=n_out, layers_per_block=1, block_out_channels=channels,
        down_block_types=("CrossAttnDownBlock2D",) * levels, up_block_types=("CrossAttnUpBlock2D",) * levels,
        cross_attention_dim=token_width, attention_head_dim=4, norm_num_groups=16)
