"""Options and recipes: what turns a typed signature into a command line, YAML keys and help."""

from parckit.options.parser import Parser, verb_parser
from parckit.options.values import Seed, Threads, beside, parse_counts, parse_size

__all__ = ["Parser", "Seed", "Threads", "beside", "parse_counts", "parse_size", "verb_parser"]
