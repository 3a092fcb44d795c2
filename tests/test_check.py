"""`python -m asset3d.check`: which files are refused and why, and that damaged ones do no harm."""
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from real_data import shared
from scene import mesh_files, sphere_set
from scene.test_image import bomb
from torch.nn.functional import pad

from asset3d.check import NO_TEST_VIEWS, check, main
from asset3d.scene.image import encode_png, save_png

REFUSED = {
    "malformed/glb/chunk_too_big.glb": "promises 13 bytes, too few for a chunk",
    "malformed/glb/invalid_json_chunk.glb": "not valid JSON",
    "malformed/glb/invalid_version.glb": "glTF version 0",
    "malformed/glb/only_bin_chunk.glb": "does not begin with a JSON chunk",
    "malformed/glb/truncated_chunk_data.glb": "truncated: 47 of 48 bytes",
    "malformed/glb/unaligned_chunk.glb": "no multiple of 4",
    "malformed/glb/wrong_bytelength.glb": "17 bytes are promised, 16 are there",
    "malformed/gltf/index_buffer_degenerate_triangle.bin": "'.bin' is no file that is read",
    "malformed/gltf/index_buffer_degenerate_triangle.gltf": "all 3 triangles are without area",
    "malformed/gltf/index_buffer_oob.bin": "'.bin' is no file that is read",
    "malformed/gltf/index_buffer_oob.gltf": "index 5 is out of range, there are 4 vertices",
    "malformed/gltf/invalid_length.gltf": "ends at byte 5 of a buffer of 4",
    "malformed/gltf/node_loop.gltf": "part of a cycle",
    "malformed/image/broken.png": "truncated",
    "malformed/mesh/crash-30d6d0f7.ply": "no PLY header",
    "malformed/mesh/empty.obj": "0 vertices and 0 faces",
    "malformed/mesh/issue623.ply": "points but no faces",
    "malformed/mesh/malformed.obj": "index 0 of 'v' is out of range",
    "malformed/mesh/ply_empty_header.ply": "no vertices",
    "malformed/mesh/points_emptyface.ply": "points but no faces",
    "malformed/png/xc1n0g08.png": "colour type 1 does not exist",
    "malformed/png/xcrn0g04.png": "transfer in text mode",
    "malformed/png/xd0n2c08.png": "bit depth 0",
    "malformed/png/xd9n2c08.png": "bit depth 99",
    "malformed/png/xhdn0g08.png": "wrong checksum of chunk IHDR",
    "malformed/png/xs1n0g01.png": "no readable PNG",
    "malformed/png/xs4n0g01.png": "no readable PNG",
    "unsupported/BoxMeshopt.glb": "needs the extension EXT_meshopt_compression",
    "meshes/usd/armchair.usdz": "'.usdz' is no file that is read",
    "multiview/unposed_mushroom": "photos without cameras need COLMAP first",
}
WARNED = {
    "malformed/mesh/BoxBadNormals.glb": "normals are not of unit length",
    "malformed/mesh/nancolor.obj": "colours are not finite",
    "odd_valid/image/hopper_orientation_6.jpg": "EXIF orientation 6",
    "odd_valid/image/pil_sample_cmyk.jpg": "CMYK",
    "odd_valid/image/exif_typeerror.jpg": "cannot be made into an asset by itself: nothing tells the object",
    "odd_valid/png/basi6a08.png": "the object is only 32 pixels long",
    "images/misc/instantmesh_plant.jpg": "cannot be made into an asset by itself: nothing tells the object",
    "images/realfusion15/microphone/rgba.png": "the object touches the bottom border",
    "odd_valid/png/basn3p08.png": "colour mode P",
    "odd_valid/png/s01n3p01.png": "colour mode P",
    "odd_valid/png/basn6a16.png": "16 bits",
    "meshes/textured_glb/fox.glb": "animations are ignored",
}
ACCEPTED = ["views/spot_cow",
            "views/spot_cow/transforms_train.json", "meshes/textured_glb/avocado.glb",
            "meshes/obj_textured/spot/cow.obj", "images/realfusion15/cactus/rgba.png",
            "images/misc/triposr_teapot_rgb.png"]


@pytest.mark.parametrize("name, reason", REFUSED.items())
def test_refused(name, reason):
    verdict = check(shared("data", name))
    assert not verdict.accepted and reason in verdict.text
    assert "\n" not in str(verdict) and str(verdict).startswith("refuse: ")


@pytest.mark.parametrize("name, warning", WARNED.items())
def test_accepted_with_a_warning(name, warning):
    verdict = check(shared("data", name))
    assert verdict.accepted and warning in verdict.text
    assert str(verdict).startswith("accept with warning: ")


