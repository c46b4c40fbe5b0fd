"""Draw when sounds begin and how loud they are, or take both from a sound or a picture.

The node carries the editor of `web/track_editor.js`, which writes into its text widget and shows its UI output
`con360`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..con360.errors import InputError
from . import previews, sockets
from .host import runtime

if TYPE_CHECKING:
    from torch import Tensor

    from ..con360.records import Sound, TimeTrack

    # A track, and notices about it.
    Found = tuple[TimeTrack, tuple[str, ...]]

DRAWN, HEARD, SEEN = "what is drawn", "the audio", "the images"
SOURCES = [DRAWN, HEARD, SEEN]
# Sources and the socket that each needs.
NEEDS = {HEARD: "audio", SEEN: "images"}
# Columns of a waveform, values of a curve, and rows of a picture and of one that is measured.
COLUMNS, VALUES, FILM_PX, SEEN_PX = 800, 1000, 192, 96
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
            "or take it from a sound or a picture.",
            inputs=[
                io.String.Input("track", default="", tooltip=TRACK_HELP),
                io.Combo.Input("source", options=SOURCES,
                               tooltip="Where the track comes from: the editor, the onsets and the envelope of audio, "
                               "or what grows and brightens in images."),
                io.Float.Input("duration", default=4.0, min=0.1, max=600.0, step=0.1,
                               tooltip="Length of the clip in seconds. The joint model makes at most 4 s."),
                io.Float.Input("fps", default=8.0, min=1.0, max=120.0, step=1.0,
                               tooltip="Frame rate of the images, and of the frames that onsets snap to."),
                io.Audio.Input("audio", optional=True,
                               tooltip="A sound to draw over; its onsets are heard, so that yours can snap to them."),
                io.Image.Input("images", optional=True,
                               tooltip="A picture to draw to: it is shown, what grows and brightens in it stands "
                               "behind the track, and yours can snap to that. Best 15 frames a second or more."),
            ],
            outputs=[
                sockets.Con360TimeTrack.Output(display_name="track", tooltip="For when of Joint AV Sampler."),
                io.String.Output(display_name="text", tooltip="The track as JSON; con360 generate --when reads it."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(
        cls, track: str | None = "", source: str | None = None, audio: Any = runtime.ABSENT,
        images: Any = runtime.ABSENT,
    ) -> bool | str:  # fmt: skip
        given = {"audio": audio, "images": images}
        connected = [name for name, value in given.items() if value is not runtime.ABSENT]
        return runtime.verdict(
            source=lambda: source is None or _check_source(source, connected),
            track=lambda: source in NEEDS or _read(track or ""),
        )

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, track: str, source: str, duration: float, fps: float, audio: dict[str, Any] | None = None,
        images: Tensor | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        from ..con360.sound.levels import fit_length
        from ..con360.sound.time_tracks import time_track_to_text

        given = {"audio": audio, "images": images}
        _check_source(source, [name for name, value in given.items() if value is not None])
        report = runtime.progress()
        report(0, 3, "sound")
        sound = None if audio is None else sockets.sound_from_audio(audio)
        if sound is not None:
            sound = fit_length(sound, round(duration * sound.sample_rate_hz))
        if images is not None:
            images = images[: max(1, round(duration * fps))]
        shown: dict[str, Any] = {"source": source, "seconds": duration, "fps": fps}
        shown |= {"wave": waveform(sound)} if sound is not None else {}
        found = {HEARD: _heard(sound)}
        report(1, 3, "motion")
        found[SEEN] = _seen(images, fps, wanted=source == SEEN)
        made = _read(track, duration) if source == DRAWN else found[source][0]
        made, cut = _fitting(made, duration)
        report(2, 3, "picture")
        # What was drawn stays as it is, to the digit.
        text = track.strip() or "{}" if source == DRAWN else time_track_to_text(made)
        notices = [*(said for _, told in found.values() for said in told), *cut]
        shown |= {**_behind(found), **playable(sound, images, fps), "track": text, "notices": notices}
        report(3, 3, "picture")
        return io.NodeOutput(made, text, ui={"con360": [shown]})


def _read(text: str, duration: float | None = None) -> TimeTrack:
    from ..con360.sound.time_tracks import time_track_from_text

    return time_track_from_text(text, duration)


def _check_source(source: str, connected: Iterable[str]) -> str:
    """Return a source; refuse an unknown one, and one whose socket is not connected."""
    socket = NEEDS.get(runtime.check_choice(source, SOURCES, "the source"))
    if socket is not None and socket not in connected:
        raise InputError(f"there is nothing to take the track from: connect {socket}, or set source to '{DRAWN}'.")
    return source


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


def _heard(sound: Sound | None) -> Found:
    """The onsets and the envelope of a sound."""
    from ..con360.records import TimeTrack
    from ..con360.sound.time_tracks import time_track_of_sound

    return TimeTrack() if sound is None else time_track_of_sound(sound), ()


def _seen(images: Tensor | None, fps: float, wanted: bool) -> Found:
    """The onsets and the envelope of a picture, and notices; one that stands still is an error if it is wanted."""
    from ..con360.placing.picture_times import time_track_of_view
    from ..con360.records import TimeTrack

    if images is None:
        return TimeTrack(), ()
    try:
        return time_track_of_view(previews.small_clip(images, SEEN_PX), fps)
    except InputError as error:
        if wanted:
            raise
        return TimeTrack(), (f"the picture gives no track: {error}",)


def _behind(found: dict[str, Found]) -> dict[str, Any]:
    """Collect what stands behind the drawing: times to snap to, and the picture's curve, 1 at its most."""
    onsets = [track.onsets for track, _ in found.values() if track.onsets is not None]
    shown: dict[str, Any] = {"found": sorted(time for one in onsets for time in one.times_s)}
    curve = found[SEEN][0].envelope
    if curve is not None:
        step = -(-len(curve.values) // VALUES)
        values = (curve.values / curve.values.max().clamp_min(1e-6))[::step]
        shown["motion"] = {"values": [round(value, 3) for value in values.tolist()], "rate": curve.rate_hz / step,
                           "first": 0.5 / curve.rate_hz}  # fmt: skip
    return shown


def playable(sound: Sound | None, images: Tensor | None, fps: float) -> dict[str, Any]:
    """Write what the browser plays: the picture with the sound, or one of the two; nothing without either."""
    if images is not None:
        stride = previews.stride_of(len(images))
        frames = previews.small_clip(images[::stride], FILM_PX)
        return {"clip": previews.clip_preview(frames, fps / stride, sound), "picture": True}
    return {} if sound is None else {"clip": previews.sound_preview(sound)}
