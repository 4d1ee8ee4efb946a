"""`parckit web`; tests/serve holds the tests of the page itself."""

from bundles import write_tiny_bundle
from parckit.contract import read_contract
from pictures import coloured
from web_package import write_package


def test_web_writes_a_page_and_says_how_to_serve_it(parckit, mistake, tmp_path, monkeypatch):
    bundle, out = write_tiny_bundle(tmp_path / "bundle"), tmp_path / "page"
    coloured("red").save(tmp_path / "a.png")
    assert "is not onnxruntime-web" in mistake("web", bundle, "--out", out, "--ort", tmp_path / "a.png")
    package = write_package(tmp_path / "ort.tgz", monkeypatch)
    printed = parckit("web", bundle, "--out", out, "--ort", package, "--examples", tmp_path / "a.png")
    assert f"python3 -m http.server --directory {out}" in printed
    assert read_contract(out) == read_contract(bundle)
    assert (out / "examples" / "1.png").is_file()
