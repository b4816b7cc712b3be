"""Help pages, made from the commands' parameters: first what matters, and all of it on demand."""

from collections.abc import Iterator
from typing import Any

import typer

from charrnn.errors import UsageError
from charrnn.terminal.help_page import Section, write_help

OTHER = "Options"


def help_option(name: str, common: tuple[str, ...] = ()) -> Any:
    """Return the declaration of `--help`, or of `--help-all` for a command with many options.

    Args:
        name: `help` or `help_all`.
        common: Names of the parameters that `--help` shows; all if there are none.
    """
    show_all = name == "help_all" or not common

    def show(context: typer.Context, wanted: bool) -> None:
        if wanted and not context.resilient_parsing:
            write_page(context, common=() if show_all else common)
            raise typer.Exit

    every = "Show all options" if name == "help_all" else "Show this page"
    flags = ("--help-all",) if name == "help_all" else ("--help", "-h")
    return typer.Option(False, *flags, help=f"{every}.", callback=show, is_eager=True)


def write_page(context: typer.Context, common: tuple[str, ...]) -> None:
    """Write a command's help page."""
    command: Any = context.command
    sections = dict[str, list[tuple[str, str]]]()
    arguments, words = list[tuple[str, str]](), ["[OPTIONS]"]
    for parameter in command.params:
        if parameter.param_type_name == "argument":
            word = f"{parameter.metavar or parameter.name}{'...' * (parameter.nargs == -1)}"
            words.append(word if parameter.required else f"[{word}]")
            arguments.append((word, parameter.help or ""))
        elif not common or parameter.name in (*common, "help", "help_all"):
            heading = OTHER if common else parameter.rich_help_panel or OTHER
            sections.setdefault(heading, []).append((names(parameter), parameter.help or ""))
    ordered: list[Section] = [("Arguments", arguments)]
    ordered += [(heading, rows) for heading, rows in sections.items() if heading != OTHER]
    ordered.append((OTHER, in_order(sections.get(OTHER, []), command, common)))
    commands = getattr(command, "commands", {})
    if commands:
        words.append("COMMAND ...")
        rows = [(name, (one.help or "").splitlines()[0]) for name, one in commands.items()]
        ordered.insert(0, ("Commands", rows))
    usage = f"{context.command_path} {' '.join(words)}"
    write_help(usage, command.help or "", ordered, list(epilog(command, common)))


def in_order(
    rows: list[tuple[str, str]], command: Any, common: tuple[str, ...]
) -> list[tuple[str, str]]:
    """Return rows in the order of `common`."""
    if not common:
        return rows
    options = [one for one in command.params if one.param_type_name == "option"]
    found = {one.name: (names(one), one.help or "") for one in options}
    return [found[name] for name in (*common, "help", "help_all") if name in found]


def names(parameter: Any) -> str:
    """Return an option's flags and the placeholder for its value."""
    flags = sorted(parameter.opts, key=len)
    if parameter.secondary_opts:
        flags = [f"--[no-]{parameter.opts[0].removeprefix('--')}"]
    shown = ", ".join(flags)
    return shown if parameter.is_flag else f"{shown} {parameter.metavar or 'TEXT'}"


def epilog(command: Any, common: tuple[str, ...]) -> Iterator[str]:
    """Yield the paragraphs at the end of a help page."""
    if common:
        hidden = len(command.params) - len(common)
        yield f"{hidden} more options: {command.name and 'charrnn ' + command.name} --help-all"
    if command.epilog:
        yield command.epilog


def with_help(arguments: list[str]) -> list[str]:
    """Return the words of a command line, in which `help COMMAND` and nothing ask for help."""
    if arguments[:1] == ["help"]:
        return [*arguments[1:], "--help"]
    return arguments or ["--help"]


def usage_error(error: typer.TyperException) -> UsageError:
    """Return charrnn's own error for one that Typer found in the command line."""
    context = getattr(error, "ctx", None)
    path = context.command_path if context else "charrnn"
    wrong, known = getattr(error, "option_name", ""), list[str]()
    if wrong and context:
        known = [flag for one in context.command.params for flag in one.opts if flag[:2] == "--"]
        message = f"There is no option {wrong}."
        near = [flag for flag in known if flag.startswith(wrong)]
        if near:
            return UsageError(message, f"Did you mean {' or '.join(near)}?")
        return UsageError(message, f"See {path} --help.", meant=(wrong, known))
    return UsageError(one_line(error.format_message()), f"See {path} --help.")


def one_line(message: str) -> str:
    """Return a usage message as one line that ends with a full stop."""
    line = " ".join(message.split())
    return line if line.endswith((".", "?", ")")) else f"{line}."
