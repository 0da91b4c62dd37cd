"""Writes picture files, in memory."""

from __future__ import annotations

import io
import mmap
import os
import shutil
import struct
from pathlib import Path
from typing import Any

from PIL import Image

from impasto.formats.container import chunk
from impasto.formats.exif import PREFIX, add_to_tiff

WITH_ALPHA = {"PNG", "WEBP", "AVIF", "TIFF"}
WITH_EXIF = {"JPEG", "PNG", "WEBP", "AVIF", "TIFF"}
_WITH_DPI = {"JPEG", "PNG", "TIFF", "BMP"}
JPEG_EXIF_BYTES = 65533  # a JPEG segment holds no more
_MOST_DPI = 65535


def encode(image: Image.Image, kind: str, quality: int, exif: bytes | None, dpi: tuple[float, float] | None) -> bytes:
    """Makes the bytes of a file: in memory first, so that what the encoder refuses never touches the disk.

    Args:
        image: RGB or RGBA, sRGB.
        kind: of the format, as Pillow calls it.
        quality: 1 to 100.
        exif: EXIF block, without orientation.
        dpi: across and down.
    """
    if image.mode == "RGBA" and kind not in WITH_ALPHA:
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image).convert("RGB")
    options: dict[str, Any] = {}
    match kind:
        case "JPEG" | "AVIF":
            options = {"quality": quality, "subsampling": "4:4:4"}
        case "WEBP":
            options = {"quality": quality, "lossless": quality == 100, "exact": True}
        case "TIFF":
            options = {"compression": "tiff_adobe_deflate"}
    if exif is not None and (kind not in WITH_EXIF or (kind == "JPEG" and len(exif) > JPEG_EXIF_BYTES)):
        exif = None
    if exif is not None and kind != "TIFF":
        options["exif"] = exif
    if dpi is not None and kind in _WITH_DPI and min(dpi) >= 1 and max(dpi) <= _MOST_DPI:
        options["dpi"] = dpi
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    file = stream.getvalue()
    if exif is None or kind != "TIFF":
        return file
    head, tail = add_to_tiff(file, len(file), exif)  # Pillow would write text and unknown tags anew
    return head + file[len(head) :] + tail


def add_to_file(path: Path, kind: str, exif: bytes | None, dpi: tuple[float, float] | None) -> None:
    """Gives a TIFF, PNG or JPEG that libvips has written its EXIF block, which libvips would write anew.

    In a JPEG it also sets `dpi`, of which libvips keeps too little.
    """
    if kind == "TIFF":
        if exif is not None:
            with open(path, "r+b") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
                head, tail = add_to_tiff(data, len(data), exif)
                file.write(head)
                file.seek(0, os.SEEK_END)
                file.write(tail)
        return
    more = b""
    with open(path, "rb") as old, open(path.with_suffix(".exif"), "wb") as new:
        if kind == "PNG":
            head = old.read(33)  # signature and IHDR
            if exif is not None:
                more = chunk(b"eXIf", exif.removeprefix(PREFIX))
        else:
            head = old.read(2)
            if old.peek(2)[:2] == b"\xff\xe0":  # JFIF, with the resolution in it
                old.seek(2 + 2 + struct.unpack(">HH", old.read(4))[1])
            density = (1, *map(round, dpi)) if dpi and min(dpi) >= 1 and max(dpi) <= _MOST_DPI else (0, 1, 1)
            head += struct.pack(">HH5sHBHHBB", 0xFFE0, 16, b"JFIF", 0x101, *density, 0, 0)
            if exif is not None and len(exif) <= JPEG_EXIF_BYTES:
                more = struct.pack(">HH", 0xFFE1, len(exif) + 2) + exif
        new.write(head + more)
        shutil.copyfileobj(old, new, 1 << 20)
    os.replace(new.name, path)
