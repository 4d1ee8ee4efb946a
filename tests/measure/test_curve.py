import pytest

from parckit.contract import InputError
from parckit.measure.curve import CurveRow, read_curve

LOG = """epoch,lr,step,train_loss,val_loss,val_top1,other
,0.001,0,,,,
0,,9,2.25,,,7
0,,9,,1.5,41.25,
"""


def test_empty_cells_and_unknown_columns_are_left_out(tmp_path):
    (tmp_path / "metrics.csv").write_text(LOG)
    assert read_curve(tmp_path / "metrics.csv") == [
        CurveRow(step=0, lr=0.001),
        CurveRow(step=9, epoch=0, train_loss=2.25),
        CurveRow(step=9, epoch=0, val_loss=1.5, val_top1=41.25),
    ]


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "no column 'step'"),
        ("epoch,lr\n0,1\n", "no column 'step'"),
        ("step,lr\n0,fast\n", "line 2: .*'fast'"),
        ("lr,step\n1\n", "line 2"),
    ],
)
def test_another_file_is_refused_by_name(text, complaint, tmp_path):
    (tmp_path / "metrics.csv").write_text(text)
    with pytest.raises(InputError, match=rf"metrics\.csv: .*{complaint}"):
        read_curve(tmp_path / "metrics.csv")


def test_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(InputError, match=r"metrics\.csv: no such file"):
        read_curve(tmp_path / "metrics.csv")
