"""Draw when sounds begin and how loud they are, or take both from a sound.

The node carries the editor of `web/track_editor.js`, which writes into its text widget and shows its UI output
`con360`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..con360.errors import InputError
from . import previews, sockets
from .host import runtime

if TYPE_CHECKING:
    from torch import Tensor

    from ..con360.records import Sound, TimeTrack

DRAWN, HEARD = "what is drawn", "the audio"
SOURCES = [DRAWN, HEARD]
# Columns of a waveform, and rows of a picture and of one whose motion is measured.
COLUMNS, FILM_PX, MOTION_PX = 800, 192, 96
TRACK_HELP = (
    'The drawing as JSON: {"onsets": [{"time": 0.5, "strength": 1}], "envelope": {"points": [{"time": 0, "db": -20}]}} '
    "in seconds and decibels from -60, which is silence, to 0. The editor writes it."
)


class Con360TimeTrack(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360TimeTrack",
            display_name="Time Track",
            category=runtime.CATEGORY,
            **runtime.search_words("Con360TimeTrack", "onsets", "envelope", "rhythm", "foley", "beat"),
            is_output_node=True,
            description="Says when sounds begin and how loud they are: draw it over a waveform or a picture's motion, "
            "or take it from a sound.",
            inputs=[
                io.String.Input("track", default="", tooltip=TRACK_HELP),
                io.Combo.Input("source", options=SOURCES,
                               tooltip="Where the track comes from: the editor, or the onsets and the envelope of "
                               "audio."),
                io.Float.Input("duration", default=4.0, min=0.1, max=600.0, step=0.1,
                               tooltip="Length of the clip in seconds. The joint model makes at most 4 s."),
                io.Float.Input("fps", default=8.0, min=1.0, max=120.0, step=1.0,
                               tooltip="Frame rate of the images, and of the frames that onsets snap to."),
                io.Audio.Input("audio", optional=True,
                               tooltip="A sound to draw over; its onsets are heard, so that yours can snap to them."),
                io.Image.Input("images", optional=True,
                               tooltip="A picture to draw to: it is shown, and its motion stands behind the track."),
            ],
            outputs=[
                sockets.Con360TimeTrack.Output(display_name="track", tooltip="For when of Joint AV Sampler."),
                io.String.Output(display_name="text", tooltip="The track as JSON; con360 generate --when reads it."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(
        cls, track: str | None = "", source: str | None = None, audio: Any = runtime.ABSENT
    ) -> bool | str:
        return runtime.verdict(
            source=lambda: source is None or _check_source(source, audio is not runtime.ABSENT),
            track=lambda: source == HEARD or _read(track or ""),
        )

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, track: str, source: str, duration: float, fps: float, audio: dict[str, Any] | None = None,
        images: Tensor | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        from ..con360.records import TimeTrack
        from ..con360.sound.envelopes import envelope_of
        from ..con360.sound.levels import fit_length
        from ..con360.sound.onsets import find_onsets
        from ..con360.sound.time_tracks import time_track_to_text

        _check_source(source, audio is not None)
        report = runtime.progress()
        report(0, 3, "sound")
        sound = None if audio is None else sockets.sound_from_audio(audio)
        shown: dict[str, Any] = {"source": source, "seconds": duration, "fps": fps}
        if sound is not None:
            sound = fit_length(sound, round(duration * sound.sample_rate_hz))
            heard = find_onsets(sound)
            shown |= {"heard": list(heard.times_s), "wave": waveform(sound)}
        taken = source == HEARD and sound is not None
        made, notices = _fitting(TimeTrack(heard, envelope_of(sound)) if taken else _read(track, duration), duration)
        report(1, 3, "motion")
        if images is not None:
            shown["motion"] = _motion(images, fps, duration)
        report(2, 3, "picture")
        # What was drawn stays as it is, to the digit.
        text = time_track_to_text(made) if taken else track.strip() or "{}"
        shown |= {**playable(sound, images, fps, duration), "track": text, "notices": list(notices)}
        report(3, 3, "picture")
        return io.NodeOutput(made, text, ui={"con360": [shown]})


def _read(text: str, duration: float | None = None) -> TimeTrack:
    from ..con360.sound.time_tracks import time_track_from_text

    return time_track_from_text(text, duration)


def _check_source(source: str, connected: bool) -> None:
    """Refuse an unknown source, and a sound that is not there."""
    if runtime.check_choice(source, SOURCES, "the source") == HEARD and not connected:
        raise InputError(f"there is no sound to take the track from: connect audio, or set source to '{DRAWN}'.")


def _fitting(track: TimeTrack, duration: float) -> tuple[TimeTrack, tuple[str, ...]]:
    """Leave out what lies past the end, with a notice. A track that is still empty stays so: one can draw it later."""
    from ..con360.sound.time_tracks import fit_time_track

    if track.onsets is None and track.envelope is None:
        return track, ("nothing is drawn yet; click on the picture to add an onset",)
    return fit_time_track(track, duration)


# ---- what stands behind


def waveform(sound: Sound) -> dict[str, Any]:
    """Lowest and highest sample of each of so many columns, for the browser."""
    import torch.nn.functional as F

    from ..con360.sound.levels import to_mono

    mono = to_mono(sound).waveform[0]
    columns = min(COLUMNS, len(mono))
    blocks = F.pad(mono, (0, -len(mono) % columns)).view(columns, -1)
    pairs = [[round(low, 3), round(high, 3)] for low, high in
             zip(blocks.amin(1).tolist(), blocks.amax(1).tolist(), strict=True)]  # fmt: skip
    return {"columns": pairs, "seconds": blocks.numel() / sound.sample_rate_hz}


def _motion(images: Tensor, fps: float, duration: float) -> dict[str, Any] | None:
    """The picture's motion from frame to frame, 1 at its most; None for fewer than two frames."""
    from ..con360.metrics.sync import flow_curve

    frames = previews.small_clip(images[: max(2, round(duration * fps))], MOTION_PX)
    curve = flow_curve(frames)
    if not curve:
        return None
    most = max(*curve, 1e-6)
    # A motion lies between its two frames.
    return {"values": [round(value / most, 3) for value in curve], "rate": fps, "first": 0.5 / fps}


def playable(sound: Sound | None, images: Tensor | None, fps: float, duration: float) -> dict[str, Any]:
    """Write what the browser plays: the picture with the sound, or one of the two; nothing without either."""
    if images is not None:
        images = images[: max(1, round(duration * fps))]
        stride = previews.stride_of(len(images))
        frames = previews.small_clip(images[::stride], FILM_PX)
        return {"clip": previews.clip_preview(frames, fps / stride, sound), "picture": True}
    return {} if sound is None else {"clip": previews.sound_preview(sound)}
