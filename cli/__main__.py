"""``python -m shmchan.cli`` is ``shmchan``."""

import sys

from shmchan.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
