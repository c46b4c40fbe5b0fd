"""Show what a time track asked for and what a sound brings, drawn over each other, with figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from . import sockets
from .host import runtime
from .time_track import VALUES, playable, waveform

if TYPE_CHECKING:
    from torch import Tensor

    from ..con360.records import Envelope, OnsetTrack, Sound, TimeTrack


class Con360TimeTrackPreview(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360TimeTrackPreview",
            display_name="Time Track Preview",
            category=runtime.CATEGORY,
            **runtime.search_words("Con360TimeTrackPreview", "onsets", "envelope", "compare"),
            is_output_node=True,
            description="Plays a sound and draws what a time track asked for over what came, with figures.",
            inputs=[
                sockets.Con360TimeTrack.Input("track", tooltip="What was asked."),
                io.Audio.Input("audio", tooltip="What came: from Joint AV Sampler, or any sound."),
                io.Float.Input("fps", default=8.0, min=1.0, max=120.0, step=1.0, tooltip="Frame rate of the images."),
                io.Image.Input("images", optional=True, tooltip="The picture that belongs to the sound."),
            ],
            outputs=[io.String.Output(display_name="report", tooltip="The figures, in words.")],
        )  # fmt: skip

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, track: TimeTrack, audio: dict[str, Any], fps: float, images: Tensor | None = None
    ) -> io.NodeOutput:
        from ..con360.sound.envelopes import envelope_of
        from ..con360.sound.onsets import find_onsets
        from ..con360.sound.time_tracks import envelope_of_track, fit_time_track

        report = runtime.progress()
        report(0, 2, "onsets")
        sound = sockets.sound_from_audio(audio)
        asked, notices = fit_time_track(track, sound.duration_s)
        level, heard = envelope_of_track(asked, sound.duration_s), find_onsets(sound)
        said = [*_figures(asked, level, sound, heard), *notices]
        report(1, 2, "picture")
        if images is not None:
            images = images[: max(1, round(sound.duration_s * fps))]
        shown = {
            "asked": {"onsets": _onsets(asked.onsets), "levels": _levels(level)},
            "came": {"onsets": list(heard.times_s), "levels": _levels(envelope_of(sound))},
            "wave": waveform(sound), "seconds": sound.duration_s, "notices": said,
            **playable(sound, images, fps),
        }  # fmt: skip
        report(2, 2, "picture")
        return io.NodeOutput("\n".join(said), ui={"con360": [shown]})


def _figures(asked: TimeTrack, level: Envelope, sound: Sound, heard: OnsetTrack) -> list[str]:
    """Say in words how well a sound does what was asked, each figure beside a trivial one."""
    from ..con360.metrics.audio import energy_l1_to
    from ..con360.metrics.onsets import TOLERANCE_S, chance_f, onset_score

    said = []
    if asked.onsets is not None:
        score = onset_score(heard, asked.onsets)
        chance = chance_f(heard, asked.onsets, sound.duration_s)
        said.append(
            f"Onsets: {score.hits} of {score.true} asked came within {1000 * TOLERANCE_S:.0f} ms, {score.found} were "
            f"heard: F {score.f:.2f} (the same rhythm at other moments: {chance:.2f})."
        )
    error, silent = energy_l1_to(sound, level)
    said.append(f"Loudness: E-L1 {error:.4f} (silence: {silent:.4f}); 0 is exactly as asked.")
    return said


def _onsets(track: OnsetTrack | None) -> list[dict[str, float]]:
    if track is None:
        return []
    strengths = track.strengths or (1.0,) * len(track.times_s)
    return [{"time": time, "strength": strength} for time, strength in zip(track.times_s, strengths, strict=True)]


def _levels(envelope: Envelope) -> dict[str, Any]:
    """An envelope in decibels for the browser: the loudest of each few values, None where it is free."""
    import torch

    from ..con360.sound.time_tracks import FLOOR_DB

    present = torch.ones_like(envelope.values) if envelope.present is None else envelope.present
    values = torch.where(present > 0.5, envelope.values, torch.nan)
    step = -(-len(values) // VALUES)
    blocks = torch.nn.functional.pad(values, (0, -len(values) % step), value=torch.nan).view(-1, step)
    most = torch.where(blocks.isnan(), -1.0, blocks).amax(1)
    levels = [round(max(FLOOR_DB, db), 1) for db in (20 * most.clamp_min(1e-6).log10()).tolist()]
    free = (most < 0).tolist()
    return {"values": [None if hidden else db for db, hidden in zip(levels, free, strict=True)],
            "rate": envelope.rate_hz / step}  # fmt: skip
