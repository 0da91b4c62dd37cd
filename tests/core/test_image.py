"""Pictures in and out, through real files."""

import dataclasses
import io
import os
import resource
import signal
import struct
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import pytest
import tifffile  # comes with scikit-image; writes the TIFFs that Pillow cannot
from PIL import ExifTags, Image, ImageCms
from skimage import data

from impasto.errors import ImpastoError, IncompleteWarning
from impasto.image import (
    Picture,
    center_crop,
    limit_long_side,
    read_image,
    resize_short_side,
    to_float,
    to_uint8,
    write_image,
)

PHOTO = np.asarray(Image.fromarray(data.coffee()).resize((90, 61)))  # odd sizes on purpose
ALPHA = np.linspace(0, 255, 61 * 90).reshape(61, 90).astype(np.uint8)
LOSSLESS = ["png", "tiff", "bmp"]
ENDINGS = ["jpg", "jpeg", "png", "webp", "avif", "tif", "tiff", "bmp", "gif"]


def encoded(image: Image.Image, format: str, **options) -> bytes:
    stream = io.BytesIO()
    image.save(stream, format, **options)
    return stream.getvalue()


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    return 10 * np.log10(255**2 / max(np.mean((a.astype(float) - b) ** 2), 1e-9))


def one_line(raised: pytest.ExceptionInfo) -> str:
    text = str(raised.value)
    assert text
    assert "\n" not in text
    return text


def exif_block(orientation: int = 1) -> bytes:
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "Impasto Optics"
    exif[ExifTags.Base.Orientation] = orientation
    exif[ExifTags.IFD.Exif] = {
        ExifTags.Base.DateTimeOriginal: "2024:05:01 12:00:00",
        ExifTags.Base.ColorSpace: 65535,
        ExifTags.Base.ExifImageWidth: 4000,
        ExifTags.Base.ExifImageHeight: 3000,
    }
    exif[ExifTags.IFD.GPSInfo] = {ExifTags.GPS.GPSLatitudeRef: "N", ExifTags.GPS.GPSLatitude: (48.0, 51.0, 24.0)}
    return exif.tobytes()


# Files there and back


@pytest.mark.parametrize("ending", ENDINGS)
def test_each_format_comes_back(tmp_path, ending):
    path = tmp_path / f"picture.{ending.upper()}"
    write_image(path, PHOTO)
    back = read_image(path)
    assert back.pixels.shape == PHOTO.shape
    assert back.pixels.dtype == np.uint8
    assert back.alpha is None
    assert back.exif is None
    if ending in (*LOSSLESS, "tif"):
        assert np.array_equal(back.pixels, PHOTO)
    else:
        assert psnr(back.pixels, PHOTO) > (25 if ending == "gif" else 30)


@pytest.mark.parametrize("ending", ["png", "tiff", "webp", "avif"])
def test_alpha_is_kept(tmp_path, ending):
    path = tmp_path / f"picture.{ending}"
    write_image(path, Picture(PHOTO, ALPHA))
    back = read_image(path)
    assert np.abs(back.alpha.astype(int) - ALPHA).max() <= (8 if ending == "avif" else 0)
    assert psnr(back.pixels, PHOTO) > 30  # also below transparent parts


@pytest.mark.parametrize("ending", ["jpg", "bmp", "gif"])
def test_alpha_is_laid_on_white_where_the_format_has_none(tmp_path, ending):
    path = tmp_path / f"picture.{ending}"
    write_image(path, Picture(PHOTO, ALPHA))
    back = read_image(path)
    share = ALPHA[..., None] / 255
    assert back.alpha is None
    assert psnr(back.pixels, PHOTO * share + 255 * (1 - share)) > 25
    assert back.pixels[0].min() > 235  # the first row is all but transparent


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "tiff", "avif"])
def test_exif_is_given_back_upright(tmp_path, ending):
    path = tmp_path / f"out.{ending}"
    picture = read_image(encoded(Image.fromarray(PHOTO), "PNG", exif=exif_block(6)))
    write_image(path, picture)
    with Image.open(path) as image:
        exif = image.getexif()
        assert image.size == (61, 90)
        assert exif.get(ExifTags.Base.Orientation, 1) == 1
        assert exif[ExifTags.Base.Make] == "Impasto Optics"
        details = exif.get_ifd(ExifTags.IFD.Exif)
        assert details[ExifTags.Base.DateTimeOriginal] == "2024:05:01 12:00:00"
        assert details[ExifTags.Base.ColorSpace] == 1  # the pixels are sRGB now
        assert ExifTags.Base.ExifImageWidth not in details  # the old size would be wrong
        assert exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"
    assert read_image(path).exif is not None


def raw_exif(
    order: str, color_space: int = 65535, index: bytes = b"R03\0", more: tuple = ()
) -> tuple[bytes, list[bytes]]:
    """EXIF as no library would write it, and what of it has to be handed on: text in several encodings, a maker note,
    a type that does not exist, numbers of the wrong type."""
    texts = ["© Me, Łódź".encode() + b"\0", "José".encode("latin1") + b"\0", "Grüße\0".encode("utf-16le")]
    note, comment = b"MAKER\0\1\2\xff" * 5, b"UNICODE\0" + "Grüße".encode("utf-16be" if order == ">" else "utf-16le")
    short = lambda value: struct.pack(order + "HH", value, 0)  # noqa: E731

    def directory(entries: list, start: int, following: int = 0) -> bytes:
        table, values = struct.pack(order + "H", len(entries)), b""
        for tag, kind, count, raw in sorted(entries):
            place = struct.pack(order + "I", start + 6 + 12 * len(entries) + len(values))
            table += struct.pack(order + "HHI", tag, kind, count) + (raw.ljust(4, b"\0") if len(raw) <= 4 else place)
            values += raw + bytes(len(raw) % 2) if len(raw) > 4 else b""
        return table + struct.pack(order + "I", following) + values

    def pointer(at: int) -> bytes:
        return struct.pack(order + "I", at)

    def main(details: int, place: int, preview: int) -> bytes:
        return directory([
            (274, 3, 1, short(6)), (296, 1, 1, b"\2"), (315, 2, len(texts[1]), texts[1]),
            (33432, 2, len(texts[0]), texts[0]), (34665, 4, 1, pointer(details)), (34853, 4, 1, pointer(place)),
            (40091, 1, len(texts[2]), texts[2]), (50000, 99, 3, b"odd!"),
        ], 8, preview)  # fmt: skip

    details = 8 + len(main(0, 0, 0))

    def exif(interop: int) -> bytes:
        return directory([
            (0x927C, 7, len(note), note), (0x9286, 7, len(comment), comment), (0xA001, 3, 1, short(color_space)),
            (0xA002, 4, 1, pointer(4000)), (0xA003, 4, 1, pointer(3000)), (0xA005, 4, 1, pointer(interop)),
        ], details)  # fmt: skip

    interop = details + len(exif(0))
    index_directory = directory([(1, 2, 4, index)], interop)
    place = interop + len(index_directory)
    where = struct.pack(order + "6I", 48, 1, 51, 1, 24, 1)
    gps = directory([(1, 2, 2, b"N\0"), (2, 5, 3, where)], place)
    preview = place + len(gps)
    picture = b"\xff\xd8PREVIEW\xff\xd9"
    thumbnail = directory([(513, 4, 1, pointer(preview + 30)), (514, 4, 1, pointer(len(picture)))], preview) + picture
    head = (b"II*\0" if order == "<" else b"MM\0*") + pointer(8)
    block = head + main(details, place, preview) + exif(interop) + index_directory + gps + thumbnail
    return b"Exif\0\0" + block, [*texts, note, comment, where]


