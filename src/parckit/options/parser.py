"""The parser of all commands and recipes: a typed signature becomes options, YAML keys and help (jsonargparse).

The room `options` is below most others: `parckit train` and `parckit.train` both need it, and so do `predict` and
`bench` on boards, which have no torch.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NoReturn, Union, get_args

import yaml
from jsonargparse import ArgumentParser, Namespace, get_loader, set_loader

from parckit.contract import InputError
from parckit.options.renaming import rename_options
from parckit.options.wording import plain_message

# jsonargparse reads every value as YAML first. A file name that is not UTF-8 is no YAML, and is taken as it is.
set_loader("yaml", get_loader("yaml"), exceptions=(yaml.YAMLError, UnicodeEncodeError))


class Parser(ArgumentParser):
    """A parser that reports mistakes in one line and accepts hyphens in the names of options.

    Attributes:
        shorthands: short name of an option -> its full name, such as `--data` -> `--data.source`.
        renamed: former name of a key -> today's name. Options with a former name are read, with a warning.
    """

    shorthands: Mapping[str, str] = {}
    renamed: Mapping[str, str] = {}

    def read(self, argv: list[str]) -> Namespace:
        """Parse the options and build their dataclasses.

        Raises:
            InputError: for anything that does not fit.
        """
        return self.build(self.parse(argv))

    def parse(self, argv: list[str]) -> Namespace:
        """Parse the options into plain values, as `save` writes them.

        Raises:
            InputError: for anything that does not fit.
        """
        _refuse_empty(argv)
        options = argv[: argv.index("--")] if "--" in argv else argv
        options_in_full = rename_options([self._in_full(option) for option in options], self.renamed)
        return self.parse_args([*options_in_full, *argv[len(options) :]])

    def prefer_whole_numbers(self) -> None:
        """Read `1` as a whole number where an option takes whole numbers and fractions.

        To Lightning's trainer, 1 is one batch and 1.0 is all of them. `typing` takes unions for equal that differ only
        in the order of their types, so the order is that of whichever library wrote such a union first.
        """
        for action in self._actions:
            kinds = list[object](get_args(getattr(action, "_typehint", None)))
            if {int, float} <= set(kinds) and kinds.index(float) < kinds.index(int):
                kinds[kinds.index(int)], kinds[kinds.index(float)] = float, int
                vars(action)["_typehint"] = Union[tuple(kinds)]  # noqa: UP007  # the types are known only now

    def check(self, config: Namespace, *, is_complete: bool = True) -> None:
        """Check values that did not come from the command line; jsonargparse itself lets every null pass.

        Args:
            config: what was parsed.
            is_complete: whether keys without a value are a fault.

        Raises:
            InputError: for an unknown key or a value that does not fit.
        """
        try:
            self.validate(config, skip_unset=not is_complete, skip_required=not is_complete)
        except (TypeError, KeyError) as error:
            self.error(str(error), error)

    def build(self, config: Namespace) -> Namespace:
        """Build the objects that the parsed groups describe.

        Raises:
            InputError: if one of them refuses a value.
        """
        try:
            return self.instantiate(config)
        except ValueError as error:
            # jsonargparse wraps the error if the object is optional.
            raise error.__cause__ if isinstance(error.__cause__, InputError) else error from None

    def refuse_idle(self, args: Namespace, rules: Iterable[tuple[str, bool, str]]) -> None:
        """Refuse options that would be without effect.

        Args:
            args: the options that were read.
            rules: name of an option, whether it has an effect here, and when it has none, such as `without --data`.

        Raises:
            InputError: if an option without effect has another value than its default.
        """
        for name, has_effect, when in rules:
            if not has_effect and args[name] != self.get_default(name):
                raise InputError(f"--{name} {args[name]}: has no effect {when}")

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise the message in plain words.

        Raises:
            InputError: always.
        """
        raise InputError(plain_message(message)) from ex

    def _in_full(self, arg: str) -> str:
        """Return an option with underscores in its name, and a shorthand under its full name."""
        name, equals, value = arg.partition("=")
        if name.startswith("--"):
            name = "--" + name[2:].replace("-", "_")
        return self.shorthands.get(name, name) + equals + value


def _refuse_empty(argv: Sequence[str]) -> None:
    """Refuse an empty argument: a variable of a script was empty, and as a path it would mean the working folder."""
    for before, arg in zip(("", *argv), argv, strict=False):
        name, equals, value = arg.partition("=")
        if arg.startswith("--") and equals and not value:
            raise InputError(f"{name}: is empty")
        if not arg:
            raise InputError(f"{before}: is empty" if before.startswith("--") else "an argument is empty")


def verb_parser(verb: str, *, description: str) -> Parser:
    """Return an empty parser for a verb. Abbreviated options are refused, because they may be typing mistakes."""
    return Parser(prog=f"parckit {verb}", description=description, allow_abbrev=False)
