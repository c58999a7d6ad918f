"""Prints a script that completes commands, flags and values in your shell.

examples:
  petbox completion bash >> ~/.bashrc
  petbox completion zsh >> ~/.zshrc
  petbox completion fish > ~/.config/fish/completions/petbox.fish
"""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Annotated, Literal

from petbox.cli import main as command_line
from petbox.cli.options import POSITIONAL

# For zsh as well, whose bashcompinit runs it. A value or a file name is completed by the shell's
# own default where there is nothing to choose from.
BASH = """\
_petbox() {
    local cur="${COMP_WORDS[COMP_CWORD]}" typed="${COMP_WORDS[*]:1:$((COMP_CWORD - 1))}"
    local found= choices=
    case "$typed" in
@words@
    esac
    case "$typed" in
@values@
    esac
    if [[ -z $choices && $cur != -* ]]; then
        case "$typed" in @groups@) ;; *) found= ;; esac
    fi
    COMPREPLY=($(compgen -W "${choices:-$found}" -- "$cur"))
}
complete -o default -F _petbox petbox
"""
ZSH = "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n"


@dataclass(frozen=True)
class Options:
    shell: Annotated[Literal["bash", "zsh", "fish"], "bash, zsh or fish", POSITIONAL]


@dataclass(frozen=True)
class Command:
    name: str  # `endpoint up`; the empty name is petbox itself
    commands: dict[str, str]  # of a group: each with its summary
    arguments: list[argparse.Action]


def main(options: Options) -> None:
    commands = list(_commands("", command_line.parser()))
    if options.shell == "fish":
        print("\n".join(line for command in commands for line in _fish(command)))
    else:
        print(ZSH * (options.shell == "zsh") + _bash(commands), end="")


def _commands(name: str, parser: command_line.Parser) -> Iterator[Command]:
    parser.load()
    under = {word: command.summary for word, command in parser.commands.items()}
    yield Command(name, under, [a for a in parser._actions if a.dest != argparse.SUPPRESS])
    for word, command in parser.commands.items():
        yield from _commands(f"{name} {word}".strip(), command)


def _bash(commands: list[Command]) -> str:
    words, values, groups = [], [], []
    for one in commands:
        flags = [flag for a in one.arguments for flag in a.option_strings if flag[:2] == "--"]
        pattern = f'"{one.name}"'
        if one.commands:
            groups.append(pattern)
        else:
            pattern += f' | "{one.name} "*'
        words.append(f'        {pattern}) found="{" ".join([*one.commands, *flags])}" ;;')
        for argument in one.arguments:
            if argument.choices:
                flag = "".join(f'*" {flag}"' for flag in argument.option_strings[-1:])
                choices = " ".join(argument.choices)
                values.append(f'        "{one.name}"{flag}) choices="{choices}" ;;')
    script = BASH.replace("@words@", "\n".join(words)).replace("@values@", "\n".join(values))
    return script.replace("@groups@", " | ".join(groups))


def _fish(command: Command) -> Iterator[str]:
    seen = [f"__fish_seen_subcommand_from {word}" for word in command.name.split()]
    if command.commands:
        seen.append(f"not __fish_seen_subcommand_from {' '.join(command.commands)}")
    start = f"complete -c petbox -n {shlex.quote('; and '.join(seen))}"
    for word, summary in command.commands.items():
        yield f"{start} -f -a {word} -d {shlex.quote(summary)}"
    for argument in command.arguments:
        names = [
            f"-{'l' if flag[:2] == '--' else 's'} {flag.lstrip('-')}"
            for flag in argument.option_strings
        ]
        chosen = f"-x -a '{' '.join(argument.choices)}'" if argument.choices else ""
        value = chosen or ("-r" if argument.nargs != 0 and names else "")
        text = shlex.quote((argument.help or "").replace("%%", "%"))
        yield " ".join([start, *names, value, "-d", text])
