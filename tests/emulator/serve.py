"""Starts the patched emulator: `python serve.py --port 0` prints one JSON line with its URL once it answers.

It owns only the command line. What is patched, and why, is in the package beside it.
"""

import sys

from keyway_emulator.server import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
