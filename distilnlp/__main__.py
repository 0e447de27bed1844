"""`python -m distilnlp` is the command `distilnlp`."""

import sys

from distilnlp.cli.commands import main

if __name__ == "__main__":
    sys.exit(main())
