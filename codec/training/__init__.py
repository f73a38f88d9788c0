"""Training (needs the [train] extra). Nothing at run time imports this."""
