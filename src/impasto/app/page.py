"""The web page: photo, video and camera, with one choice of styles for all three."""

from __future__ import annotations

from typing import Any

import gradio as gr
from fastapi import APIRouter, FastAPI, Response
from starlette.routing import Mount

from impasto.app import clip, live, photo
from impasto.app.gate import Gate
from impasto.app.look import CSS, HEAD, STATIC, THEME
from impasto.app.studio import Studio, encode
from impasto.app.visits import TidyBlocks, Visits
from impasto.controls import STROKE_SIZES, Mix
from impasto.image import Picture, read_image
from impasto.sheet import caption

_FIRST = "hokusai-great-wave"
_THUMB = 320  # painted this large, shown at about half of it: strokes come out finer
_COLORS = [("The painting's", "style"), ("The photo's palette", "match"), ("The photo's own", "luminance")]
_KEPT_FOR, _TIDY_EVERY = 900, 60  # seconds that the files of a visit are kept, and between looks for older ones
_SESSIONS = 200  # that Gradio remembers, at 0.1 MB each; one of them may be any word that a client sends
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


def mount(app: FastAPI, studio: Studio) -> None:
    """Puts the page on the application, at its root."""
    visits = Visits(_KEPT_FOR + 2 * _TIDY_EVERY)  # after Gradio, which forgets only what it removes itself
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
    mounted = app.routes[-1]
    assert isinstance(mounted, Mount)
    mounted.app = Gate(mounted.app, visits.folder)


def _blocks(studio: Studio, visits: Visits) -> TidyBlocks:
    page = TidyBlocks(title="impasto", analytics_enabled=False, delete_cache=(_TIDY_EVERY, _KEPT_FOR))
    page.visits = visits
    page.state_session_capacity = _SESSIONS
    with page:
        gr.HTML("<header><h1>impasto</h1><p>Any picture in any style, at once.</p></header>", elem_id="head")
        with gr.Row(elem_id="desk", equal_height=False):
            with gr.Column(scale=3, min_width=320, elem_id="stage"), gr.Tabs():
                with gr.Tab("Photo"):
                    still = photo.tab()
                with gr.Tab("Video"):
                    video = clip.tab()
                with gr.Tab("Camera"):
                    gr.HTML(html_template=_CAMERA, js_on_load=(STATIC / "camera.js").read_text("utf-8"),
                            apply_default_css=False, elem_id="camera")  # fmt: skip
            with gr.Column(scale=2, min_width=320, elem_id="controls"):
                picker = gr.HTML(
                    _first(studio), html_template=_PICKER, js_on_load=(STATIC / "picker.js").read_text("utf-8"),
                    apply_default_css=False, elem_id="picker",
                )  # fmt: skip
                strength = gr.Slider(0, 1, 1, step=0.05, label="Strength", info="0 is the photo itself.",
                                     elem_id="strength")  # fmt: skip
                color = gr.Radio(_COLORS, value="style", label="Colours", elem_id="color")
                stroke = gr.Slider(*STROKE_SIZES, 1, step=0.05, label="Stroke size", elem_id="stroke",
                                   info="1 as usual, 2 twice as large.")  # fmt: skip

        controls = [picker, strength, color, stroke]
        photo.connect(studio, still, controls, visits)
        for event in (strength.change, color.change, stroke.change):
            event(None, [strength, color, stroke], None, js=_TELL_CAMERA)
        clip.connect(page, studio, video, controls, visits)
        page.queue(max_size=200, default_concurrency_limit=None, api_open=False)
    return page


_TELL_CAMERA = """(strength, color, stroke_size) => {
  window.impasto = { ...window.impasto, strength, stroke_size, keep_color: color === "style" ? null : color };
}"""


def _first(studio: Studio) -> list[dict[str, Any]]:
    """What is chosen when the page opens; nothing where the model comes without styles."""
    known = studio.painter.gallery
    name = _FIRST if _FIRST in known else next(iter(known), None)
    return [] if name is None else [{"id": name, "title": caption(known[name])[0], "weight": 50}]


def _thumbs(studio: Studio) -> APIRouter:
    """Small pictures of the styles: for a shipped one, which comes without its painting, a photo painted in it."""
    routes = APIRouter(include_in_schema=False)
    example = read_image(STATIC / "astronaut.jpg").limit_size(_THUMB)
    made: dict[str, bytes] = {}

    @routes.get("/thumbs/{name}.jpg")
    async def thumb(name: str) -> Response:
        def job() -> bytes:
            style = studio.style(name)
            if name in studio.painter.gallery or style.picture is None:
                return encode(studio.stylize(example, Mix([style])), "jpg", 88)
            return encode(Picture(style.picture).limit_size(_THUMB), "jpg", 88)

        data = made[name] if name in made else await studio.run("thumb", job)
        if name in studio.painter.gallery:
            made[name] = data
        return Response(data, media_type="image/jpeg", headers={"cache-control": "private, max-age=3600"})

    return routes
