import importlib
from pathlib import Path

import pytest


@pytest.fixture
def show(monkeypatch):
    monkeypatch.syspath_prepend(Path(__file__).parent.parent / "scripts")
    return importlib.import_module("show_rules").main


def test_an_image_of_one_family_is_what_its_seed_draws(show, tmp_path, capsys):
    images = [tmp_path / f"{name}.png" for name in ("first", "again", "other")]
    for image, seed in zip(images, (1, 1, 2), strict=True):
        assert show([str(image), "--family", "sand", "--seed", str(seed), "--count", "2", "--pairs", "2"]) == 0
    assert capsys.readouterr().out.splitlines()[:3] == ["sand: 2 pairs", "sand: 2 pairs", str(images[0])]
    first, again, other = (image.read_bytes() for image in images)
    assert first.startswith(b"\x89PNG") and first == again != other


def test_without_a_family_rows_are_of_several(show, tmp_path, capsys):
    assert show([str(tmp_path / "rules.png"), "--count", "6", "--pairs", "1"]) == 0
    assert len({line.split(":")[0] for line in capsys.readouterr().out.splitlines()[:-1]}) > 3


def test_an_unknown_family_is_told_and_the_known_ones_are_listed(show, tmp_path, capsys):
    assert show([str(tmp_path / "rules.png"), "--family", "nope"]) == 2
    error = capsys.readouterr().err
    assert "--family nope" in error and "sand" in error
    assert not list(tmp_path.iterdir())
