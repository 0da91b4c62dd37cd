"""What a user gets from `impasto.load()`: every control, every engine, every kind of input."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import load_file, save_file
from skimage.metrics import structural_similarity

import impasto
from impasto.color import Palette, luma, palette_of
from impasto.engine import Inputs, installed_engines
from impasto.errors import ImpastoError
from impasto.image import to_float
from impasto.model import find_model, shipped_models
from impasto.style import Style, gallery

MODELS = [model.name for model in shipped_models()]
SMALL = 160  # short side of style pictures where strokes do not matter: VGG-19 takes its time for each


@pytest.fixture(scope="module")
def small(photo) -> np.ndarray:
    return np.asarray(Image.fromarray(photo).resize((200, 160)))


def array(image: Image.Image) -> np.ndarray:
    return np.asarray(image)


def distance(a: Image.Image | np.ndarray, b: Image.Image | np.ndarray) -> float:
    """Mean absolute difference, of 255."""
    return float(np.abs(np.asarray(a).astype(int) - np.asarray(b)).mean())


def test_ctrl_c_when_an_openvino_painter_has_gone_in_another_thread():
    pytest.importorskip("openvino")
    code = (
        "import os, signal, threading, impasto\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
        "painters = [impasto.load(engine='openvino')]\n"
        "thread = threading.Thread(target=painters.clear); thread.start(); thread.join()\n"
        "try: os.kill(os.getpid(), signal.SIGINT)\n"
        "except KeyboardInterrupt: print('stopped')"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert run.stdout == "stopped\n", run.returncode


def test_style_changes_the_picture_and_keeps_its_content(model, small, painting):
    painted = model.stylize(small, painting, style_size=SMALL)
    assert painted.size == (200, 160)
    assert distance(painted, small) > 10
    assert np.corrcoef(luma(array(painted)).ravel(), luma(small).ravel())[0, 1] > 0.4


def test_strength_0_gives_the_photo_back(compact, photo, painting):
    assert distance(compact.stylize(photo, painting, strength=0), photo) == 0
    lumas = luma(array(compact.reconstruct(photo))), luma(photo)  # the network alone
    assert structural_similarity(*lumas, data_range=255, gaussian_weights=True, use_sample_covariance=False) >= 0.75


def test_a_picture_styled_by_itself_comes_back(vgg19, small):
    """AdaIN of features with their own statistics changes nothing, eq. 8 of the paper."""
    model = impasto.load("adain-vgg19")
    own = model.style(small, size=160)
    assert distance(model.stylize(small, own), model.reconstruct(small)) < 0.6


def test_strength_moves_steadily_towards_the_style(compact, small, painting):
    style = compact.style(painting)
    zero = compact.stylize(small, style, strength=0)
    steps = [distance(compact.stylize(small, style, strength=s), zero) for s in (0.25, 0.5, 0.75, 1.0)]
    assert steps == sorted(steps)
    assert steps[0] < steps[-1] / 2


def test_plain_is_the_network_alone_at_every_size_and_strength(compact, painting):
    photo = np.random.default_rng(0).integers(0, 255, (800, 810, 3), np.uint8)  # of two octaves otherwise
    style = compact.style(painting)
    for strength in (0, 0.3, 1):
        painted = np.asarray(compact.stylize(photo, style, strength=strength, plain=True))
        assert np.array_equal(painted, compact.run_network(photo, style.tensor[None], strength))
    with pytest.raises(ImpastoError, match="leave out the stroke size"):
        compact.stylize(photo, style, plain=True, stroke_size=2)
    with pytest.raises(ImpastoError, match=r"up to 8 million pixels: scale the photo down \(--max-size\)"):
        compact.stylize(np.zeros((2000, 4001, 3), np.uint8), style, plain=True)


def test_weights_mix_styles(model, small, painting):
    a, b = model.style(painting, size=SMALL), model.style(255 - painting, size=SMALL)
    only_a = model.stylize(small, a)
    assert distance(model.stylize(small, {a: 2, b: 0}), only_a) == 0
    half = model.stylize(small, [a, b])
    assert distance(model.stylize(small, {a: 3, b: 3}), half) == 0
    assert distance(half, only_a) > 3
    assert distance(model.stylize(small, impasto.blend({a: 1, b: 1})), half) == 0


def test_masks_paint_each_region_in_its_style(model, small, painting):
    a, b = model.style(painting, size=SMALL), model.style(255 - painting, size=SMALL)
    left = np.zeros((160, 200), np.float32)
    left[:, :100] = 1
    both = array(model.stylize(small, [a, b], masks=[left, 1 - left]))
    # Each half takes its content statistics from itself, as if it were a picture of its own. Near the seam the network
    # sees the other half, so what is compared is farther away than its reach.
    for half, far, own, other in ((slice(0, 100), slice(0, 40), a, b), (slice(100, 200), slice(60, 100), b, a)):
        alone, wrong = (array(model.stylize(small[:, half], style))[:, far] for style in (own, other))
        assert distance(both[:, half][:, far], alone) < distance(both[:, half][:, far], wrong) / 3


def test_what_no_mask_covers_stays_as_it_was(model, small, painting):
    mask = np.zeros((160, 200), np.uint8)
    mask[40:80, 40:80] = 255
    painted = array(model.stylize(small, painting, style_size=SMALL, masks=[mask]))
    assert np.array_equal(painted[mask == 0], small[mask == 0])
    assert distance(painted[mask > 0], small[mask > 0]) > 5


def test_a_weight_of_0_has_a_region_where_no_other_style_is(compact, small, painting):
    a, b = compact.style(painting), compact.style(255 - painting)
    left = np.zeros((160, 200), np.float32)
    left[:, :100] = 1
    nothing, hardly = (array(compact.stylize(small, {a: weight, b: 1}, masks=[left, 1 - left])) for weight in (0, 1e-6))
    assert np.array_equal(nothing, hardly)
    assert distance(nothing[:, :100], small[:, :100]) > 5


def test_masks_are_scaled_with_the_photo(compact, small, painting):
    a, b = compact.style(painting), compact.style(255 - painting)
    left = np.zeros((160, 200), np.float32)
    left[:, :100] = 1
    both = compact.stylize(small, [a, b], masks=[left, 1 - left], max_size=100)
    there = [left[::2, ::2], 1 - left[::2, ::2]]
    assert distance(both, compact.stylize(small, [a, b], masks=there, max_size=100)) < 1
    with pytest.raises(ImpastoError, match=r"mask 1: .* 160 pixels are more than the limit of 100"):
        compact.stylize(small, a, masks=[Image.fromarray(np.ones((160, 200), bool))], max_pixels=100)


def test_colour_keeping(model, small, painting):
    kept = array(model.stylize(small, painting, style_size=SMALL, keep_color="luminance"))
    chroma = [image - luma(image)[..., None] for image in (kept.astype(float), small.astype(float))]
    assert np.abs(chroma[0] - chroma[1]).mean() < 3
    matched = array(model.stylize(small, painting, style_size=SMALL, keep_color="match"))
    free = array(model.stylize(small, painting, style_size=SMALL))
    means = [image.reshape(-1, 3).mean(0) for image in (small, matched, free)]
    assert np.abs(means[1] - means[0]).mean() < np.abs(means[2] - means[0]).mean()
    vector = model.style(painting, size=SMALL)
    bare = Style(vector.name, vector.tensor, vector.model)  # its picture is gone, as in a .style file
    assert np.abs(array(model.stylize(small, bare, keep_color="match")).mean((0, 1)) - means[0]).max() < 3


@pytest.mark.parametrize("kind", ["taken", "vector"])
def test_a_palette_of_another_picture(compact, small, painting, kind):
    """Rust and steel: a painting in teal comes out in them, however its style is known."""
    rust = np.where(np.arange(64)[:, None, None] < 40, (170, 80, 40), (60, 70, 90)).astype(np.uint8).repeat(64, 1)
    other = palette_of(rust)
    style = compact.style(painting[..., ::-1], size=SMALL)
    if kind == "vector":
        style = Style(style.name, style.tensor, style.model, palette=style.palette)
    own, moved = (array(compact.stylize(small, style, palette=palette)) for palette in ("painting", rust))
    away = [np.abs(palette_of(image).mean - other.mean).mean() for image in (own, moved)]
    assert away[1] < 0.5 * away[0]
    half = array(compact.stylize(small, style, palette=other, strength=0))
    assert np.array_equal(half, small)


def test_colours_that_are_not_moved(compact, small, painting):
    style = compact.style(painting, size=SMALL)
    bare = Style(style.name, style.tensor, style.model)  # whose colours nobody knows
    kept = array(compact.stylize(small, style, palette="photo"))
    assert np.array_equal(kept, compact.stylize(small, bare))
    assert distance(kept, compact.stylize(small, style)) > 1


def test_the_style_of_a_part(compact, painting):
    left, top, right, bottom = box = 60, 20, 260, 220
    part = compact.style(painting[top:bottom, left:right], size=SMALL)
    inside = np.zeros(painting.shape[:2])
    inside[top:bottom, left:right] = 1
    for options in ({"box": box}, {"mask": inside}, {"mask": Image.fromarray(inside > 0), "box": np.array(box)}):
        taken = compact.style(painting, size=SMALL, **options)
        assert np.array_equal(taken.tensor, part.tensor)
        assert np.array_equal(taken.picture, part.picture)


def test_a_soft_mask_counts_as_alpha_does(compact, painting):
    fade = np.linspace(0, 1, painting.shape[1])[None].repeat(painting.shape[0], 0)
    seen = np.full(painting.shape[:2], 100, np.uint8)
    masked = compact.style(np.dstack([painting, seen]), size=SMALL, mask=fade)
    faded = compact.style(np.dstack([painting, np.rint(100 * fade).astype(np.uint8)]), size=SMALL)
    assert np.array_equal(masked.tensor, faded.tensor)
    assert distance(masked.tensor, compact.style(painting, size=SMALL).tensor) > 0.001


PARTS = {
    "black": ({"mask": np.zeros((300, 451))}, "the mask of the style cat selects nothing: paint it white"),
    "black in the box": ({"mask": np.tri(300, 451), "box": (400, 0, 451, 9)}, "selects nothing within the box"),
    "another size": ({"mask": np.ones((30, 40))}, "the mask of the style cat is 40 x 30 but the picture is 451 x 300"),
    "outside": ({"box": (0, 0, 452, 300)}, "the box 0,0,452,300 does not lie in the style cat, which is 451 x 300"),
    "turned": ({"box": (20, 0, 10, 300)}, "the box 20,0,10,300 does not lie in"),
    "three numbers": ({"box": (0, 0, 10)}, "a box is four whole numbers"),
    "no numbers": ({"box": 7}, "a box is four whole numbers"),
    "fractions": ({"box": (0, 0, 0.5, 1)}, "a box is four whole numbers"),
}


@pytest.mark.parametrize("case", PARTS)
def test_parts_that_are_none_are_one_line(compact, painting, case):
    options, message = PARTS[case]
    with pytest.raises(ImpastoError, match=message):
        compact.style(painting, name="cat", **options)


def test_a_part_needs_a_picture(compact, painting, tmp_path):
    style = compact.style(painting, size=64)
    style.save(tmp_path / "cat.style")
    for source in ("klimt-kiss", tmp_path / "cat.style", style):
        with pytest.raises(ImpastoError, match="has no picture to take a part of: give the picture itself"):
            compact.style(source, box=(0, 0, 20, 20))


def test_all_controls_at_once(model, small, painting):
    a, b = model.style(painting, size=SMALL), model.style(255 - painting, size=SMALL)
    mask = np.linspace(0, 1, 200, dtype=np.float32)[None].repeat(160, 0)
    painted = model.stylize(small, {a: 0.7, b: 0.3}, strength=0.8, masks=[mask, 1 - mask], keep_color="luminance")
    assert painted.size == (200, 160)
    assert distance(painted, small) > 2


def test_style_size_is_the_scale_of_the_strokes(compact, photo, painting):
    fine, coarse = (compact.style(painting, size=size) for size in (128, 768))
    assert distance(compact.stylize(photo, fine), compact.stylize(photo, coarse)) > 2


@pytest.mark.parametrize("shape", [(1, 1), (1, 300), (301, 1), (7, 5), (17, 33), (129, 127)])
def test_every_size_comes_back_to_the_pixel(model, painting, shape):
    tiny, style = np.full((*shape, 3), 90, np.uint8), model.style(painting, size=64)
    assert model.stylize(tiny, style).size == (shape[1], shape[0])
    mask = np.ones(shape, np.uint8) * 255
    assert model.stylize(tiny, style, masks=[mask]).size == (shape[1], shape[0])


def test_alpha_and_exif_travel_with_the_photo(compact, small, painting):
    image = Image.fromarray(np.dstack([small, np.full(small.shape[:2], 77, np.uint8)]))
    exif = Image.Exif()
    exif[0x010E] = "a title"
    image.info["exif"] = exif.tobytes()
    painted = compact.stylize(image, painting, max_size=100)
    assert painted.size == (100, 80)
    assert painted.mode == "RGBA"
    assert set(np.asarray(painted)[..., 3].ravel()) == {77}
    reread = Image.Exif()
    reread.load(painted.info["exif"])
    assert reread[0x010E] == "a title"


def test_paths_and_style_files(compact, small, painting, tmp_path):
    Image.fromarray(small).save(tmp_path / "photo.png")
    Image.fromarray(painting).save(tmp_path / "cat.png")
    style = compact.style(tmp_path / "cat.png")
    assert style.name == "cat"
    style.save(tmp_path / "cat.style")
    loaded = Style.load(tmp_path / "cat.style")
    assert loaded.name == "cat"
    direct = compact.stylize(tmp_path / "photo.png", str(tmp_path / "cat.png"))
    assert distance(compact.stylize(small, loaded), direct) == 0
    assert distance(compact.stylize(small, tmp_path / "cat.style"), direct) == 0


def test_every_shipped_style_paints(model, small):
    assert len(model.model.gallery) >= 24
    assert model.model.gallery.keys() == gallery().keys()
    results = {name: model.stylize(small[:64, :64], name) for name in list(gallery())[::6]}
    assert len({image.tobytes() for image in results.values()}) == len(results)
    for work in gallery().values():
        assert work.title
        assert work.artist
        assert work.year.strip()


@pytest.mark.parametrize("style", ["hokusai-great-wave", "klimt-kiss"])
def test_a_smooth_sky_stays_smooth(style):
    """Noise of one level in 255 is not painted: along the rows of a vertical gradient there is nothing else."""
    ramp = np.linspace([90, 140, 200], [170, 220, 250], 256)[:, None].repeat(256, 1)
    noise = np.random.default_rng(0).integers(-1, 2, ramp.shape)
    sky = np.clip(np.rint(ramp + noise), 0, 255).astype(np.uint8)
    painted = array(impasto.load(engine="onnxruntime").stylize(sky, style)).astype(int)
    assert np.abs(np.diff(painted, axis=1)).mean() < 2.5


@pytest.mark.parametrize("name", MODELS)
def test_engines_agree(name, request, small, painting):
    if find_model(name).card.encoder:
        request.getfixturevalue("vgg19")
    pytest.importorskip("openvino")
    pytest.importorskip("torch")
    assert installed_engines() == ["onnxruntime", "openvino", "torch"]
    mask = np.linspace(0, 1, 200, dtype=np.float32)[None].repeat(160, 0)
    results = []
    for engine in installed_engines():
        model = impasto.load(name, engine=engine, threads=1, precision="fp32")
        a, b = model.style(painting, size=96), model.style(255 - painting, size=96)
        results.append([array(model.stylize(small, a)),
                        array(model.stylize(small, [a, b], strength=0.7, masks=[mask, 1 - mask]))])  # fmt: skip
    for other in results[1:]:
        for ours, theirs in zip(results[0], other, strict=True):
            assert np.abs(ours.astype(int) - theirs).max() <= 2


def test_half_precision_is_next_to_full(small, painting):
    pytest.importorskip("torch")
    half, full = (impasto.load(engine="torch", precision=precision) for precision in ("fp16", "fp32"))
    assert half.engine_name == "torch fp16"
    style = half.style(painting)
    assert np.abs(style.tensor - full.style(painting).tensor).max() < 1e-2  # taken in float32, by whatever engine
    ours, theirs = (array(model.stylize(small, style)).astype(int) for model in (half, full))
    assert np.abs(ours - theirs).max() <= 3
    assert np.abs(ours - theirs).mean() < 0.2


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
def test_a_recorded_graph_paints_what_the_network_paints(precision, small, painting):
    if not pytest.importorskip("torch").cuda.is_available():
        pytest.skip("needs a GPU")
    engine = impasto.load(engine="torch", precision=precision, device="cuda").engine
    style = impasto.load().style(painting)
    for picture in (small, small[::-1]):  # the second is painted by what the first has recorded
        inputs = Inputs(to_float(picture), style.tensor[None], np.ones((1, 1, 1, 1), np.float32), np.float32(1),
                        np.zeros((1, style.tensor.size), np.float32),
                        np.zeros(style.tensor.size, np.float32))  # fmt: skip
        for once, again in zip(engine.run(inputs), engine.run(inputs, recurring=True), strict=True):
            assert np.abs(once - again).max() < 1e-2


@pytest.mark.parametrize("engine", installed_engines())
def test_threads_share_a_model(engine, small, painting):
    model = impasto.load(engine=engine, threads=1)
    styles = [model.style(painting), model.style(255 - painting)]
    expected = [array(model.stylize(small, style)) for style in styles]
    wrong = []

    def work(index: int) -> None:
        for _ in range(4):
            if not np.array_equal(array(model.stylize(small, styles[index % 2])), expected[index % 2]):
                wrong.append(index)

    threads = [threading.Thread(target=work, args=(index,)) for index in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


BAD = {
    "strength above 1": ({"strength": 1.5}, "strength"),
    "negative strength": ({"strength": -0.1}, "strength"),
    "strength not a number": ({"strength": float("nan")}, "strength"),
    "strength in words": ({"strength": "half"}, "strength"),
    "unknown colour mode": ({"keep_color": "hue"}, "match or luminance"),
    "mask of another shape": ({"masks": [np.full((10, 10), 255, np.uint8)]}, "10"),
    "empty mask": ({"masks": [np.zeros((160, 200), np.uint8)]}, "zero|empty|nothing"),
    "too many masks": ({"masks": [np.ones((160, 200))] * 2}, "mask"),
    "size 0": ({"max_size": 0}, "size"),
    "style size 0": ({"style_size": 0}, "style size"),
    "no such palette": ({"palette": "sepia"}, "the palette is painting, photo or a picture: cannot read sepia"),
    "a palette and kept colours": ({"palette": "photo", "keep_color": "match"}, "leave one of them out"),
}


@pytest.mark.parametrize("options", BAD)
def test_bad_controls_are_one_line(compact, small, painting, options):
    arguments, message = BAD[options]
    with pytest.raises(ImpastoError, match=f"(?i){message}") as caught:
        compact.stylize(small, painting, **arguments)
    assert "\n" not in str(caught.value)


def test_bad_styles_are_one_line(compact, small, painting, tmp_path):
    style = compact.style(painting)
    with pytest.raises(ImpastoError, match="sum to 0"):
        compact.stylize(small, {style: 0})
    with pytest.raises(ImpastoError, match="0 or more"):
        compact.stylize(small, {style: -1})
    with pytest.raises(ImpastoError, match="no style"):
        compact.stylize(small, [])
    with pytest.raises(ImpastoError, match="did you mean hokusai-great-wave"):
        compact.stylize(small, "hokusai-great-waves")
    with pytest.raises(ImpastoError, match="not of the model adain"):
        compact.stylize(small, Style("alien", style.tensor, "0123456789abcdef"))
    with pytest.raises(ImpastoError, match="would be 150528 x 512 pixels large"):
        compact.style(np.repeat(painting[:1, :1], 294, 1))
    (tmp_path / "bad.style").write_bytes(b"no style")
    with pytest.raises(ImpastoError, match="not a style file"):
        compact.style(tmp_path / "bad.style")
    with pytest.raises(ImpastoError, match="no such file"):
        compact.style(tmp_path / "none.style")


STYLE_TENSORS = {
    "bfloat16": ("BF16", [1152], 2), "float8": ("F8_E4M3", [1152], 1), "another float8": ("F8_E5M2", [1152], 1),
    "complex": ("C64", [1152], 8), "truth values": ("BOOL", [1152], 1), "a table": ("F32", [2, 1152], 4),
    "one number": ("F32", [], 4), "not numbers": ("F32", [1152], b"\xff\xff\xff\xff"),
    "too large": ("F64", [1152], np.float64(1e300).tobytes()),
    "infinite": ("F16", [1152], np.float16(np.inf).tobytes()),
}  # fmt: skip


@pytest.mark.parametrize("case", STYLE_TENSORS)
def test_style_files_of_other_tensors_are_one_line(compact, case, tmp_path):
    dtype, shape, value = STYLE_TENSORS[case]
    body = (value if isinstance(value, bytes) else bytes(value)) * int(np.prod(shape))
    told = {"dtype": dtype, "shape": shape, "data_offsets": [0, len(body)]}
    header = json.dumps({"__metadata__": {"name": "odd", "model": compact.fingerprint}, "style": told}).encode()
    (tmp_path / "odd.style").write_bytes(len(header).to_bytes(8, "little") + header + body)
    with pytest.raises(ImpastoError, match=r"odd\.style is not a style file"):
        compact.style(tmp_path / "odd.style")


def test_a_pipe_is_no_style_file(compact, tmp_path):
    os.mkfifo(tmp_path / "odd.style")
    with pytest.raises(ImpastoError, match=r"no such file: .*odd\.style"):
        compact.style(tmp_path / "odd.style")


@pytest.mark.parametrize(
    ("tensor", "palette"),
    [
        (np.full(1152, np.nan, np.float32), None),
        (np.full(1152, 1e300), None),
        (np.ones(1152, np.complex64), None),
        (np.ones((2, 1152), np.float32), None),
        (np.array(["odd"] * 1152), None),
        (np.ones(1152), Palette(np.full(3, np.inf), np.eye(3))),
        (np.ones(1152), Palette(np.full(3, 1e9), np.eye(3))),
        (np.ones(1152), Palette(np.zeros(3), np.full((3, 3), -900.0))),
        (np.ones(1152), Palette(np.zeros(3), np.eye(4))),
        (np.ones(1152), Palette(np.zeros(3), 1j * np.eye(3))),
    ],
)
def test_styles_from_python_of_other_arrays_are_one_line(tensor, palette):
    with pytest.raises(ImpastoError, match=r"the style odd is damaged: .*(tensor|palette)") as caught:
        Style("odd", tensor, "model", palette=palette)
    assert "\n" not in str(caught.value)


def test_a_style_that_no_picture_can_be_computed_in_is_one_line(compact, small):
    with pytest.raises(ImpastoError, match="computes no picture"):
        compact.stylize(small, Style("odd", np.full(1152, 3e38, np.float32), compact.fingerprint))


def test_unknown_models_and_engines():
    with pytest.raises(ImpastoError, match="adain"):
        impasto.load("nonsense")
    with pytest.raises(ImpastoError, match="onnxruntime"):
        impasto.load(engine="abacus")
    with pytest.raises(ImpastoError, match="threads"):
        impasto.load(threads=0)


def test_a_damaged_model_is_noticed(tmp_path):
    folder = tmp_path / "adain"
    folder.mkdir()
    for file in find_model().folder.iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    assert impasto.load(folder).name == "adain"
    gallery_file = folder / "gallery.safetensors"
    whole = load_file(gallery_file)
    save_file({name: whole[name] for name in list(whole)[1:]}, gallery_file)  # made before a painting was added
    assert list(impasto.load(folder).gallery) == [name for name in gallery() if name != next(iter(whole))]
    gallery_file.write_bytes(gallery_file.read_bytes()[:100])
    with pytest.raises(ImpastoError, match=r"gallery\.safetensors: it is damaged"):
        _ = impasto.load(folder, engine="onnxruntime").gallery
    graph = bytearray((folder / "content.onnx").read_bytes())
    graph[len(graph) // 2] ^= 0xFF
    (folder / "content.onnx").write_bytes(graph)
    with pytest.raises(ImpastoError, match="damaged"):
        impasto.load(folder)


def test_import_is_light():
    code = (
        "import sys, impasto; model = impasto.load(engine='onnxruntime'); "
        "import numpy; model.stylize(numpy.zeros((32, 32, 3), 'uint8'), 'hokusai-great-wave'); "
        "assert not {'torch', 'onnx', 'openvino', 'scipy'} & set(sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
