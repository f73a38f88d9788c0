"""The small network that tests of training build. Needs the [train] extra."""

from aei.codec.training.networks.latent_codec import NetworkConfig

TINY = NetworkConfig(
    latents=16, width8=16, blocks8=1, width16=24, blocks16=1, prior_width=16, prior_blocks=1,
    hyper_latents=8, hyper_context=8, anchors=3, width2=8, blocks2=1,
)  # fmt: skip