@pytest.mark.parametrize("ending", ["jpg", "png", "webp", "avif", "tif"])
@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_is_handed_on_byte_for_byte(tmp_path, format, order, ending):
    block, kept = raw_exif(order)
    if format == "TIFF":  # which only we write so
        write_image(tmp_path / "in.tif", Picture(PHOTO, exif=block))
        picture = read_image(tmp_path / "in.tif")
    else:
        picture = read_image(encoded(Image.fromarray(PHOTO), format, exif=block))
        assert picture.size == (61, 90)  # turned, though no library can write tag 296 again
    path = tmp_path / f"out.{ending}"
    write_image(path, picture)
    file = path.read_bytes()
    assert [part for part in kept if part not in file] == []
    assert b"PREVIEW" not in file
    with Image.open(path) as image:
        exif = image.getexif()
        assert exif.get(ExifTags.Base.Orientation, 1) == 1
        assert exif.get_ifd(ExifTags.IFD.GPSInfo)[ExifTags.GPS.GPSLatitudeRef] == "N"
        details = exif.get_ifd(ExifTags.IFD.Exif)
        assert (details[0xA001], 0xA002 in details, 0xA003 in details) == (1, False, False)
    assert read_image(path).size == picture.size


def test_tiff_storage_tags_do_not_reach_a_jpeg(tmp_path):
    tiff = encoded(Image.fromarray(PHOTO), "TIFF", exif=exif_block())
    write_image(tmp_path / "out.jpg", read_image(tiff))
    with Image.open(tmp_path / "out.jpg") as image:
        assert set(image.getexif()) == {ExifTags.Base.Make, ExifTags.IFD.Exif, ExifTags.IFD.GPSInfo}


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
def test_damaged_or_huge_exif_does_not_cost_the_picture(tmp_path):
    damaged = read_image(encoded(Image.fromarray(PHOTO), "PNG", exif=b"Exif\0\0II*\0\xff\xff\xff\x7f"))
    assert np.array_equal(damaged.pixels, PHOTO)
    exif = Image.Exif()
    exif[ExifTags.Base.ImageDescription] = "x" * 70_000
    big = read_image(encoded(Image.fromarray(PHOTO), "PNG", exif=exif.tobytes()))
    assert len(big.exif) > 70_000
    write_image(tmp_path / "big.jpg", big)  # more than a JPEG can hold
    assert read_image(tmp_path / "big.jpg").exif is None


UPRIGHT = {
    1: lambda a: a,
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.swapaxes(0, 1),
    6: lambda a: np.rot90(a, -1),
    7: lambda a: np.rot90(a, 2).swapaxes(0, 1),
    8: lambda a: np.rot90(a, 1),
}


@pytest.mark.parametrize("orientation", UPRIGHT)
@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_orientation(format, orientation):
    stored = Image.fromarray(np.dstack([PHOTO, ALPHA]))
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    picture = read_image(encoded(stored, format, exif=exif_block(orientation), **options))
    assert np.array_equal(picture.pixels, UPRIGHT[orientation](PHOTO))
    assert np.array_equal(picture.alpha, UPRIGHT[orientation](ALPHA))
    # Once turned it stays: nothing turns it a second time.
    assert np.array_equal(read_image(picture.to_pil()).pixels, picture.pixels)


def test_orientation_of_jpeg_from_disk(tmp_path):
    path = tmp_path / "phone.jpg"
    path.write_bytes(encoded(Image.fromarray(PHOTO), "JPEG", quality=95, exif=exif_block(8)))
    assert psnr(read_image(path).pixels, np.rot90(PHOTO)) > 30


def test_picture_to_pil_and_back():
    picture = read_image(encoded(Image.fromarray(np.dstack([PHOTO, ALPHA])), "PNG", exif=exif_block(3)))
    back = read_image(picture.to_pil())
    assert np.array_equal(back.pixels, picture.pixels)
    assert np.array_equal(back.alpha, picture.alpha)
    assert back.exif == picture.exif
    assert read_image(PHOTO).to_pil().mode == "RGB"


def test_a_pillow_image_given_is_not_changed():
    image = Image.open(io.BytesIO(encoded(Image.fromarray(PHOTO), "PNG", exif=exif_block(6))))
    assert read_image(image).pixels.shape == (90, 61, 3)
    assert image.size == (90, 61)
    assert image.getexif()[ExifTags.Base.Orientation] == 6


def test_picture_refuses_what_does_not_fit_together():
    picture = Picture(PHOTO, ALPHA)
    with pytest.raises(ImpastoError, match=r"alpha must be uint8 \[30, 90\]"):
        dataclasses.replace(picture, pixels=PHOTO[:30])
    with pytest.raises(ImpastoError, match="pixels must be uint8"):
        Picture(PHOTO / 255)


# Sources


def test_all_sources_agree(tmp_path):
    png = encoded(Image.fromarray(PHOTO), "PNG")
    path = tmp_path / "picture.png"
    path.write_bytes(png)
    with open(path, "rb") as stream:
        sources = [str(path), path, png, stream, io.BytesIO(png), Image.fromarray(PHOTO), Image.open(path), PHOTO]
        for source in sources:
            assert np.array_equal(read_image(source).pixels, PHOTO)


