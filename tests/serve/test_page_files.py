"""The folder of a page, and the package of ONNX Runtime Web, without a network."""

import io
import json
import urllib.error
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundles import add_pairs, add_raw_pixels, write_tiny_bundle
from parckit.contract import InputError, read_contract
from parckit.processing import class_colours
from parckit.runtimes import load
from parckit.serve import page_engine
from parckit.serve.page_files import write_page
from pictures import coloured
from repository import ROOT
from web_package import FILES, write_package


@pytest.fixture
def package(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return write_package(tmp_path / "ort.tgz", monkeypatch)


@pytest.fixture
def bundle(tmp_path) -> Path:
    return write_tiny_bundle(tmp_path / "bundle")


def test_the_page_is_the_bundle_and_the_files_beside_it(tmp_path, bundle, package):
    out = tmp_path / "page"
    contract = write_page(bundle, out, package=package)
    assert read_contract(out) == contract == read_contract(bundle)
    assert {path.name: path.read_bytes() for path in (out / "ort").iterdir()} == FILES
    static = ROOT / "src" / "parckit" / "serve" / "page"
    assert all((out / path.name).read_bytes() == path.read_bytes() for path in static.iterdir())
    facts = json.loads((out / "page.json").read_text())
    assert facts["onnxruntime_web"] == page_engine.VERSION
    assert [tuple(colour) for colour in facts["colours"]] == list(class_colours())
    assert facts["examples"] == []
    # The folder is a bundle, so its answers in Python are those of the page.
    picture = coloured("red")
    assert str(load(out)(picture)) == str(load(bundle)(picture))


def test_every_file_that_a_module_or_the_page_names_is_there(tmp_path, bundle, package):
    out = tmp_path / "page"
    write_page(bundle, out, package=package)
    names = {
        line.split('"')[-2]
        for path in out.glob("*.mjs")
        for line in path.read_text().splitlines()
        if ' from "./' in line
    }
    assert len(names) > 10
    assert all((out / name).is_file() for name in names)
    page = (out / "index.html").read_text()
    assert "://" not in page
    assert all((out / name).is_file() for name in ("page.css", "page.mjs") if name in page)


def test_examples_are_copied_and_other_formats_become_png(tmp_path, bundle, package):
    photo, scan = tmp_path / "photo.jpg", tmp_path / "scan.tif"
    coloured("red").save(photo)
    coloured("blue").save(scan)
    write_page(bundle, tmp_path / "page", package=package, examples=[photo, scan])
    examples = json.loads((tmp_path / "page" / "page.json").read_text())["examples"]
    assert examples == [{"file": "examples/1.jpg", "name": "photo"}, {"file": "examples/2.png", "name": "scan"}]
    assert (tmp_path / "page" / "examples" / "1.jpg").read_bytes() == photo.read_bytes()
    with Image.open(tmp_path / "page" / "examples" / "2.png") as image:
        np.testing.assert_array_equal(np.asarray(image), np.asarray(coloured("blue")))


def test_a_page_is_replaced_but_no_other_file(tmp_path, bundle, package):
    out = tmp_path / "page"
    coloured("red").save(tmp_path / "a.png")
    write_page(bundle, out, package=package, examples=[tmp_path / "a.png"])
    write_page(bundle, out, package=package)
    assert not (out / "examples").exists()
    (out / "CNAME").write_text("example.org")
    with pytest.raises(InputError, match=r"has a file that is not of a page, CNAME; name a new or empty folder"):
        write_page(bundle, out, package=package)
    assert (out / "CNAME").exists()
    with pytest.raises(InputError, match=r"has a file that is not of a page, contract\.json"):
        write_page(bundle, bundle, package=package)
    for content in ("{}", "[]", "no JSON", '{"files": 5}', '{"files": [[1]]}'):
        (out / "page.json").write_text(content)
        with pytest.raises(InputError, match=r"its page\.json is not of a page"):
            write_page(bundle, out, package=package)
    (tmp_path / "empty").mkdir()
    write_page(bundle, tmp_path / "empty", package=package)
    with pytest.raises(InputError, match="is a file; name a folder"):
        write_page(bundle, package, package=package)


def test_what_the_page_cannot_run_is_refused(tmp_path, bundle, package):
    add_pairs(bundle, made_in=tmp_path / "pairs")
    with pytest.raises(
        InputError, match="'pairs': takes 2 images at once; the page has one: export with --batch_size 1"
    ):
        write_page(bundle, tmp_path / "page", package=package, artefact="pairs")
    with pytest.raises(InputError, match="artefact='none': the bundle has onnx-fp32, pairs"):
        write_page(bundle, tmp_path / "page", package=package, artefact="none")
    with pytest.raises(InputError, match="--examples: 31 pictures; at most 30"):
        write_page(bundle, tmp_path / "page", package=package, examples=[tmp_path / "a.png"] * 31)
    with pytest.raises(InputError, match=r"a\.png: no such image file"):
        write_page(bundle, tmp_path / "page", package=package, examples=[tmp_path / "a.png"])
    assert not (tmp_path / "page").exists()


def test_another_artefact_by_name(tmp_path, bundle, package):
    add_raw_pixels(bundle, made_in=tmp_path / "raw")
    contract = write_page(bundle, tmp_path / "page", package=package, artefact="raw-pixels")
    assert [artefact.name for artefact in contract.artefacts] == ["raw-pixels"]
    assert read_contract(tmp_path / "page") == contract


class Answer(io.BytesIO):
    """What `urlopen` returns."""


def test_the_package_is_fetched_into_the_cache(package, monkeypatch):
    monkeypatch.setattr(page_engine, "urlopen", lambda url, timeout: Answer(package.read_bytes()))
    assert page_engine.fetch_package() == page_engine.cached_package()
    page_engine.check_package(page_engine.cached_package(), name="cached")


def test_a_download_that_is_not_the_package_leaves_nothing(package, monkeypatch):
    monkeypatch.setattr(page_engine, "urlopen", lambda url, timeout: Answer(b"<html>login</html>"))
    with pytest.raises(InputError, match=rf"is not onnxruntime-web {page_engine.VERSION} \(sha512 differs\)"):
        page_engine.fetch_package()
    assert not page_engine.cached_package().exists()


def test_without_a_network_the_error_names_the_way_out(package, monkeypatch):
    def refuse(url: str, timeout: float) -> None:
        raise urllib.error.URLError("no route")

    monkeypatch.setattr(page_engine, "urlopen", refuse)
    with pytest.raises(InputError, match=r"cannot be fetched \(.*no route.*\); fetch it .* with --ort"):
        page_engine.fetch_package()


def test_a_missing_package_is_named(tmp_path):
    with pytest.raises(InputError, match=r"--ort x\.tgz: no such file; needed is https://registry\.npmjs\.org/"):
        page_engine.check_package(tmp_path / "x.tgz", name="--ort x.tgz")
