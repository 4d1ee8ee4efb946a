"""Options of commands and keys of recipes, both made from typed signatures."""

from parckit.options.parser import Parser, verb_parser
from parckit.options.values import (
    ClassCount,
    Seed,
    Threads,
    beside,
    parse_counts,
    parse_names,
    parse_size,
    place_beside,
)
from parckit.options.yaml_file import read_yaml

__all__ = [
    "ClassCount",
    "Parser",
    "Seed",
    "Threads",
    "beside",
    "parse_counts",
    "parse_names",
    "parse_size",
    "place_beside",
    "read_yaml",
    "verb_parser",
]