def test_a_pipe_is_read():
    reading, writing = os.pipe()
    os.write(writing, encoded(Image.fromarray(PHOTO[:20, :20]), "PNG"))
    os.close(writing)
    with open(reading, "rb") as stream:
        assert np.array_equal(read_image(stream).pixels, PHOTO[:20, :20])


def test_arrays():
    grey = PHOTO[..., 0]
    for array in (grey, grey[..., None], grey / 255, (grey / 255).astype(np.float32)[..., None]):
        assert np.array_equal(read_image(array).pixels, np.dstack([grey] * 3))
    both = np.dstack([PHOTO, ALPHA])
    for array in (both, both / 255):
        assert np.array_equal(read_image(array).pixels, PHOTO)
        assert np.array_equal(read_image(array).alpha, ALPHA)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((4, 4, 2), np.uint8), r"not \[4, 4, 2\]"),
        (np.zeros((1, 3, 4, 4), np.uint8), r"not \[1, 3, 4, 4\]"),
        (np.zeros((0, 4, 3), np.uint8), r"not \[0, 4, 3\]"),
        (np.zeros((4, 4, 3), np.uint16), "not uint16"),
        (np.zeros((4, 4, 3), np.int64), "not int64"),
        (np.full((4, 4, 3), 128.0), "from 0 to 1"),
        (np.full((4, 4, 3), -0.1), "from 0 to 1"),
        (np.full((4, 4, 3), np.nan), "from 0 to 1"),
    ],
)
def test_other_arrays_are_refused(array, message):
    with pytest.raises(ImpastoError, match=message) as raised:
        read_image(array)
    one_line(raised)


def test_something_else_is_refused():
    with pytest.raises(ImpastoError, match="from int: give a path"):
        read_image(7)
    with pytest.raises(ImpastoError, match="open it in binary mode"):
        read_image(io.StringIO("text"))


@pytest.mark.parametrize("ending", ["jpg", "png", "tif", "bmp"])
@pytest.mark.parametrize("format", ["JPEG", "PNG", "TIFF"])
def test_resolution_is_kept(tmp_path, format, ending):
    path = tmp_path / f"out.{ending}"
    turned = encoded(Image.fromarray(PHOTO), format, dpi=(300, 150), exif=exif_block(6))
    write_image(path, read_image(turned).limit_size(50))
    with Image.open(path) as image:
        assert np.allclose(image.info["dpi"], (150, 300), atol=0.02)
    assert read_image(PHOTO).dpi is None


def test_costs_are_bounded_by_the_size_of_the_file(tmp_path):
    """A megabyte that would be gigabytes: tags that all lie over the same bytes, texts and profiles that unpack so."""
    entries = b"".join(struct.pack("<HHII", 50_000 + i, 1, 900_000, 60_100) for i in range(500))
    tags = b"II*\0" + struct.pack("<IH", 8, 500) + entries + bytes(4)
    many = tags.ljust(1 << 20, b"x")
    size = [(256, 90), (257, 61), (258, 8), (262, 1), (273, 8), (279, 90 * 61)]
    stored = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in size)
    tiff = b"II*\0" + struct.pack("<IH", 8, 506) + stored + entries + bytes(4)
    packed = zlib.compress(bytes(60 << 20))
    rows = b"".join(b"\0" + row.tobytes() for row in PHOTO)
    files = {
        "eXIf": png(90, 61, 8, 2, rows, {b"eXIf": many}),
        "zTXt": png(90, 61, 8, 2, rows, {b"zTXt": b"Raw profile type exif\0\0" + packed}),
        "iCCP": png(90, 61, 8, 2, rows, {b"iCCP": b"x\0\0" + packed}),
        "WebP": encoded(Image.fromarray(PHOTO), "WEBP", exif=many),
        "TIFF": tiff.ljust(1 << 20, b"x"),
    }
    for file in files.values():
        tracemalloc.start()
        picture = read_image(file)
        write_image(tmp_path / "out.tif", picture)
        assert tracemalloc.get_traced_memory()[1] < 30_000_000
        tracemalloc.stop()
        assert picture.size == (90, 61)


# Kinds of pixels


def test_grey_and_grey_alpha():
    grey = Image.fromarray(PHOTO[..., 1])
    assert np.array_equal(read_image(encoded(grey, "PNG")).pixels, np.dstack([PHOTO[..., 1]] * 3))
    grey.putalpha(Image.fromarray(ALPHA))
    picture = read_image(encoded(grey, "PNG"))
    assert np.array_equal(picture.pixels, np.dstack([PHOTO[..., 1]] * 3))
    assert np.array_equal(picture.alpha, ALPHA)


def test_one_bit():
    bits = PHOTO[..., 0] > 100
    for format in ("PNG", "TIFF", "BMP"):
        picture = read_image(encoded(Image.fromarray(bits), format))
        assert np.array_equal(picture.pixels, np.dstack([bits * np.uint8(255)] * 3))


@pytest.mark.filterwarnings("error")
def test_palette_with_transparency():
    image = Image.new("P", (3, 1))
    image.putpalette([255, 0, 0, 0, 255, 0, 10, 20, 30])
    image.putdata([0, 1, 2])
    one = read_image(encoded(image, "GIF", transparency=1))
    assert one.pixels.tolist()[0][::2] == [[255, 0, 0], [10, 20, 30]]
    assert one.alpha.tolist() == [[255, 0, 255]]
    several = read_image(encoded(image, "PNG", transparency=bytes([255, 0, 128])))
    assert several.pixels.tolist() == [[[255, 0, 0], [0, 255, 0], [10, 20, 30]]]
    assert several.alpha.tolist() == [[255, 0, 128]]
    assert read_image(encoded(image, "PNG")).alpha is None


def test_one_transparent_color():
    picture = read_image(encoded(Image.fromarray(PHOTO), "PNG", transparency=tuple(int(v) for v in PHOTO[5, 7])))
    assert np.array_equal(picture.pixels, PHOTO)
    assert np.array_equal(picture.alpha == 0, (PHOTO[5, 7] == PHOTO).all(axis=-1))


def test_premultiplied_alpha():
    picture = read_image(Image.fromarray(np.dstack([PHOTO, np.full_like(ALPHA, 128)])).convert("RGBa"))
    assert np.abs(picture.pixels.astype(int) - PHOTO).max() <= 2
    assert (picture.alpha == 128).all()


