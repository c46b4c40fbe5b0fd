"""Tools that run from a clone: the stand-in for ComfyUI, and the writers of workflows and pictures."""
