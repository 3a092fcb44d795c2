"""Small mesh files built byte by byte, so that tests can damage exactly one thing."""
import copy
import json
import struct

import numpy as np
import torch

from asset3d.scene.image import encode_png

CORNERS = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]], "<f4")
NORMALS = np.tile(np.array([[0, 0, 1]], "<f4"), (4, 1))
UVS = np.array([[0, 1], [1, 1], [1, 0], [0, 0]], "<f4")
INDICES = np.array([0, 1, 2, 0, 2, 3], "<u2")
TEXTURE = torch.tensor([[[1.0, 0, 0], [0, 1, 0]], [[0, 0, 1], [1, 1, 1]]])


def quad() -> tuple[dict, bytes]:
    """JSON and binary chunk of a textured unit square; its top left corner is red, top right green."""
    image = encode_png(TEXTURE)
    blocks = [CORNERS.tobytes(), NORMALS.tobytes(), UVS.tobytes(), INDICES.tobytes(), image]
    views, binary = [], b""
    for block in blocks:
        views.append({"buffer": 0, "byteOffset": len(binary), "byteLength": len(block)})
        binary += block + b"\0" * (-len(block) % 4)
    accessor = lambda view, kind, component, count: {"bufferView": view, "type": kind, "componentType": component,
                                                     "count": count}
    document = {
        "asset": {"version": "2.0"}, "scene": 0, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0, "NORMAL": 1, "TEXCOORD_0": 2}, "indices": 3,
                                    "material": 0}]}],
        "materials": [{"pbrMetallicRoughness": {"baseColorTexture": {"index": 0}, "metallicFactor": 0.25,
                                                "roughnessFactor": 0.5}}],
        "textures": [{"source": 0}], "images": [{"bufferView": 4, "mimeType": "image/png"}],
        "accessors": [accessor(0, "VEC3", 5126, 4), accessor(1, "VEC3", 5126, 4), accessor(2, "VEC2", 5126, 4),
                      accessor(3, "SCALAR", 5123, 6)],
        "bufferViews": views, "buffers": [{"byteLength": len(binary)}],
    }
    return copy.deepcopy(document), binary


def glb(document: dict, binary: bytes = b"") -> bytes:
    """A GLB file."""
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    chunks = struct.pack("<I4s", len(text), b"JSON") + text
    if binary:
        binary += b"\0" * (-len(binary) % 4)
        chunks += struct.pack("<I4s", len(binary), b"BIN\0") + binary
    return struct.pack("<4sII", b"glTF", 2, 12 + len(chunks)) + chunks


OBJ = b"""mtllib quad.mtl
v 0 0 0
v 1 0 0
v 1 1 0
v 0 1 0
vt 0 0
vt 1 0
vt 1 1
vt 0 1
usemtl quad
f 1/1 2/2 3/3 4/4
"""
MTL = b"newmtl quad\nmap_Kd quad.png\n"
PLY = (b"ply\nformat ascii 1.0\nelement vertex 4\nproperty float x\nproperty float y\nproperty float z\n"
       b"property uchar red\nproperty uchar green\nproperty uchar blue\nelement face 2\n"
       b"property list uchar int vertex_indices\nend_header\n"
       b"0 0 0 255 0 0\n1 0 0 0 255 0\n1 1 0 0 0 255\n0 1 0 51 51 51\n3 0 1 2\n3 0 2 3\n")


def binary_ply() -> bytes:
    """The same square, binary."""
    header = PLY[:PLY.index(b"end_header") + 11].replace(b"ascii", b"binary_little_endian")
    colors = ([255, 0, 0], [0, 255, 0], [0, 0, 255], [51, 51, 51])
    rows = b"".join(c.tobytes() + bytes(k) for c, k in zip(CORNERS, colors))
    return header + rows + b"".join(struct.pack("<B3i", 3, *f) for f in ((0, 1, 2), (0, 2, 3)))