@pytest.mark.parametrize("format", ["PNG", "TIFF"])
def test_sixteen_bit_grey(format):
    values = np.linspace(0, 65535, 61 * 90).reshape(61, 90).astype(np.uint16)
    expected = np.rint(values / 65535 * 255).astype(np.uint8)
    assert np.array_equal(read_image(encoded(Image.fromarray(values), format)).pixels, np.dstack([expected] * 3))
    assert np.array_equal(read_image(Image.fromarray(values.astype(np.int32))).pixels, np.dstack([expected] * 3))


def png(
    width: int, height: int, bits: int, color: int, rows: bytes = b"", more: dict[bytes, bytes] | None = None
) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, bits, color, 0, 0, 0)
    chunks = {b"IHDR": header, **(more or {}), b"IDAT": zlib.compress(rows), b"IEND": b""}
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(kind, body) for kind, body in chunks.items())


@pytest.mark.parametrize(("bits", "color"), [(1, 0), (2, 0), (4, 0), (8, 0), (16, 0), (8, 2), (16, 2)])
def test_the_transparent_color_of_a_png(bits, color):
    generator = np.random.default_rng(0)
    samples = generator.integers(0, 1 << bits, (8, 16, 3 if color else 1))
    samples[2, 3] = samples[4, 5] = key = samples[0, 0]
    samples[0, 1], samples[0, 2] = key, key
    samples[0, 2, 0] ^= 1  # nearly the same color
    loose = np.unpackbits(samples.astype(">u2").view(np.uint8).reshape(8, -1, 2), axis=2)[..., -bits:]
    rows = b"".join(b"\0" + np.packbits(row).tobytes() for row in loose.reshape(8, -1))
    picture = read_image(png(16, 8, bits, color, rows, {b"tRNS": key.astype(">u2").tobytes()}))
    assert np.array_equal(picture.alpha == 0, (samples == key).all(axis=2))
    assert np.array_equal(
        picture.pixels, np.broadcast_to(np.rint(samples * 255 / ((1 << bits) - 1)), picture.pixels.shape)
    )


UNIT = np.linspace(0, 1, 61 * 90 * 3).reshape(61, 90, 3)[::-1]
SAMPLES = ["u1", "u2", "u4", "u8", "i1", "i2", "i4", "f2", "f4", "f8"]


def typed(unit: np.ndarray, kind: str) -> np.ndarray:
    return (unit * (1 if kind[0] == "f" else np.iinfo(kind).max)).astype(kind)


@pytest.mark.parametrize("order", "<>")
@pytest.mark.parametrize("kind", SAMPLES)
def test_tiff_samples(tmp_path, kind, order):
    path = tmp_path / "picture.tif"
    unit = UNIT * 0.999
    rows = {"byteorder": order, "rowsperstrip": 7}
    grey = np.dstack([unit[..., :1]] * 3)
    planes = np.ascontiguousarray(typed(unit, kind).transpose(2, 0, 1))
    for expected, values, options in (
        (grey, typed(unit[..., 0], kind), {"photometric": "minisblack", **rows}),
        (1 - grey, typed(unit[..., 0], kind), {"photometric": "miniswhite", **rows}),
        (unit, typed(unit, kind), {"photometric": "rgb", "byteorder": order, "tile": (32, 16)}),
        (unit, planes, {"photometric": "rgb", "planarconfig": "separate", "bigtiff": True, **rows}),
        (unit, typed(unit, kind), {"photometric": "rgb", "compression": "zlib", **rows}),
    ):
        tifffile.imwrite(path, values, **options)
        assert np.abs(read_image(path).pixels - 255 * expected).max() <= (2.6 if kind == "i1" else 1.1)


