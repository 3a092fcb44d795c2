"""Fine shape as a texture: tangent-space normal maps baked from a dense surface.

Letters: V vertices, F faces, T covered texels, K candidates.
"""
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from asset3d.errors import InputError
from asset3d.scene.mesh import Mesh
from asset3d.scene.mesh_cleanup import arrays
from asset3d.scene.mesh_topology import face_normals, vertex_normals
from asset3d.scene.texels import dilate, texel_map

CANDIDATES = 8
"""Nearest samples of the dense surface whose triangles are looked at for each texel."""
CHUNK = 1 << 16
"""Texels at once: bounds the memory."""
SAME_SIDE = 0.2
"""Least cosine between the faces of both surfaces; on a thin wall the far side has -1."""


def bake_normal_map(mesh: Mesh, dense: Mesh, size: int = 1024, max_distance: float = 0.02,
                    ) -> tuple[Float[Tensor, "size size 3"], Bool[Tensor, "size size"]]:
    """Normals of the dense surface as the mesh's texture, encoded as n / 2 + 1/2, +Y up (glTF, OpenGL).

    Each texel takes the smooth normal at the nearest point of the dense surface that looks the same way. Where there
    is none within reach the map is flat. Texels outside the charts repeat the nearest one inside.

    Args:
        mesh: With uvs, normals and tangents (`with_tangents`).
        dense: Any triangle sizes; its own normals are used if it has some.
        size: Side of the texture.
        max_distance: Reach, in units of the diagonal of the dense surface's box.

    Returns:
        The map, and the texels that were found on the dense surface.

    Raises:
        InputError: the mesh has no uvs, normals or tangents.
    """
    for name in ("uvs", "normals", "tangents"):
        if getattr(mesh, name) is None:
            raise InputError(f"bake_normal_map: the mesh has no {name}; unwrap it and call with_tangents first")
    texels = texel_map(mesh, size, size)
    vertices, faces = arrays(mesh)
    attribute = lambda x: texels.interpolate(x.detach().cpu().double().numpy(), faces)
    position, normal, tangent = texels.interpolate(vertices, faces), attribute(mesh.normals), attribute(mesh.tangents)
    side = face_normals(vertices, faces)[0][texels.face]  # smooth normals say little where the mesh is coarse
    found, normals = _Surface(dense).normals_near(position, side, max_distance)
    local = np.where(found[:, None], _in_tangent_space(normals, normal, tangent), [0.0, 0.0, 1.0])
    image = torch.from_numpy(texels.image(local / 2 + 0.5)).to(mesh.vertices)
    filled = dilate(image, torch.from_numpy(texels.mask()).to(image.device))
    covered = torch.from_numpy(texels.image(found[:, None])[..., 0]).to(image.device)
    return filled.clamp(0, 1), covered


def _in_tangent_space(world: np.ndarray, normal: np.ndarray, tangent: np.ndarray) -> np.ndarray:
    """(T, 3): the inverse of what a shader does, world = normalize(x * tangent + y * bitangent + z * normal).

    The frame is interpolated and not normalised, as MikkTSpace asks.
    """
    bitangent = np.sign(tangent[:, 3:]) * np.cross(normal, tangent[:, :3])
    frame = np.stack([tangent[:, :3], bitangent, normal], -1)
    safe = np.abs(np.linalg.det(frame)) > 1e-6
    local = np.linalg.solve(np.where(safe[:, None, None], frame, np.eye(3)), world[..., None])[..., 0]
    local[:, 2] = np.maximum(local[:, 2], 0.05)  # a normal map cannot look below the surface
    local = np.where(safe[:, None], local, [0.0, 0.0, 1.0])
    return local / np.linalg.norm(local, axis=1, keepdims=True)


