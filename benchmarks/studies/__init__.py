"""Studies behind single pages of the documentation, each run as a module."""
