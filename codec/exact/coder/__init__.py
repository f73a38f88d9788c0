"""The range coder: whole numbers to bytes and back, each under its table of frequencies."""
