"""Style as augmentation: what is painted, what is drawn, and where it has to work."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader, Dataset

import impasto
from impasto import ImpastoError
from impasto.model import find_model
from impasto.torch import RandomStyle


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    """Six pictures, uint8 [6, 3, 40, 52], of sides that are no multiples of 8 and 12."""
    from skimage import data

    photo = torch.from_numpy(data.astronaut().copy()).permute(2, 0, 1)
    return torch.stack([photo[:, top : top + 120 : 3, 150:306:3] for top in range(0, 300, 50)])


def test_a_batch_is_painted_as_each_picture_alone(images: torch.Tensor) -> None:
    augment, model = RandomStyle(), impasto.load(engine="torch")
    styles = list(model.gallery.values())[: len(images)]
    strength = torch.linspace(0, 1, len(images))
    with torch.no_grad():
        painted = augment.paint(images, torch.stack([torch.from_numpy(style.tensor) for style in styles]), strength)
    assert painted.dtype == torch.uint8
    for image, style, share, found in zip(images, styles, strength, painted, strict=True):
        alone = model.run_network(image.permute(1, 2, 0).numpy(), style.tensor[None], float(share))
        assert np.abs(found.permute(1, 2, 0).numpy().astype(int) - alone).max() <= 1


def test_styles_are_drawn_around_the_known_ones() -> None:
    names = ["munch-scream", "klimt-kiss", "hokusai-great-wave"]
    gallery = find_model().gallery
    known = np.stack([gallery[name].tensor for name in names]).astype(np.float64)

    exact = RandomStyle(1, styles=names, spread=0, generator=seeded()).draw(300)[1].numpy()
    apart = np.abs(exact[:, None] / known - 1).max(2)
    assert apart.min(1).max() < 1e-4  # each is one of them
    assert np.bincount(apart.argmin(1)).min() > 70

    is_std = np.concatenate([np.arange(2 * channels) >= channels for channels in find_model().channels])
    flat = np.where(is_std, np.log(np.where(is_std, known, 1)), known)
    for spread in (0.5, 1.0):
        which, drawn, strength = RandomStyle(0.5, styles=names, spread=spread, generator=seeded()).draw(4_000)
        assert abs(len(which) / 4_000 - 0.5) < 0.03
        assert 0.3 <= strength.min() < 0.31 < 0.99 < strength.max() <= 1
        assert (drawn[:, torch.from_numpy(is_std)] > 0).all()
        found = np.where(is_std, np.log(np.where(is_std, drawn.numpy(), 1)), drawn.numpy()).astype(np.float64)
        # Along the differences of the three styles, where all of them lie.
        axes = np.linalg.svd(flat - flat.mean(0), full_matrices=False)[2][:2]
        away, spreads = (found - flat.mean(0)) @ axes.T, (flat - flat.mean(0)) @ axes.T
        wanted = (1 - spread**2) * np.cov(spreads.T, bias=True) + spread**2 * np.cov(spreads.T)
        assert np.abs(np.cov(away.T) - wanted).max() < 0.08 * wanted.max()
        assert np.linalg.norm(found - flat.mean(0) - away @ axes, axis=1).max() < 1e-3


def test_the_same_generator_paints_the_same(images: torch.Tensor) -> None:
    painted = [RandomStyle(generator=seeded(seed))(images) for seed in (1, 1, 2)]
    assert torch.equal(painted[0], painted[1])
    assert not torch.equal(painted[0], painted[2])
    torch.manual_seed(5)
    plain = RandomStyle()(images)
    torch.manual_seed(5)
    assert torch.equal(RandomStyle()(images), plain)
    untouched = [torch.equal(one, image) for one, image in zip(painted[0], images, strict=True)]
    assert 0 < sum(untouched) < len(images)


def test_what_comes_in_comes_out(images: torch.Tensor) -> None:
    labels = torch.arange(6)
    augment = RandomStyle(p=1)
    floats = (images / 255).requires_grad_()
    for batch in (images, floats, floats.half(), images[0], floats[:0], images[:, :, :5, :7]):
        before = batch.detach().clone()
        painted, same = augment(batch, labels)
        assert same is labels
        assert (painted.shape, painted.dtype, painted.requires_grad) == (batch.shape, batch.dtype, False)
        assert torch.equal(batch, before)
    assert not any(parameter.requires_grad for parameter in augment.parameters())
    assert torch.equal(RandomStyle(p=0)(images), images)
    assert not augment.train().network.training
    draw = {"p": 1, "styles": ["munch-scream"], "spread": 0, "strength": 1}
    fine, usual = RandomStyle(stroke_size=0.5, **draw)(images), RandomStyle(**draw)(images)
    assert not torch.equal(fine, usual)


class Pictures(Dataset):
    def __init__(self, images: torch.Tensor) -> None:
        self.images, self.augment = images, RandomStyle(p=1, generator=seeded())

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> torch.Tensor:
        return self.augment(self.images[0])  # the same picture, so that what differs is the style


@pytest.mark.slow
def test_workers_of_a_loader_draw_each_for_themselves(images: torch.Tensor) -> None:
    pictures = Pictures(images)
    pictures[0]  # PyTorch's threads run before the fork

    def epochs(context: str, count: int = 2) -> torch.Tensor:
        loader = DataLoader(
            pictures, batch_size=3, num_workers=2, multiprocessing_context=context, generator=seeded(), timeout=300
        )
        return torch.cat([torch.cat(list(loader)) for _ in range(count)])

    found = epochs("fork")
    assert len({one.numpy().tobytes() for one in found}) == len(found)
    assert torch.equal(epochs("fork"), found)
    assert (epochs("spawn", 1).int() - found[: len(images)].int()).abs().max() <= 1  # of as many threads as it likes


@pytest.mark.slow
def test_it_compiles_and_pickles(images: torch.Tensor) -> None:
    augment = RandomStyle(p=0.5, generator=seeded())
    copy = pickle.loads(pickle.dumps(augment))
    compiled = torch.compile(pickle.loads(pickle.dumps(augment)), backend="aot_eager")
    for batch in (images, images[:4]):
        painted = augment(batch)
        assert torch.equal(copy(batch), painted)
        assert (compiled(batch).int() - painted.int()).abs().max() <= 1


def test_styles_of_a_folder_and_of_a_list(pictures, images: torch.Tensor, tmp_path) -> None:
    model = impasto.load(engine="onnxruntime")
    (tmp_path / "more").mkdir()
    brick = model.style(pictures / "brick.png")
    (tmp_path / "more" / "grass.PNG").write_bytes((pictures / "grass.png").read_bytes())
    brick.save(tmp_path / "brick.style")
    (tmp_path / "notes.txt").write_text("not a style")
    found = RandomStyle(styles=tmp_path)
    assert found.known.shape == (2, 1152)
    listed = RandomStyle(styles=[brick, pictures / "grass.png"])
    assert torch.equal(found.known, listed.known)
    (tmp_path / "empty").mkdir()
    for styles, said in [
        (tmp_path / "empty", "no styles in"),
        (tmp_path / "absent", "there is no folder"),
        ([], r"no styles in \[\]"),
        (["munch-screm"], "did you mean munch-scream"),
    ]:
        with pytest.raises(ImpastoError, match=said):
            RandomStyle(styles=styles)


@pytest.mark.parametrize(
    ("batch", "said"),
    [
        (torch.zeros(2, 1, 32, 32), r"must be \[N, 3, H, W\] or \[3, H, W\], not \[2, 1, 32, 32\]"),
        (torch.zeros(2, 3, 32, 32, dtype=torch.int64), "must be uint8 or floating point, not torch.int64"),
        (torch.full((3, 32, 32), -1.5), r"must be in 0\.\.1, not -1\.5\.\.-1\.5: augment before normalising"),
        (torch.full((3, 32, 32), torch.nan), r"must be in 0\.\.1"),
        (torch.zeros(3, 32, 32, device="meta"), r"on meta, RandomStyle on cpu: take it there with \.to\('meta'\)"),
    ],
)
def test_what_is_no_batch_of_pictures_is_told(batch: torch.Tensor, said: str) -> None:
    with pytest.raises(ImpastoError, match=said):
        RandomStyle(p=0)(batch)


@pytest.mark.parametrize("options", [{"p": 1.5}, {"strength": (0.8, 0.2)}, {"spread": -1}, {"stroke_size": 0}])
def test_settings_out_of_range_are_told(options) -> None:
    with pytest.raises(ImpastoError, match="must be"):
        RandomStyle(**options)
