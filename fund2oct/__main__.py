"""``python -m fund2oct``."""

import sys

from fund2oct.cli import main

if __name__ == "__main__":
    sys.exit(main())
