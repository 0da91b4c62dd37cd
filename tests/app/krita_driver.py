"""Uses the plug-in for Krita as people do; it runs inside Krita, as another plug-in. See test_krita.py."""

from __future__ import annotations

import json
import os
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from krita import Document, Extension, Krita, Node, Selection
from PyQt5.QtCore import QThread, QTimer
from PyQt5.QtWidgets import QApplication, QDialogButtonBox, QMessageBox

from impasto import plugin

FOLDER, SERVER = Path.home(), os.environ["SERVER"]
APP = Krita.instance()


class Driver(Extension):
    """Tries everything in the first window, and ends Krita."""

    def __init__(self) -> None:
        super().__init__(APP)
        self.found: dict[str, Any] = {}
        self.steps = self.tries()
        self.ready: Callable[[], bool] = lambda: True
        self.since = time.monotonic()

    def setup(self) -> None:
        """Krita wants it to be there."""

    def createActions(self, window: Any) -> None:
        """Begins."""
        QTimer.singleShot(50, self.go_on)

    def go_on(self) -> None:
        """Does the next step when what it waits for is there; between them Krita does its own work."""
        try:
            if self.ready():
                self.ready, self.since = next(self.steps), time.monotonic()
            elif time.monotonic() > self.since + 60:
                self.steps.throw(TimeoutError("a minute has passed"))
        except StopIteration:
            self.end()
        except Exception:
            self.found["error"] = traceback.format_exc()
            self.end()
        QTimer.singleShot(50, self.go_on)

    def end(self) -> None:
        (FOLDER / "found.json").write_text(json.dumps(self.found))
        os._exit(0)

    def tries(self) -> Iterator[Callable[[], bool]]:
        """All that is tried; gives what to wait for."""
        yield from self.dialog()
        for model, depth in (("RGBA", "U16"), ("GRAYA", "U8")):
            document = yield from self.open(model, depth)
            yield from self.paint(model + depth, document, paints(document, style="munch-scream"))
        document = yield from self.open()
        part = Selection()
        part.select(-40, 30, 120, 60, 255)  # it begins left of the picture
        part.select(60, 50, 10, 10, 128)
        document.setSelection(part)
        own = (FOLDER / "painting.png").read_bytes()
        yield from self.paint("selection", document, paints(document, style_file=own))
        for style, left in (("munch-scram", 0), ("munch-scream", 500)):
            part = Selection()
            part.select(left, 0, 50, 50, 255)
            document.setSelection(part)
            try:
                paints(document, style=style)()
            except plugin.Problem as problem:
                self.found[style] = str(problem)

    def dialog(self) -> Iterator[Callable[[], bool]]:
        """The menu entry and its dialog: no server, then one."""
        document = yield from self.open()
        QTimer.singleShot(0, APP.action("impasto_paint").trigger)
        yield lambda: isinstance(QApplication.activeModalWidget(), plugin.Dialog)
        dialog = QApplication.activeModalWidget()
        ok = dialog.buttons.button(QDialogButtonBox.Ok)
        yield lambda: dialog.note.text().startswith("No answer")
        QTimer.singleShot(0, ok.click)
        yield lambda: isinstance(QApplication.activeModalWidget(), QMessageBox)
        self.found["without a server"] = QApplication.activeModalWidget().text()
        QApplication.activeModalWidget().close()
        self.found["still open"] = dialog.isVisible()
        dialog.address.setText(SERVER)
        dialog.address.editingFinished.emit()
        yield lambda: dialog.styles.count() > 0
        self.found["styles"] = dialog.styles.count()
        dialog.styles.setCurrentIndex(dialog.styles.findData("munch-scream"))
        dialog.strength.setValue(80)
        dialog.stroke_size.setValue(2)
        dialog.colors.setCurrentIndex(dialog.colors.findData("luminance"))
        yield from self.paint("dialog", document, lambda: QTimer.singleShot(0, ok.click))
        self.found["closed"] = not dialog.isVisible()

    def open(self, model: str = "RGBA", depth: str = "U8") -> Iterator[Callable[[], bool]]:
        document = APP.openDocument(str(FOLDER / "photo.png"))
        document.setColorSpace(model, depth, "")
        APP.activeWindow().addView(document)
        # Not while it starts, else Krita is held up where it would learn of new layers.
        yield lambda: APP.activeDocument() == document and QThread.currentThread().loopLevel() == 1
        return document

    def paint(self, name: str, document: Document, how: Callable[[], Any]) -> Iterator[Callable[[], bool]]:
        """Paints, keeps the pictures before and after, and undoes it."""
        below = layers(document)[0]
        area = document.bounds().getRect()
        pixels = bytes(below.pixelData(*area))
        document.projection(*area).save(str(FOLDER / f"{name}-before.png"))
        how()
        yield lambda: len(layers(document)) == 2 and document.activeNode() != below
        layer = layers(document)[1]
        self.found[name] = {
            "name": layer.name(),
            "kind": [layer.type(), layer.colorModel(), layer.colorDepth()],
            "profile": layer.colorProfile() == below.colorProfile(),
            "above": document.activeNode() == layer,
            "below as it was": bytes(below.pixelData(*area)) == pixels,
        }
        below.setVisible(False)
        document.refreshProjection()
        document.waitForDone()
        document.projection(*area).save(str(FOLDER / f"{name}-after.png"))
        below.setVisible(True)
        APP.action("edit_undo").trigger()
        yield lambda: layers(document) == [below]


def paints(document: Document, **fields: str | bytes) -> Callable[[], Node]:
    """Paints without the dialog."""
    return partial(plugin.paint, document, SERVER, fields, "by hand")


def layers(document: Document) -> list[Node]:
    """From below; a selection is a node, too."""
    return [node for node in document.topLevelNodes() if node.type() == "paintlayer"]


APP.addExtension(Driver())
