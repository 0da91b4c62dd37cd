"""The page: its files, served beside the API by `impasto app`, or as a static site that paints in the browser alone."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Response
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from impasto import __version__
from impasto.app import live
from impasto.app.guard import Guard
from impasto.app.studio import Studio
from impasto.errors import ImpastoError
from impasto.files import reason
from impasto.fitting import can_fit
from impasto.graph import GraphStylizer
from impasto.model import Model

_PAGE = Path(__file__).parent / "web"
_GALLERY = Path(__file__).parents[1] / "weights" / "gallery.json"
_MODEL = ("card.json", "content.onnx", "style.onnx", "gallery.safetensors")
_FRESH = {"cache-control": "no-cache"}  # asked for anew each time, sent if it has changed
_HEADERS = {
    # Cross-origin isolation, without which browsers give no threads; workers need it as well.
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    **_FRESH,
}


#: What to do where the runtime for browsers was not installed.
NO_RUNTIME = "run `make web` in the checkout (it needs npm), or install a wheel"


def has_runtime() -> bool:
    """Whether ONNX Runtime for browsers lies here."""
    return (_PAGE / "ort" / "ort-wasm-simd-threaded.wasm.gz").is_file()


def can_run(model: Model) -> bool:
    """Whether the browser can paint with a model."""
    return model.style_graph() is not None and (model.folder / "gallery.safetensors").is_file()


def write_site(model: Model, folder: Path) -> None:
    """Writes the page with a model, for any host of static files; the folder appears complete or not at all.

    Args:
        model: one whose files hold all its weights, and a style.onnx, as those of "adain" do.
        folder: where to write; nothing, or an empty folder, may be there.

    Raises:
        ImpastoError: the model is another, the runtime for browsers was not installed, or the folder cannot be written.
    """
    if not can_run(model):
        raise ImpastoError(
            f"the browser cannot run {model.name}: give a model with style.onnx and gallery.safetensors, like adain"
        )
    if not has_runtime():
        raise ImpastoError(f"ONNX Runtime for browsers is not here: {NO_RUNTIME}")
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ImpastoError(f"{folder} is there already: name a new folder, or delete it first")
    try:
        with tempfile.TemporaryDirectory(dir=folder.absolute().parent, prefix=".impasto-") as temporary:
            made = Path(temporary) / "site"
            shutil.copytree(_PAGE, made, copy_function=shutil.copyfile, ignore=shutil.ignore_patterns(".*"))
            (made / "page.json").write_text(json.dumps({"version": __version__, "server": False, "browser": True}))
            _pack(model, made / "model")
            os.replace(made, folder)
    except OSError as error:
        raise ImpastoError(f"cannot write {folder}: {reason(error, str(folder))}") from None


def _pack(model: Model, folder: Path) -> None:
    """Writes what the browser needs of a model; graphs are packed, as the runtime is: not every host does it."""
    graph = model.graph()
    folder.mkdir()
    for name in _MODEL:
        data = (graph.parent / name).read_bytes()
        if name.endswith(".onnx"):
            name, data = f"{name}.gz", gzip.compress(data, mtime=0)
        (folder / name).write_bytes(data)
    shutil.copyfile(_GALLERY, folder / "gallery.json")


class _Files(StaticFiles):
    """Serves a folder, with the headers that the page needs.

    Args:
        folder: the folder.
        model: one to serve as well, at model/; it is packed when it is first asked for.
    """

    def __init__(self, folder: Path, model: Model | None = None) -> None:
        super().__init__(directory=folder, html=True)
        self._model, self._lock = model, threading.Lock()
        self._packed: tempfile.TemporaryDirectory[str] | None = None

    def file_response(self, *args: Any, **options: Any) -> Response:
        response = super().file_response(*args, **options)
        response.headers.update(_HEADERS)
        return response

    def lookup_path(self, path: str) -> tuple[str, os.stat_result | None]:  # called in a thread
        with self._lock:
            if self._model is not None and self._packed is None and path.startswith(f"model{os.sep}"):
                packed = tempfile.TemporaryDirectory(prefix="impasto-")
                _pack(self._model, Path(packed.name) / "model")
                self.all_directories.append(packed.name)
                self._packed = packed
        return super().lookup_path(path)

    def close(self) -> None:
        """Removes what was packed."""
        if self._packed is not None:
            self._packed.cleanup()


def mount(app: FastAPI, studio: Studio) -> None:
    """Puts the page on the application, at its root, and what it needs beside the API.

    `GET /page.json` says who paints: this server, and the browser itself where that can, which then finds its runtime
    and the model at ort/ and model/.
    """
    model = studio.painter.model if isinstance(studio.painter, GraphStylizer) else None
    in_browser = model is not None and can_run(model) and has_runtime()
    limits = studio.limits
    facts = {
        "version": __version__,
        "server": True,
        "browser": in_browser,
        "fits": can_fit(studio.painter),
        "limits": {
            "max_upload": limits.max_upload,
            "max_clip": limits.max_clip,
            "max_clip_seconds": limits.max_clip_seconds,
            "max_pixels": limits.max_pixels,
        },
    }
    routes = APIRouter(include_in_schema=False)

    @routes.get("/page.json")
    async def page() -> Response:
        return JSONResponse(facts, headers=_FRESH)

    app.include_router(routes)
    app.include_router(live.router(studio))
    files = _Files(_PAGE, model if in_browser else None)
    studio.on_close.append(files.close)
    app.mount("/", files)


def build(site: Path, auth: tuple[str, str] | None = None) -> Guard:
    """Builds the web application, an ASGI app, of a folder that `write_site` wrote.

    Args:
        site: the folder.
        auth: user and password that every request must give (HTTP Basic).
    """
    routes = [Mount("/", _Files(site))]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _say_error})
    return Guard(app, auth=auth, largest=lambda _: 0, count=lambda *_: None)


def _say_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)
