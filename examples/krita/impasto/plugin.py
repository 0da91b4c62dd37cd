"""Paints a document by a server of impasto; Krita's Python needs nothing but what comes with it."""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from krita import Document, Extension, Krita, Node
from PyQt5 import QtWidgets as widgets
from PyQt5.QtCore import QBuffer, QEventLoop, QRect, Qt, QUrl
from PyQt5.QtGui import QImage
from PyQt5.QtNetwork import QHttpMultiPart, QHttpPart, QNetworkAccessManager, QNetworkReply, QNetworkRequest

ADDRESS = "http://127.0.0.1:7860"  # of `impasto app`; `impasto serve` has 8000
COLORS = {"": "the painting's", "match": "the picture's palette", "luminance": "the picture's own"}
PIXELS = ("RGBA", "U8", "sRGB-elle-V2-srgbtrc.icc")  # what Krita calls those of a QImage
NETWORK = QNetworkAccessManager(widgets.QApplication.instance())


class Problem(Exception):
    """What went wrong, in one sentence for whoever sits before Krita."""


class Cancelled(Exception):
    """Nobody wants the answer any more."""


def send(address: str, path: str, fields: dict[str, str | bytes] | None = None) -> QNetworkReply:
    """Asks a server, by POST where there are fields of a form: text, or what is in a file."""
    url = QUrl.fromUserInput(address.strip().rstrip("/") + path)
    request = QNetworkRequest(url)
    if url.userInfo():  # at once: an answer that asks for it before all is sent may get lost
        request.setRawHeader(b"Authorization", b"Basic " + b64encode(unquote(url.userInfo()).encode()))
    if fields is None:
        return NETWORK.get(request)
    form = QHttpMultiPart(QHttpMultiPart.FormDataType)
    for name, value in fields.items():
        part = QHttpPart()
        file = f'; filename="{name}"' if isinstance(value, bytes) else ""
        part.setHeader(QNetworkRequest.ContentDispositionHeader, f'form-data; name="{name}"{file}')
        part.setBody(value if isinstance(value, bytes) else value.encode())
        form.append(part)
    reply = NETWORK.post(request, form)
    form.setParent(reply)  # it is read while it is sent
    return reply


def read(reply: QNetworkReply, kind: str) -> bytes:
    """What a server has answered; raises `Problem` if that is an error, or not of this kind, and `Cancelled`."""
    reply.deleteLater()
    if reply.error() == QNetworkReply.OperationCanceledError:
        raise Cancelled
    body, address = bytes(reply.readAll()), reply.url().toString(QUrl.RemoveUserInfo | QUrl.RemovePath)
    if reply.error() in (QNetworkReply.RemoteHostClosedError, QNetworkReply.UnknownNetworkError):  # its reason is lost
        raise Problem(f"{address} did not take the picture: it is too large for it, or a password is missing.")
    if reply.attribute(QNetworkRequest.HttpStatusCodeAttribute) is None:
        raise Problem(f"No answer from {address} ({reply.errorString()}): start impasto app, or correct the address.")
    if reply.error() == QNetworkReply.NoError and reply.header(QNetworkRequest.ContentTypeHeader) == kind:
        return body
    try:
        said = json.loads(body)["error"]
    except (ValueError, LookupError, TypeError):
        said = f"{address} is not a server of impasto: correct the address."
    raise Problem(said)


@contextmanager
def progress(parent: widgets.QWidget | None) -> Iterator[widgets.QProgressDialog]:
    """Shows that something goes on, which can be cancelled; meanwhile the document cannot be changed."""
    dialog = widgets.QProgressDialog("Painting...", "Cancel", 0, 0, parent)
    dialog.setWindowTitle("impasto")
    dialog.setWindowModality(Qt.ApplicationModal)
    dialog.show()
    widgets.QApplication.processEvents()  # else it is not seen before the server works
    try:
        yield dialog
    finally:
        dialog.hide()
        dialog.deleteLater()


def paint(
    document: Document, address: str, fields: dict[str, str | bytes], name: str, parent: widgets.QWidget | None = None
) -> Node:
    """Puts a painting of the document, or of what is selected, on a new layer above the active one.

    Args:
        document: what is painted: all of it that can be seen.
        address: of the server.
        fields: those of POST /v1/stylize, all but the photo.
        name: what to call the layer.
        parent: what to show progress over.
    """
    document.waitForDone()
    box, selection = document.bounds(), document.selection()
    if selection:
        box &= QRect(selection.x(), selection.y(), selection.width(), selection.height())
    if box.isEmpty():
        raise Problem("What is selected lies outside of the picture: select a part of it, or nothing.")
    with progress(parent) as waiting:
        photo = QBuffer()
        document.projection(*box.getRect()).save(photo, "PNG", 80)  # 80: larger, and soon done
        reply = send(address, "/v1/stylize", {**fields, "photo": bytes(photo.data())})
        waiting.canceled.connect(reply.abort)
        loop = QEventLoop()
        reply.finished.connect(loop.quit)
        if not reply.isFinished():
            loop.exec()
        painted = QImage.fromData(read(reply, "image/png"))
    if selection:
        cover = bytes(selection.pixelData(*box.getRect()))
        painted.setAlphaChannel(QImage(cover, box.width(), box.height(), box.width(), QImage.Format_Alpha8))
    return add_layer(document, painted.convertToFormat(QImage.Format_ARGB32), box, name)


