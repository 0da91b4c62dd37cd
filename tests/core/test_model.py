"""A model's card is read and written without loss, and a damaged one is told in a line."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from impasto.errors import ImpastoError
from impasto.model import Card, Model, find_model, shipped_models


@pytest.mark.parametrize("model", shipped_models(), ids=lambda model: model.name)
def test_shipped_cards_read_and_written_stay_the_same_to_the_byte(model: Model, tmp_path: Path) -> None:
    model.card.write(tmp_path)
    assert (tmp_path / "card.json").read_bytes() == (model.folder / "card.json").read_bytes()
    assert Card.read(tmp_path) == model.card


def test_keys_of_another_version_survive(tmp_path: Path) -> None:
    card = {"name": "mine", "network": "compact", "adaptive": [8], "fingerprint": "0" * 16, "mood": ["blue"], "more": 1}
    (tmp_path / "card.json").write_text(json.dumps(card))
    Card.read(tmp_path).write(tmp_path)
    written = json.loads((tmp_path / "card.json").read_text())
    assert {key: value for key, value in written.items() if value} == card


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda card: "{", "Expecting property name"),
        (lambda card: "[]", "it holds no keys"),
        (lambda card: json.dumps({**card, "fingerprint": None}), "its fingerprint is missing or damaged"),
        (lambda card: json.dumps({**card, "adaptive": ["many"]}), "its adaptive is missing or damaged"),
        (lambda card: json.dumps({**card, "int8": True}), "its int8 is missing or damaged"),
        (lambda card: json.dumps({key: card[key] for key in card if key != "name"}), "its name is missing or damaged"),
    ],
)
def test_a_damaged_card_is_one_line(damage, said: str, tmp_path: Path) -> None:
    shutil.copytree(find_model().folder, tmp_path / "mine")
    path = tmp_path / "mine" / "card.json"
    path.write_text(damage(json.loads(path.read_text())))
    with pytest.raises(ImpastoError, match=rf"^{path} is not a model card: {said}") as raised:
        find_model(tmp_path / "mine")
    assert "\n" not in str(raised.value)
