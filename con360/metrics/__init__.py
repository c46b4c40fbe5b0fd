"""Measure how good a clip is: each metric is a plain function of tensors or `Sound`.

`saliency` (S_KL), `video`, `audio`, `sync` (AV-Align), `gram` and `frechet` know what is measured; `figure` turns
values into a figure that says its definition, source, checkpoint, number of samples and uncertainty.
"""
