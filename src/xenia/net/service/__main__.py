"""The process of a network: python -m xenia.net.service JSON, as `client.start_network` starts it."""

import os
import sys

from xenia.net.service.process import main

if __name__ == "__main__":
    main(sys.argv[1])
    os._exit(0)  # its owner waits for it, and the interpreter would take 30 ms to take itself apart
