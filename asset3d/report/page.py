"""The page itself: one HTML file that holds everything it shows and asks the network for nothing."""
import base64
import json
from collections.abc import Callable
from html import escape
from importlib.resources import files
from io import BytesIO
from pathlib import Path

from asset3d.report.chart import line_chart
from asset3d.report.record import Pair, RunRecord, StageRecord

POLICY = ("default-src 'none'; img-src data: blob:; media-src data:; style-src 'unsafe-inline'; "
          "script-src 'unsafe-inline'")
UNITS = {
    "psnr": ("PSNR", "dB over the whole picture, on white; higher is better"),
    "psnr_object": ("PSNR, object", "dB inside the outlines; higher is better"),
    "ssim": ("SSIM", "structural similarity, 1 is equal"),
    "mask_iou": ("Mask IoU", "overlap of the outlines, 1 is equal"),
    "chamfer": ("Chamfer", "mean distance of the surfaces, object's longest side is 1; lower is better"),
    "f1": ("F1", "share of the surfaces closer than 0.01, 1 is all"),
    "normal_consistency": ("Normal consistency", "mean cosine between the normals, 1 is equal"),
    "faces": ("Faces", "triangles of the asset"),
    "vertices": ("Vertices", "of the asset, after unwrapping"),
    "gaussians": ("Gaussians", "of the asset"),
    "test_views": ("Views", "not used for fitting"),
    "training_views": ("Views", "the same that were fitted: no others were kept for judging"),
}


def render_page(run: RunRecord) -> str:
    """The whole page as HTML text."""
    resource = files("asset3d.report")
    parts = [_hero(run), _metrics(run), _pairs(run), _losses(run), _times(run), _previews(run), _messages(run),
             _origin(run)]
    data = f'<script type="text/plain" id="asset">{_base64(run.asset)}</script>' if run.asset else ""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        f"<title>{escape(run.name)} – asset3d report</title>"
        f'<style>{resource.joinpath("style.css").read_text("utf-8")}</style></head><body>'
        f'{_head(run)}<main>{"".join(parts)}'
        f"<footer>Written by asset3d {escape(run.version)}. This page holds everything it shows.</footer></main>"
        f'{data}<script>{resource.joinpath("viewer.js").read_text("utf-8")}</script></body></html>\n'
    )


def _base64(path: Path) -> str:
    return base64.b64encode(path.read_bytes()).decode("ascii")


def _image(source: Path, alt: str) -> str:
    """A picture of the run as an inline WebP: a fifth of the PNG's size, without a visible difference."""
    from PIL import Image

    with Image.open(source) as picture:
        return _image_tag(picture.convert("RGBA" if "A" in picture.getbands() else "RGB"), alt)


def _image_tag(picture, alt: str) -> str:
    store = BytesIO()
    picture.save(store, "WEBP", quality=90, method=4)
    text = base64.b64encode(store.getvalue()).decode("ascii")
    return (f'<img loading="lazy" width="{picture.width}" height="{picture.height}" alt="{escape(alt)}" '
            f'src="data:image/webp;base64,{text}">')


