"""The network that tells elevations: what it sees, that it learns, and that it loads."""
import asset3d
import torch
from asset3d.prior._elevation import ElevationNet, centred
from asset3d.scene.camera import orbit
from asset3d.toybox import make_object
from asset3d.toybox.render import render_maps
from asset3d.train.autoencoder import recolored


def test_an_object_is_centred_and_fills_the_square():
    image = torch.ones(1, 64, 64, 3)
    image[0, 5:15, 40:60] = torch.tensor([0.2, 0.4, 0.6])
    made = centred(image, 0.9)[0]
    rows, columns = torch.nonzero((1 - made).amax(-1) > 0.2).unbind(-1)
    assert abs(float(rows.float().mean()) - 31.5) < 0.6 and abs(float(columns.float().mean()) - 31.5) < 0.6
    assert abs(int(columns.max() - columns.min()) + 1 - 0.9 * 64) < 2.5
    torch.testing.assert_close(made[32, 32], torch.tensor([0.2, 0.4, 0.6]), atol=1e-5, rtol=0)


def test_nothing_but_white_stays_white():
    assert torch.equal(centred(torch.ones(2, 64, 64, 3)), torch.ones(2, 64, 64, 3))


def test_it_learns_and_loads(cache, tmp_path):
    folder = tmp_path / "run"
    asset3d.Run("train/elevation", folder, steps=60, batch=16, objects=24, cache=str(cache),
                **{"train.validate_every": 60, "train.warm_up": 5}).result
    network = ElevationNet.load(folder / "result" / "model")
    mesh = make_object(3, ("mug",)).mesh
    seen = [render_maps(mesh, orbit(20, elevation, 1.85, 49.1, 64)) for elevation in (-60, 70)]
    images = torch.cat([m["color"] * m["alpha"] + 1 - m["alpha"] for m in seen])
    below, above = network(centred(images)).tolist()
    assert above > below + 20


def test_recolored_images_keep_white_and_what_is_where():
    image = torch.rand(16, 4, 4, 3, generator=torch.Generator().manual_seed(0))
    image[:, 0] = 1
    made = recolored(image, torch.Generator().manual_seed(1))
    assert torch.equal(made[:, 0], image[:, 0])
    torch.testing.assert_close(made.sort(-1).values, image.sort(-1).values)
    assert len({tuple(row) for row in (made[:, 1, 1, None] == image[:, 1, 1, :, None]).long().argmax(1).tolist()}) > 3
