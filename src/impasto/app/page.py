"""The web page: photo, video and camera, with one choice of styles for all three."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import APIRouter, FastAPI, Response
from PIL import Image

from impasto.app import clip, live
from impasto.app.guard import too_large
from impasto.app.look import CSS, HEAD, THEME, line, warn
from impasto.app.studio import Studio, chosen_styles, encoded
from impasto.app.visits import Page, Visits
from impasto.errors import ImpastoError, TooLargeError
from impasto.image import Picture, read_image
from impasto.stylizer import STYLE_SIZE

STATIC = Path(__file__).parent / "static"
_FIRST = [{"id": "hokusai-great-wave", "title": "The Great Wave off Kanagawa", "weight": 50}]
_PREVIEW = 1024  # long side in pixels of what the page shows; the download has the photo's own size
_THUMB = 320  # painted this large, shown at about half of it: strokes come out finer
_COLORS = [("The painting's", "style"), ("The photo's palette", "match"), ("The photo's own", "luminance")]
_KEPT_FOR = 900  # seconds that the files of a visit are kept
_PICKER = """
<div class="picker">
  <div class="mix" role="group" aria-label="Shares of the mix"></div>
  <p class="note" role="status"></p>
  <label class="own">Add your own: drop a painting here, or choose a file
    <input type="file" multiple accept="image/*,.style">
  </label>
  <div class="grid" role="group" aria-label="Styles"></div>
</div>
"""
_CAMERA = """
<div class="camera">
  <canvas width="640" height="480" role="img" aria-label="The camera's picture, painted"></canvas>
  <div class="bar">
    <button type="button">Start the camera</button>
    <label>Size <select aria-label="Long side in pixels">
      <option value="256">small</option><option value="384" selected>medium</option><option value="640">large</option>
    </select></label>
    <span class="said" role="status">The frames are painted on the server and kept nowhere.</span>
  </div>