def tiff(samples: bytes, size: tuple[int, int], bits: list[int], photometric: int, more: dict[int, list[int]]) -> bytes:
    """A TIFF of one strip, of which libraries write none."""
    tags = {256: [size[0]], 257: [size[1]], 258: bits, 262: [photometric], 273: [8], 277: [len(bits)],
            278: [size[1]], 279: [len(samples)]} | more  # fmt: skip
    body, table = samples + bytes(len(samples) % 2), b""
    for tag, values in sorted(tags.items()):
        raw = struct.pack(f"<{len(values)}I", *values)
        if len(raw) > 4:
            raw, body = struct.pack("<I", 8 + len(body)), body + raw
        table += struct.pack("<HHI", tag, 4, len(values)) + raw
    return b"II*\0" + struct.pack("<I", 8 + len(body)) + body + struct.pack("<H", len(tags)) + table + bytes(4)


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 17, 20, 31, 33, 63])
def test_tiff_of_any_depth(bits):
    unit = UNIT[..., 0] if bits > 8 else np.round(UNIT[..., 0])
    whole = (1 << bits) - 1
    packed = b""
    for row in unit:
        row_bits = "".join(f"{int(value * whole):0{bits}b}" for value in row)
        packed += int(row_bits.ljust(-(-len(row_bits) // 8) * 8, "0"), 2).to_bytes(-(-len(row_bits) // 8), "big")
    for photometric, expected in ((0, 1 - unit), (1, unit)):
        picture = read_image(tiff(packed, (90, 61), [bits], photometric, {}))
        assert np.abs(picture.pixels[..., 0] - 255 * expected).max() <= 1.1


def test_tiff_alpha_palettes_and_lab():
    share = UNIT[..., :1]
    multiplied = np.rint(np.dstack([PHOTO * share, 255 * share])).astype(np.uint8)
    picture = read_image(tiff(multiplied.tobytes(), (90, 61), [8] * 4, 2, {338: [1]}))
    assert np.array_equal(picture.alpha, multiplied[..., 3])
    assert np.abs(picture.pixels.astype(int) - PHOTO)[picture.alpha > 100].max() <= 4
    five = np.dstack([PHOTO, ALPHA, ALPHA[::-1]])
    picture = read_image(tiff(five.tobytes(), (90, 61), [8] * 5, 2, {338: [0, 2]}))
    assert np.array_equal(picture.pixels, PHOTO)
    assert np.array_equal(picture.alpha, ALPHA[::-1])
    colors = [[255, 0, 10], [0, 128, 20]]
    palette = [level * 257 for channel in zip(*colors, strict=True) for level in channel]
    picture = read_image(tiff(b"\x40", (2, 1), [1], 3, {320: palette}))
    assert picture.pixels.tolist() == [colors]
    to_lab = ImageCms.buildTransform(ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB", 1)
    lab = np.asarray(ImageCms.applyTransform(Image.fromarray(PHOTO), to_lab)).astype(int)
    for photometric, offset in ((8, 0), (9, 128)):
        levels = (lab + np.array([0, offset, offset])).astype(np.uint8)
        picture = read_image(tiff(levels.tobytes(), (90, 61), [8] * 3, photometric, {}))
        assert psnr(picture.pixels, PHOTO) > 40


@pytest.mark.parametrize(
    ("more", "photometric", "named"),
    [
        ({339: [6]}, 1, "complex samples"),
        ({}, 32803, r"CFA \(raw sensor data\)"),
        ({}, 32845, "LogLuv"),
        ({259: [34712]}, 1, "JPEG 2000 compression"),
        ({259: [50002]}, 1, "JPEG XL compression"),
    ],
)
def test_tiff_that_is_not_read_is_named(more, photometric, named):
    with pytest.raises(ImpastoError, match=f"TIFF with .*{named}.* is not supported; save it as") as raised:
        read_image(tiff(bytes(32), (4, 1), [64], photometric, more))
    one_line(raised)


def test_sixteen_bit_rgb(tmp_path):
    values = (PHOTO.astype(np.uint16) << 8) + 77
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    tifffile.imwrite(tmp_path / "deep.tif", values, photometric="rgb")
    for source in (png(90, 61, 16, 2, rows), tmp_path / "deep.tif"):
        assert np.abs(read_image(source).pixels - values / 257).max() <= 1


def test_float():
    values = np.linspace(0, 1, 61 * 90, dtype=np.float32).reshape(61, 90)
    expected = np.dstack([np.rint(values * 255).astype(np.uint8)] * 3)
    assert np.array_equal(read_image(encoded(Image.fromarray(values), "TIFF")).pixels, expected)
    assert np.array_equal(read_image(Image.fromarray(values * 255)).pixels, expected)
    for white in (1.5, 1, 200, 255, 60_000, 65535):
        for source in (Image.fromarray(values * white), encoded(Image.fromarray(values * white), "TIFF")):
            levels = np.clip(values * white / (1 if white < 2 else 255 if white < 510 else 65535), 0, 1) * 255
            assert np.abs(read_image(source).pixels[..., 0] - levels).max() <= 0.51
    with pytest.raises(ImpastoError, match="not numbers"):
        read_image(Image.fromarray(np.full((2, 2), np.nan, np.float32)))


@pytest.mark.parametrize("format", ["JPEG", "TIFF"])
def test_cmyk_without_a_profile(format):
    inks = {(0, 0, 0, 0): (255, 255, 255), (0, 0, 0, 255): (0, 0, 0), (0, 255, 255, 0): (255, 0, 0)}
    for ink, color in inks.items():
        file = encoded(Image.new("CMYK", (16, 16), ink), format)
        assert (b"Adobe" in file) == (format == "JPEG")  # that is: the JPEG holds its inks inverted
        assert np.abs(read_image(file).pixels.astype(int) - color).max() <= 3


def test_first_frame_is_read():
    frames = [Image.new("RGB", (8, 8), color) for color in ("red", "green", "blue")]
    for format, options in {"GIF": {}, "WEBP": {"lossless": True}, "TIFF": {}, "PNG": {}}.items():
        file = encoded(frames[0], format, save_all=True, append_images=frames[1:], **options)
        assert (read_image(file).pixels == [255, 0, 0]).all()


# Colour profiles, assembled here so that they are surely not sRGB


def icc_profile(space: bytes, tags: dict[bytes, bytes], kind: bytes = b"mntr", pcs: bytes = b"XYZ ") -> bytes:
    tags = {b"desc": b"desc\0\0\0\0" + struct.pack(">I", 5) + b"test\0" + bytes(78), **tags}
    table, body = b"", b""
    start = 128 + 4 + 12 * len(tags)
    for name, value in tags.items():
        value += bytes(-len(value) % 4)
        table += name + struct.pack(">II", start + len(body), len(value))
        body += value
    header = struct.pack(">I4sI4s4s4s", start + len(body), b"lcms", 0x02400000, kind, space, pcs)
    header += struct.pack(">6H", 2024, 1, 1, 0, 0, 0) + b"acsp" + bytes(28) + xyz(0.9642, 1, 0.8249)[8:]
    return header + bytes(128 - len(header)) + struct.pack(">I", len(tags)) + table + body


def xyz(*values: float) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(value * 65536) for value in values))


def gamma(value: float) -> bytes:
    return b"curv\0\0\0\0" + struct.pack(">IH", 1, round(value * 256))


WHITE = {b"wtpt": xyz(0.9642, 1, 0.8249)}
ADOBE = np.array([[0.60974, 0.20528, 0.14919], [0.31111, 0.62567, 0.06322], [0.01947, 0.06087, 0.74457]])  # to D50
XYZ_TO_SRGB = np.array(  # from D50, Bradford (Lindbloom)
    [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540], [0.0719453, -0.2289914, 1.4052427]]
)


def rgb_profile(to_xyz: np.ndarray, curve: bytes) -> bytes:
    colorants = {name + b"XYZ": xyz(*to_xyz[:, i]) for i, name in enumerate((b"r", b"g", b"b"))}
    return icc_profile(b"RGB ", WHITE | colorants | {name + b"TRC": curve for name in (b"r", b"g", b"b")})


ADOBE_PROFILE = rgb_profile(ADOBE, gamma(2.19921875))


def srgb_from_xyz(values: np.ndarray) -> np.ndarray:
    linear = np.clip(values @ XYZ_TO_SRGB.T, 0, 1)
    return 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


@pytest.mark.parametrize("format", ["PNG", "TIFF", "WEBP"])
def test_adobe_rgb_becomes_srgb(format):
    options = {"lossless": True, "exact": True} if format == "WEBP" else {}
    image = Image.fromarray(np.dstack([PHOTO, ALPHA]))
    picture = read_image(encoded(image, format, icc_profile=ADOBE_PROFILE, **options))
    expected = srgb_from_xyz((PHOTO / 255) ** 2.19921875 @ ADOBE.T)
    assert np.abs(picture.pixels - expected).max() <= 2
    assert np.abs(PHOTO - expected).max() > 20  # so that the conversion is seen
    assert np.array_equal(picture.alpha, ALPHA)


def test_grey_profile():
    profile = icc_profile(b"GRAY", WHITE | {b"kTRC": gamma(1.0)})
    grey = PHOTO[..., 0]
    picture = read_image(encoded(Image.fromarray(grey), "PNG", icc_profile=profile))
    expected = srgb_from_xyz(grey[..., None] / 255 * np.array([0.9642, 1, 0.8249]))
    assert np.abs(picture.pixels - expected).max() <= 2


def test_cmyk_profile():
    """A press whose inks are odd: full cyan alone prints Lab (60, 40, 20), which the plain formula cannot know."""
    nodes = []
    for node in range(16):  # grid of 2 per ink, cyan outermost
        inks = [node >> shift & 1 for shift in (3, 2, 1, 0)]
        light, a, b = (60, 40, 20) if inks == [1, 0, 0, 0] else (0 if any(inks) else 100, 0, 0)
        nodes += [round(light * 2.55), a + 128, b + 128]
    identity = struct.pack(">9i", *(65536 * (i % 4 == 0) for i in range(9)))
    lut = (
        b"mft1\0\0\0\0" + bytes([4, 3, 2, 0]) + identity + bytes(range(256)) * 4 + bytes(nodes) + bytes(range(256)) * 3
    )
    profile = icc_profile(b"CMYK", WHITE | {b"A2B0": lut, b"A2B1": lut}, b"prtr", b"Lab ")
    # Lab -> XYZ (CIE 15), above the linear part throughout
    y = (60 + 16) / 116
    expected = srgb_from_xyz(np.array([0.9642, 1, 0.8249]) * np.array([y + 40 / 500, y, y - 20 / 200]) ** 3)
    for format in ("JPEG", "TIFF"):
        for ink, color in (((255, 0, 0, 0), expected), ((0, 0, 0, 0), (255, 255, 255))):
            picture = read_image(encoded(Image.new("CMYK", (16, 16), ink), format, icc_profile=profile))
            assert np.abs(picture.pixels - np.asarray(color)).max() <= 3


def test_srgb_profiles_leave_pixels_alone():
    """Also one whose curve is a coarse table, as small profiles have it: converting would move pixels by one level."""
    exact = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    levels = np.linspace(0, 1, 16)
    table = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    curve = b"curv\0\0\0\0" + struct.pack(">I", 16) + np.rint(table * 65535).astype(">u2").tobytes()
    coarse = rgb_profile(np.linalg.inv(XYZ_TO_SRGB), curve)
    for profile in (exact, coarse):
        assert np.array_equal(read_image(encoded(Image.fromarray(PHOTO), "PNG", icc_profile=profile)).pixels, PHOTO)


DISPLAY_P3 = np.array(
    [[0.51512, 0.29198, 0.15710], [0.24120, 0.69225, 0.06657], [-0.00105, 0.04189, 0.78407]]
)  # to D50
CHRM = struct.pack(">8I", 31270, 32900, 64000, 33000, 21000, 71000, 15000, 6000)


def decode_srgb(levels: np.ndarray) -> np.ndarray:
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("told", ["cICP", "gAMA", "gAMA and cHRM", "R03 in PNG", "R03 in WebP", "R03 in TIFF", "nclx"])
def test_colour_spaces_told_without_a_profile(tmp_path, told):
    pixels = PHOTO if told != "nclx" else np.broadcast_to(np.uint8([40, 160, 90]), PHOTO.shape)
    rows = b"".join(b"\0" + row.tobytes() for row in PHOTO)
    adobe = srgb_from_xyz((pixels / 255) ** 2.19921875 @ ADOBE.T)
    display = srgb_from_xyz(decode_srgb(pixels / 255) @ DISPLAY_P3.T)
    block = raw_exif("<")[0].replace(struct.pack("<HHIH", 274, 3, 1, 6), struct.pack("<HHIH", 274, 3, 1, 1))
    if told == "cICP":
        file, expected = (
            png(90, 61, 8, 2, rows, {b"cICP": bytes([12, 13, 0, 1]), b"gAMA": bytes([0, 1, 0, 0])}),
            display,
        )
    elif told == "gAMA":
        linear = np.clip(pixels / 255, 0, 1)
        expected = 255 * np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
        file = png(90, 61, 8, 2, rows, {b"gAMA": struct.pack(">I", 100_000)})
    elif told == "gAMA and cHRM":
        file, expected = png(90, 61, 8, 2, rows, {b"gAMA": struct.pack(">I", 45_470), b"cHRM": CHRM}), None
        expected = srgb_from_xyz(decode_srgb(pixels / 255) @ ADOBE.T)
    elif told == "nclx":
        file = bytearray(encoded(Image.fromarray(pixels), "AVIF", quality=100, subsampling="4:4:4"))
        at = file.index(b"nclx") + 4
        file[at : at + 4], expected = struct.pack(">HH", 12, 13), display
    else:
        file, expected = encoded(Image.fromarray(PHOTO), "PNG", exif=block), adobe
        if told == "R03 in WebP":
            file = encoded(Image.fromarray(PHOTO), "WEBP", lossless=True, exif=block)
        elif told == "R03 in TIFF":
            write_image(tmp_path / "in.tif", Picture(PHOTO, exif=block))
            file = (tmp_path / "in.tif").read_bytes()
    picture = read_image(bytes(file))
    assert np.abs(picture.pixels - expected).max() <= (4 if told == "nclx" else 2.1)
    assert np.abs(pixels - expected).max() > 10  # so that the conversion is seen
    write_image(tmp_path / "out.png", picture)
    assert np.array_equal(read_image(tmp_path / "out.png").pixels, picture.pixels)  # not told, and converted, twice


def test_srgb_is_srgb_however_it_is_told():
    rows = b"".join(b"\0" + row.tobytes() for row in PHOTO)
    for chunks in (
        {b"sRGB": b"\0", b"gAMA": struct.pack(">I", 100_000)},
        {b"gAMA": struct.pack(">I", 45_455)},
        {b"cICP": bytes([1, 13, 0, 1]), b"cHRM": CHRM},
        {b"eXIf": raw_exif("<", color_space=1)[0][6:]},
        {b"eXIf": raw_exif("<", index=b"R98\0")[0][6:]},
    ):
        pixels = read_image(png(90, 61, 8, 2, rows, chunks)).pixels
        assert np.array_equal(pixels if b"eXIf" not in chunks else np.rot90(pixels), PHOTO)


@pytest.mark.parametrize(
    "profile",
    [b"no profile at all", ADOBE_PROFILE[:200], icc_profile(b"GRAY", WHITE | {b"kTRC": gamma(1.0)})],
    ids=["text", "cut", "grey on colour"],
)
def test_broken_profile_is_ignored(profile):
    assert np.array_equal(read_image(encoded(Image.fromarray(PHOTO), "PNG", icc_profile=profile)).pixels, PHOTO)


# Sizes


@pytest.mark.parametrize("shape", [(1, 1), (1, 3000), (3000, 1)])
@pytest.mark.parametrize("ending", ENDINGS)
def test_thin_pictures(tmp_path, ending, shape):
    pixels = np.resize(PHOTO, (*shape, 3))
    path = tmp_path / f"thin.{ending}"
    write_image(path, pixels)
    assert read_image(path).pixels.shape == pixels.shape


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("color", [0, 2, 6])
def test_bomb_is_refused_from_the_header(color):
    bomb = png(60_000, 60_000, 8, color)  # holds no pixels: decoding it would be another error
    with pytest.raises(ImpastoError, match="limit of 200000000") as raised:
        read_image(bomb)
    assert "60000 x 60000" in one_line(raised)
    assert "max_pixels (--max-pixels)" in one_line(raised)


def test_limit_is_the_argument(tmp_path):
    write_image(tmp_path / "picture.png", PHOTO)
    for source in (tmp_path / "picture.png", Image.fromarray(PHOTO)):
        assert read_image(source, max_pixels=90 * 61).pixels.shape == PHOTO.shape
        with pytest.raises(ImpastoError, match="limit of 5489"):
            read_image(source, max_pixels=90 * 61 - 1)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF"])
def test_pillows_own_limit_neither_warns_nor_changes(monkeypatch, format):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)  # what a host program may set
    file = encoded(Image.fromarray(PHOTO), format)
    assert read_image(file).pixels.shape == PHOTO.shape
    with pytest.raises(ImpastoError, match="limit of 99"):
        read_image(file, max_pixels=99)
    assert Image.MAX_IMAGE_PIXELS == 1000


