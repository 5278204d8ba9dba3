"""``python -m shmchan`` is ``shmchan``."""

import sys

from shmchan.cli import main

if __name__ == "__main__":
    sys.exit(main())
