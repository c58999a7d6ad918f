"""Cuts images without any pet out of Oxford-IIIT Pet, to train on or to measure false alarms."""

from petbox.cli import program
from petbox.data import cut_backgrounds

if __name__ == "__main__":
    program.run(cut_backgrounds.Options, cut_backgrounds.main, about=cut_backgrounds.__doc__)
