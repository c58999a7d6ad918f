"""The same as `petbox toy`, for a checkout."""

from petbox.cli import program
from petbox.data.toy import command

if __name__ == "__main__":
    program.run(command.Options, command.main, about=command.__doc__)
