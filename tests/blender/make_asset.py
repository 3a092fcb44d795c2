"""Writes a GLB whose base colour is its position (glTF axes, +0.5 each), with a normal map baked from a finer mesh.

usage: make_asset.py FILE.glb
"""
import sys
from pathlib import Path

import numpy as np
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))
from mesh_shapes import grid_torus, join, lump  # noqa: E402

from asset3d.exporter.gltf import Gltf, GltfConfig  # noqa: E402
from asset3d.scene.decimate import decimate  # noqa: E402
from asset3d.scene.material import Material  # noqa: E402
from asset3d.scene.mesh import Mesh  # noqa: E402
from asset3d.scene.normal_map import bake_normal_map  # noqa: E402
from asset3d.scene.tangents import with_tangents  # noqa: E402
from asset3d.scene.texels import fill_outside, texel_map  # noqa: E402
from asset3d.scene.unwrap import unwrap  # noqa: E402

SIZE = 1024


def main(path: Path) -> None:
    """A lying ring with a lump at +X, a larger one at +Z and a small one above: no two sides look alike."""
    ring = grid_torus(128, 64)
    parts = [(ring.vertices.double().numpy(), ring.faces.numpy()), lump((0.4, 0.05, 0), 0.09),
             lump((0, 0.0, 0.36), 0.12), lump((-0.2, 0.2, -0.25), 0.06)]
    vertices, faces = join(*parts)
    dense = Mesh(torch.tensor(vertices, dtype=torch.float32), torch.tensor(faces))
    mesh = with_tangents(unwrap(decimate(dense, 3000), SIZE)[0])
    texels = texel_map(mesh, SIZE, SIZE)
    color = texels.image(texels.interpolate(mesh.vertices.double().numpy(), mesh.faces.numpy()) + 0.5)
    color = fill_outside(torch.from_numpy(color).float(), torch.from_numpy(texels.mask()))
    mesh.material = Material(color, bake_normal_map(mesh, dense, SIZE)[0], roughness=0.5)
    Gltf(GltfConfig()).export(mesh, path.parent, path.stem)


if __name__ == "__main__":
    np.seterr(all="raise", under="ignore")
    main(Path(sys.argv[1]))
