import pytest

from parckit.contract import InputError
from parckit.measure.curve import CurveRow, read_curve, read_run

LOG = """epoch,lr,step,train_loss,val_loss,val_top1,other
,0.001,0,,,,
0,,9,2.25,,,7
0,,9,,1.5,41.25,
"""


def test_empty_cells_are_left_out(tmp_path):
    (tmp_path / "metrics.csv").write_text(LOG)
    assert read_curve(tmp_path / "metrics.csv") == [
        CurveRow(step=0, values={"lr": 0.001}),
        CurveRow(step=9, epoch=0, values={"train_loss": 2.25, "other": 7.0}),
        CurveRow(step=9, epoch=0, values={"val_loss": 1.5, "val_top1": 41.25}),
    ]


def test_the_logs_of_a_resumed_run_are_one_curve(tmp_path):
    # The first start was killed at step 9, after its checkpoint of step 5; the tenth log is the newest.
    for version, steps in {2: (0, 4, 9), 10: (5, 9, 12)}.items():
        path = tmp_path / "logs" / f"version_{version}" / "metrics.csv"
        path.parent.mkdir(parents=True)
        path.write_text("lr,step\n" + "".join(f"{version},{step}\n" for step in steps))
    rows = [(row.step, row.values["lr"]) for row in read_run(tmp_path)]
    assert rows == [(0, 2), (4, 2), (5, 10), (9, 10), (12, 10)]


def test_a_run_without_logs_has_an_empty_curve(tmp_path):
    assert read_run(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no column 'step'"),
        ("epoch,lr\n0,1\n", "no column 'step'"),
        ("step,lr\n0,fast\n", "line 2: .*'fast'"),
        ("lr,step\n1\n", "line 2"),
        ("lr,step\n1,2,3\n", "line 2"),
    ],
)
def test_another_file_is_refused_by_name(text, complaint, tmp_path):
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(InputError, match=rf"metrics\.csv: .*{complaint}"):
        read_curve(tmp_path / "metrics.csv")


def test_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"metrics\.csv: no such file"):
        read_curve(tmp_path / "metrics.csv")
