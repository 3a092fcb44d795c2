"""Materials: glTF's metallic-roughness model, as plain tensors."""
from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor


@dataclass
class Material:
    """Textures have row 0 at the top (v = 0 is the top row, as in glTF); each may be absent."""

    base_color: Float[Tensor, "H W 3"] | None = None
    """sRGB in [0, 1]."""
    normal_map: Float[Tensor, "H W 3"] | None = None
    """Tangent space, MikkTSpace, +Y up (OpenGL, glTF); encoded as n / 2 + 1/2."""
    metallic: float = 0.0
    roughness: float = 1.0
