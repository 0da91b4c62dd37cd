"""Colour spaces: whatever a file tells of its colours becomes an ICC profile, and pixels become sRGB by it."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

Floats = npt.NDArray[np.float64]
Curve = Callable[[Floats], Floats]

_D65 = (0.3127, 0.3290)
_D50 = np.array([0.9642, 1, 0.8249])
_BT709 = (0.640, 0.330, 0.300, 0.600, 0.150, 0.060, *_D65)
# Red, green, blue and white in CIE xy, by the numbers of ITU-T H.273, which cICP and nclx use.
_PRIMARIES = {
    4: (0.67, 0.33, 0.21, 0.71, 0.14, 0.08, 0.310, 0.316),
    5: (0.64, 0.33, 0.29, 0.60, 0.15, 0.06, *_D65),
    6: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    7: (0.630, 0.340, 0.310, 0.595, 0.155, 0.070, *_D65),
    8: (0.681, 0.319, 0.243, 0.692, 0.145, 0.049, 0.310, 0.316),
    9: (0.708, 0.292, 0.170, 0.797, 0.131, 0.046, *_D65),
    11: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, 0.314, 0.351),
    12: (0.680, 0.320, 0.265, 0.690, 0.150, 0.060, *_D65),
    22: (0.630, 0.340, 0.295, 0.605, 0.155, 0.077, *_D65),
}
_ADOBE = (0.64, 0.33, 0.21, 0.71, 0.15, 0.06, *_D65)
_SDR_WHITE = 203  # cd/m2 of what is white in HDR (ITU-R BT.2408)
_BRADFORD = np.array([[0.8951, 0.2664, -0.1614], [-0.7502, 1.7135, 0.0367], [0.0389, -0.0685, 1.0296]])


def decode_srgb(encoded: Floats) -> Floats:
    """The curve of sRGB, from 0..1 to linear light."""
    return np.where(encoded <= 0.04045, encoded / 12.92, ((encoded + 0.055) / 1.055) ** 2.4)


def encode_srgb(linear: Floats) -> Floats:
    """The curve of sRGB, from linear light, clipped to 0..1."""
    linear = np.clip(linear, 0, 1)
    return np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)


def _decode_pq(encoded: Floats) -> Floats:
    power = encoded ** (32 / 2523)
    return 10_000 / _SDR_WHITE * (np.maximum(power - 0.8359375, 0) / (18.8515625 - 18.6875 * power)) ** (8192 / 1305)


def _decode_hlg(encoded: Floats) -> Floats:
    scene = np.where(encoded <= 0.5, encoded**2 / 3, (np.exp((encoded - 0.55991073) / 0.17883277) + 0.28466892) / 12)
    return 1000 / _SDR_WHITE * scene**1.2  # on a display of 1000 cd/m2


def _power(gamma: float) -> Curve:
    return lambda encoded: encoded**gamma


# By the numbers of H.273. The curves of television, too, are shown as sRGB by whoever shows pictures.
_CURVES = {4: _power(2.2), 5: _power(2.8), 8: _power(1.0), 16: _decode_pq, 17: _power(2.6), 18: _decode_hlg}


def coded_profile(primaries: int, transfer: int) -> bytes | None:
    """Makes the profile of a colour space by its numbers in ITU-T H.273 (cICP, nclx); None if that is sRGB.

    HDR (PQ and HLG) is read with white at 203 cd/m2; what is brighter is white.
    """
    if primaries not in _PRIMARIES and transfer not in _CURVES:
        return None
    return _make_profile(_PRIMARIES.get(primaries, _BT709), _CURVES.get(transfer, decode_srgb))


def measured_profile(gamma: float | None, primaries: Sequence[float] | None) -> bytes | None:
    """Makes the profile of what gAMA and cHRM of a PNG tell, where one alone stands for sRGB otherwise.

    Args:
        gamma: the power that gives linear light.
        primaries: red, green, blue and white in CIE xy.

    Returns:
        None if that is sRGB, or nonsense.
    """
    if gamma is not None and not 0.1 <= gamma <= 10:
        gamma = None
    is_srgb = gamma is None or abs(gamma - 2.2) < 0.01  # which is how sRGB is told there
    if primaries is not None and np.allclose(primaries, _BT709, atol=0.002):
        primaries = None
    if is_srgb and primaries is None:
        return None
    try:
        return _make_profile(primaries or _BT709, decode_srgb if is_srgb or gamma is None else _power(gamma))
    except (np.linalg.LinAlgError, ValueError, OverflowError, struct.error):
        return None


def adobe_profile() -> bytes:
    """Makes a profile of Adobe RGB (1998)."""
    return _make_profile(_ADOBE, _power(563 / 256))


def _make_profile(primaries: Sequence[float], curve: Curve) -> bytes:
    """Makes an ICC profile of three primaries and a curve."""
    corners = np.reshape(primaries, (4, 2))
    if not (corners[:, 1] > 0).all():
        raise ValueError("no such colours")
    points = np.column_stack([corners, 1 - corners.sum(1)]) / corners[:, 1:]
    to_xyz = points[:3].T * np.linalg.solve(points[:3].T, points[3])
    adapted = np.linalg.inv(_BRADFORD) @ np.diag(_BRADFORD @ _D50 / (_BRADFORD @ points[3])) @ _BRADFORD @ to_xyz
    if not np.isfinite(adapted).all():
        raise ValueError("no such colours")
    table = np.rint(np.clip(curve(np.linspace(0, 1, 4096)), 0, 1) * 65535).astype(">u2").tobytes()
    tags = {b"wtpt": _xyz(_D50)}
    tags |= {name + b"XYZ": _xyz(column) for name, column in zip((b"r", b"g", b"b"), adapted.T, strict=True)}
    tags |= {name + b"TRC": b"curv\0\0\0\0" + struct.pack(">I", 4096) + table for name in (b"r", b"g", b"b")}
    start = 132 + 12 * len(tags)
    directory, body = struct.pack(">I", len(tags)), b""
    for name, value in tags.items():
        directory += name + struct.pack(">II", start + len(body), len(value))
        body += value
    head = struct.pack(">I4xI4s4s4s12x4s28x", start + len(body), 0x02400000, b"mntr", b"RGB ", b"XYZ ", b"acsp")
    return (head + _xyz(_D50)[8:]).ljust(128, b"\0") + directory + body


def _xyz(values: Floats) -> bytes:
    return b"XYZ \0\0\0\0" + struct.pack(">3i", *(round(float(value) * 65536) for value in values))


def to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Converts any 8 bit mode to RGB in sRGB, alpha left out; a profile that is broken, or of others, is ignored."""
    if profile is None:
        return image.convert("RGB")
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        device = image
        if image.mode != "CMYK":
            grey = image.mode in ("1", "L", "LA") and source.profile.xcolor_space.strip() == "GRAY"
            device = image.convert("L" if grey else "RGB")
        transform = ImageCms.buildTransform(
            source,
            ImageCms.createProfile("sRGB"),
            device.mode,
            "RGB",
            ImageCms.Intent.RELATIVE_COLORIMETRIC,
            ImageCms.Flags.BLACKPOINTCOMPENSATION,
        )
    except (ImageCms.PyCMSError, OSError):  # broken, or for another kind of pixels
        return image.convert("RGB")
    if device.mode == "RGB" and _keeps_colors(transform):
        return device
    converted = ImageCms.applyTransform(device, transform)
    assert converted is not None  # only in-place conversion gives None
    return converted