</div>
"""


def _upload() -> gr.Image:
    """Where a photo comes in."""
    photo = gr.Image(label="Photo", type="filepath", sources=["upload", "clipboard"], height=460, elem_id="photo",
                     buttons=[])  # fmt: skip
    # The file as it was sent, where Gradio has put it: it would read it first, with other limits and other words.
    photo.preprocess = lambda payload: None if payload is None else payload.path  # type: ignore[method-assign]
    return photo


def mount(app: FastAPI, studio: Studio) -> None:
    """Puts the page on the application, at its root."""
    visits = Visits()
    studio.on_close.append(visits.close)
    app.include_router(live.router(studio))
    app.include_router(_thumbs(studio))
    gr.mount_gradio_app(
        app,
        _blocks(studio, visits),
        path="/",
        footer_links=[],
        run_history=False,
        app_kwargs={"docs_url": None, "redoc_url": None, "openapi_url": None},
        favicon_path=str(STATIC / "favicon.png"),
        show_error=False,
        max_file_size=max(studio.limits.max_upload, studio.limits.max_clip),
        ssr_mode=False,
        enable_monitoring=False,
        mcp_server=False,
        theme=THEME,
        css=CSS,
        head=HEAD,
    )


def _blocks(studio: Studio, visits: Visits) -> Page:
    page = Page(title="impasto", analytics_enabled=False, delete_cache=(60, _KEPT_FOR))
    page.visits = visits
    with page:
        gr.HTML("<header><h1>impasto</h1><p>Any picture in any style, at once.</p></header>", elem_id="head")
        with gr.Row(elem_id="desk", equal_height=False):
            with gr.Column(scale=3, min_width=320, elem_id="stage"), gr.Tabs():
                with gr.Tab("Photo"):
                    photo = _upload()
                    example = gr.Button("Try it with an example", size="md", elem_id="example")
                    with gr.Column(visible=False) as painted:
                        result = gr.ImageSlider(
                            label="Before and after", show_label=False, interactive=False, max_height=560,
                            elem_id="result", buttons=["fullscreen"],
                        )  # fmt: skip
                        with gr.Row():
                            full = gr.Button("Download at full size", variant="primary", elem_id="full")
                            other = gr.Button("Another photo", elem_id="other")
                    said = gr.HTML(elem_id="said")
                    download = gr.DownloadButton(visible="hidden", elem_id="download")
                    with gr.Accordion("Paint where the second style goes", open=False, visible=False,
                                      elem_id="regions") as regions:  # fmt: skip
                        gr.Markdown("Brush over what takes the second style, then press *Use this part*.")
                        brush = gr.ImageEditor(
                            type="pil", image_mode="RGBA", sources=[], transforms=[], layers=False, height=480,
                            brush=gr.Brush(default_size=48, colors=["#c2553a"], color_mode="fixed"), buttons=[],
                            show_label=False, label="Where the second style goes", elem_id="brush", format="png",
                        )  # fmt: skip
                        apply = gr.Button("Use this part", elem_id="apply")
                with gr.Tab("Video"):
                    video = clip.tab()
                with gr.Tab("Camera"):
                    gr.HTML(html_template=_CAMERA, js_on_load=(STATIC / "camera.js").read_text("utf-8"),
                            apply_default_css=False, elem_id="camera")  # fmt: skip
            with gr.Column(scale=2, min_width=320, elem_id="controls"):
                picker = gr.HTML(_FIRST, html_template=_PICKER, js_on_load=(STATIC / "picker.js").read_text("utf-8"),
                                 apply_default_css=False, elem_id="picker")  # fmt: skip
                strength = gr.Slider(0, 1, 1, step=0.05, label="Strength", info="0 is the photo itself.",
                                     elem_id="strength")  # fmt: skip
                color = gr.Radio(_COLORS, value="style", label="Colours", elem_id="color")
                stroke = gr.Slider(128, 1024, STYLE_SIZE, step=64, label="Stroke size", elem_id="stroke",
                                   info="For styles of your own; smaller is finer.")  # fmt: skip

        controls = [picker, strength, color, stroke]
        inputs = [photo, brush, *controls]

        async def paint(path: str | None, drawn: Any, *knobs: Any) -> tuple[Any, Any]:
            if path is None:
                return gr.skip(), gr.skip()
            start = time.perf_counter()

            def job() -> tuple[tuple[str, str], tuple[int, int]]:
                image = _painted(studio, path, drawn, *knobs, max_size=_PREVIEW)
                before = studio.picture(Path(path), "the photo").limited(_PREVIEW).to_pil()
                return (visits.keep(before), visits.keep(image)), image.size

            try:
                pair, size = await studio.run("page", job)
            except ImpastoError as error:
                warn(error)
                return gr.skip(), line(str(error), wrong=True)
            seconds = time.perf_counter() - start
            return pair, line(f"Painted in {seconds:.1f} s, shown at {size[0]} x {size[1]}.")

        async def begin(path: str | None, chosen: Any) -> tuple[Any, ...]:
            """Checks a new photo and brings out the picture in place of the drop zone."""
            shown, hidden = gr.update(visible=True), gr.update(visible=False)
            if path is None:
                return shown, shown, hidden, None, hidden, ""

            def job() -> Image.Image:
                if os.path.getsize(path) > studio.limits.max_upload:
                    raise TooLargeError(f"the photo has {too_large(studio.limits.max_upload)}")
                return studio.picture(Path(path), "the photo").limited(_PREVIEW).to_pil()

            try:
                small = await studio.run("page", job)
            except ImpastoError as error:
                warn(error)
                why = line(str(error), wrong=True)
                return gr.update(value=None), shown, hidden, None, hidden, why
            ground = {"background": small.convert("RGB"), "layers": [], "composite": None}
            return hidden, hidden, shown, ground, gr.update(visible=len(chosen) == 2), line("Painting ...")

        async def at_full_size(path: str | None, drawn: Any, *knobs: Any) -> tuple[Any, str]:
            if path is None:
                return None, line("There is no photo yet.", wrong=True)

            def job() -> tuple[str, tuple[int, int]]:
                image = _painted(studio, path, drawn, *knobs)
                return visits.keep(image, Path(path)), image.size

            try:
                file, size = await studio.run("page", job)
            except ImpastoError as error:
                warn(error)
                return None, line(str(error), wrong=True)
            return file, line(f"{Path(file).name}, {size[0]} x {size[1]}")

        quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
        stage = [photo, example, painted, brush, regions, said]
        for event in (photo.upload, photo.clear):
            event(begin, [photo, picker], stage, **quiet).success(paint, inputs, [result, said], **quiet)
        example.click(lambda: str(STATIC / "astronaut.jpg"), None, photo, **quiet).then(
            begin, [photo, picker], stage, **quiet
        ).success(paint, inputs, [result, said], **quiet)
        other.click(lambda: (None, ""), None, [photo, said], **quiet).then(begin, [photo, picker], stage, **quiet)
        for event in (picker.change, strength.change, color.change, stroke.change, apply.click):
            event(paint, inputs, [result, said], trigger_mode="always_last", **quiet)
        picker.change(
            lambda path, chosen: gr.update(visible=bool(path) and len(chosen) == 2), [photo, picker], regions, **quiet
        )
        full.click(at_full_size, inputs, [download, said], **quiet).success(
            None, None, None, js="() => setTimeout(() => document.querySelector('#download').click(), 100)"
        )
        for event in (strength.change, color.change):
            event(None, [strength, color], None, js=_TELL_CAMERA)
        clip.connect(page, studio, video, controls, visits)
        page.queue(max_size=200, default_concurrency_limit=None, api_open=False)
    return page


_TELL_CAMERA = """(strength, color) => {
  window.impasto = { ...window.impasto, strength, keep_color: color === "style" ? null : color };
}"""


def _painted(
    studio: Studio, path: str, drawn: Any, chosen: Any, strength: float, color: Any, stroke: int, **more: Any
) -> Image.Image:
    photo = studio.picture(Path(path), "the photo")
    names, weights = chosen_styles(chosen)
    return studio.stylize(
        photo,
        [studio.style(name, int(stroke)) for name in names],
        weights=weights,
        masks=_regions(drawn) if len(names) == 2 else [],
        strength=strength,
        keep_color=None if color == "style" else color,
        **more,
    )


def _regions(drawn: Any) -> list[Picture]:
    """The masks of the first and the second style; none where nothing is drawn, or everything."""
    layers = (drawn or {}).get("layers") or []
    if not layers:
        return []
    alpha = layers[0].getchannel("A")
    low, high = alpha.getextrema()
    if low == high:
        return []
    return [read_image(alpha.point(lambda a: 255 - a)), read_image(alpha)]


def _thumbs(studio: Studio) -> APIRouter:
    """Small pictures of the styles: for a shipped one, which comes without its painting, a photo painted in it."""
    routes = APIRouter(include_in_schema=False)
    example = read_image(STATIC / "astronaut.jpg").limited(_THUMB)
    made: dict[str, bytes] = {}

    @routes.get("/thumbs/{name}.jpg")
    async def thumb(name: str) -> Response:
        def job() -> bytes:
            style = studio.style(name)
            if name in studio.painter.gallery or style.picture is None:
                return encoded(studio.stylize(example, [style]), "jpg", 88)
            return encoded(Picture(style.picture).limited(_THUMB).to_pil(), "jpg", 88)

        data = made[name] if name in made else await studio.run("thumb", job)
        if name in studio.painter.gallery:
            made[name] = data
        return Response(data, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

    return routes
