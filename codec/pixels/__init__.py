"""Pixels as people and networks see them: what is measured of an image, and made of it."""
