"""The page as a browser shows it."""
import io
import os
import time

import numpy as np
import pytest
from PIL import Image

from asset3d.report import write_report

from tests.report.chromium import Chromium, find_chromium

READY = "document.getElementById('model')?.dataset.state === 'ready'"


@pytest.fixture(scope="module")
def program():
    found = find_chromium()
    if found is None:
        pytest.skip("Chromium is missing: apt-get install chromium")
    return found


def model_area(page: Chromium) -> np.ndarray:
    """The pixels of the viewer, (H, W, 3)."""
    box = page.evaluate("(({x, y, width, height}) => [x, y, x + width, y + height])"
                        "(document.getElementById('model').getBoundingClientRect())")
    picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
    return np.asarray(picture.crop([round(x) for x in box])).astype(int)


def share(pixels: np.ndarray, stronger: int, weaker: int) -> float:
    """Of the pixels, those whose one channel clearly exceeds another: the box is red and blue, the rest is grey."""
    return float((pixels[..., stronger] - pixels[..., weaker] > 40).mean())


@pytest.mark.parametrize("scheme, width", [("light", 1280), ("dark", 1280), ("light", 390)])
def test_the_model_is_seen_and_nothing_complains(run_folder, program, scheme, width):
    report = write_report(run_folder)
    with Chromium(program, width, 1000) as page:
        page.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme},
                                                          {"name": "prefers-reduced-motion", "value": "reduce"}])
        page.send("Emulation.setDeviceMetricsOverride", width=width, height=1000, deviceScaleFactor=1, mobile=False)
        page.open(report, READY)
        picture = page.screenshot()
        if "ASSET3D_SCREENSHOTS" in os.environ:
            with open(os.path.join(os.environ["ASSET3D_SCREENSHOTS"], f"report-{scheme}-{width}.png"), "wb") as file:
                file.write(picture)
        area = model_area(page)
        assert share(area, 0, 2) > 0.05 and share(area, 2, 0) > 0.05, "both colours of the box"
        assert share(area, 0, 2) + share(area, 2, 0) < 0.8, "and what is behind it"
        corner = area[2, 2].mean()
        assert corner > 180 if scheme == "light" else corner < 80
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "no sideways scrolling"
        film = "(() => { const v = document.querySelector('video'); return v.videoWidth + ' ' + v.error })()"
        assert page.evaluate(film) == "64 null"
        assert page.complaints() == []
        kinds = {address.split(":")[0] for address in page.requests()}
        assert kinds <= {"file", "data", "blob"}


def test_dragging_turns_the_model_and_shading_changes_it(run_folder, program):
    with Chromium(program) as page:
        page.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-reduced-motion", "value": "reduce"}])
        page.open(write_report(run_folder), READY)
        front = model_area(page)
        assert np.abs(model_area(page) - front).max() == 0, "stands still when motion is unwelcome"
        x, y = page.evaluate("(({x, y, width, height}) => [x + width / 2, y + height / 2])"
                             "(document.getElementById('model').getBoundingClientRect())")
        mouse = {"button": "left", "buttons": 1, "clickCount": 1}
        page.send("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, **mouse)
        for moved in range(0, 201, 20):
            page.send("Input.dispatchMouseEvent", type="mouseMoved", x=x + moved, y=y, **mouse)
        page.send("Input.dispatchMouseEvent", type="mouseReleased", x=x + 200, y=y, **mouse)
        turned = model_area(page)
        assert (np.abs(turned - front).max(-1) > 40).mean() > 0.03
        for value in (1, 2, 3):
            page.evaluate(f"document.querySelector('input[name=shading][value=\"{value}\"]').click()")
            page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")
            changed = model_area(page)
            assert (np.abs(changed - turned).max(-1) > 8).mean() > 0.1
            turned = changed
        assert page.complaints() == []


def test_it_turns_by_itself(run_folder, program):
    with Chromium(program) as page:
        page.open(write_report(run_folder), READY)
        first = model_area(page)

        def moved() -> bool:
            time.sleep(0.05)
            return (np.abs(model_area(page) - first).max(-1) > 40).mean() > 0.005

        assert any(moved() for _ in range(100))


def test_without_webgl_the_page_says_so(run_folder, program):
    with Chromium(program, without=("--enable-unsafe-swiftshader", "--use-angle=swiftshader", "--use-gl=angle"),
                  also=("--disable-3d-apis",)) as page:
        page.open(write_report(run_folder), "document.getElementById('model')?.dataset.state === 'failed'")
        assert page.evaluate("document.querySelector('.no-model').innerText").startswith(
            "The model cannot be shown here: this browser has no WebGL 2.")
        assert page.evaluate("getComputedStyle(document.getElementById('model')).display") == "none"
