"""Blender imports our GLB with texture, normal map and the right way up. Runs under PyPI's bpy, without asset3d.

usage: check.py PAINTED.glb OUTPUT_FOLDER [OTHER.glb ...]

PAINTED.glb has its own position as its base colour (make_asset.py), so that every rendered pixel tells whether it is
where it belongs. Every file is also rendered with light into OUTPUT_FOLDER, to be looked at.
"""
import json
import math
import struct
import sys
from pathlib import Path

import bpy
import numpy as np
from mathutils import Vector

SIZE = 256
VIEWS = {"front": ((0, -1, 0), (0, 0, 1)), "left": ((1, 0, 0), (0, 0, 1)), "top": ((0, 0, 1), (0, 1, 0))}
"""Where the camera stands in Blender's world (the object's front is -Y, its left hand +X), and what is up there."""


def document(path: Path) -> dict:
    data = path.read_bytes()
    return json.loads(data[20:20 + struct.unpack("<I", data[12:16])[0]])


def load(path: Path):
    """An empty scene with the file in it; returns its only mesh object."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    bpy.ops.import_scene.gltf(filepath=str(path))
    objects = [o for o in bpy.context.scene.objects if o.type == "MESH"]
    assert len(objects) == 1, f"{path}: {len(objects)} mesh objects"
    return objects[0]


def check_box(path: Path, mesh) -> None:
    """The file's bounds, turned from glTF's axes into Blender's: (x, y, z) becomes (x, -z, y)."""
    content = document(path)
    accessor = content["accessors"][content["meshes"][0]["primitives"][0]["attributes"]["POSITION"]]
    low, high = np.array(accessor["min"]), np.array(accessor["max"])
    world = np.array([mesh.matrix_world @ v.co for v in mesh.data.vertices])
    expected = [low[0], -high[2], low[1]], [high[0], -low[2], high[1]]
    assert np.allclose([world.min(0), world.max(0)], expected, atol=1e-5), (world.min(0), world.max(0), expected)


def check_material(mesh) -> None:
    """Base colour as sRGB and normal map as data, both connected."""
    shader = next(n for n in mesh.active_material.node_tree.nodes if n.type == "BSDF_PRINCIPLED")
    color = shader.inputs["Base Color"].links[0].from_node
    assert color.type == "TEX_IMAGE" and color.image.colorspace_settings.name == "sRGB"
    normal = shader.inputs["Normal"].links[0].from_node
    assert normal.type == "NORMAL_MAP" and normal.space == "TANGENT"
    image = normal.inputs["Color"].links[0].from_node.image
    assert image.colorspace_settings.name == "Non-Color" and tuple(image.size) == tuple(color.image.size)
    assert shader.inputs["Metallic"].default_value == 0


def camera(direction, up, center, extent):
    """An orthographic camera that sees the whole object from a direction."""
    backward, up = Vector(direction).normalized(), Vector(up)
    right = up.cross(backward).normalized()
    data = bpy.data.cameras.new("camera")
    data.type, data.ortho_scale, data.clip_end = "ORTHO", extent * 1.1, extent * 20
    out = bpy.data.objects.new("camera", data)
    bpy.context.scene.collection.objects.link(out)
    columns = [right, backward.cross(right), backward, center + backward * extent * 3]
    for column, vector in enumerate(columns):
        for row in range(3):
            out.matrix_world[row][column] = vector[row]
    bpy.context.scene.camera = out
    return out, columns


def render(path: Path, size: int = SIZE, samples: int = 4) -> np.ndarray:
    """(size, size, 4) in [0, 1], row 0 at the top."""
    scene = bpy.context.scene
    scene.render.engine, scene.cycles.device, scene.cycles.samples = "CYCLES", "CPU", samples
    scene.cycles.use_denoising, scene.cycles.pixel_filter_type = False, "BOX"
    scene.render.resolution_x = scene.render.resolution_y = size
    scene.render.film_transparent, scene.view_settings.view_transform = True, "Standard"
    scene.render.image_settings.file_format, scene.render.filepath = "PNG", str(path)
    bpy.ops.render.render(write_still=True)
    image = bpy.data.images.load(str(path))
    return np.array(image.pixels).reshape(size, size, 4)[::-1]


