"""Play Ambisonics of any order in the browser, and show from where its energy comes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..con360.records import SaliencyMaps
from . import previews, sockets
from .ambisonics import ambisonic, said
from .host import files, runtime

if TYPE_CHECKING:
    from PIL.Image import Image
    from torch import Tensor

    from ..con360.records import Sound

# Longest preview whose higher orders are played: 16 channels of a minute are 180 MB in the browser.
FIELD_S = 60.0
BLANK_FPS, BLANK_S = 8.0, 60.0


class Con360AmbisonicsPreview(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360AmbisonicsPreview",
            display_name="Ambisonics Preview",
            category=runtime.CATEGORY,
            **runtime.search_words("Con360AmbisonicsPreview", "listen", "energy map", *runtime.SOUND_WORDS),
            is_output_node=True,
            description="Plays Ambisonics of any order on headphones, turning while you look around, and draws from "
            "where its energy comes.",
            inputs=[
                io.Audio.Input("audio", tooltip="Ambisonics of any order."),
                io.Float.Input("fps", default=8.0, min=1.0, max=120.0, step=1.0, tooltip="Frame rate of the frames."),
                io.Int.Input("height", default=512, min=64, max=2048, step=2,
                             tooltip="Largest height of the frames that are given out, in pixels."),
                io.Image.Input("frames", optional=True, tooltip="The panorama that the sound belongs to."),
                *sockets.channel_inputs(),
            ],
            outputs=[
                io.Image.Output(display_name="frames", tooltip="The panorama with the sound's energy as heat."),
                io.Image.Output(display_name="compass", tooltip="One picture: energy per direction over time."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, ambisonics: str | None = None, head_locked: bool | None = None) -> bool | str:
        return sockets.channels_verdict(ambisonics, head_locked)

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, audio: dict[str, Any], fps: float, height: int, frames: Tensor | None = None, ambisonics: str = "auto",
        head_locked: bool = False,
    ) -> io.NodeOutput:  # fmt: skip
        from ..con360.drawing.compass import compass_picture, sound_maps

        sound = ambisonic(said(audio, ambisonics, head_locked))
        frames, fps = (_blank(sound), BLANK_FPS) if frames is None else (frames, fps)
        report = runtime.progress()
        report(0, 3, "energy")
        maps = SaliencyMaps(sound_maps(sound, fps, len(frames)), "sound")
        plain, drawn = previews.drawn_panorama(frames, height, maps)
        report(1, 3, "picture")
        field, notices = _field_file(sound, len(frames) / fps)
        first = None if field else sound
        preview = previews.halves_preview(plain, drawn, fps, previews.ROUND_PX, first)
        report(2, 3, "sound")
        notices += sockets.peak_notices(sound)
        shown = {"panorama": {**preview, **field}, "overlay": True, "notices": list(notices)}
        compass = _image(compass_picture(sound))
        report(3, 3, "sound")
        return io.NodeOutput(sockets.image_from_frames(drawn), compass, ui={"con360": [shown]})


def _blank(sound: Sound) -> Tensor:
    """A grey panorama as long as the sound, for a sound without a picture."""
    import torch

    seconds = min(sound.duration_s, BLANK_S)
    return torch.full((max(1, round(seconds * BLANK_FPS)), previews.FLAT_PX, 2 * previews.FLAT_PX, 3), 0.2)


def _field_file(sound: Sound, seconds: float) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Write a field of order 2 or 3 as a WAV beside the preview's video, which can hold its first order alone.

    Returns:
        The preview's entry for the file, and notices.
    """
    from ..con360.media.wav import wav_stream
    from ..con360.sound.ambisonics import field_and_pair
    from ..con360.sound.channels import FIRST_ORDER

    field, _ = field_and_pair(sound.waveform)
    if len(field) == FIRST_ORDER:
        return {}, ()
    if seconds > FIELD_S:
        return {}, (f"the browser plays the first order: the preview is longer than {FIELD_S:g} s",)
    path, saved = files.temp_file("con360_field", ".wav")
    with wav_stream(path, len(field), sound.sample_rate_hz) as wav:
        wav.add(field[:, : round(seconds * sound.sample_rate_hz)].numpy())
    return {"field": saved}, ()


def _image(picture: Image) -> Tensor:
    import numpy as np
    import torch

    return torch.from_numpy(np.asarray(picture.convert("RGB")).copy())[None].float() / 255
