"""The trainable control module, its inputs by name, and its file."""

from ..protocols import Film
from .config import ControlConfig
from .field_head import FieldConfig, FieldHead
from .file import LoadedControl, add_head, fingerprint, load_control, save_control
from .inputs import map_maker, signal_maker, with_maps, with_named
from .module import ControlModule, encode_control, extend_control

__all__ = [
    "ControlConfig",
    "ControlModule",
    "FieldConfig",
    "FieldHead",
    "Film",
    "LoadedControl",
    "add_head",
    "encode_control",
    "extend_control",
    "fingerprint",
    "load_control",
    "map_maker",
    "save_control",
    "signal_maker",
    "with_maps",
    "with_named",
]
