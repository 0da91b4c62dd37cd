"""The photo tab of the page."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from fastapi import HTTPException
from gradio.components.base import server
from gradio.components.image_editor import AcceptBlobs, EditorData

from impasto.alpha import lay_on_white
from impasto.app.guard import describe_excess
from impasto.app.look import STATIC, line, warn
from impasto.app.studio import Studio, read_chosen
from impasto.app.visits import Visits
from impasto.controls import Controls, Mix, read_keep_color
from impasto.errors import ImpastoError, TooLargeError
from impasto.image import Picture, read_image

_PREVIEW = 1024  # long side in pixels of what the page shows; the download has the photo's own size
_LAYERS = {"0", "1", "2", "3"}  # of a drawing, by number, of which the page has one
_LARGEST_LAYER = 4_000_000  # bytes
_DRAWINGS = 16  # that are kept until their event takes them
_SAVE = "() => setTimeout(() => document.querySelector('#download').click(), 100)"


@dataclass(frozen=True)
class PhotoTab:
    """The parts of the tab that take part in events.

    Attributes:
        photo, example: where a photo comes in.
        painted: shown in their place once there is one; it holds `result`, `full` and `other`.
        regions: shown with two styles; it holds `brush` and `apply`.
        said: one line on how it went.
        download: not seen; what is saved at full size.
    """

    photo: gr.Image
    example: gr.Button
    painted: gr.Column
    result: gr.ImageSlider
    full: gr.Button
    other: gr.Button
    said: gr.HTML
    regions: gr.Accordion
    brush: gr.ImageEditor
    apply: gr.Button
    download: gr.DownloadButton


def tab() -> PhotoTab:
    """Lays the tab out."""
    photo = gr.Image(label="Photo", type="filepath", sources=["upload", "clipboard"], height=460, elem_id="photo",
                     buttons=[])  # fmt: skip
    # What was sent stays as it is, where Gradio has put it: it would read it first, with other limits and other words.
    photo.preprocess = lambda payload: None if payload is None else payload.path  # type: ignore[method-assign]
    example = gr.Button("Try it with an example", size="md", elem_id="example")
    with gr.Column(visible=False) as painted:
        result = gr.ImageSlider(
            label="Before and after", show_label=False, interactive=False, max_height=560, elem_id="result",
            buttons=["fullscreen"],
        )  # fmt: skip
        with gr.Row():
            full = gr.Button("Download at full size", variant="primary", elem_id="full")
            other = gr.Button("Another photo", elem_id="other")
    said = gr.HTML(elem_id="said")
    with gr.Accordion("Paint where the second style goes", open=False, visible=False, elem_id="regions") as regions:
        gr.Markdown("Brush over what takes the second style, then press *Use this part*.")
        brush = gr.ImageEditor(
            type="pil", image_mode="RGBA", sources=[], transforms=[], layers=False, height=480, format="png",
            brush=gr.Brush(default_size=48, colors=["#c2553a"], color_mode="fixed"), buttons=[],
            show_label=False, label="Where the second style goes", elem_id="brush",
        )  # fmt: skip
        _limit_drawings(brush)
        apply = gr.Button("Use this part", elem_id="apply")
    download = gr.DownloadButton(visible="hidden", elem_id="download")
    return PhotoTab(photo, example, painted, result, full, other, said, regions, brush, apply, download)


def _limit_drawings(brush: gr.ImageEditor) -> None:
    """Makes an editor keep few and small drawings, and hand them on as they were sent, without reading them."""
    keep: Callable[[AcceptBlobs], None] = brush.accept_blobs

    @server  # type: ignore[untyped-decorator]
    def accept_blobs(data: AcceptBlobs) -> None:
        if data.data["type"] != "layer":
            return  # the picture under it and both together, which nobody asks for
        if str(data.data["index"]) not in _LAYERS:
            raise HTTPException(422, f"a drawing has no layer {data.data['index']} here")
        if len(data.files[0][1]) > _LARGEST_LAYER:
            raise HTTPException(413, describe_excess(_LARGEST_LAYER))
        keep(data)
        while len(brush.blob_storage) > _DRAWINGS:
            brush.blob_storage.pop(next(iter(brush.blob_storage)), None)

    def layers(payload: EditorData | None) -> list[bytes | Path]:
        if payload is None:
            return []
        drawing = payload if payload.id is None else brush.blob_storage.pop(payload.id, None)
        sent = [layer for layer in drawing.layers if layer is not None] if drawing else []
        return [layer if isinstance(layer, bytes) else Path(layer.path) for layer in sent]

    brush.accept_blobs = accept_blobs
    brush.preprocess = layers  # type: ignore[method-assign,assignment]


def connect(studio: Studio, parts: PhotoTab, controls: list[Any], visits: Visits) -> None:
    """Ties the tab to the work: whatever changes, the photo is painted anew, of several changes the last one.

    Args:
        studio: what paints.
        parts: the tab.
        controls: the components that say how: picker, strength, colours, stroke size.
        visits: where results go.
    """
    picker = controls[0]

    async def begin(path: str | None, chosen: Any) -> tuple[Any, ...]:
        """Checks a new photo and brings out the picture in place of the drop zone."""
        shown, hidden = gr.update(visible=True), gr.update(visible=False)
        if path is None:
            return shown, shown, hidden, None, hidden, ""
        try:
            small = await studio.run("page", lambda: _read(studio, path).limit_size(_PREVIEW))
        except ImpastoError as error:
            warn(error)
            return gr.update(value=None), shown, hidden, None, hidden, line(str(error), wrong=True)
        ground = {"background": lay_on_white(small.pixels, small.alpha), "layers": [], "composite": None}
        return hidden, hidden, shown, ground, _show_regions(path, chosen), line("Painting ...")

    async def paint(path: str | None, drawn: list[bytes | Path], *knobs: Any) -> tuple[Any, Any]:
        """The photo before and after, as large as the page shows it."""
        if path is None:
            return gr.skip(), gr.skip()
        start = time.perf_counter()

        def job() -> tuple[tuple[str, str], tuple[int, int]]:
            photo = _read(studio, path)
            image = _paint(studio, photo, _PREVIEW, drawn, *knobs)
            return (visits.keep(photo.limit_size(_PREVIEW)), visits.keep(image)), image.size

        try:
            pair, size = await studio.run("page", job)
        except ImpastoError as error:
            warn(error)
            return gr.skip(), line(str(error), wrong=True)
        return pair, line(f"Painted in {time.perf_counter() - start:.1f} s, shown at {size[0]} x {size[1]}.")

    async def save(path: str | None, drawn: list[bytes | Path], *knobs: Any) -> tuple[Any, str]:
        """The photo painted as large as it is."""
        if path is None:
            raise gr.Error("There is no photo yet.", print_exception=False)

        def job() -> tuple[str, tuple[int, int]]:
            image = _paint(studio, _read(studio, path), None, drawn, *knobs)
            return visits.keep(image, Path(path)), image.size

        try:
            file, size = await studio.run("page", job)
        except ImpastoError as error:
            raise gr.Error(str(error), print_exception=False) from None
        return file, line(f"{Path(file).name}, {size[0]} x {size[1]}")

    quiet: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden"}
    stage = [parts.photo, parts.example, parts.painted, parts.brush, parts.regions, parts.said]
    inputs, outputs = [parts.photo, parts.brush, *controls], [parts.result, parts.said]

    def then_show(event: Callable[..., Any]) -> None:
        event(begin, [parts.photo, picker], stage, **quiet).then(paint, inputs, outputs, **quiet)

    then_show(parts.photo.upload)
    then_show(parts.example.click(lambda: str(STATIC / "astronaut.jpg"), None, parts.photo, **quiet).then)
    then_show(parts.other.click(lambda: None, None, parts.photo, **quiet).then)
    for event in (*(control.change for control in controls), parts.apply.click):
        event(paint, inputs, outputs, trigger_mode="always_last", **quiet)
    picker.change(_show_regions, [parts.photo, picker], parts.regions, **quiet)
    parts.full.click(save, inputs, [parts.download, parts.said], **quiet).success(None, None, None, js=_SAVE)


def _show_regions(path: str | None, chosen: Any) -> Any:
    """Shows the brush where there is a photo and a second style to paint with it."""
    return gr.update(visible=bool(path) and len(chosen) == 2)


def _read(studio: Studio, path: str) -> Picture:
    if os.path.getsize(path) > studio.limits.max_upload:
        raise TooLargeError(f"the photo has {describe_excess(studio.limits.max_upload)}")
    return studio.picture(Path(path), "the photo")


def _paint(
    studio: Studio,
    photo: Picture,
    max_size: int | None,
    drawn: list[bytes | Path],
    chosen: Any,
    strength: float,
    color: Any,
    stroke: float,
) -> Picture:
    names, weights = read_chosen(chosen)
    mix = Mix([studio.style(name) for name in names], weights)
    masks = _regions(studio, drawn) if len(mix) == 2 else []
    return studio.stylize(photo, mix, Controls(strength, read_keep_color(color), stroke), masks, max_size)


def _regions(studio: Studio, drawn: list[bytes | Path]) -> list[Picture]:
    """Makes the masks of the first and the second style; none where nothing is drawn, or everything."""
    alpha = studio.picture(drawn[0], "the drawing").alpha if drawn else None
    if alpha is None or alpha.min() == alpha.max():
        return []
    return [read_image(255 - alpha), read_image(alpha)]
