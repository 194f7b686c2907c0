"""The process of a file server: python -m xenia.p9 JSON, as `client.start_server` starts it."""

import os
import sys

from xenia.p9.process import main

if __name__ == "__main__":
    main(sys.argv[1])
    os._exit(0)  # its owner waits for it
