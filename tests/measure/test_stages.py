import numpy as np

from bundles import add_pairs, write_tiny_bundle
from parckit.measure.stages import sample_picture, time_stages
from parckit.runtimes import open_session


def test_the_stages_of_an_answer_are_timed_apart(tmp_path):
    bundle = add_pairs(write_tiny_bundle(tmp_path / "bundle"), made_in=tmp_path / "made")
    path = tmp_path / "picture.png"
    sample_picture().save(path)
    sessions = {name: open_session(bundle, artefact=name) for name in ("onnx-fp32", "pairs")}
    for picture in (sample_picture(), path):
        stages = time_stages(sessions, picture=picture, seconds=0.001)
        assert stages.keys() == sessions.keys()
        for entry in stages.values():
            assert min(entry.preprocessing_ms, entry.network_ms, entry.decoding_ms) > 0


def test_the_sample_is_no_noise_and_always_the_same():
    pixels = np.asarray(sample_picture()).astype(int)
    assert pixels.shape == (480, 640, 3)
    assert (pixels == np.asarray(sample_picture())).all()
    # Neighbours are alike: independent levels from 0 to 255 would differ by 85 on average.
    assert np.abs(np.diff(pixels, axis=1)).mean() < 20
