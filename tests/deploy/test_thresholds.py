"""Thresholds of classes, from a file into the decoder of an artefact."""

import json
from pathlib import Path

import pytest

from parckit.contract import DecoderSpec, InputError, NetworkSpec, Preprocessing, from_plain, to_plain
from parckit.deploy.thresholds import read_thresholds
from parckit.processing import CLASSIFY, MULTILABEL

LABELS = ("ant", "bee", "cat")
PREPROCESSING = Preprocessing(size=(4, 4))
SPEC = NetworkSpec(task="multilabel", backbone="test_parcnet", labels=LABELS, preprocessing=PREPROCESSING)
BEST = {"labels": ["ant", "bee", "cat"], "tables": {"class_best_threshold": [0.1, None, 0.9]}}


def read(content: object, path: Path) -> DecoderSpec:
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return read_thresholds(path, MULTILABEL, SPEC)


@pytest.mark.parametrize(
    ("content", "thresholds"),
    [
        ({"name": "eval", "values": BEST}, (0.1, 0.5, 0.9)),
        ({"bee": 0.25, "ant": 1}, (1.0, 0.25, 0.5)),
    ],
    ids=["record", "by hand"],
)
def test_classes_get_their_thresholds_and_others_keep_the_usual_one(content, thresholds, tmp_path):
    decoder = read(content, tmp_path / "thresholds.json")
    assert decoder.defaults == {"top": 3, "threshold": thresholds}
    # It is the same after a way through a contract.
    assert from_plain(DecoderSpec, json.loads(json.dumps(to_plain(decoder))), name="decoder") == decoder


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"dog": 0.5}, "the network has no class 'dog'; it has ant, bee, cat"),
        ({"bee": 1.5}, "threshold=1.5 of class 'bee': must be a probability"),
        ({"bee": "high"}, "holds no thresholds"),
        ({"bee": True}, "holds no thresholds"),
        ({}, "holds no thresholds"),
        ([0.5, 0.5, 0.5], "holds no thresholds"),
        ({"values": {**BEST, "tables": {"confusion": []}}}, "holds no thresholds"),
        ({"values": {"p50_ms": 1.0}}, "holds no thresholds"),
        ("no JSON", "is no JSON"),
    ],
    ids=str,
)
def test_a_wrong_file_is_named(content, message, tmp_path):
    with pytest.raises(InputError, match=rf"^--thresholds {tmp_path / 't.json'}: .*{message}"):
        read(content, tmp_path / "t.json")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        read_thresholds(tmp_path / "none.json", MULTILABEL, SPEC)


def test_a_classifier_has_one_threshold(tmp_path):
    network = NetworkSpec(backbone="test_parcnet", labels=LABELS, preprocessing=PREPROCESSING)
    with pytest.raises(InputError, match="the network's task is classify; only multilabel has one per class"):
        read_thresholds(tmp_path / "t.json", CLASSIFY, network)