def show_base_color(mesh) -> None:
    """Replace the shading by the base colour itself."""
    tree = mesh.active_material.node_tree
    shader = next(n for n in tree.nodes if n.type == "BSDF_PRINCIPLED")
    emission = tree.nodes.new("ShaderNodeEmission")
    tree.links.new(shader.inputs["Base Color"].links[0].from_socket, emission.inputs["Color"])
    target = next(n for n in tree.nodes if n.type == "OUTPUT_MATERIAL")
    tree.links.new(emission.outputs[0], target.inputs["Surface"])


def check_paint(path: Path, folder: Path) -> None:
    """Every pixel inside the object shows the colour of the place that a ray through it meets."""
    for name, (direction, up) in VIEWS.items():
        mesh = load(path)
        show_base_color(mesh)
        corners = np.array([mesh.matrix_world @ Vector(c) for c in mesh.bound_box])
        center, extent = Vector((corners.min(0) + corners.max(0)) / 2), float(np.ptp(corners, axis=0).max())
        _, (right, upward, backward, position) = camera(direction, up, center, extent)
        image = render(folder / f"{path.stem}_{name}_color.png")
        errors = []
        for row in range(4, SIZE, 9):
            for column in range(4, SIZE, 9):
                x, y = ((column + 0.5) / SIZE - 0.5) * extent * 1.1, (0.5 - (row + 0.5) / SIZE) * extent * 1.1
                hit, place, *_ = mesh.ray_cast(mesh.matrix_world.inverted() @ (position + right * x + upward * y),
                                               -backward)
                if hit and image[row - 1:row + 2, column - 1:column + 2, 3].min() > 0.99:
                    place = mesh.matrix_world @ place
                    expected = np.array([place.x, place.z, -place.y]) + 0.5
                    errors.append(np.abs(image[row, column, :3] - expected).max())
        assert len(errors) > 60 and np.median(errors) < 0.02 and np.quantile(errors, 0.9) < 0.05, (name, len(errors),
                                                                                                   np.median(errors))
        print(f"{path.name} from the {name}: {len(errors)} pixels, colour error median {np.median(errors):.4f}")


def show(path: Path, folder: Path) -> None:
    """A lit picture, a little from above."""
    mesh = load(path)
    corners = np.array([mesh.matrix_world @ Vector(c) for c in mesh.bound_box])
    center, extent = Vector((corners.min(0) + corners.max(0)) / 2), float(np.ptp(corners, axis=0).max())
    camera((0.5, -1, 0.5), (0, 0, 1), center, extent * 1.25)
    sun = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
    sun.data.energy, sun.rotation_euler = 3, (math.radians(50), math.radians(-20), math.radians(-20))
    bpy.context.scene.collection.objects.link(sun)
    world = bpy.data.worlds.new("world")
    world.use_nodes = True  # the default from Blender 6 on
    world.node_tree.nodes["Background"].inputs["Color"].default_value = (0.5, 0.5, 0.5, 1)
    bpy.context.scene.world = world
    target = folder / f"{path.stem}.png"
    image = render(target, 512, 16)
    inside = image[..., 3] > 0.99
    assert 0.05 < inside.mean() < 0.95 and image[inside][:, :3].std() > 0.02, f"{target}: nothing to be seen"
    print(f"rendered {target}")


def main(painted: Path, folder: Path, *others: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    mesh = load(painted)
    check_box(painted, mesh)
    check_material(mesh)
    check_paint(painted, folder)
    for path in (painted, *others):
        check_box(path, load(path))
        show(path, folder)


if __name__ == "__main__":
    main(*map(lambda name: Path(name).resolve(), sys.argv[1:]))
