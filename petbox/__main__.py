"""`python -m petbox`."""

import sys

from petbox.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
