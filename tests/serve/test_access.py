import pytest

from parckit.contract import InputError
from parckit.serve.access import TOKEN_VARIABLE, read_token
from serving import GateSession, encoded, noise, serving

TOKEN = "a-Secret_1"  # noqa: S105  # of a server that runs for this test


@pytest.fixture(scope="module")
def client():
    with serving(GateSession(), token=TOKEN) as running:
        yield running


@pytest.mark.parametrize("sent", [None, "Bearer", "Bearer a-Secret_2", f"Basic {TOKEN}", TOKEN, "Bearer \xe9"])
def test_without_the_token_nobody_is_answered(client, sent):
    headers = {} if sent is None else {"Authorization": sent}
    for reply in (client.predict(encoded(noise()), **headers), client.get("/metrics", **headers)):
        assert (reply.status, reply.headers["www-authenticate"]) == (401, "Bearer")
        assert TOKEN not in reply.error


def test_with_the_token_everybody_is(client):
    headers = {"Authorization": f"Bearer {TOKEN}"}
    assert client.predict(encoded(noise()), **headers).status == client.get("/metrics", **headers).status == 200


def test_probes_need_no_token(client):
    assert client.get("/healthz").status == client.get("/readyz").status == 200


def test_a_token_comes_from_a_file_or_the_environment(tmp_path, monkeypatch):
    (tmp_path / "token").write_text(f"{TOKEN}\n")
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert read_token(None) is None
    assert read_token(tmp_path / "token") == TOKEN
    monkeypatch.setenv(TOKEN_VARIABLE, "other")
    assert read_token(None) == "other"
    with pytest.raises(InputError, match="give one of them"):
        read_token(tmp_path / "token")


@pytest.mark.parametrize("text", ["", "\n", "two words", "two\nlines", "ünïcode", "\0"])
def test_a_token_that_no_header_can_carry_is_refused_and_not_shown(text, tmp_path, monkeypatch):
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    (tmp_path / "token").write_text(text, encoding="utf-8")
    with pytest.raises(InputError, match=r"token: must hold a token") as caught:
        read_token(tmp_path / "token")
    assert not text.strip() or text not in str(caught.value)
