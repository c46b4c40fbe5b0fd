"""Measure how good a clip is: each metric is a plain function of tensors or `Sound`.

`saliency` (S_KL), `video`, `audio`, `sync` (AV-Align), `gram` and `frechet` measure, and of Ambisonics `directions`,
`sectors`, `energy_maps` (ViSAGe) and `openl3_passt`; `figure` turns values into a
figure with its definition, source, checkpoint, number of samples and uncertainty.
"""
