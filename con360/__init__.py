"""Con360-AV: controllable audio-visual viewpoint generation from 360° video.

`import con360` offers the names of `__all__` (docs/python.md). It is cheap: torch and the model libraries load when a
name is first used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .anew.redo import redo
    from .anew.views import generate_views
    from .checking.run import check
    from .door import ambisonics, load_model, make_conditions, place
    from .errors import InputError
    from .meaning.guide import MeaningGuideSettings
    from .meaning.guiding import Guiding
    from .meaning.load import load_meaning
    from .media.reader import read_panorama
    from .media.timelines import read_time_track
    from .media.writer import write_clip
    from .pipeline import crop_view, default_settings, generate
    from .placing.listen import listen
    from .placing.sources import PlacedSound
    from .placing.views import field_of_views, views_around
    from .records import (
        Conditions,
        Envelope,
        OnsetTrack,
        PanoramaClip,
        SaliencyMaps,
        Sound,
        SourcePoint,
        SourceTrack,
        TimeTrack,
        View,
        Viewpoint,
        ViewpointClip,
    )
    from .reframing.aim import Follow
    from .reframing.level import LevelSettings, level
    from .reframing.project import ProjectSettings, project
    from .reframing.run import ReframeSettings, reframe
    from .saliency.predict import clip_saliency
    from .sampling.settings import SamplerSettings
    from .sampling.when import TimeGuideSettings
    from .sounding.settings import AmbisonicsSettings
    from .viewpoint.choose import manual_viewpoint, viewpoints

__version__ = "0.1.0"

# Each name's module.
_HOMES = {
    "read_panorama": ".media.reader",
    "clip_saliency": ".saliency.predict",
    "viewpoints": ".viewpoint.choose",
    "manual_viewpoint": ".viewpoint.choose",
    "load_model": ".door",
    "make_conditions": ".door",
    "default_settings": ".pipeline",
    "generate": ".pipeline",
    "generate_views": ".anew.views",
    "redo": ".anew.redo",
    "load_meaning": ".meaning.load",
    "crop_view": ".pipeline",
    "reframe": ".reframing.run",
    "level": ".reframing.level",
    "check": ".checking.run",
    "project": ".reframing.project",
    "place": ".door",
    "ambisonics": ".door",
    "listen": ".placing.listen",
    "views_around": ".placing.views",
    "field_of_views": ".placing.views",
    "read_time_track": ".media.timelines",
    "write_clip": ".media.writer",
    "InputError": ".errors",
    "Conditions": ".records",
    "Envelope": ".records",
    "OnsetTrack": ".records",
    "PanoramaClip": ".records",
    "SaliencyMaps": ".records",
    "Sound": ".records",
    "PlacedSound": ".placing.sources",
    "SourcePoint": ".records",
    "SourceTrack": ".records",
    "TimeTrack": ".records",
    "View": ".records",
    "Viewpoint": ".records",
    "ViewpointClip": ".records",
    "Follow": ".reframing.aim",
    "ReframeSettings": ".reframing.run",
    "LevelSettings": ".reframing.level",
    "ProjectSettings": ".reframing.project",
    "SamplerSettings": ".sampling.settings",
    "TimeGuideSettings": ".sampling.when",
    "MeaningGuideSettings": ".meaning.guide",
    "Guiding": ".meaning.guiding",
    "AmbisonicsSettings": ".sounding.settings",
}

__all__ = [
    "AmbisonicsSettings",
    "Conditions",
    "Envelope",
    "Follow",
    "Guiding",
    "InputError",
    "LevelSettings",
    "MeaningGuideSettings",
    "OnsetTrack",
    "PanoramaClip",
    "PlacedSound",
    "ProjectSettings",
    "ReframeSettings",
    "SaliencyMaps",
    "SamplerSettings",
    "Sound",
    "SourcePoint",
    "SourceTrack",
    "TimeGuideSettings",
    "TimeTrack",
    "View",
    "Viewpoint",
    "ViewpointClip",
    "ambisonics",
    "check",
    "clip_saliency",
    "crop_view",
    "default_settings",
    "field_of_views",
    "generate",
    "generate_views",
    "level",
    "listen",
    "load_meaning",
    "load_model",
    "make_conditions",
    "manual_viewpoint",
    "place",
    "project",
    "read_panorama",
    "read_time_track",
    "redo",
    "reframe",
    "viewpoints",
    "views_around",
    "write_clip",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name], __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
