"""The same as `petbox evaluate`, for a checkout."""

from petbox.cli import program
from petbox.evaluation import command

if __name__ == "__main__":
    program.run(command.Options, command.main, about=command.__doc__)
