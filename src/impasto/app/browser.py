"""Writes and serves the page that paints in the browser, `impasto app --in-browser`; nothing is uploaded."""

from __future__ import annotations

import gzip
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from impasto.app.guard import Guard
from impasto.errors import ImpastoError
from impasto.files import reason
from impasto.model import Model

_HERE = Path(__file__).parent
_PAGE = _HERE / "web"
_BESIDE = ("astronaut.jpg", "favicon.png")
_MODEL = ("card.json", "content.onnx", "style.onnx", "gallery.safetensors")
_HEADERS = {
    # The same as in the page, and for its workers.
    "content-security-policy": (
        "default-src 'self'; script-src 'self' 'wasm-unsafe-eval'; img-src 'self' blob: data:; form-action 'none'; "
        "base-uri 'none'; object-src 'none'; frame-ancestors 'none'"
    ),
    # Cross-origin isolation, without which browsers give no threads.
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-embedder-policy": "require-corp",
    "cache-control": "no-cache",  # asked for anew each time, sent if it has changed
}


def write_site(model: Model, folder: Path) -> None:
    """Writes the page with a model, for any host of static files; the folder appears complete or not at all.

    Args:
        model: one whose files hold all its weights, and a style.onnx, as those of "adain" do.
        folder: where to write; nothing, or an empty folder, may be there.

    Raises:
        ImpastoError: the model is another, the runtime for browsers was not installed, or the folder cannot be written.
    """
    if model.style_graph() is None or not (model.folder / "gallery.safetensors").is_file():
        raise ImpastoError(
            f"the browser cannot run {model.name}: give a model with style.onnx and gallery.safetensors, like adain"
        )
    graph = model.graph()
    if not (_PAGE / "ort" / "ort-wasm-simd-threaded.wasm.gz").is_file():
        raise ImpastoError(
            "ONNX Runtime for browsers is not here: run `make web` in the checkout (it needs npm), or install a wheel"
        )
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise ImpastoError(f"{folder} is there already: name a new folder, or delete it first")
    try:
        with tempfile.TemporaryDirectory(dir=folder.absolute().parent, prefix=".impasto-") as temporary:
            made = Path(temporary) / "site"
            shutil.copytree(_PAGE, made, copy_function=shutil.copyfile, ignore=shutil.ignore_patterns(".*"))
            for name in _BESIDE:
                shutil.copyfile(_HERE / "static" / name, made / name)
            (made / "model").mkdir()
            for name in _MODEL:
                data = (graph.parent / name).read_bytes()
                if name.endswith(".onnx"):  # packed, as the runtime is: not every host packs what it sends
                    name, data = f"{name}.gz", gzip.compress(data, mtime=0)
                (made / "model" / name).write_bytes(data)
            shutil.copyfile(_HERE.parent / "weights" / "gallery.json", made / "model" / "gallery.json")
            os.replace(made, folder)
    except OSError as error:
        raise ImpastoError(f"cannot write {folder}: {reason(error, str(folder))}") from None


class _Site(StaticFiles):
    """Serves the files of the page, with the headers that it needs."""

    def file_response(self, *args: Any, **options: Any) -> Response:
        response = super().file_response(*args, **options)
        response.headers.update(_HEADERS)
        return response


def _say_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return JSONResponse({"error": error.detail}, error.status_code, error.headers)


def build(site: Path, auth: tuple[str, str] | None = None) -> Guard:
    """Builds the web application, an ASGI app, of a folder that `write_site` wrote.

    Args:
        site: the folder.
        auth: user and password that every request must give (HTTP Basic).
    """
    routes = [Mount("/", _Site(directory=site, html=True))]
    app = Starlette(routes=routes, exception_handlers={HTTPException: _say_error})
    return Guard(app, auth=auth, largest=lambda _: 0, count=lambda *_: None)
