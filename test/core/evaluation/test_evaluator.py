import json
import re
import sys

import cv2
import numpy as np
import pytest
from support.engines import PERSON, SIZE, ThresholdEngine

from csknet_core.data.layouts import open_pairs
from csknet_core.errors import ConfigError, DataError
from csknet_core.evaluation.evaluator import evaluate
from csknet_core.evaluation.report import write_page
from csknet_core.modality import Mode


def write_pair(root, name, warm, true):
    thermal = np.zeros(SIZE, np.uint8)
    thermal[:, :warm] = 255
    labels = np.zeros(SIZE, np.uint8)
    labels[:, :true] = PERSON
    for kind, image in (
        ("rgb", cv2.merge([thermal] * 3)),
        ("thermal", thermal),
        ("labels", labels),
    ):
        (root / kind).mkdir(exist_ok=True)
        cv2.imwrite(str(root / kind / f"{name}.png"), image)


@pytest.fixture
def folder(tmp_path):
    write_pair(tmp_path, "1D", warm=20, true=20)
    write_pair(tmp_path, "2N", warm=20, true=40)
    return open_pairs(tmp_path)


def test_scores_are_those_of_the_maps(folder):
    scores = evaluate(ThresholdEngine(), folder).to_json()
    fused = scores["fused"]
    assert fused["per_class"]["person"] == pytest.approx(40 / 60)
    assert fused["accuracy"]["person"] == pytest.approx(40 / 60)
    assert fused["day"] == 1
    assert fused["night"] == pytest.approx((20 / 40 + 56 / 76) / 2)
    right = (96 + 76) / (2 * 96)
    assert fused["ece"] == pytest.approx(abs(200 / 255 - right))
    assert scores["optical_only"]["per_class"]["person"] == 0
    assert scores["optical_only"]["miou_of_table"] < scores["optical_only"]["miou"]


def test_scores_are_plain_data_and_keep_the_reliability_curve(folder):
    scores = evaluate(ThresholdEngine(), folder).to_json()
    assert json.loads(json.dumps(scores, allow_nan=False)) == scores
    curve = scores["fused"]["reliability"]
    at = 200 * 15 // 255  # the engine is always as certain
    assert {key: len(values) for key, values in curve.items()} == dict.fromkeys(curve, 15)
    assert curve["share"][at] == 1
    assert curve["accuracy"][at] == pytest.approx((96 + 76) / (2 * 96))
    assert curve["confidence"][0] is None


def test_every_frame_is_scored_and_limit_takes_the_first(folder):
    seen = []
    result = evaluate(ThresholdEngine(), folder, seen.append, limit=1)
    assert seen == [1]
    assert result.modes[Mode.FUSED].frames == {"1D": 1.0}


def test_a_folder_without_labels_is_refused(tmp_path, folder):
    for file in (tmp_path / "labels").iterdir():
        file.unlink()
    with pytest.raises(DataError, match="no labels"):
        evaluate(ThresholdEngine(), open_pairs(tmp_path))


@pytest.mark.parametrize("pairs", [1, 2])
def test_the_page_shows_numbers_and_frames_and_needs_nothing_else(folder, tmp_path, pairs):
    engine = ThresholdEngine()
    result = evaluate(engine, folder, limit=pairs)
    write_page(tmp_path / "out" / "page.html", result, engine, folder, "a <title>")
    page = (tmp_path / "out" / "page.html").read_text()
    assert "a &lt;title&gt;" in page
    assert f"{100 * result.modes[Mode.FUSED].parts['all'].miou():.1f}" in page
    assert page.count('class="strip"') == pairs
    assert not re.search(r'(src|href)="(?!data:)', page)
    assert page.count("<h2>Best frames</h2>") == pairs - 1


@pytest.mark.filterwarnings("error")
def test_the_page_bears_pairs_without_any_labelled_pixel_or_time_of_day(tmp_path):
    write_pair(tmp_path, "plain", warm=20, true=20)
    cv2.imwrite(str(tmp_path / "labels" / "plain.png"), np.full(SIZE, 255, np.uint8))
    engine, folder = ThresholdEngine(), open_pairs(tmp_path)
    result = evaluate(engine, folder)
    scores = result.to_json()["fused"]
    empty = ("miou", "day", "night", "ece", "boundary_iou", "mean_accuracy", "miou_of_table")
    assert [scores[key] for key in empty] == [None] * len(empty)
    write_page(tmp_path / "page.html", result, engine, folder, "nothing")
    page = (tmp_path / "page.html").read_text()
    assert 'class="strip"' not in page
    assert "nan" not in re.sub(r"base64,[^\"]*", "", page)


@pytest.mark.parametrize("package", ["jinja2", "matplotlib"])
def test_a_missing_package_is_named_with_the_cure(folder, tmp_path, monkeypatch, package):
    engine = ThresholdEngine()
    result = evaluate(engine, folder)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=f"pip install jinja2 matplotlib .*{package}"):
        write_page(tmp_path / "page.html", result, engine, folder, "a title")
