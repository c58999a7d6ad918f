"""The same as `petbox records`, for a checkout."""

from petbox.cli import program
from petbox.data import command

if __name__ == "__main__":
    program.run(command.Options, command.main, about=command.__doc__)
