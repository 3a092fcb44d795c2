"""A mesh with fixed faces and texture coordinates: its base colour is trained, its vertices may move a little."""
import warnings
from typing import Literal

import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor, nn

from asset3d.ops.triangle import face_topology
from asset3d.registry import Config, register
from asset3d.representation.base import Representation
from asset3d.scene.mesh import Mesh
from asset3d.scene.mesh_topology import edge_table, half_edges

SMOOTHING = (0, 4, 24)
"""Rounds of neighbourhood averaging that vertices are moved through. A vertex moves by a sum: alone, with its
neighbours, and with a patch of the surface, so that photos shift whole parts without roughening them (in the spirit of
the preconditioning of Nicolet et al. 2021)."""
STEPS_OF_SMOOTHING = tuple(b - a for a, b in zip((0, *SMOOTHING), SMOOTHING))
"""Rounds added from each scale to the next wider one."""


class TexturedMeshConfig(Config):
    type: Literal["textured_mesh"] = "textured_mesh"
    texture_size: int = Field(1024, ge=16, le=8192)
    """Rows and columns of the base-colour texture."""
    learning_rate_vertices: float = Field(0.0, ge=0)
    """Factor on the learning rate for vertex positions; 0 keeps the geometry."""


@register("representation", TexturedMeshConfig)
class TexturedMesh(Representation):
    """`mesh` needs uvs. Vertices at one place (on both sides of a seam) move together."""

    made_by = "{type: texture}"
    gives = ("surface",)

    def __init__(self, config: TexturedMeshConfig, mesh: Mesh, texture: Float[Tensor, "H W 3"]):
        super().__init__(config)
        places, self.place = torch.unique(mesh.vertices, dim=0, return_inverse=True)
        self.start_mesh = mesh
        self.topology = face_topology(mesh.faces.int(), mesh.vertices)
        self.register_buffer("places", places)
        self.texture = nn.Parameter(texture.clone()[None])
        self.moves = nn.ParameterList()
        if config.learning_rate_vertices:
            self.moves.extend(torch.zeros_like(places) for _ in SMOOTHING)
            self.closed_faces = self.place[mesh.faces]
            self.hinge_faces, self.hinge_ends = hinges(self.closed_faces)
            self.neighbours = NeighbourMean(self.closed_faces, len(places))

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
            yield "vertices", self.config.learning_rate_vertices, list(self.moves)
        yield "texture", 1.0, [self.texture]

    @torch.no_grad()
    def begin_step(self, step: int, n_steps: int, generator: torch.Generator) -> None:
        self.texture.clamp_(0, 1)

    def surface(self) -> tuple[Float[Tensor, "V 3"], Tensor]:
        """Vertices and faces as they are now."""
        return self.moved_places()[self.place], self.start_mesh.faces

    def moved_places(self) -> Float[Tensor, "P 3"]:
        """The same without seams, one vertex per place: `closed_faces` are its faces, where vertices are trained."""
        return self.places + self._displacement()

    def _displacement(self) -> Float[Tensor, "P 3"] | float:
        """The sum of all moves, each spread over its neighbourhood."""
        total = 0.0
        for move, wider in zip(reversed(self.moves), reversed(STEPS_OF_SMOOTHING)):  # the smoothest first
            total = total + move
            for _ in range(wider):
                total = (total + self.neighbours(total)) / 2
        return total


def hinges(faces: Int64[Tensor, "F 3"]) -> tuple[Int64[Tensor, "2 E"], Int64[Tensor, "E 2"]]:
    """The two faces at every edge that has exactly two, and the vertices at the ends of the edge."""
    numbers = faces.cpu().numpy()
    pairs = edge_table(numbers).pairs()
    ends = half_edges(numbers)[pairs[:, 0]]
    return torch.from_numpy(pairs // 3).T.to(faces.device), torch.from_numpy(ends).to(faces.device)


class NeighbourMean:
    """The mean over the neighbours of each of P vertices; differentiable, (P, C) to (P, C)."""

    def __init__(self, faces: Int64[Tensor, "F 3"], count: int):
        ends = torch.cat([faces[:, [a, b]] for a, b in ((0, 1), (1, 2), (2, 0), (1, 0), (2, 1), (0, 2))]).unique(dim=0)
        ones = torch.ones(len(ends), device=faces.device)
        matrix = torch.sparse_coo_tensor(ends.T, ones, (count, count), check_invariants=False).coalesce()
        with warnings.catch_warnings():  # torch calls this layout a beta; it is 15 times as fast as the other
            warnings.filterwarnings("ignore", "Sparse", UserWarning)
            self.adjacency = matrix.to_sparse_csr()
        self.share = 1 / torch.bincount(ends[:, 0], minlength=count).clamp(min=1).float()[:, None]

    def __call__(self, x: Float[Tensor, "P C"]) -> Float[Tensor, "P C"]:
        return self.share * SymmetricProduct.apply(self.adjacency, x)


class SymmetricProduct(torch.autograd.Function):
    """matrix @ x for a symmetric sparse matrix. torch would transpose it for every gradient, which takes ten times as
    long as the product."""

    @staticmethod
    def forward(ctx, matrix, x):
        ctx.matrix = matrix
        return matrix @ x

    @staticmethod
    def backward(ctx, grad):
        return None, ctx.matrix @ grad
