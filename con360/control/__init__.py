"""The trainable control module and its file."""

from .file import LoadedControl, fingerprint, load_control, save_control
from .film import Film
from .module import ControlConfig, ControlModule, encode_control

__all__ = [
    "ControlConfig",
    "ControlModule",
    "Film",
    "LoadedControl",
    "encode_control",
    "fingerprint",
    "load_control",
    "save_control",
]
