"""Programs that the tests of the page need, and that not every machine has."""

import os

import pytest

REQUIRED = "PARCKIT_REQUIRE_BROWSER"
"""With this variable, a missing program is a failure: the gate must not skip the page's tests in silence."""


def needs_tool(tool: object, *, reason: str) -> pytest.MarkDecorator:
    """Return a mark that skips tests if a tool is not there, unless it is required."""
    return pytest.mark.skipif(not tool and not os.environ.get(REQUIRED), reason=reason)