# Bad input


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(ImpastoError, match=r"gone\.jpg: there is no such file") as raised:
        read_image(tmp_path / "gone.jpg")
    one_line(raised)
    with pytest.raises(ImpastoError, match="it is a folder") as raised:
        read_image(str(tmp_path))
    one_line(raised)
    with pytest.raises(ImpastoError, match="null"):
        read_image("a\0b.jpg")


def test_empty_and_text_files(tmp_path):
    path = tmp_path / "picture.jpg"
    path.write_bytes(b"")
    with pytest.raises(ImpastoError, match=r"picture\.jpg: it is empty"):
        read_image(path)
    path.write_text("Dear picture,\nhow are you?\n")
    with pytest.raises(ImpastoError, match=r"picture\.jpg: it is not a picture of a known kind \(JPEG, PNG") as raised:
        read_image(path)
    one_line(raised)


@pytest.mark.parametrize("ending", ["jpg", "progressive.jpg", "png", "webp", "tif"])
def test_a_file_that_lacks_only_its_end_is_read(tmp_path, ending):
    path = tmp_path / f"cut.{ending}"
    if ending == "progressive.jpg":
        Image.fromarray(PHOTO).save(path, progressive=True, quality=95)
    elif ending == "tif":
        tifffile.imwrite(path, PHOTO, photometric="rgb")
    else:
        write_image(path, PHOTO)
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 19 // 20])
    with pytest.warns(IncompleteWarning, match=r"cut\..* is damaged or incomplete: .* missing"):
        picture = read_image(path)
    assert picture.pixels.shape == PHOTO.shape
    assert psnr(picture.pixels[:30], PHOTO[:30]) > 25


