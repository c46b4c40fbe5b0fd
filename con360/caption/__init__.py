"""The scene in words: typed, plain, or written by models that look at the panorama's cube faces.

Light at import: the stages by models (`faces`, `merge` and what they use) load torch and transformers when they run.
"""

from .plain import MAX_CHARACTERS, plain_caption, typed_caption

__all__ = ["MAX_CHARACTERS", "plain_caption", "typed_caption"]
