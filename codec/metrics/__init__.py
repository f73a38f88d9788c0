"""How visible differences are: SSIMULACRA 2 and Butteraugli, as their reference programs say."""