@pytest.mark.filterwarnings("ignore:Corrupt EXIF")
@pytest.mark.parametrize("ending", ENDINGS)
def test_truncated_files_are_refused(tmp_path, ending):
    path = tmp_path / f"cut.{ending}"
    write_image(path, PHOTO)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ImpastoError, match=r"cut\..*: the file is damaged or incomplete") as raised:
        read_image(path)
    one_line(raised)


@pytest.mark.filterwarnings("ignore")  # Pillow warns of odd metadata
@pytest.mark.parametrize("format", ["JPEG", "PNG", "WEBP", "AVIF", "TIFF", "BMP", "GIF"])
def test_damage_gives_a_picture_or_one_line(format):
    file = encoded(Image.fromarray(PHOTO), format, **({"exif": exif_block(6)} if format not in ("BMP", "GIF") else {}))
    generator = np.random.default_rng(0)
    refusals = []
    for _ in range(150):
        damaged = bytearray(file)
        for position in generator.integers(0, min(len(file), 600), size=6):
            damaged[position] = generator.integers(256)
        try:
            assert isinstance(read_image(bytes(damaged), max_pixels=1_000_000), Picture)
        except ImpastoError as error:
            refusals.append(str(error))
    assert refusals
    assert not any("\n" in refusal for refusal in refusals)


# Writing


def test_jpeg_is_quality_95_with_full_chroma(tmp_path):
    write_image(tmp_path / "out.jpg", PHOTO)
    with Image.open(tmp_path / "out.jpg") as image:
        assert [component[1:3] for component in image.layer] == [(1, 1)] * 3
        assert image.quantization[0][0] == 2  # 16 at quality 50, a tenth of it at 95, rounded
    write_image(tmp_path / "low.jpg", PHOTO, quality=50)
    with Image.open(tmp_path / "low.jpg") as image:
        assert [component[1:3] for component in image.layer] == [(1, 1)] * 3
        assert image.quantization[0][0] == 16


def test_avif_has_full_chroma(tmp_path):
    write_image(tmp_path / "out.avif", PHOTO)
    file = (tmp_path / "out.avif").read_bytes()
    configuration = file[file.index(b"av1C") + 4 :]
    assert configuration[2] >> 2 & 3 == 0  # the two bits of chroma subsampling


def test_webp_at_100_is_lossless(tmp_path):
    write_image(tmp_path / "out.webp", Picture(PHOTO, ALPHA), quality=100)
    assert np.array_equal(read_image(tmp_path / "out.webp").pixels, PHOTO)


def test_streams_and_named_formats(tmp_path):
    stream = io.BytesIO()
    write_image(stream, PHOTO)
    assert Image.open(io.BytesIO(stream.getvalue())).format == "PNG"
    for name, kind in {"jpg": "JPEG", "JPEG": "JPEG", ".webp": "WEBP"}.items():
        stream = io.BytesIO()
        write_image(stream, Image.fromarray(PHOTO), format=name)
        assert Image.open(io.BytesIO(stream.getvalue())).format == kind
    write_image(tmp_path / "without-ending", PHOTO, format="bmp")
    assert Image.open(tmp_path / "without-ending").format == "BMP"


