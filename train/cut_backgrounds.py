"""Cuts images without any pet out of Oxford-IIIT Pet, to measure false alarms."""

from petbox.cli import program
from petbox.data import backgrounds

if __name__ == "__main__":
    program.run(backgrounds.Options, backgrounds.main, about=backgrounds.__doc__)