@pytest.mark.parametrize("name", ACCEPTED)
def test_accepted(name):
    verdict = check(shared("data", name))
    assert verdict.accepted and verdict.text in ("", NO_TEST_VIEWS)


def test_every_malformed_file_is_in_the_table():
    data = shared("data")
    files = {str(f.relative_to(data)) for folder in ("malformed", "odd_valid", "unsupported")
             for f in (data / folder).rglob("*") if f.is_file()}
    listed = {name for name in (*REFUSED, *WARNED, *ACCEPTED)}
    assert files == {name for name in listed if name.startswith(("malformed/", "odd_valid/", "unsupported/"))}


def test_command_line(tmp_path, capsys):
    pattern = torch.rand(160, 160, 3, generator=torch.Generator().manual_seed(0))
    save_png(tmp_path / "good.png", pad(pattern, (0, 0, 20, 20, 20, 20), value=1.0))
    (tmp_path / "bad.png").write_bytes(b"\x89PNG")
    assert main([str(tmp_path / "good.png")]) == 0
    assert main([str(tmp_path / "good.png"), str(tmp_path / "bad.png"), str(tmp_path / "missing.glb")]) == 2
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0] for line in lines] == ["accept", "accept", "refuse", "refuse"]
    with pytest.raises(SystemExit) as exit:
        main([])
    assert exit.value.code == 2
    assert "FILE" in capsys.readouterr().err.upper()


def test_recipes(tmp_path):
    (tmp_path / "bad.yaml").write_text("name: x\nstage:\n  - {type: no_such_stage}\nsneaky: 1\n")
    verdict = check(tmp_path / "bad.yaml")
    assert not verdict.accepted and "no_such_stage" in verdict.text and "sneaky" in str(verdict)
    assert "\n" not in str(verdict)
    (tmp_path / "good.yaml").write_text("name: x\nstage:\n  - {type: load_views, views: photos}\n")
    assert check(tmp_path / "good.yaml").accepted


def test_view_sets(tmp_path):
    sphere_set.write(tmp_path)
    assert check(tmp_path).text.startswith("has no test views")
    (tmp_path / "images/004.png").write_bytes(b"")
    verdict = check(tmp_path)
    assert not verdict.accepted and "004.png" in verdict.text


# ------------------------------------------------------------------------------------------------- hostile glTF files


def edited(*path, value) -> bytes:
    """The textured square with one value of its JSON replaced."""
    document, binary = mesh_files.quad()
    node = document
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return mesh_files.glb(document, binary)


def huge_data_uri() -> bytes:
    return edited("images", 0, value={"uri": "data:image/png;base64," + "A" * 70_000_000})


