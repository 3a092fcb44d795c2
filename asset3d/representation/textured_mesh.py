"""A mesh with fixed faces and texture coordinates: its base colour is trained, its vertices may move a little."""
from typing import Literal

import torch
from jaxtyping import Float
from pydantic import Field
from torch import Tensor, nn

from asset3d.ops.triangle import face_topology
from asset3d.registry import Config, register
from asset3d.representation.base import Representation
from asset3d.scene.mesh import Mesh


class TexturedMeshConfig(Config):
    type: Literal["textured_mesh"] = "textured_mesh"
    texture_size: int = Field(1024, ge=16, le=8192)
    """Rows and columns of the base-colour texture."""
    learning_rate_vertices: float = Field(0.0, ge=0)
    """Factor on the learning rate for vertex positions; 0 keeps the geometry."""


@register("representation", TexturedMeshConfig)
class TexturedMesh(Representation):
    """`mesh` needs uvs. Vertices at one place (on both sides of a seam) move together."""

    def __init__(self, config: TexturedMeshConfig, mesh: Mesh, texture: Float[Tensor, "H W 3"]):
        super().__init__(config)
        places, self.place = torch.unique(mesh.vertices, dim=0, return_inverse=True)
        self.start_mesh = mesh
        self.topology = face_topology(mesh.faces.int(), mesh.vertices)
        self.vertices = nn.Parameter(places.clone(), requires_grad=config.learning_rate_vertices > 0)
        self.texture = nn.Parameter(texture.clone()[None])

    @classmethod
    def of(cls, mesh: Mesh) -> "TexturedMesh":
        """A finished asset, as something that the mesh renderer can draw.

        Raises:
            ValueError: the mesh has no texture coordinates or no base-colour texture.
        """
        if mesh.uvs is None or mesh.material is None or mesh.material.base_color is None:
            raise ValueError("TexturedMesh.of: the mesh needs uvs and a base-colour texture")
        return cls(TexturedMeshConfig(texture_size=mesh.material.base_color.shape[0]), mesh, mesh.material.base_color)

    def parameter_groups(self):
        if self.config.learning_rate_vertices:
            yield "vertices", self.config.learning_rate_vertices, [self.vertices]
        yield "texture", 1.0, [self.texture]

    @torch.no_grad()
    def begin_step(self, step: int, n_steps: int, generator: torch.Generator) -> None:
        self.texture.clamp_(0, 1)

    def surface(self) -> tuple[Float[Tensor, "V 3"], Tensor]:
        """Vertices and faces as they are now."""
        return self.vertices[self.place], self.start_mesh.faces
