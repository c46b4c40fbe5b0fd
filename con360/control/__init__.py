"""The trainable control module, its inputs by name, and its file."""

from ..protocols import Film
from .config import ControlConfig
from .file import LoadedControl, fingerprint, load_control, save_control
from .inputs import map_maker, signal_maker, with_named
from .module import ControlModule, encode_control, extend_control

__all__ = [
    "ControlConfig",
    "ControlModule",
    "Film",
    "LoadedControl",
    "encode_control",
    "extend_control",
    "fingerprint",
    "load_control",
    "map_maker",
    "save_control",
    "signal_maker",
    "with_named",
]
