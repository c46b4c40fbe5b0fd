"""Measure the meaning that a caption, a picture and a sound share, by any encoder (`protocols.MeaningEncoder`).

`built_in` reads the built-in model's latents, `reading` chooses between latents and decoded clips, `measure` returns
the cosines with the volume.
"""
