"""A network for grey images, from training to a bundle."""

import json

from parckit.measure import probing
from parckit.measure.memory import Loading

GREY = (
    "--model.kwargs.in_chans=1",
    "--data.preprocessing.channel_order=grey",
    "--data.preprocessing.mean=[0.4]",
    "--data.preprocessing.std=[0.3]",
)


def test_a_grey_network_comes_from_training_into_a_bundle(
    start_training, digit_folder, picture, tmp_path, parckit, monkeypatch
):
    # It takes a process that starts. tests/measure/test_memory.py starts some.
    monkeypatch.setattr(
        probing, "loading", lambda candidate: Loading(peak_bytes=1, load_seconds=1.0, first_seconds=1.0)
    )
    out, bundle, record = tmp_path / "run", tmp_path / "bundle", tmp_path / "record.json"
    parckit(*start_training, *GREY, "--out", out)
    assert "1 x 1 x 32 x 32" in parckit("export", out / "best.ckpt", "--out", bundle, "--opset=17")
    scores = []
    for model in (out / "best.ckpt", bundle):
        parckit("eval", model, "--data", digit_folder, "--data.split=all", "--record", record)
        scores.append(json.loads(record.read_text())["values"]["tables"])
    assert scores[0] == scores[1]
    answers = [json.loads(parckit("predict", model, picture, "--json")) for model in (out / "best.ckpt", bundle)]
    first, second = ([entry["class"] for entry in answer[str(picture)]] for answer in answers)
    assert first == second
    assert "images/s" in parckit("bench", bundle, "--warmup=0", "--seconds=0.01")
    assert "report.html" in parckit("report", out, "--data", digit_folder, "--data.split=all")
