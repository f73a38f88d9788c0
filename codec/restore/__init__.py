"""Restoring networks at run time: what they take out of an image, or put right, before it is
coded."""

from .restorers import KINDS, Applied, Restorer, Restorers

__all__ = ["KINDS", "Applied", "Restorer", "Restorers"]
