"""The version of the package: the only place that says it."""

VERSION = "0.2.0"
