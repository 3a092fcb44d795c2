"""What the page says, from what a run left behind."""
import base64
import io
import json
import re
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from asset3d.errors import InputError
from asset3d.report import write_report
from asset3d.report.chart import buckets, is_logarithmic, line_chart, number
from asset3d.report.page import quantity, seconds
from asset3d.report.record import read_run

from tests.report.conftest import BLUE, RED, draw


def test_times_do_not_count_the_gap_before_a_resume(run_folder):
    run = read_run(run_folder)
    assert run.status == "done" and run.recipe_name == "demo" and run.name == "a <b> & c"
    assert run.seconds == pytest.approx(6 + 2)
    assert [(s.name, s.status, s.steps) for s in run.stages] == [("fit", "done", 3), ("judge", "done", 2)]
    assert [s.seconds for s in run.stages] == pytest.approx([5, 3])


def test_of_a_step_done_twice_the_later_counts(run_folder):
    fit, judge = read_run(run_folder).stages
    assert fit.series == {"photometric": [(0, 1.0), (1, 0.1), (2, pytest.approx(0.01))]}
    assert judge.series["psnr"] == [(0, 20.0), (1, 30.0)]


def test_a_folder_named_by_the_time_shows_the_recipe_s_name(run_folder):
    assert read_run(run_folder.rename(run_folder.with_name("2026-11-20_15-38-37"))).name == "demo"


def test_numbers_of_views_are_no_curve(run_folder):
    text = write_report(run_folder).read_text("utf-8")
    assert re.findall(r'<text class="name"[^>]*>([^<]*)<', text) == ["photometric"] and "<span>PSNR 30</span>" in text


def test_pictures_are_told_apart(run_folder):
    run = read_run(run_folder)
    assert [p.name for p in run.stages[0].previews] == ["half_way.png"] and run.stages[1].previews == []
    assert len(run.turntable) == 12
    assert [(pair.name, pair.numbers) for pair in run.pairs] == [("view_000", {}), ("left.png", {"psnr": 30.0})]
    assert run.metrics["psnr"] == 25 and run.held_out


def test_the_last_stage_that_measured_counts_whatever_its_name(run_folder):
    metrics = {"fit": {"psnr": 10.0}, "judge": {"psnr": 25.0}, "unknown": {"psnr": 1.0}}
    (run_folder / "result/metrics.json").write_text(json.dumps(metrics))
    assert read_run(run_folder).metrics == {"psnr": 25.0}
    log = run_folder / "events.jsonl"
    log.write_text(log.read_text().replace('"fit"', '"zebra"').replace('"judge"', '"ant"'))
    metrics = {"ant": {"psnr": 25.0}, "zebra": {"psnr": 10.0}}
    (run_folder / "result/metrics.json").write_text(json.dumps(metrics, sort_keys=True))
    assert read_run(run_folder).metrics == {"psnr": 25.0}


@pytest.mark.parametrize("missing", ["events.jsonl", "result", "stages"])
def test_a_run_that_stopped_early_still_gets_a_page(run_folder, missing):
    path = run_folder / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert "<h1>a &lt;b&gt; &amp; c</h1>" in write_report(run_folder).read_text("utf-8")


def test_status_of_runs_that_did_not_end_well(run_folder):
    log = run_folder / "events.jsonl"
    lines = log.read_text().splitlines()[:-2]
    log.write_text("\n".join(lines) + '\n{"time": 1110.0, "kind": "failed", "text": "out of luck"}\n{"torn')
    run = read_run(run_folder)
    assert run.status == "failed" and run.stages[-1].status == "failed" and ("run", "out of luck") in run.messages
    log.write_text("\n".join(lines) + "\n")
    assert read_run(run_folder).status == "unfinished"


def test_no_run_folder_is_refused(tmp_path, run_folder):
    with pytest.raises(InputError, match="no run was started here"):
        write_report(tmp_path)
    (run_folder / "result/metrics.json").write_text("{")
    with pytest.raises(InputError, match="metrics.json: not valid JSON"):
        write_report(run_folder)


def test_the_page_holds_everything_and_escapes_what_it_shows(run_folder):
    text = write_report(run_folder).read_text("utf-8")
    assert not re.findall(r"https?://|//cdn|@import|url\(", text)
    assert all(source.startswith("data:") for source in re.findall(r'\bsrc="([^"]*)"', text))
    assert not re.findall(r"<link|<iframe|srcset", text)
    assert text.count("<script") == 2 and "&lt;script&gt;broke" in text
    asset = re.search(r'id="asset">([^<]*)<', text).group(1)
    assert base64.b64decode(asset) == (run_folder / "result/asset.glb").read_bytes()


