"""Training (needs the [train] extra). Nothing at run time imports this."""

import warnings

# A dependency of compressai's says so at import; there is nothing a user could do about it.
warnings.filterwarnings("ignore", ".*torch.jit.script.* is deprecated", FutureWarning)
