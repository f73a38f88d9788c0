"""Synthetic graphics, drawn while training."""