def test_the_asset_is_the_file_that_a_stage_told_of(run_folder):
    log, result = run_folder / "events.jsonl", run_folder / "result"
    (result / "asset.glb").rename(result / "chair & co.glb")
    assert read_run(run_folder).asset is None
    log.write_text(log.read_text().replace("asset.glb", "chair & co.glb"))
    assert read_run(run_folder).asset == result / "chair & co.glb"
    text = write_report(run_folder).read_text("utf-8")
    assert "<code>chair &amp; co.glb</code>" in text and "<span>chair &amp; co.glb, " in text
    assert 'id="asset">' in text and "asset.glb" not in text


def test_differences_are_drawn_four_times_as_strong(run_folder):
    text = write_report(run_folder).read_text("utf-8")
    shown = re.findall(r'alt="difference ([^"]*)" src="data:image/webp;base64,([^"]*)"', text)
    pictures = {name: np.asarray(Image.open(io.BytesIO(base64.b64decode(data))).convert("RGB")) for name, data in shown}
    assert pictures["left.png"].min() >= 253  # equal pictures; WebP loses a little
    expected = 255 - np.minimum(255, 4 * np.abs(np.int32(RED) - np.int32(BLUE)))
    # chroma is stored at half the resolution and quantized: the middle of the rectangle is within 8 of 255
    assert np.abs(pictures["view_000"][32, 32] - expected).max() <= 8


def test_the_film_has_every_frame(run_folder):
    imageio_ffmpeg = pytest.importorskip("imageio_ffmpeg")
    write_report(run_folder)
    film = run_folder / "result/turntable.mp4"
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-v", "error", "-i", film, "-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    frames = np.frombuffer(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout, np.uint8)
    frames = frames.reshape(-1, 64, 64, 3)
    assert len(frames) == 12
    for frame, color in ((frames[2], RED), (frames[9], BLUE)):
        # H.264 at crf 20 with chroma at half the resolution: within 12 of 255 in the middle of the rectangle
        assert np.abs(frame[32, 32].astype(int) - color).max() <= 12
    first = film.read_bytes()
    write_report(run_folder)
    assert film.read_bytes() == first


def test_an_encoder_that_fails_says_why(run_folder):
    for frame in (run_folder / "stages/02-judge").glob("turntable_*.png"):
        draw(frame, RED, size=63)
    with pytest.raises(OSError, match="turntable failed: .*not divisible by 2"):
        write_report(run_folder)


def test_without_an_encoder_there_is_a_strip(run_folder, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "imageio_ffmpeg", None)
    text = write_report(run_folder).read_text("utf-8")
    assert "<video" not in text and len(re.findall(r'alt="turned, \d of 8"', text)) == 8


def test_a_chart_keeps_extremes_and_says_its_numbers():
    series = [(step, 1.0 + (step == 777)) for step in range(1000)]
    points = buckets(series)
    assert len(points) <= 160 and max(p[3] for p in points) == 2 and min(p[1] for p in points) == 1
    assert not is_logarithmic(series) and is_logarithmic([(0, 1.0), (1, 0.01)])
    assert not is_logarithmic([(0, 1.0), (1, 0.0)])
    svg = line_chart("mask & more", [(0, 100.0), (5, 10.0), (10, 1.0)])
    line = [tuple(map(float, point.split(","))) for point in re.search(r'polyline class="line" points="([^"]*)"', svg)
            .group(1).split()]
    assert line[0][1] < line[1][1] < line[2][1] and line[1][1] == pytest.approx((line[0][1] + line[2][1]) / 2, abs=0.1)
    assert "mask &amp; more: 100 at step 0, 1 at step 10" in svg
    assert "nan" not in line_chart("flat", [(0, 0.0), (1, 0.0)])


def test_numbers_are_short():
    assert [number(x) for x in (0, 0.5, 1234.5, 1.5e-7, 2e6)] == ["0", "0.5", "1.23e+03", "1.5e-7", "2.0e6"]
    assert [seconds(x) for x in (3.14, 61, 7260)] == ["3.1 s", "1 min 1 s", "2 h 1 min"]
    assert [quantity(x) for x in (19877, 0.003912, "a", 12.0)] == ["19\u202f877", "0.003912", "a", "12"]


def test_the_manifest_is_shown_whole(run_folder):
    manifest = {"versions": {"torch": "2.13"}, "seed": 3}
    (run_folder / "result/manifest.json").write_text(json.dumps(manifest))
    text = write_report(run_folder).read_text("utf-8")
    shown = re.search(r"Manifest[^<]*</summary><pre>(.*?)</pre>", text, re.S).group(1)
    assert json.loads(shown.replace("&quot;", '"')) == manifest
