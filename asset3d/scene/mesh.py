"""Triangle meshes, and loading them. Letters in shapes: V vertices, F faces."""
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import grid_sample, normalize, pad

from asset3d.errors import InputError
from asset3d.scene._gltf_mesh import read_gltf
from asset3d.scene._mesh_parts import Part
from asset3d.scene._obj_ply import read_obj, read_ply
from asset3d.scene.image import to_bytes
from asset3d.scene.material import Material
from asset3d.scene.mesh_topology import vertex_normals

READERS = {".glb": read_gltf, ".gltf": read_gltf, ".obj": read_obj, ".ply": read_ply}
MAX_ATLAS = 8192
"""Textures of several parts are put side by side up to this many pixels per side; beyond, colours go to vertices."""
GUTTER = 2
"""Texels around each texture of an atlas that repeat its border, so that filtering mixes in nothing foreign."""


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

    @property
    def bounds(self) -> Float[Tensor, "2 3"]:
        """Smallest and largest coordinates of the vertices; ValueError without vertices."""
        if not len(self.vertices):
            raise ValueError("bounds: a mesh without vertices has none")
        return torch.stack([self.vertices.amin(0), self.vertices.amax(0)])

    def face_areas_and_normals(self) -> tuple[Float[Tensor, "F"], Float[Tensor, "F 3"]]:
        """Areas, and unit normals; the normal of a triangle without area is 0."""
        a, b, c = self.vertices[self.faces].unbind(1)
        cross = torch.linalg.cross(b - a, c - a)
        return cross.norm(dim=-1) / 2, normalize(cross, dim=-1, eps=1e-30)

    def face_normals(self) -> Float[Tensor, "F 3"]:
        """Unit normals of the faces; 0 for those without area."""
        return self.face_areas_and_normals()[1]

    def vertex_normals(self) -> Float[Tensor, "V 3"]:
        """The stored normals, or else those of `mesh_topology.vertex_normals`, without gradient."""
        if self.normals is not None:
            return self.normals
        return self.vertices.new_tensor(vertex_normals(self.vertices.detach().cpu().double().numpy(),
                                                       self.faces.cpu().numpy()))

    def to(self, device) -> "Mesh":
        move = lambda x: None if x is None else x.to(device)
        material = self.material and replace(self.material, base_color=move(self.material.base_color),
                                             normal_map=move(self.material.normal_map))
        arrays = ("vertices", "faces", "normals", "uvs", "tangents", "colors")
        return Mesh(*(move(getattr(self, name)) for name in arrays), material)

    def transformed(self, matrix: Float[Tensor, "4 4"]) -> "Mesh":
        """The mesh moved by an affine matrix; a reflection turns the triangles round, so that outside stays outside.

        Raises:
            ValueError: The matrix has no inverse.
        """
        matrix = torch.as_tensor(matrix, dtype=torch.float64, device=self.vertices.device)
        linear = matrix[:3, :3]
        determinant = float(torch.linalg.det(linear))
        if determinant == 0:
            raise ValueError("transformed: `matrix` has no inverse")
        dtype = self.vertices.dtype
        vertices = (self.vertices.double() @ linear.T + matrix[:3, 3]).to(dtype)
        turn = lambda x, m: normalize((x.double() @ m.T), dim=-1).to(dtype)
        normals = None if self.normals is None else turn(self.normals, torch.linalg.inv(linear).T)
        tangents = self.tangents
        if tangents is not None:
            sign = tangents[:, 3:] * (1 if determinant > 0 else -1)
            tangents = torch.cat([turn(tangents[:, :3], linear), sign], -1)
        faces = self.faces if determinant > 0 else self.faces.flip(1)
        return replace(self, vertices=vertices, faces=faces, normals=normals, tangents=tangents)


def load_mesh(path: Path) -> Mesh:
    """Load a GLB, glTF, OBJ or PLY file as one mesh in the world of the file.

    Several parts are joined; their textures are put into one atlas where that is simple (all coordinates in [0, 1]),
    else colours are sampled at the vertices.

    Raises:
        InputError: Unreadable, unsound, without triangles, or larger than the limits.
    """
    return joined(load_parts(path)[0])


def load_parts(path: Path) -> tuple[list[Mesh], tuple[str, ...]]:
    """The meshes of a file, one per material and use, and what was unusual about it; raises as `load_mesh` does."""
    path = Path(path)
    reader = READERS.get(path.suffix.lower())
    if reader is None:
        raise InputError(f"{path}: '{path.suffix}' files are not read; convert it to one of {', '.join(READERS)}")
    parts, notes = reader(path)
    meshes = [_mesh(part) for part in parts]
    flat, total = 0, 0
    for mesh in meshes:
        areas = mesh.face_areas_and_normals()[0]
        if not torch.isfinite(areas).all():
            raise InputError(f"{path}: has coordinates too large to compute with; scale the mesh down")
        flat, total = flat + int((areas == 0).sum()), total + len(areas)
    if flat == total:
        what = f"all {total} triangles are without area" if total else "has no triangles"
        raise InputError(f"{path}: {what}; give a mesh with a surface")
    if flat:
        notes.append(f"{flat} of {total} triangles are without area")
    return meshes, tuple(dict.fromkeys(notes))


