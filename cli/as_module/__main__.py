"""`python -m aei`: the command `aei`."""

from aei.cli.main import process

if __name__ == "__main__":
    process()
