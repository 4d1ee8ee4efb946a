"""What the server answers: the same as a `Predictor`, in every form, and also in batches."""

from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from bundles import write_tiny_bundle
from colour_detector import ColourSession
from parckit.runtimes import Predictor, open_session
from pixel_network import PixelSession
from serving import SECONDS, Client, GateSession, encoded, form, noise, serving

IMAGE = 'name="image"; filename="a.png"'


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return write_tiny_bundle(tmp_path_factory.mktemp("serve") / "bundle")


@pytest.fixture(scope="module")
def client(bundle):
    with serving(open_session(bundle)) as running:
        yield running


def answer_of(client: Client, picture: Image.Image) -> object:
    return client.predict(encoded(picture)).plain["answer"]


def test_a_body_and_a_form_get_the_predictors_answer(client, bundle):
    picture = noise()
    expected = {
        "task": "classify",
        "width": 60,
        "height": 40,
        "answer": Predictor(open_session(bundle))(picture).to_plain(),
    }
    body, kind = form(("name=note", b"no file"), (IMAGE, encoded(picture)))
    for reply in (client.predict(encoded(picture)), client.predict(body, Content_Type=kind)):
        assert (reply.status, reply.plain) == (200, expected)


def test_the_ending_of_a_name_does_not_count(client):
    body, kind = form(('name=image; filename="photo.jpg"', encoded(noise())))
    assert client.predict(body, Content_Type=kind).status == 200


def test_a_drawing_is_a_picture(client, bundle):
    reply = client.predict(encoded(noise()), query="?answer=drawing")
    assert reply.headers["content-type"] == "image/jpeg"
    expected = Predictor(open_session(bundle))(noise()).draw(noise())
    drawn = np.asarray(Image.open(BytesIO(reply.body)), dtype=int)
    # JPEG changes noise a lot, but a drawing of another answer, or none, differs far more where its text stands.
    assert drawn.shape == np.asarray(expected).shape
    assert np.abs(drawn - np.asarray(expected)).mean() < 30


def test_boxes_are_in_pixels_of_the_picture():
    picture = Image.new("RGB", (80, 60), "black")
    picture.paste((255, 0, 0), (10, 20, 30, 50))
    session = ColourSession((60, 80))
    with serving(session) as client:
        assert answer_of(client, picture) == Predictor(session)(picture).to_plain()


def test_masks_have_the_pictures_size():
    picture, session = noise(height=50, width=70), PixelSession((32, 48))
    with serving(session) as client:
        assert answer_of(client, picture) == Predictor(session)(picture).to_plain()
        reply = client.predict(encoded(picture), query="?answer=mask")
    assert reply.headers["content-type"] == "image/png"
    np.testing.assert_array_equal(np.asarray(Image.open(BytesIO(reply.body))), Predictor(session)(picture).mask)


@pytest.mark.parametrize("batch_size", [None, 3])
def test_batches_change_no_answer(batch_size):
    session = GateSession(batch_size=batch_size)
    pictures = [noise(seed) for seed in range(12)]
    expected = [Predictor(GateSession())(picture).to_plain() for picture in pictures]
    with serving(session, batch=5, wait_ms=50) as client, ThreadPoolExecutor(12) as pool:
        answers = list(pool.map(lambda picture: answer_of(client, picture), pictures))
    # The order of a sum of float32 may depend on the batch.
    for answer, right in zip(answers, expected, strict=True):
        assert [score["class"] for score in answer] == [score["class"] for score in right]
        assert [s["probability"] for s in answer] == pytest.approx([s["probability"] for s in right], rel=1e-5)
    _, *batches = session.batches  # the first one warmed it up
    assert sum(batches) == 12
    assert 1 < max(batches) <= (batch_size or 5)


def test_several_sessions_share_the_work():
    sessions = [GateSession(batch_size=1), GateSession(batch_size=1)]
    with serving(sessions, decoders=2) as client, ThreadPoolExecutor(2) as pool:
        sessions[0].gate.clear()
        replies = [pool.submit(answer_of, client, noise()) for _ in range(2)]
        # One picture waits in the first session; the other one does not wait for it.
        done, waiting = wait(replies, timeout=SECONDS, return_when=FIRST_COMPLETED)
        assert (len(done), len(waiting)) == (1, 1)
        sessions[0].gate.set()
        assert replies[0].result() == replies[1].result()


def test_a_broken_engine_is_the_servers_fault_and_the_server_goes_on(caplog):
    session = GateSession()
    with serving(session) as client:
        session.is_broken = True
        reply = client.predict(encoded(noise()))
        assert (reply.status, "log" in reply.error) == (500, True)
        assert [record.getMessage() for record in caplog.records] == [
            "a picture was not answered: RuntimeError: the engine gives up"
        ]
        session.is_broken = False
        assert client.predict(encoded(noise())).status == 200
        assert client.get("/readyz").status == 200


def test_numbers_for_prometheus(client):
    client.predict(encoded(noise()))
    client.predict(b"no picture")
    client.send("POST", "/other/predict", b"")
    text = client.get("/metrics").body.decode()
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if not line.startswith("#"))
    assert float(values['parckit_responses_total{status="200"}']) >= 1
    assert float(values['parckit_responses_total{status="400"}']) >= 1
    assert float(values["parckit_response_seconds_count"]) == float(values['parckit_responses_total{status="200"}'])
    assert float(values["parckit_accepted"]) == 0
    assert 'parckit_responses_total{status="404"}' not in values
    assert float(values["parckit_batch_images_sum"]) == float(values["parckit_batch_images_count"]) >= 1