def seconds(value: float) -> str:
    """A duration as people say it."""
    if value < 60:
        return f"{value:.1f} s"
    minutes, rest = divmod(round(value), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s"


def quantity(value: object) -> str:
    """A number with the digits that mean something."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return str(value)
    if isinstance(value, int) or value == int(value) and abs(value) >= 1000:
        return f"{int(value):,}".replace(",", "\u202f")
    return f"{value:.4g}"


def _head(run: RunRecord) -> str:
    figures = [(UNITS[key][0], quantity(run.metrics[key]))
               for key in ("psnr", "mask_iou", "chamfer", "faces", "gaussians") if key in run.metrics]
    if run.seconds:
        figures.append(("Time", seconds(run.seconds)))
    shown = "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in figures)
    return (
        f'<header><h1>{escape(run.name)}</h1><p class="sub">Recipe <b>{escape(run.recipe_name)}</b>'
        f'{" · " + escape(run.started) if run.started else ""} · '
        f'<span class="status {escape(run.status)}">{escape(run.status)}</span></p>'
        f'<dl class="figures">{shown}</dl></header>'
    )


def _hero(run: RunRecord) -> str:
    both = _viewer(run) + _turntable(run)
    return f'<div class="hero">{both}</div>' if both else ""


def _viewer(run: RunRecord) -> str:
    if run.asset is None:
        return ""
    modes = ("Lit", "Colour", "Normals", "Shape")
    choices = "".join(
        f'<label><input type="radio" name="shading" value="{value}"{" checked" if value == 0 else ""}>{name}</label>'
        for value, name in enumerate(modes))
    size = quantity(round(run.asset.stat().st_size / 1024))
    return (
        '<figure class="card"><div class="backdrop">'
        '<canvas id="model" tabindex="0" role="img" aria-label="The textured model. Drag or use the arrow keys to '
        'turn it, plus and minus to zoom, space to start or stop turning."></canvas>'
        '<div class="no-model" hidden><p><b>The model cannot be shown here:</b> <span class="why"></span>.</p>'
        f'<p>Open <code>{escape(run.asset.name)}</code> beside this page in any viewer of glTF files.</p></div></div>'
        f"<figcaption><fieldset><legend>Shading</legend>{choices}</fieldset>"
        f"<span>{escape(run.asset.name)}, {size} KiB · drag to turn</span></figcaption></figure>"
    )


def _turntable(run: RunRecord) -> str:
    if run.film is not None:
        shown = (f'<video controls loop muted playsinline aria-label="The object turning once" '
                 f'src="data:video/mp4;base64,{_base64(run.film)}"></video>')
    elif run.turntable:
        frames = run.turntable[::max(1, len(run.turntable) // 8)][:8]
        shown = f'<div class="strip">{"".join(_image(f, f"turned, {i + 1} of 8") for i, f in enumerate(frames))}</div>'
    else:
        return ""
    return (f'<figure class="card"><div class="turntable">{shown}</div>'
            "<figcaption>Turntable, drawn by the run's own renderer</figcaption></figure>")


def _metrics(run: RunRecord) -> str:
    if not run.metrics:
        return ""
    known = list(UNITS)
    metrics = sorted(run.metrics.items(), key=lambda item: known.index(item[0]) if item[0] in UNITS else len(known))
    rows = "".join(
        f'<tr><th scope="row">{escape(UNITS.get(key, (key, ""))[0])}</th><td class="number">{escape(quantity(value))}'
        f'</td><td>{escape(UNITS.get(key, (key, ""))[1])}</td></tr>' for key, value in metrics)
    about = "<p>Means over views that were not used for fitting.</p>" if run.held_out else ""
    return (f'<section><h2>Quality</h2>{about}<div class="card scroll"><table><thead><tr><th scope="col">Measure</th>'
            f'<th scope="col" class="number">Value</th><th scope="col">Meaning</th></tr></thead><tbody>{rows}</tbody>'
            "</table></div></section>")


def _difference(pair: Pair):
    """Absolute difference over white, four times as strong, on white: darker is worse."""
    from PIL import Image, ImageChops

    def flat(path: Path):
        with Image.open(path) as picture:
            picture = picture.convert("RGBA")
            return Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture).convert("RGB")

    photo, render = flat(pair.photo), flat(pair.render)
    return ImageChops.difference(photo, render.resize(photo.size)).point(lambda x: 255 - min(255, 4 * x))


def _pairs(run: RunRecord) -> str:
    if not run.pairs:
        return ""
    rows = "".join(
        f'<figure class="card"><div class="row">{_image(pair.photo, f"photo {pair.name}")}'
        f'{_image(pair.render, f"render {pair.name}")}{_image_tag(_difference(pair), f"difference {pair.name}")}</div>'
        f"<figcaption><b>{escape(pair.name)}</b>"
        + "".join(f"<span>{escape(UNITS.get(key, (key,))[0])} {escape(quantity(value))}</span>"
                  for key, value in pair.numbers.items())
        + "</figcaption></figure>" for pair in run.pairs)
    return ("<section><h2>Views beside renders</h2><p>Photo, render of the exported asset, and four times their "
            f'difference; white is equal.</p><div class="pairs">{rows}</div></section>')


def _of_each_stage(title: str, arrangement: str, run: RunRecord, figures: Callable[[StageRecord], str]) -> str:
    """A section with the figures of every stage that has some; nothing where none has."""
    parts = ((stage.name, figures(stage)) for stage in run.stages)
    out = "".join(f'<h3>{escape(name)}</h3><div class="{arrangement}">{inner}</div>' for name, inner in parts if inner)
    return f"<section><h2>{title}</h2>{out}</section>" if out else ""


def _losses(run: RunRecord) -> str:
    def charts(stage: StageRecord) -> str:
        return "".join(f'<div class="card">{line_chart(name, series)}</div>'
                       for name, series in stage.series.items() if len(series) > 1 and not stage.judges)

    return _of_each_stage("Losses over steps", "charts", run, charts)


def _times(run: RunRecord) -> str:
    if not run.stages:
        return ""
    longest = max(max(stage.seconds for stage in run.stages), 1e-9)
    rows = "".join(_time_row(stage, longest) for stage in run.stages)
    return ('<section><h2>Time</h2><div class="card scroll"><table><thead><tr><th scope="col">Stage</th>'
            '<th scope="col" class="number">Steps</th><th scope="col" class="number">Time</th>'
            '<th scope="col" class="number">Per step</th><th scope="col" style="width:34%">Share</th></tr></thead>'
            f"<tbody>{rows}</tbody></table></div></section>")


def _time_row(stage: StageRecord, longest: float) -> str:
    per_step = f"{stage.seconds / stage.steps * 1000:.0f} ms" if stage.steps > 1 else ""
    state = "" if stage.status == "done" else f' <span class="status {stage.status}">{escape(stage.status)}</span>'
    return (f'<tr><th scope="row">{escape(stage.name)}{state}</th><td class="number">{stage.steps or ""}</td>'
            f'<td class="number">{seconds(stage.seconds)}</td><td class="number">{per_step}</td>'
            f'<td><div class="share" style="width:{100 * stage.seconds / longest:.1f}%"></div></td></tr>')


def _previews(run: RunRecord) -> str:
    def pictures(stage: StageRecord) -> str:
        return "".join(f'<figure class="card">{_image(path, f"{stage.name}: {path.stem}")}'
                       f"<figcaption>{escape(path.stem)}</figcaption></figure>" for path in stage.previews)

    return _of_each_stage("On the way", "previews", run, pictures)


def _messages(run: RunRecord) -> str:
    if not run.messages:
        return ""
    rows = "".join(f"<li><b>{escape(where)}</b> {escape(text)}</li>" for where, text in run.messages)
    return f'<section><h2>Messages</h2><ul class="messages">{rows}</ul></section>'


def _origin(run: RunRecord) -> str:
    out = ""
    if run.manifest:
        text = json.dumps(run.manifest, indent=2, ensure_ascii=False)
        out += f"<details><summary>Manifest: versions, seeds, hashes</summary><pre>{escape(text)}</pre></details>"
    if run.recipe:
        out += f"<details><summary>Recipe, resolved</summary><pre>{escape(run.recipe)}</pre></details>"
    return f"<section><h2>Where it comes from</h2>{out}</section>" if out else ""
