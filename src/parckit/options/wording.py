"""jsonargparse's messages, which it writes for programmers, in plain words."""

import re
import sys
from collections.abc import Callable
from dataclasses import fields

_Replacement = str | Callable[[re.Match[str]], str]

_REPLACED: tuple[tuple[str, _Replacement], ...] = (
    (r'^Parser key "([^"]+)":', r"--\1:"),
    (r"^--(\S+): Unable to load config '(.*?)' .*", r"--\1 \2: must be a group of keys"),
    (r"^Group '([^']+)' does not accept option '([^']+)'", r"'\1.\2' is an unknown key"),
    (r"^Option '([^']+)' is not accepted", r"'\1' is an unknown key"),
    (
        r"^--(\S+): Not of type \w+: (\S+) does not conform to restriction (.*)",
        lambda match: f"--{match[1]} {match[2]}: must be {match[3].replace('v', '')}",
    ),
    (r"Not of type \w+: .*'NoneType'", "Expected number. Got value: null"),
    (r"Not of type \w+: (?:invalid literal|could not convert).*: '(.*)'$", r"Expected number. Got value: \1"),
    (r"Expected a ", "Expected "),
    (r"typing\.Literal\[([^]]*)\]", r"\1"),
    (r"collections\.abc\.Mapping\[[^]]*\]", "a group of keys"),
    (r"<class '(parckit\.[\w.]+)\.(\w+)'>", lambda match: _describe_settings(match[1], match[2])),
    (r"<class 'NoneType'>", "null"),
    (r"<class '(?:[\w.]+\.)?(\w+)'>", r"\1"),
    (r"NestedArg\(key='(\w+)', val=(.*)\)", r"{'\1': \2}"),
)
"""Pattern -> what replaces it. A message that jsonargparse words in another way is shown as it is."""

_NUMBER_TYPES = r"\b(?:ClassCount|Seed|Threads|\w+Int|\w+Float)\b"
"""Names of the types of numbers with a range."""

_UNION = re.compile(
    r'(?:Parser key "(?P<key>[^"]+)":\s+)?Does not validate against any of the Union subtypes\s+'
    r"Subtypes: \[(?P<types>.*)\]\n\s*Errors:\n(?P<errors>.*)\n\s*Given value type: .*\n\s*Given value: (?P<value>.*)",
    re.DOTALL,
)
"""The message about a value that fits none of several types."""


def plain_message(message: str) -> str:
    """Return a message as one plain line."""
    if union := _UNION.search(message):
        name, errors = union["key"], re.split(r"^\s*- ", union["errors"], flags=re.MULTILINE)
        plain_errors = [" ".join(error.split()) for error in errors]
        types = re.sub(_NUMBER_TYPES, "number", union["types"])
        fault = _fault_in_group(plain_errors, name=name)
        if fault is None and (restriction := _restriction(plain_errors)):
            fault = f"--{name} {union['value']}: must be {restriction}"
        text = fault or f"--{name}: Expected {types}. Got value: {union['value']}"
    else:
        text = " ".join(line.strip(" -") for line in message.splitlines() if line.strip(" -"))
    for pattern, replacement in _REPLACED:
        text = re.sub(pattern, replacement, text)
    return " ".join(text.split())


def _fault_in_group(errors: list[str], *, name: str) -> str | None:
    """Return what is wrong inside a group of keys, if there is only one group that the value can mean.

    Args:
        errors: plain message of each type that the value does not fit.
        name: the group's option, without hyphens.
    """
    wrong = [f"--{name}.{error[2:]}" for error in errors if error.startswith("--")]
    wrong += [f"--{name}: {error}" for error in errors if "arguments are required" in error]
    unknown = [f"'{name}.{error[1:]}" for error in errors if error.endswith("is an unknown key")]
    # A group that does not know a key is not meant if another group knows all keys.
    faults = wrong or unknown
    return faults[0] if len(faults) == 1 else None


def _restriction(errors: list[str]) -> str | None:
    """Return the range of an optional number that is out of it; None if something else is wrong."""
    ranges = [error.partition("does not conform to restriction ")[2] for error in errors]
    accepted = [text.replace("v", "") for text in ranges if text]
    return f"{accepted[0]}, or null" if len(accepted) == 1 and len([*filter(None, errors)]) == 2 else None


def _describe_settings(module: str, name: str) -> str:
    """Return the keys of a settings class, which is loaded already."""
    keys = (field.name for field in fields(getattr(sys.modules[module], name)))
    return f"a group of keys ({', '.join(keys)})"
