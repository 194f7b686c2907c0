"""The process of a network: python -m xenia.net.service JSON, as `client.start_network` starts it."""

import sys

from xenia.net.service.process import main

if __name__ == "__main__":
    main(sys.argv[1])
