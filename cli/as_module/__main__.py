"""`python -m aei`: the command `aei`."""

from aei.cli.main import main

if __name__ == "__main__":
    main()
