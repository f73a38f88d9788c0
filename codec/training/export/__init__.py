"""From torch weights to bundles that the run time reads."""
