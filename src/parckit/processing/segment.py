"""Segmentation: the class of every pixel of a picture."""

IGNORED = 255
"""In place of a class: a pixel that nobody knows the class of, or that the network did not see."""
