"""Add up Ambisonic fields, turn them, and bring them to two ears."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..con360.errors import InputError
from . import sockets
from .host import files, folders, runtime
from .viewpoint import PITCH, YAW

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor

    from ..con360.records import Sound
    from ..con360.sound.headphones import EarFilters

FIELDS = ["first", "second", "third", "fourth"]
LISTENER, SCENE = "the listener", "the scene"
# Samples that are turned at once.
BLOCK = 1 << 16
KEMAR = "MIT KEMAR (built in)"


class Con360MixAmbisonics(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360MixAmbisonics",
            display_name="Mix Ambisonics",
            category=runtime.CATEGORY,
            **runtime.search_words("Con360MixAmbisonics", "sum", *runtime.SOUND_WORDS),
            description="Adds up to four Ambisonic sounds, placed ones and a clip's own, into one.",
            inputs=[
                *(
                    io.Audio.Input(name, optional=number > 1, tooltip="Ambisonics of any order and sampling rate.")
                    for number, name in enumerate(FIELDS)
                ),
                *(
                    io.Float.Input(f"{name}_gain", default=0.0, min=-60.0, max=24.0, step=0.5,
                                   optional=number > 1, tooltip="Decibels.")
                    for number, name in enumerate(FIELDS)
                ),
            ],
            outputs=[
                io.Audio.Output(display_name="audio", tooltip="Of the highest order and rate, as long as the longest."),
                io.String.Output(display_name="notices", tooltip="What was changed, and peaks above full scale."),
            ],
        )  # fmt: skip

    @classmethod
    @runtime.needs_packages
    def execute(cls, first: dict[str, Any], second: dict[str, Any], **more: Any) -> io.NodeOutput:
        from ..con360.sound.sources import sum_fields

        given = {"first": first, "second": second, **more}
        fields = [
            _louder(ambisonic(sockets.sound_from_audio(given[name]), name), given.get(f"{name}_gain", 0.0))
            for name in FIELDS
            if given.get(name) is not None
        ]
        mixed = sum_fields(fields)
        return io.NodeOutput(sockets.audio_from_sound(mixed), "\n".join(sockets.peak_notices(mixed)))


class Con360RotateAmbisonics(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360RotateAmbisonics",
            display_name="Rotate Ambisonics",
            category=runtime.CATEGORY,
            **runtime.search_words("Con360RotateAmbisonics", "turn sound", "yaw", *runtime.SOUND_WORDS),
            description="Turns an Ambisonic sound by angles or along a viewpoint's path.",
            inputs=[
                io.Audio.Input("audio", tooltip="Ambisonics of any order."),
                io.Combo.Input(
                    "turn", options=[LISTENER, SCENE],
                    tooltip="'the listener' looks to these angles: what lay there is in front afterwards. 'the scene' "
                    "turns the sounds: what was in front lies there afterwards.",
                ),
                io.Float.Input("yaw", **YAW, tooltip="Degrees to the right."),
                io.Float.Input("pitch", **PITCH, tooltip="Degrees upwards."),
                io.Float.Input("roll", **YAW, tooltip="Degrees; the head leans to its right."),
                sockets.Con360Basd.Input("basd", optional=True,
                                         tooltip="A viewpoint whose path takes the place of yaw, pitch and roll."),
                *sockets.channel_inputs(),
            ],
            outputs=[io.Audio.Output(display_name="audio", tooltip="Ambisonics of the same order.")],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, ambisonics: str | None = None, head_locked: bool | None = None) -> bool | str:
        return sockets.channels_verdict(ambisonics, head_locked)

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, audio: dict[str, Any], turn: str, yaw: float, pitch: float, roll: float,
        basd: sockets.BasdRecord | None = None, ambisonics: str = "auto", head_locked: bool = False,
    ) -> io.NodeOutput:  # fmt: skip
        from ..con360.geometry.sphere import rotation
        from ..con360.sound.views import cameras_of

        runtime.check_choice(turn, [LISTENER, SCENE], "the turn")
        sound = ambisonic(said(audio, ambisonics, head_locked))
        cameras = (lambda times_s: rotation(yaw, pitch, roll).expand(len(times_s), 3, 3)) if basd is None else (
            cameras_of(basd.maps.track, basd.fps)
        )  # fmt: skip
        if turn == SCENE:
            turned = turned_by(sound, lambda times_s: cameras(times_s).mT)
        else:
            turned = turned_by(sound, cameras)
        return io.NodeOutput(sockets.audio_from_sound(turned))


class Con360AmbisonicsToHeadphones(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360AmbisonicsToHeadphones",
            display_name="Ambisonics→Headphones",
            category=runtime.CATEGORY,
            **runtime.search_words("Con360AmbisonicsToHeadphones", "binaural", "HRTF", "decode", *runtime.SOUND_WORDS),
            description="Brings an Ambisonic sound to two ears: on headphones each sound is heard where it lies.",
            inputs=[
                io.Audio.Input("audio", tooltip="Ambisonics; order 3 is the sharpest."),
                io.Combo.Input(
                    "ears", options=[KEMAR, *folders.model_entries(folders.EARS)],
                    tooltip="The listener's ears: measured on the dummy head KEMAR (Gardner and Martin 1994, MIT Media "
                    "Lab), or a SOFA file of models/con360_ears.",
                ),
                sockets.Con360Basd.Input("basd", optional=True,
                                         tooltip="A viewpoint: the head looks where it looks."),
                *sockets.channel_inputs(),
            ],
            outputs=[io.Audio.Output(display_name="audio", tooltip="Stereo for headphones; fits core's nodes.")],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, ambisonics: str | None = None, head_locked: bool | None = None) -> bool | str:
        return sockets.channels_verdict(ambisonics, head_locked)

    @classmethod
    def fingerprint_inputs(cls, ears: str | None, **kwargs: Any) -> str:
        path = folders.model_entries(folders.EARS).get(ears or "")
        return KEMAR if path is None else files.identity([path])

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, audio: dict[str, Any], ears: str, basd: sockets.BasdRecord | None = None, ambisonics: str = "auto",
        head_locked: bool = False,
    ) -> io.NodeOutput:  # fmt: skip
        from ..con360.sound.headphones import to_ears
        from ..con360.sound.views import cameras_of

        _check_ears(ears)
        sound = ambisonic(said(audio, ambisonics, head_locked))
        if basd is not None:
            sound = turned_by(sound, cameras_of(basd.maps.track, basd.fps))
        return io.NodeOutput(sockets.audio_from_sound(to_ears(sound, _ears(ears, sound))))


def ambisonic(sound: Sound, name: str = "audio") -> Sound:
    """Check that a sound is Ambisonics.

    Raises:
        InputError: it is something else.
    """
    if sound.ambisonic_order is None:
        raise InputError(
            f"{name} is {sound.layout} with {sound.waveform.shape[0]} channels and has no directions; wanted "
            "Ambisonics. Put it through Place Sound on Sphere first."
        )
    return sound


def turned_by(sound: Sound, cameras: Callable[[np.ndarray], Tensor]) -> Sound:
    """Turn Ambisonics along cameras (times in seconds to rotations); each block can be cancelled."""
    import torch

    from ..con360.sound.rotation import turn_blocks

    report, count = runtime.progress(), sound.waveform.shape[1]
    turned = []
    for block in turn_blocks(sound.waveform.split(BLOCK, 1), sound.sample_rate_hz, cameras, sound.ambisonic_order or 1):
        turned.append(block)
        report(min(len(turned) * BLOCK, count), count, "turning")
    return replace(sound, waveform=torch.cat(turned, 1))


def said(audio: dict[str, Any], ambisonics: str, head_locked: bool) -> Sound:
    return sockets.sound_from_audio(audio, sockets.checked_ambisonics(ambisonics, head_locked), head_locked)


def _louder(sound: Sound, gain_db: float) -> Sound:
    return replace(sound, waveform=sound.waveform * 10 ** (gain_db / 20))


def _check_ears(ears: str) -> None:
    runtime.check_choice(ears, [KEMAR, *folders.model_entries(folders.EARS)], "the ears")


def _ears(name: str, sound: Sound) -> EarFilters | None:
    """The filters of a SOFA file for this sound; None for the built-in ones."""
    from ..con360.media.sofa import ears_of_sofa

    if name == KEMAR:
        return None
    return ears_of_sofa(folders.model_entries(folders.EARS)[name], sound.ambisonic_order or 1, sound.sample_rate_hz)
