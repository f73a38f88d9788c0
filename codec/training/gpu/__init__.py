"""Training of the main architecture on one CUDA GPU: `python -m aei.codec.training.gpu`.

The loss is that of `aei train --rounding --trellis`; what differs is how it is computed. Images
live on the device, and crops are gathered from there; a whole step, its optimiser included, is one
CUDA graph; and what a GPU is slow at in thousands of small operations (depthwise convolutions, the
rate of residuals, the search for a path through the trellis) are kernels in Triton, which comes
with torch on Linux. Triton's interpreter (TRITON_INTERPRET=1) runs them without a GPU, for tests.
"""
