"""Con360-AV: controllable audio-visual viewpoint generation from 360° video.

Importing this package is cheap: torch and the model libraries load when a function first needs them.
"""

__version__ = "0.1.0"