def _keeps_colors(transform: ImageCms.ImageCmsTransform) -> bool:
    """Whether a profile is sRGB under whatever name: then pixels are left alone, not rounded once more."""
    levels = np.arange(0, 256, 17, dtype=np.uint8)
    cube = np.stack(np.meshgrid(levels, levels, levels), axis=-1).reshape(64, 64, 3)
    moved = np.asarray(ImageCms.applyTransform(Image.fromarray(cube), transform))
    return bool(np.abs(moved.astype(int) - cube).max() <= 1)


def lab_to_srgb(lab: Floats) -> Floats:
    """Converts CIE L*a*b* of D50, [..., 3] with L in 0..100, to sRGB in 0..1."""
    light = (lab[..., 0] + 16) / 116
    ratios = np.stack([light + lab[..., 1] / 500, light, light - lab[..., 2] / 200], axis=-1)
    xyz = np.where(ratios > 6 / 29, ratios**3, (ratios - 4 / 29) * 3 * (6 / 29) ** 2) * _D50
    return encode_srgb(xyz @ _D50_TO_SRGB.T)


# From XYZ of D50, by Bradford (Lindbloom).
_D50_TO_SRGB = np.array(
    [[3.1338561, -1.6168667, -0.4906146], [-0.9787684, 1.9161415, 0.0334540], [0.0719453, -0.2289914, 1.4052427]]
)
