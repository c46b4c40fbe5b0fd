"""Train models of Ambisonics: the picture encoder and the codec, then the transformer, stage after stage."""
