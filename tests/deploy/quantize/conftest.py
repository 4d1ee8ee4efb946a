"""Bundles and pictures that are quantized."""

import shutil
from pathlib import Path

import pytest

from conv_bundle import conv_graph, spoil, write_colours, write_conv_bundle


@pytest.fixture(scope="module")
def colours(tmp_path_factory) -> Path:
    return write_colours(tmp_path_factory.mktemp("colours"))


@pytest.fixture(scope="module")
def floats(tmp_path_factory) -> Path:
    return write_conv_bundle(tmp_path_factory.mktemp("floats") / "bundle")


@pytest.fixture
def bundle(floats, tmp_path) -> Path:
    return shutil.copytree(floats, tmp_path / "bundle")


@pytest.fixture
def spoiled(tmp_path) -> Path:
    return write_conv_bundle(tmp_path / "spoiled", spoil(conv_graph()))
