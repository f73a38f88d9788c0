"""Rate-distortion benchmarks on real files: datasets, peer codecs, metrics, BD-rate, plots."""