HOSTILE = {
    "no mesh": (lambda: edited("meshes", value=[]), "refers to meshes"),
    "mesh list is text": (lambda: edited("meshes", value="x"), "no list of objects"),
    "no position": (lambda: edited("meshes", 0, "primitives", 0, "attributes", value={"NORMAL": 1}), "no POSITION"),
    "accessor index": (lambda: edited("meshes", 0, "primitives", 0, "attributes", "POSITION", value=99),
                       "accessors[99]"),
    "negative index": (lambda: edited("meshes", 0, "primitives", 0, "indices", value=-1), "accessors[-1]"),
    "boolean index": (lambda: edited("meshes", 0, "primitives", 0, "indices", value=True), "accessors[True]"),
    "count too large": (lambda: edited("accessors", 0, "count", value=5), "do not fit"),
    "count of 2^62": (lambda: edited("accessors", 0, "count", value=2**62), "count"),
    "zeros of 2^31": (lambda: edited("accessors", 0, value={"count": 2**31, "type": "VEC3", "componentType": 5126}),
                      "limit"),
    "offset": (lambda: edited("accessors", 0, "byteOffset", value=4), "do not fit"),
    "unaligned": (lambda: edited("accessors", 0, "byteOffset", value=2), "aligned"),
    "negative offset": (lambda: edited("bufferViews", 0, "byteOffset", value=-4), "byteOffset"),
    "component type": (lambda: edited("accessors", 0, "componentType", value=5124), "componentType"),
    "type": (lambda: edited("accessors", 0, "type", value="VEC9"), "type"),
    "position as scalar": (lambda: edited("accessors", 0, "type", value="SCALAR"), "not VEC3"),
    "counts differ": (lambda: edited("accessors", 1, "count", value=3), "another count"),
    "two indices": (lambda: edited("accessors", 3, "count", value=5), "whole number of triangles"),
    "stride": (lambda: edited("bufferViews", 0, "byteStride", value=6), "multiple of 4"),
    "stride smaller than element": (lambda: edited("bufferViews", 0, "byteStride", value=8), "do not fit"),
    "sparse count": (lambda: edited("accessors", 0, "sparse", value={"count": 2**40}), "count"),
    "sparse view": (lambda: edited("accessors", 0, "sparse", value={
        "count": 4, "indices": {"bufferView": 3, "componentType": 5125}, "values": {"bufferView": 0}}), "do not fit"),
    "sparse out of bounds": (lambda: edited("accessors", 0, "sparse", value={
        "count": 1, "indices": {"bufferView": 0, "componentType": 5125, "byteOffset": 12},
        "values": {"bufferView": 0}}), "below 4"),
    "two parents": (lambda: edited("nodes", value=[{"children": [2]}, {"children": [2]}, {"mesh": 0}]), "two parents"),
    "own child": (lambda: edited("nodes", value=[{"children": [0], "mesh": 0}]), "cycle"),
    "deep cycle": (lambda: edited("nodes", value=[{"children": [(i + 1) % 5000]} for i in range(5000)]), "cycle"),
    "scene twice": (lambda: edited("scenes", 0, "nodes", value=[0, 0]), "twice"),
    "matrix": (lambda: edited("nodes", 0, "matrix", value=[1, 2, 3]), "16 finite numbers"),
    "rotation": (lambda: edited("nodes", 0, "rotation", value=[0, 0, 0, 0]), "quaternion"),
    "scale overflows": (lambda: edited("nodes", 0, "scale", value=[1e300, 1e300, 1e300]), "scales or moves"),
    "texture": (lambda: edited("textures", 0, "source", value=7), "images[7]"),
    "material": (lambda: edited("meshes", 0, "primitives", 0, "material", value=5), "materials[5]"),
    "image is no image": (lambda: edited("images", 0, "bufferView", value=0), "no readable PNG"),
    "absolute path": (lambda: edited("images", 0, value={"uri": "/etc/passwd"}), "not in its folder"),
    "parent path": (lambda: edited("images", 0, value={"uri": "../secret.png"}), "not in its folder"),
    "encoded parent path": (lambda: edited("images", 0, value={"uri": "%2e%2e/secret.png"}), "not in its folder"),
    "backslashes": (lambda: edited("images", 0, value={"uri": "..\\secret.png"}), "not in its folder"),
    "file URL": (lambda: edited("images", 0, value={"uri": "file:///etc/passwd"}), "not in its folder"),
    "http URL": (lambda: edited("images", 0, value={"uri": "http://example.com/a.png"}), "not in its folder"),
    "home": (lambda: edited("images", 0, value={"uri": "~/a.png"}), "not in its folder"),
    "symbolic link": (lambda: edited("images", 0, value={"uri": "link.png"}), "not in its folder"),
    "missing file": (lambda: edited("images", 0, value={"uri": "nothing.png"}), "cannot be read"),
    "uri is a number": (lambda: edited("images", 0, value={"uri": 5}), "no text"),
    "data URI": (lambda: edited("images", 0, value={"uri": "data:image/png;base64,###"}), "damaged"),
    "data URI of 70 MB": (huge_data_uri, "MiB of JSON"),
    "buffer of 2 GB": (lambda: edited("buffers", 0, "byteLength", value=2**31), "MiB"),
    "second buffer": (lambda: edited("buffers", value=[{"byteLength": 100}, {"byteLength": 100}]), "uri"),
    "deep JSON": (lambda: b"glTF" + struct.pack("<II", 2, 20 + 400_000) + struct.pack("<I4s", 400_000, b"JSON")
                  + b"[" * 400_000, "JSON"),
    "draco": (lambda: edited("extensionsRequired", value=["KHR_draco_mesh_compression"]), "KHR_draco_mesh_compression"),
    "instances": (lambda: instances(), "triangles"),
}


def instances() -> bytes:
    """Twelve thousand copies of a strip of two thousand triangles, in less than a megabyte."""
    document, _ = mesh_files.quad()
    positions = np.random.default_rng(0).random((2002, 3)).astype("<f4").tobytes()
    document.update(
        buffers=[{"byteLength": len(positions)}], bufferViews=[{"buffer": 0, "byteLength": len(positions)}],
        accessors=[{"bufferView": 0, "componentType": 5126, "type": "VEC3", "count": 2002}],
        meshes=[{"primitives": [{"attributes": {"POSITION": 0}, "mode": 5}]}], images=[], textures=[], materials=[],
        nodes=[{"mesh": 0}] * 12_000, scenes=[{"nodes": list(range(12_000))}])
    return mesh_files.glb(document, positions)


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_gltf(tmp_path, name):
    make, reason = HOSTILE[name]
    folder = tmp_path / "asset"
    folder.mkdir()
    save_png(tmp_path / "secret.png", torch.zeros(2, 2, 3))
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    (folder / "a.glb").write_bytes(make())
    verdict = check(folder / "a.glb")
    assert not verdict.accepted and reason in verdict.text, verdict


