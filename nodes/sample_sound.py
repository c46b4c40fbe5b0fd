"""Make a sound by rule, to try the nodes with."""

from __future__ import annotations

from comfy_api.v0_0_2 import io

from . import sockets
from .host import runtime

# Keys of `con360.scenes.VOICES`, which imports torch.
VOICES = ["bell", "beep", "chirp", "hum", "tick"]
RATE_HZ = 48000


class Con360SampleSound(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360SampleSound",
            display_name="Sample Sound",
            category=runtime.CATEGORY,
            **runtime.search_words("Con360SampleSound", "test tone", "example", *runtime.SOUND_WORDS),
            description="Makes a mono sound, one of the sample scene's voices, to try the nodes with.",
            inputs=[
                io.Combo.Input("voice", options=VOICES, tooltip="Kind of the sound; each has a band and a rhythm of "
                               "its own."),
                io.Float.Input("duration", default=4.0, min=0.1, max=600.0, step=0.1, tooltip="Length in seconds."),
            ],
            outputs=[io.Audio.Output(display_name="audio", tooltip="Mono, 48 kHz.")],
        )  # fmt: skip

    @classmethod
    @runtime.needs_packages
    def execute(cls, voice: str, duration: float) -> io.NodeOutput:
        import numpy as np
        import torch

        from ..con360.records import Sound
        from ..con360.scenes import voice_waveform

        runtime.check_choice(voice, VOICES, "the voice")
        times_s = np.arange(round(duration * RATE_HZ)) / RATE_HZ
        waveform = torch.from_numpy(voice_waveform(voice, times_s, 0.0)).float()[None]
        return io.NodeOutput(sockets.audio_from_sound(Sound(waveform, RATE_HZ)))
