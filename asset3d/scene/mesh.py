"""Triangle meshes. Letters in shapes: V vertices, F faces."""
from dataclasses import dataclass

from jaxtyping import Float, Int64
from torch import Tensor

from asset3d.scene.material import Material


@dataclass
class Mesh:
    """An indexed triangle mesh; faces are counter-clockwise seen from outside. Attributes belong to vertices."""

    vertices: Float[Tensor, "V 3"]
    faces: Int64[Tensor, "F 3"]
    normals: Float[Tensor, "V 3"] | None = None
    """Unit shading normals."""
    uvs: Float[Tensor, "V 2"] | None = None
    """Texture coordinates, v = 0 is the top row of the texture (glTF)."""
    tangents: Float[Tensor, "V 4"] | None = None
    """MikkTSpace tangents; w is the sign of the bitangent."""
    colors: Float[Tensor, "V 3"] | None = None
    """sRGB in [0, 1]."""
    material: Material | None = None