@pytest.mark.parametrize("name", ["out.xyz", "out", "out.pdf"])
def test_unknown_ending(tmp_path, name):
    with pytest.raises(ImpastoError, match="use one of jpg, jpeg, png") as raised:
        write_image(tmp_path / name, PHOTO)
    one_line(raised)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("quality", [0, 101])
def test_quality_out_of_range(quality):
    with pytest.raises(ImpastoError, match="quality must be from 1 to 100"):
        write_image(io.BytesIO(), PHOTO, format="jpg", quality=quality)


def test_output_folder_missing_or_a_file(tmp_path):
    with pytest.raises(ImpastoError, match=r"there is no folder .*gone; create it first") as raised:
        write_image(tmp_path / "gone" / "out.png", PHOTO)
    one_line(raised)
    (tmp_path / "file").write_text("x")
    with pytest.raises(ImpastoError, match=r"file is not a folder") as raised:
        write_image(tmp_path / "file" / "out.png", PHOTO)
    one_line(raised)
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ImpastoError, match=r"folder\.png: it is a folder"):
        write_image(tmp_path / "folder.png", PHOTO)
    assert {path.name for path in tmp_path.iterdir()} == {"file", "folder.png"}


@pytest.mark.skipif(not Path("/sys/kernel").is_dir(), reason="needs a folder that even root cannot write in")
def test_no_permission_to_write():
    with pytest.raises(ImpastoError, match=r"no permission to write in /sys/kernel") as raised:
        write_image("/sys/kernel/out.png", PHOTO)
    one_line(raised)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_disk_full_says_so():
    # Opened here rather than given by name: should the library ever replace devices, this one would be the system's.
    with open("/dev/full", "wb", buffering=0) as stream:
        with pytest.raises(ImpastoError, match="the disk is full; free some space") as raised:
            write_image(stream, PHOTO)
        one_line(raised)


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    path = tmp_path / "pipe.png"
    os.mkfifo(path)
    reading = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        write_image(path, PHOTO[:20, :20])
        assert path.is_fifo()
        assert np.array_equal(read_image(os.read(reading, 60_000)).pixels, PHOTO[:20, :20])
    finally:
        os.close(reading)


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "out.bmp"
    path.write_bytes(b"the old file")
    # As Python has it from the start; libraries that another test imports may have changed it.
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))  # the system itself stops the write after 1000 bytes
    try:
        with pytest.raises(ImpastoError, match=r"cannot write .*out\.bmp") as raised:
            write_image(path, PHOTO)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        signal.signal(signal.SIGXFSZ, before)
    one_line(raised)
    assert path.read_bytes() == b"the old file"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_format_cannot_hold_is_one_line(tmp_path):
    with pytest.raises(ImpastoError, match=r"wide\.webp as WEBP: .*16383") as raised:
        write_image(tmp_path / "wide.webp", np.zeros((1, 20_000, 3), np.uint8))
    one_line(raised)
    with pytest.raises(ImpastoError, match=r"wide\.jpg as JPEG"):
        write_image(tmp_path / "wide.jpg", np.zeros((1, 70_000, 3), np.uint8))
    with pytest.raises(ImpastoError, match=r"wide\.avif as AVIF"):
        write_image(tmp_path / "wide.avif", np.zeros((1, 70_000, 3), np.uint8))
    assert list(tmp_path.iterdir()) == []


def test_written_files_have_ordinary_rights_and_links_stay(tmp_path):
    (tmp_path / "plain").touch()
    write_image(tmp_path / "real.png", PHOTO)
    assert (tmp_path / "real.png").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "link.png").symlink_to("real.png")
    write_image(tmp_path / "link.png", PHOTO[:10])
    assert (tmp_path / "link.png").is_symlink()
    assert read_image(tmp_path / "real.png").pixels.shape == (10, 90, 3)


# Helpers


def test_colours_that_cannot_be_seen_do_not_run_into_others():
    pixels, alpha = np.zeros((40, 200, 3), np.uint8), np.zeros((40, 200), np.uint8)
    pixels[:, :100] = alpha[:, :100] = 255  # white, beside black that is transparent
    small = Picture(pixels, alpha).limit_size(33)
    assert small.pixels.shape == (7, 33, 3)
    assert small.pixels[small.alpha > 0].min() == 255
    assert np.array_equal(small.alpha, Picture(np.dstack([alpha] * 3)).limit_size(33).pixels[..., 0])


def test_resize_short_side():
    photo = data.astronaut()[:300]
    assert resize_short_side(photo, 150).shape == (150, 256, 3)
    assert resize_short_side(photo.transpose(1, 0, 2), 600).shape == (1024, 600, 3)
    assert np.array_equal(resize_short_side(photo, 300), photo)
    stripes = np.zeros((64, 64, 3), np.uint8)
    stripes[:, ::2] = 255
    assert np.abs(resize_short_side(stripes, 16)[:, 2:-2].astype(int) - 128).max() < 8  # anti-aliased
    with pytest.raises(ImpastoError, match="scaled to 0 pixels"):
        resize_short_side(photo, 0)


def test_limit_long_side():
    assert limit_long_side(PHOTO, 45).shape == (30, 45, 3)
    assert np.array_equal(limit_long_side(PHOTO, 2000), PHOTO)
    assert limit_long_side(np.zeros((1, 3000, 3), np.uint8), 100).shape == (1, 100, 3)
    with pytest.raises(ImpastoError, match="scaled to -1 pixels"):
        limit_long_side(PHOTO, -1)


def test_center_crop():
    assert np.array_equal(center_crop(PHOTO, 61), PHOTO[:, 14:75])
    assert np.array_equal(center_crop(PHOTO.transpose(1, 0, 2), 61), PHOTO[:, 14:75].transpose(1, 0, 2))
    assert center_crop(data.chelsea(), 128).shape == (128, 128, 3)


def test_to_float_and_to_uint8():
    image = to_float(PHOTO)
    assert image.shape == (1, 3, 61, 90)
    assert image.dtype == np.float32
    assert image.flags.c_contiguous
    assert image[0, 2, 5, 7] == np.float32(PHOTO[5, 7, 2] / 255)
    assert np.array_equal(to_uint8(image), PHOTO)
    extremes = np.array([-0.5, 1.5, 0.5019], np.float32).reshape(1, 3, 1, 1)
    assert to_uint8(extremes).tolist() == [[[0, 255, 128]]]
