"""Views as files that load again."""
import tiny_models
import torch
from asset3d.scene.image import load_image
from asset3d.scene.views import ViewSet, joined_views, load_view_set
from asset3d.stage.base import Context
from asset3d.stage.save_views import SaveViews, SaveViewsConfig, contact_sheet


def test_saved_views_load_as_they_were(tmp_path):
    one = tiny_models.given_view(32)
    views = joined_views(joined_views(one, one), one)
    heard = []
    stage = SaveViews(SaveViewsConfig(columns=2), Context(
        "save", 0, torch.device("cpu"), tmp_path, tmp_path, lambda kind, **data: heard.append((kind, data["path"]))))
    assert stage.start(ViewSet(views)) == 0
    stage.finish()
    again = load_view_set(tmp_path / "views", fit=False).train
    torch.testing.assert_close(again.camera.camera_to_world, views.camera.camera_to_world)
    inside = views.alpha[..., 0] > 0.5
    assert (again.color - views.color)[inside].abs().max() <= 0.5 / 255 + 1e-6
    assert load_image(tmp_path / "views.png").color.shape == (64, 64, 3)
    assert heard == [("file", tmp_path / "views.png"), ("file", tmp_path / "views" / "transforms_train.json")]


def test_a_contact_sheet_reads_like_a_page():
    images = torch.arange(3.0).view(3, 1, 1, 1).expand(3, 2, 2, 3) / 3
    sheet = contact_sheet(images, 2)
    assert sheet.shape == (4, 4, 3)
    assert sheet[0, 0, 0] == 0 and sheet[0, 2, 0] == 1 / 3 and sheet[2, 0, 0] == 2 / 3 and sheet[2, 2, 0] == 1