def add_layer(document: Document, painted: QImage, box: QRect, name: str) -> Node:
    """Adds a layer with these pixels above the active one, as one step to undo."""
    layer = document.createNode(name, "paintlayer")
    layer.setColorSpace(*PIXELS)
    layer.setPixelData(painted.constBits().asstring(painted.sizeInBytes()), *box.getRect())
    layer.setColorSpace(document.colorModel(), document.colorDepth(), document.colorProfile())
    below = document.activeNode()
    while below.type().endswith("mask"):
        below = below.parentNode()
    group = below.parentNode()
    if group:
        group.addChildNode(layer, below)
    else:  # a mask of the picture itself was active: its selection
        below.addChildNode(layer, None)
    return layer


class Dialog(widgets.QDialog):
    """Asks how to paint, and paints; it stays open as long as that fails."""

    def __init__(self, parent: widgets.QWidget) -> None:
        super().__init__(parent)
        self.setWindowTitle("Paint in a Style")
        self.setMinimumWidth(440)
        self.address = widgets.QLineEdit(Krita.instance().readSetting("impasto", "address", ADDRESS))
        self.address.editingFinished.connect(self.list_styles)
        self.styles = widgets.QComboBox()
        own = widgets.QPushButton("A picture's...", autoDefault=False)
        own.clicked.connect(self.add_picture)
        self.strength = widgets.QSpinBox(maximum=100, singleStep=5, value=100, suffix=" %")
        self.stroke_size = widgets.QDoubleSpinBox(minimum=0.25, maximum=4, singleStep=0.25, value=1)
        self.colors = widgets.QComboBox()
        for value, words in COLORS.items():
            self.colors.addItem(words, value)
        self.note = widgets.QLabel(wordWrap=True, minimumHeight=3 * self.fontMetrics().height())
        self.buttons = widgets.QDialogButtonBox(widgets.QDialogButtonBox.Ok | widgets.QDialogButtonBox.Cancel)
        self.buttons.accepted.connect(self.accept)
        self.buttons.rejected.connect(self.reject)
        form = widgets.QFormLayout(self)
        form.addRow("Server", self.address)
        form.addRow("Style", self.styles)
        form.addRow("", own)
        form.addRow("Strength", self.strength)
        form.addRow("Stroke size", self.stroke_size)
        form.addRow("Colours", self.colors)
        form.addRow(self.note)
        form.addRow(self.buttons)

    def ask(self) -> None:
        """Shows the dialog."""
        self.list_styles()
        self.exec()

    def list_styles(self) -> None:
        """Asks the server which styles there are."""
        self.note.setText("The server has not named its styles yet.")
        reply = send(self.address.text(), "/v1/styles")
        reply.finished.connect(lambda: self.show_styles(reply))

    def show_styles(self, reply: QNetworkReply) -> None:
        """Shows the styles that the server has named, in place of those before; or what is wrong."""
        try:
            named = json.loads(read(reply, "application/json"))
        except Problem as problem:
            self.note.setText(str(problem))
            return
        self.note.clear()
        chosen = self.styles.currentText()
        for index in reversed(range(self.styles.count())):
            if isinstance(self.styles.itemData(index), str):
                self.styles.removeItem(index)
        for style in named:
            self.styles.addItem(", ".join(filter(None, (style["title"], style["by"]))), style["id"])
        self.styles.setCurrentIndex(max(0, self.styles.findText(chosen)))

    def add_picture(self) -> None:
        """Lets a picture be chosen as the style."""
        path, _ = widgets.QFileDialog.getOpenFileName(self, "The picture whose style to take")
        if path:
            self.styles.insertItem(0, Path(path).name, Path(path))
            self.styles.setCurrentIndex(0)

    def accept(self) -> None:
        """Paints, and closes the dialog."""
        try:
            self.paint()
        except (Problem, OSError) as problem:
            widgets.QMessageBox.warning(self, "impasto", str(problem))
        except Cancelled:
            pass
        else:
            super().accept()

    def paint(self) -> None:
        """Paints the active document as it was chosen."""
        document, style = Krita.instance().activeDocument(), self.styles.currentData()
        if document is None:
            raise Problem("There is nothing to paint: open a picture first.")
        if style is None:
            raise Problem(self.note.text())
        fields: dict[str, str | bytes] = {
            "strength": str(self.strength.value() / 100),
            "stroke_size": str(self.stroke_size.value()),
        }
        if isinstance(style, str):
            fields["style"] = style
        else:
            fields["style_file"] = style.read_bytes()
        if self.colors.currentData():
            fields["keep_color"] = self.colors.currentData()
        Krita.instance().writeSetting("impasto", "address", self.address.text())
        paint(document, self.address.text(), fields, self.styles.currentText(), self)


class Impasto(Extension):
    """Tools > Scripts > Paint in a Style."""

    def setup(self) -> None:
        """Called once, before there is a window."""

    def createActions(self, window: Any) -> None:
        """Called for each window."""
        dialog = Dialog(window.qwindow())
        action = window.createAction("impasto_paint", "Paint in a Style...", "tools/scripts")
        action.triggered.connect(lambda: dialog.ask())  # a method alone would not keep the dialog