def test_sound_square_is_accepted(tmp_path):
    (tmp_path / "a.glb").write_bytes(mesh_files.glb(*mesh_files.quad()))
    assert str(check(tmp_path / "a.glb")) == f"accept: {tmp_path / 'a.glb'}"
    document, binary = mesh_files.quad()
    document["buffers"][0]["uri"] = "part%20one.bin"
    (tmp_path / "a.gltf").write_text(json.dumps(document))
    (tmp_path / "part one.bin").write_bytes(binary)
    assert check(tmp_path / "a.gltf").accepted


TEXT_MESHES = {
    "vertices promised": ("a.ply", mesh_files.PLY.replace(b"vertex 4", b"vertex 2147483648"), "limit"),
    "more than there are": ("a.ply", mesh_files.PLY.replace(b"vertex 4", b"vertex 40000"), "promises 40000"),
    "bad type": ("a.ply", mesh_files.PLY.replace(b"float x", b"quux x"), "unreadable header"),
    "face index": ("a.ply", mesh_files.PLY.replace(b"3 0 2 3", b"3 0 2 9"), "index 9 is out of bounds"),
    "no number": ("a.ply", mesh_files.PLY.replace(b"1 1 0 0", b"1 x 0 0"), "damaged"),
    "not finite": ("a.ply", mesh_files.PLY.replace(b"1 1 0 0 0", b"1 nan 0 0 0"), "not finite"),
    "too large": ("a.obj", mesh_files.OBJ.replace(b"v 1 1 0", b"v 1e39 1 0"), "too large"),
    "obj not finite": ("a.obj", mesh_files.OBJ.replace(b"v 1 1 0", b"v inf 1 0"), "finite"),
    "obj face index": ("a.obj", mesh_files.OBJ.replace(b"4/4", b"9/4"), "refers to 'v' 9"),
    "obj texture index": ("a.obj", mesh_files.OBJ.replace(b"4/4", b"4/9"), "refers to 'vt' 9"),
    "obj corner": ("a.obj", mesh_files.OBJ.replace(b"4/4", b"a/4"), "no corner"),
    "obj material outside": ("a.obj", mesh_files.OBJ.replace(b"quad.mtl", b"../quad.mtl"), "not in its folder"),
    "binary obj": ("a.obj", b"\0" * 100, "binary"),
}


@pytest.mark.parametrize("name", TEXT_MESHES)
def test_hostile_text_meshes(tmp_path, name):
    file, content, reason = TEXT_MESHES[name]
    (tmp_path / file).write_bytes(content)
    verdict = check(tmp_path / file)
    assert not verdict.accepted and reason in verdict.text, verdict


def test_obj_texture_outside_its_folder(tmp_path):
    (tmp_path / "asset").mkdir()
    (tmp_path / "asset/a.obj").write_bytes(mesh_files.OBJ)
    (tmp_path / "asset/quad.mtl").write_bytes(mesh_files.MTL.replace(b"quad.png", b"../quad.png"))
    save_png(tmp_path / "quad.png", mesh_files.TEXTURE)
    verdict = check(tmp_path / "asset/a.obj")
    assert not verdict.accepted and "not in its folder" in verdict.text, verdict


WATCH = """
import sys
opened = []
watched = ("open", "socket.connect", "subprocess.Popen")
sys.addaudithook(lambda event, data: opened.append(str(data[0])) if event in watched else None)
from asset3d.check import main
main(sys.argv[1:])
secrets = ("secret.png", "secret.mtl", "link.png", "link.mtl")
print(*(name for name in opened if name.endswith(secrets)), file=sys.stderr)
"""


