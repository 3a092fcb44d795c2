"""Fine shape as a texture: tangent-space normal maps baked from a dense surface.

Letters: V vertices, F faces, T covered texels.
"""
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from asset3d.errors import InputError
from asset3d.scene.mesh import Mesh
from asset3d.scene.mesh_cleanup import arrays
from asset3d.scene.mesh_topology import face_normals, vertex_normals
from asset3d.scene.nearest import NearestOnSurface
from asset3d.scene.texels import fill_outside, texel_map

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
    found, normals = _nearest_normals(dense, position, side, max_distance)
    local = np.where(found[:, None], in_tangent_space(normals, normal, tangent), [0.0, 0.0, 1.0])
    image = torch.from_numpy(texels.image(local / 2 + 0.5)).to(mesh.vertices)
    filled = fill_outside(image, torch.from_numpy(texels.mask()).to(image.device))
    covered = torch.from_numpy(texels.image(found[:, None])[..., 0]).to(image.device)
    return filled.clamp(0, 1), covered


def _nearest_normals(dense: Mesh, position, side, reach) -> tuple[np.ndarray, np.ndarray]:
    """(T,) found, and (T, 3) unit normals of the dense surface."""
    surface = NearestOnSurface(dense)
    normals = (vertex_normals(surface.vertices, surface.faces) if dense.normals is None
               else dense.normals.detach().cpu().double().numpy())
    found, face, weights = surface(position, side, reach)
    out = surface.at(normals, face, weights)
    return found, out / np.maximum(np.linalg.norm(out, axis=1, keepdims=True), 1e-12)


def in_tangent_space(world: np.ndarray, normal: np.ndarray, tangent: np.ndarray) -> np.ndarray:
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
