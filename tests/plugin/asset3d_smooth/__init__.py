"""A plugin of asset3d: a stage that smooths a mesh."""
from dataclasses import replace
from typing import Annotated, Literal

import asset3d
import torch
from pydantic import Field


class SmoothMeshConfig(asset3d.StageConfig):
    type: Literal["smooth_mesh"] = "smooth_mesh"
    steps: int = Field(10, ge=1, le=1000)
    """How often every vertex moves toward its neighbours."""
    strength: Annotated[asset3d.Schedule, asset3d.Values(gt=0, le=1)] = 0.5
    """Part of the way that it goes."""


@asset3d.register("stage", SmoothMeshConfig)
class SmoothMesh(asset3d.Stage):
    """Laplacian smoothing."""

    reads = ("mesh",)
    writes = ("mesh",)

    def start(self, mesh: asset3d.Mesh) -> int:
        self.mesh, self.vertices = mesh, mesh.vertices.clone()
        edges = mesh.faces[:, [0, 1, 1, 2, 2, 0]].reshape(-1, 2)
        edges = torch.cat([edges, edges.flip(1)]).unique(dim=0)
        n_vertices = len(mesh.vertices)
        degree = torch.bincount(edges[:, 0], minlength=n_vertices).clamp(min=1)
        weights = 1 / degree[edges[:, 0]].to(self.vertices)
        self.average = torch.sparse_coo_tensor(edges.T, weights, (n_vertices, n_vertices), check_invariants=False)
        return self.config.steps

    def step(self, step: int) -> dict[str, float]:
        way = self.average @ self.vertices - self.vertices
        self.vertices = self.vertices + self.config.strength(step) * way
        return {"way": way.norm(dim=1).mean().item()}

    def finish(self) -> dict[str, asset3d.Mesh]:
        return {"mesh": replace(self.mesh, vertices=self.vertices, normals=None, tangents=None)}

    def state(self) -> dict[str, torch.Tensor]:
        return {"vertices": self.vertices}

    def load_state(self, state: dict[str, torch.Tensor]) -> None:
        self.vertices = state["vertices"]