def test_nothing_outside_the_folder_is_opened(tmp_path):
    """An audit hook of the interpreter sees every file opened while all the files that point elsewhere are checked."""
    folder = tmp_path / "asset"
    folder.mkdir()
    (tmp_path / "secret.png").write_bytes(encode_png(torch.zeros(2, 2, 3)))
    (tmp_path / "secret.mtl").write_bytes(mesh_files.MTL)
    (folder / "link.png").symlink_to(tmp_path / "secret.png")
    for index, uri in enumerate(["../secret.png", "%2e%2e/secret.png", f"file://{tmp_path}/secret.png", "link.png",
                                 f"{tmp_path}/secret.png", "http://example.com/secret.png", "x/../../secret.png"]):
        (folder / f"{index}.glb").write_bytes(edited("images", 0, value={"uri": uri}))
        (folder / f"{index}.obj").write_bytes(mesh_files.OBJ.replace(b"quad.mtl", uri.replace("png", "mtl").encode()))
    files = [str(f) for f in folder.iterdir() if f.suffix in (".glb", ".obj")]
    root = Path(__file__).parents[1]
    run = subprocess.run([sys.executable, "-c", WATCH, *files], capture_output=True, text=True, check=True,
                         env={**os.environ, "PYTHONPATH": str(root)})
    assert run.stdout.count("refuse: ") == 13 and run.stdout.count("accept") == 1  # link.mtl does not exist
    assert run.stderr.strip() == ""


# ------------------------------------------------------------------------------------------------------------ mutations


def seeds() -> dict[str, bytes]:
    generator = torch.Generator().manual_seed(0)
    noise = torch.rand(12, 9, 3, generator=generator)
    return {"a.png": encode_png(noise, noise[..., :1]), "a.glb": mesh_files.glb(*mesh_files.quad()),
            "a.obj": mesh_files.OBJ, "a.ply": mesh_files.PLY, "b.ply": mesh_files.binary_ply()}


def mutated(content: bytes, random: np.random.Generator) -> bytes:
    """One of: bytes changed, a piece cut out, the end cut off, a piece repeated, a number made huge."""
    data = bytearray(content)
    kind, at = random.integers(5), int(random.integers(len(data)))
    length = int(random.integers(1, 16))
    if kind == 0:
        for _ in range(length):
            data[int(random.integers(len(data)))] = int(random.integers(256))
    elif kind == 1:
        del data[at:at + length]
    elif kind == 2:
        del data[at:]
    elif kind == 3:
        data[at:at] = data[at:at + length] * 3
    else:
        data[at:at + 4] = struct.pack("<I", int(random.choice([0, 1, 2**31 - 1, 2**31, 2**32 - 1])))
    return bytes(data)


def repaired_png(data: bytes) -> bytes:
    """Correct checksums, so that the damage reaches the decoder."""
    out, at = data[:8], 8
    while at + 12 <= len(data):
        length = struct.unpack_from(">I", data, at)[0]
        if at + 12 + length > len(data):
            break
        body = data[at + 4:at + 8 + length]
        out += data[at:at + 4] + body + struct.pack(">I", zlib.crc32(body))
        at += 12 + length
    return out + data[at:]


@pytest.mark.parametrize("name", ["a.png", "a.glb", "a.obj", "a.ply", "b.ply"])
def test_mutations(tmp_path, name):
    """50 damaged copies of each kind are accepted or refused: nothing else is raised, nothing is allocated blindly."""
    random = np.random.default_rng(list(name.encode()))
    content = seeds()[name]
    (tmp_path / "quad.mtl").write_bytes(mesh_files.MTL)
    save_png(tmp_path / "quad.png", mesh_files.TEXTURE)
    refused = 0
    for case in range(50):
        damaged = mutated(content, random)
        damaged = repaired_png(damaged) if name == "a.png" and case % 2 else damaged
        (tmp_path / name).write_bytes(damaged)
        refused += not check(tmp_path / name).accepted
    assert refused >= 10


def test_png_bomb(tmp_path):
    (tmp_path / "a.png").write_bytes(bomb(30_000, 30_000))
    assert "megapixels" in check(tmp_path / "a.png").text
    document, binary = mesh_files.quad()
    image = bomb(8000, 8000)
    document["images"] = [{"bufferView": 4}] * 5
    document["textures"] = [{"source": i} for i in range(5)]
    material = document["materials"][0]
    document["materials"] = [{**material, "pbrMetallicRoughness": {"baseColorTexture": {"index": i}}} for i in range(5)]
    document["bufferViews"][4].update(byteLength=len(image))
    binary = binary[:document["bufferViews"][4]["byteOffset"]] + image
    document["buffers"][0]["byteLength"] = len(binary)
    document["meshes"] = [{"primitives": [{**document["meshes"][0]["primitives"][0], "material": i}]} for i in range(5)]
    document["nodes"] = [{"mesh": i} for i in range(5)]
    document["scenes"] = [{"nodes": list(range(5))}]
    (tmp_path / "a.glb").write_bytes(mesh_files.glb(document, binary))
    assert not check(tmp_path / "a.glb").accepted
