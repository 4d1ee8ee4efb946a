import logging

import pytest

from parckit.contract import InputError
from parckit.options.renaming import rename_options

RENAMED = {"motor": "engine", "old.mixing": "new.mixing", "old.teacher": "new.teacher"}


@pytest.mark.parametrize(
    ("options", "present", "warnings"),
    [
        (["--motor", "fast", "a.png"], ["--engine=fast", "a.png"], ["--motor is now called --engine"]),
        (["--old.mixing=null"], ["--new.mixing=null"], ["--old.mixing is now called --new.mixing"]),
        (
            ["--old.mixing.mixup", "0.3"],
            ["--new.mixing.mixup=0.3"],
            ["--old.mixing.mixup is now called --new.mixing.mixup"],
        ),
        (["--old", '{"mixing": null}'], ["--new.mixing=null"], ["--old.mixing is now called --new.mixing"]),
        (
            ["--old={name: x, mixing: {mixup: 0.3}}"],
            ["--old={name: x}", "--new.mixing={mixup: 0.3}"],
            ["--old.mixing is now called --new.mixing"],
        ),
        (["--old={name: x}", "--older.mixing=1"], ["--old={name: x}", "--older.mixing=1"], []),
        (["a.png", "--size", "--data.source=b=c"], ["a.png", "--size", "--data.source=b=c"], []),
    ],
    ids=str,
)
def test_options_get_their_present_names_with_a_warning(options, present, warnings, caplog):
    with caplog.at_level(logging.WARNING):
        assert rename_options(options, RENAMED) == present
    assert caplog.messages == warnings


def test_a_group_may_stand_in_a_file(tmp_path):
    (tmp_path / "group.yaml").write_text("mixing: null\nname: x\n")
    assert rename_options([f"--old={tmp_path / 'group.yaml'}"], RENAMED) == ["--old={name: x}", "--new.mixing=null"]


@pytest.mark.parametrize(
    "options",
    [
        ["--motor=fast", "--engine=slow"],
        ["--engine", "slow", "--motor", "fast"],
        ["--old.mixing.mixup=2", "--new.mixing.mixup", "3"],
        ["--old.mixing=null", "--new.mixing.mixup=3"],
        ["--old.mixing.mixup=3", "--new={mixing: null}"],
        ["--old", "{mixing: {mixup: 2}}", "--new", "{mixing: {mixup: 3}}"],
    ],
    ids=str,
)
def test_a_key_under_its_former_and_its_present_name_is_refused(options):
    with pytest.raises(InputError, match=r"^--(motor|old)[.\w]*, --(engine|new)[.\w]*: .* is now called --.*new name$"):
        rename_options(options, RENAMED)


@pytest.mark.parametrize(
    ("options", "present"),
    [
        (["--old.teacher.name=x", "--new.teacher.weight=2"], ["--new.teacher.name=x", "--new.teacher.weight=2"]),
        (["--old.mixing=null", "--new={teacher: null}"], ["--new.mixing=null", "--new={teacher: null}"]),
        (
            ["--old={teacher: {name: x}}", "--new.teacher.weight=2"],
            ["--new.teacher={name: x}", "--new.teacher.weight=2"],
        ),
    ],
    ids=str,
)
def test_different_keys_may_have_former_and_present_names(options, present):
    assert rename_options(options, RENAMED) == present
