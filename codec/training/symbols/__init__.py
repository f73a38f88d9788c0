"""How symbols are chosen and coded, as training and export see it."""
