import pytest

from parckit.contract import InputError
from parckit.options import read_yaml


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("a: [", "not YAML"),
        ("out: 2025-02-30", "not YAML .*day"),
        ("seed: " + 5000 * "9", "not YAML .*digits"),
        (1000 * "[", "not YAML"),
        ("&a [*a]", "holds more than 100000 values"),
    ],
    ids=("unfinished", "date", "number", "nested", "endless"),
)
def test_what_cannot_be_read_is_refused_in_one_line(text, named, tmp_path):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    with pytest.raises(InputError, match=f"^--config {path}: {named}") as caught:
        read_yaml(path, name=f"--config {path}")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match=f"^{path}: {named}"):
        read_yaml(path)
