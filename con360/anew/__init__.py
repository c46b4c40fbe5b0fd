"""Further work on a generated clip: more views of its scene over one sound, a span made anew, latents in a file."""