def save_mesh(mesh: Mesh, path: Path) -> None:
    """Write a mesh for inspection, through trimesh, as the suffix says; finished assets come from exporter/."""
    import trimesh
    from PIL import Image
    visual = None
    if mesh.uvs is not None and mesh.material is not None and mesh.material.base_color is not None:
        image = Image.fromarray(to_bytes(mesh.material.base_color))
        uv = mesh.uvs.detach().cpu().double().numpy() * (1, -1) + (0, 1)
        material = trimesh.visual.material.PBRMaterial(baseColorTexture=image, metallicFactor=mesh.material.metallic,
                                                       roughnessFactor=mesh.material.roughness)
        visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
    colors = None if mesh.colors is None else to_bytes(mesh.colors)
    normals = None if mesh.normals is None else mesh.normals.detach().cpu().numpy()
    trimesh.Trimesh(mesh.vertices.detach().cpu().numpy(), mesh.faces.cpu().numpy(), vertex_normals=normals,
                    vertex_colors=colors if visual is None else None, visual=visual, process=False).export(path)


def joined(parts: list[Mesh]) -> Mesh:
    """One mesh of several: an atlas of their textures where all coordinates lie in [0, 1], else colours at vertices."""
    if len(parts) == 1:
        return parts[0]
    if any(_has_texture(p) for p in parts):
        parts = [_plainly_textured(p) for p in parts]
    textured = [_has_texture(p) for p in parts]
    if any(textured):
        first = parts[textured.index(True)].material
        if all(textured) and all(p.material is first for p in parts):
            material = first
        elif all(textured) and all(0 <= p.uvs.min() and p.uvs.max() <= 1 for p in parts):
            parts, material = _atlas(parts)
        else:
            parts, material = [_colored(p) for p in parts], None
    else:
        material = next((p.material for p in parts if p.material is not None), None)
    if any(p.colors is not None for p in parts):
        parts = [_colored(p) for p in parts]
    together = lambda name: (None if any(getattr(p, name) is None for p in parts)
                             else torch.cat([getattr(p, name) for p in parts]))
    if any(p.normals is not None for p in parts):
        parts = [replace(p, normals=p.vertex_normals()) for p in parts]
    starts = np.cumsum([0] + [len(p.vertices) for p in parts])
    faces = torch.cat([p.faces + int(start) for p, start in zip(parts, starts)])
    return Mesh(together("vertices"), faces, together("normals"), together("uvs"), together("tangents"),
                together("colors"), material)


def _has_texture(mesh: Mesh) -> bool:
    return mesh.uvs is not None and mesh.material is not None and mesh.material.base_color is not None


def _plainly_textured(mesh: Mesh) -> Mesh:
    """A part of one colour gets a texture of that colour, so that it can be joined with textured ones."""
    if _has_texture(mesh) or not (mesh.colors is None or (mesh.colors == mesh.colors[:1]).all()):
        return mesh
    color = torch.ones(3) if mesh.colors is None else mesh.colors[0]
    return replace(mesh, colors=None, uvs=torch.full_like(mesh.vertices[:, :2], 0.5),
                   material=Material(color.expand(4, 4, 3).contiguous()))


def _atlas(parts: list[Mesh]) -> tuple[list[Mesh], Material | None]:
    """Textures above each other in one image, or colours at the vertices when that would be too large."""
    materials = list({id(p.material): p.material for p in parts}.values())
    images = [m.base_color for m in materials]
    width, height = max(i.shape[1] for i in images) + 2 * GUTTER, sum(i.shape[0] + 2 * GUTTER for i in images)
    if max(width, height) > MAX_ATLAS:
        return [_colored(p) for p in parts], None
    bands, top, place = [], 0, {}
    for material, image in zip(materials, images):
        rows, columns = image.shape[:2]
        border = (GUTTER, width - columns - GUTTER, GUTTER, GUTTER)
        bands.append(pad(image.permute(2, 0, 1)[None], border, mode="replicate")[0].permute(1, 2, 0))
        place[id(material)] = (torch.tensor([columns / width, rows / height]),
                               torch.tensor([GUTTER / width, (top + GUTTER) / height]))
        top += rows + 2 * GUTTER
    moved = [replace(p, uvs=p.uvs * place[id(p.material)][0] + place[id(p.material)][1]) for p in parts]
    return moved, Material(torch.cat(bands), None, materials[0].metallic, materials[0].roughness)


def _colored(mesh: Mesh) -> Mesh:
    """Colours at the vertices instead of a texture; white where there is neither."""
    if mesh.colors is not None or not _has_texture(mesh):
        colors = mesh.colors if mesh.colors is not None else torch.ones_like(mesh.vertices)
        return replace(mesh, colors=colors, material=None)
    image = mesh.material.base_color.permute(2, 0, 1)[None]
    grid = (mesh.uvs % 1 * 2 - 1)[None, None]
    colors = grid_sample(image, grid, mode="bilinear", padding_mode="border", align_corners=False)[0, :, 0].T
    return replace(mesh, colors=colors.contiguous(), material=None)


def _mesh(part: Part) -> Mesh:
    tensor = lambda x: None if x is None else torch.from_numpy(np.array(x, dtype=np.float64)).float()
    mesh = Mesh(tensor(part.vertices), torch.from_numpy(np.array(part.faces, dtype=np.int64)), tensor(part.normals),
                tensor(part.uvs), tensor(part.tangents), tensor(part.colors), part.material)
    singular = part.matrix is not None and np.linalg.det(part.matrix[:3, :3]) == 0
    if part.matrix is None or (part.matrix == np.eye(4)).all():
        return mesh
    if singular:  # a node scaled to nothing shows nothing
        return replace(mesh, faces=mesh.faces[:0])
    return mesh.transformed(torch.from_numpy(part.matrix))
