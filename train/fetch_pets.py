"""The same as `petbox fetch`, for a checkout."""

from petbox.cli import program
from petbox.data.fetch import command

if __name__ == "__main__":
    program.run(command.Options, command.main, about=command.__doc__)