class _Surface:
    """A dense surface that can be asked for the normal nearest to a point."""

    def __init__(self, mesh: Mesh):
        from scipy.spatial import cKDTree
        self.vertices, self.faces = arrays(mesh)
        self.normals = (vertex_normals(self.vertices, self.faces) if mesh.normals is None
                        else mesh.normals.detach().cpu().double().numpy())
        self.face_normals, area = face_normals(self.vertices, self.faces)
        self.diagonal = float(np.linalg.norm(np.ptp(self.vertices[self.faces].reshape(-1, 3), axis=0)))
        points, self.face_of = self._samples(np.sqrt(area.sum() / 400_000))
        self.tree = cKDTree(points)

    def _samples(self, spacing: float) -> tuple[np.ndarray, np.ndarray]:
        """Points on the surface, about `spacing` apart, and the face of each; small faces have one."""
        corner = self.vertices[self.faces]
        longest = np.linalg.norm(corner - np.roll(corner, 1, axis=1), axis=-1).max(1)
        parts = np.clip(np.ceil(longest / (2 * spacing)), 1, 64).astype(np.int64)
        points, face_of = [], []
        for n in np.unique(parts):
            index = np.flatnonzero(parts == n)
            i, j = np.meshgrid(np.arange(n), np.arange(n), indexing="ij")
            low = np.stack([i, j], -1)[i + j < n] + 1 / 3
            high = np.stack([i, j], -1)[i + j < n - 1] + 2 / 3
            u, v = np.concatenate([low, high]).T / n
            weights = np.stack([1 - u - v, u, v], -1)
            points.append(np.einsum("sk,fkd->fsd", weights, corner[index]).reshape(-1, 3))
            face_of.append(np.repeat(index, len(weights)))
        return np.concatenate(points), np.concatenate(face_of)

    def normals_near(self, position, side, max_distance) -> tuple[np.ndarray, np.ndarray]:
        """(T,) found, and (T, 3) unit normals at the nearest points whose faces look to the same side (T, 3)."""
        found, out = np.zeros(len(position), bool), np.zeros((len(position), 3))
        for start in range(0, len(position), CHUNK):
            part = slice(start, start + CHUNK)
            found[part], out[part] = self._near(position[part], side[part], max_distance * self.diagonal)
        return found, out

    def _near(self, position, side, reach) -> tuple[np.ndarray, np.ndarray]:
        count = min(CANDIDATES, self.tree.n)
        _, sample = self.tree.query(position, k=[*range(1, count + 1)])
        best, chosen = np.full(len(position), np.inf), np.zeros(len(position), np.int64)
        weights = np.zeros((len(position), 3))
        for k in range(count):
            face = self.face_of[sample[:, k]]
            w = closest_weights(self.vertices[self.faces[face]], position)
            distance = np.linalg.norm((w[..., None] * self.vertices[self.faces[face]]).sum(1) - position, axis=1)
            ok = ((self.face_normals[face] * side).sum(1) > SAME_SIDE) & (distance < best) & (distance < reach)
            best, chosen = np.where(ok, distance, best), np.where(ok, face, chosen)
            weights = np.where(ok[:, None], w, weights)
        out = (weights[..., None] * self.normals[self.faces[chosen]]).sum(1)
        return np.isfinite(best), out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)


def closest_weights(corner: np.ndarray, point: np.ndarray) -> np.ndarray:
    """(T, 3) barycentric weights of the points of triangles (T, 3, 3) that are nearest to points (T, 3)."""
    a, b, c = corner.transpose(1, 0, 2)
    ab, ac, ap = b - a, c - a, point - a
    dot = lambda x, y: (x * y).sum(-1)
    bb, bc, cc, pb, pc = dot(ab, ab), dot(ab, ac), dot(ac, ac), dot(ap, ab), dot(ap, ac)
    area = np.maximum(bb * cc - bc * bc, 1e-300)
    second, third = (cc * pb - bc * pc) / area, (bb * pc - bc * pb) / area
    weights = np.stack([1 - second - third, second, third], -1)
    outside = (weights < 0).any(1)
    best = np.full(len(point), np.inf)
    out = weights.copy()
    for k in range(3):  # the nearest point of an edge
        start, end = corner[:, k], corner[:, (k + 1) % 3]
        t = np.clip(dot(point - start, end - start) / np.maximum(dot(end - start, end - start), 1e-300), 0, 1)
        distance = ((start + t[:, None] * (end - start) - point) ** 2).sum(1)
        edge = np.zeros_like(weights)
        edge[:, k], edge[:, (k + 1) % 3] = 1 - t, t
        nearer = outside & (distance < best)
        out, best = np.where(nearer[:, None], edge, out), np.where(nearer, distance, best)
    return out
