"""The transfer curve of sRGB (IEC 61966-2-1), which textures and photos are stored with."""
import numpy as np


def srgb_from_linear(x: np.ndarray) -> np.ndarray:
    """sRGB values of linear light, both in [0, 1]."""
    return np.where(x <= 0.0031308, 12.92 * x, 1.055 * np.maximum(x, 0.0031308) ** (1 / 2.4) - 0.055)


def linear_from_srgb(x: np.ndarray) -> np.ndarray:
    """Linear light of sRGB values, both in [0, 1]."""
    return np.where(x <= 0.04045, x / 12.92, ((np.maximum(x, 0.04045) + 0.055) / 1.055) ** 2.4)
