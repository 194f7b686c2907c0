"""`python -m xenia` is the command `xenia`."""

from xenia.cli.main import main

if __name__ == "__main__":
    main()
