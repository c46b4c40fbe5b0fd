"""The generative networks: dual U-Net with connectors, text encoders, codecs, and the folders that hold them."""
