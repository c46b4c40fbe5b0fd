"""Generate picture and sound of a viewpoint from model, control and conditions."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..con360 import choices
from ..con360.errors import InputError
from ..con360.records import AV, StartClip
from . import sockets
from .conditions import conditions_from, nearest_frames
from .guide import encoder_of
from .host import runtime

if TYPE_CHECKING:
    from torch import Tensor

    from ..con360.choices import ClipSound
    from ..con360.meaning.guiding import Guiding
    from ..con360.models.joint import JointModel
    from ..con360.pipeline import OnStep
    from ..con360.records import TimeTrack, ViewpointClip
    from .loaders import ManagedControl, ManagedModel

MAX_SEED = 0xFFFFFFFFFFFFFFFF
NOTHING = "nothing"
HOLDS = [NOTHING, *choices.HOLDS]
SAMPLERS, MEMORY_MODES = list(choices.SAMPLERS), list(choices.MEMORY_MODES)
SOUNDS = list(choices.CLIP_SOUNDS)
# Each decodes one frame; a clip of many steps is not slowed down by more.
MAX_PREVIEWS = 8


class JointAVSampler(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="JointAVSampler",
            display_name="Joint AV Sampler",
            category=runtime.CATEGORY,
            **runtime.search_words("JointAVSampler", "video and sound", "generate", "KSampler"),
            description="Generates picture and sound of one viewpoint together, steered by caption, saliency and BASD.",
            inputs=[
                sockets.Con360Model.Input("model"),
                io.Mask.Input("saliency", tooltip="One saliency map per frame: for_control of SalViT360 Saliency."),
                sockets.Con360Basd.Input("basd", tooltip="The viewpoint, with its maps and frame rate."),
                io.String.Input("caption", default="", multiline=True, tooltip="What is seen and heard in the scene."),
                io.String.Input("negative", default="", multiline=True, tooltip="What to avoid."),
                io.Int.Input("steps", default=12, min=1, max=200, tooltip="Denoising steps."),
                io.Int.Input(
                    "seed", default=0, min=0, max=MAX_SEED, control_after_generate=True,
                    tooltip="The same seed and settings give the same clip.",
                ),
                io.Float.Input("cfg_video", default=2.5, min=1.0, max=30.0, step=0.1,
                               tooltip="Guidance of the picture; 1 is off."),
                io.Float.Input("cfg_audio", default=2.0, min=1.0, max=30.0, step=0.1,
                               tooltip="Guidance of the sound; 1 is off."),
                io.Float.Input("saliency_strength", default=1.0, min=0.0, max=4.0, step=0.05,
                               tooltip="How much saliency steers; 0 is off."),
                io.Float.Input("basd_strength", default=1.0, min=0.0, max=4.0, step=0.05,
                               tooltip="How much the viewpoint's BASD steers; 0 is off."),
                io.Float.Input("control_start", default=0.0, min=0.0, max=1.0, step=0.01,
                               tooltip="Share of the steps after which control begins."),
                io.Float.Input("control_end", default=1.0, min=0.0, max=1.0, step=0.01,
                               tooltip="Share of the steps after which control ends."),
                sockets.Con360Control.Input("control", optional=True, tooltip="Without it, the caption alone steers."),
                io.Image.Input("start_images", optional=True,
                               tooltip="Frames to start from or to hold: one per frame of the clip, or a single one."),
                io.Audio.Input("start_audio", optional=True, tooltip="Sound to start from or to hold."),
                io.Float.Input("denoise", default=1.0, min=0.01, max=1.0, step=0.01, optional=True,
                               tooltip="How much of the start to change; 1 ignores it and begins from noise alone."),
                io.Combo.Input("hold", options=HOLDS, default=NOTHING, optional=True,
                               tooltip="Keep the given picture and make sound for it, or the other way round."),
                io.Combo.Input("sampler", options=SAMPLERS, default=SAMPLERS[0], optional=True,
                               tooltip="dpm++ needs fewer steps than ddim."),
                runtime.advanced(io.Combo.Input(
                    "memory", options=MEMORY_MODES, default=MEMORY_MODES[0], optional=True,
                    tooltip="'low' keeps one network at a time on the device: slower, with less memory.")),
                sockets.Con360TimeTrack.Input("when", optional=True, tooltip="When the sound is to strike, and how "
                                              "loud it is to be: from Time Track."),
                runtime.advanced(io.Float.Input(
                    "when_strength", default=0.1, min=0.0, max=1.0, step=0.01, optional=True,
                    tooltip="How much when steers the sound in every step; 0 is off, about 0.1 holds what was drawn, "
                    "more changes the sound itself.")),
                sockets.Con360Latents.Input(
                    "start_latents", optional=True,
                    tooltip="Another clip in place of start_images and start_audio. Hold its sound for a further view "
                    "of the scene."),
                sockets.Con360Guide.Input("guide", optional=True,
                                          tooltip="Pulls the clip towards the caption's meaning: Guide by Meaning."),
                io.Combo.Input("sound", options=SOUNDS, default=SOUNDS[0], optional=True,
                               tooltip="What is heard, where the control knows directions: what the view's microphone "
                               "hears, all of the scene (omni), stereo or headphones. Else the sound as it is made."),
                io.Image.Input("frames", optional=True,
                               tooltip="The 360° frames that the saliency was made of. Further maps that the control "
                               "reads are made of them: the built-in one hears better from where sounds come."),
            ],
            outputs=[
                io.Image.Output(display_name="frames"),
                io.Audio.Output(display_name="audio"),
                io.Video.Output(display_name="video"),
                io.String.Output(display_name="notices",
                                 tooltip="Remarks, such as words of the caption that the model does not know."),
                sockets.Con360Latents.Output(
                    display_name="latents", tooltip="The clip for Redo Span, and for further views over its sound."),
            ],
        )  # fmt: skip

    @classmethod
    def validate_inputs(
        cls, hold: str | None = NOTHING, start_images: Any = runtime.ABSENT, start_audio: Any = runtime.ABSENT,
        start_latents: Any = runtime.ABSENT,
    ) -> bool | str:  # fmt: skip
        given = [start is not runtime.ABSENT for start in (start_images, start_audio, start_latents)]
        return runtime.verdict(hold=lambda: _check_starts(hold, *given))

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, model: ManagedModel, saliency: Tensor, basd: sockets.BasdRecord, caption: str, negative: str, steps: int,
        seed: int, cfg_video: float, cfg_audio: float, saliency_strength: float, basd_strength: float,
        control_start: float, control_end: float, control: ManagedControl | None = None,
        start_images: Tensor | None = None, start_audio: dict[str, Any] | None = None, denoise: float = 1.0,
        hold: str = NOTHING, sampler: str = SAMPLERS[0], memory: str = MEMORY_MODES[0],
        when: TimeTrack | None = None, when_strength: float = 0.1,
        start_latents: sockets.LatentsRecord | None = None, guide: sockets.GuideRecord | None = None,
        sound: ClipSound = choices.CLIP_SOUNDS[0], frames: Tensor | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        from ..con360.pipeline import default_settings, generate
        from ..con360.sampling.when import TimeGuideSettings

        images, audio, latents = (start is not None for start in (start_images, start_audio, start_latents))
        _check_starts(hold, images, audio, latents)
        hears = _hears(sound, control, held=hold == choices.HOLDS[1] and audio)
        begins = {"denoise_video": images or latents, "denoise_audio": audio or latents}
        settings = default_settings(
            model.model, steps=steps, seed=seed, cfg_video=cfg_video, cfg_audio=cfg_audio, negative_prompt=negative,
            control_start=control_start, control_end=control_end, hold=None if hold == NOTHING else hold,
            sampler=sampler, memory=memory, **{name: denoise for name, given in begins.items() if given},
        )  # fmt: skip
        fps = model.model.codecs.video.fps
        loaded = control and control.control
        conditions = replace(conditions_from(saliency, basd, caption, loaded, frames, fps), when=when)
        if memory == "low":
            runtime.make_room()
        runtime.bring_in(*([] if memory == "low" else [model.patcher]), *([control.patcher] if control else []))
        report = runtime.progress()
        strengths, guided = {"saliency": saliency_strength, "basd": basd_strength}, TimeGuideSettings(when_strength)
        if start_latents is None:
            start = _start(start_images, start_audio, basd, len(conditions.track), fps)
        else:
            first = start_latents.of_model(model.model.name).clip
            start = StartClip(first.frames, first.sound, first.latents)
        meaning = _guiding(guide, model.model)
        # A time track differentiates through the sound's decoder.
        with runtime.gives_way(), runtime.outside_inference():
            clip = generate(
                model.model, loaded, conditions, settings,
                seconds=len(conditions.track) / fps, strengths=strengths, when=guided, meaning=meaning,
                start=start, device=runtime.device(), progress=report, on_step=previews(model.model, report),
            )  # fmt: skip
        held = None
        if hold == choices.HOLDS[0]:
            if start_images is not None:
                held = _held(start_images, basd, clip)
            elif start_latents is not None:
                held = start_latents.held
        record = sockets.LatentsRecord(
            clip, model.model.name, conditions, settings, strengths, guided, meaning, held, hears
        )  # fmt: skip
        image, heard, video, odd = record.shown()
        return io.NodeOutput(image, heard, video, "\n".join((*clip.notices, *odd)), record)


def _hears(sound: ClipSound, control: ManagedControl | None, held: bool) -> ClipSound:
    """Choose what is heard of the scene's sound; a given sound that is held stays as it is.

    Raises:
        InputError: two channels are asked for, and nothing knows where they would come from.
    """
    from ..con360.placing.generated import usual_sound

    runtime.check_choice(sound, SOUNDS, "sound")
    loaded = control and control.control
    if held or sound == "view":
        return "omni" if held else usual_sound(loaded)
    if sound != "omni" and (loaded is None or loaded.field_head is None):
        raise InputError(
            f"sound is '{sound}', and the control gives no directions; take 'view', or a control with a direction "
            "head. Sound Field finds directions by what moves in the picture."
        )
    return sound


def _guiding(guide: sockets.GuideRecord | None, model: JointModel) -> Guiding | None:
    """The guide with its encoder."""
    from ..con360.meaning.guiding import Guiding

    return None if guide is None else Guiding(encoder_of(guide.encoder, model), guide.settings)


def _check_starts(hold: str | None, images: bool, audio: bool, latents: bool) -> None:
    """Refuse an unknown word, to hold what is not connected, and two starts; None, a linked widget, has no value yet.

    Args:
        images, audio, latents: whether they are connected.
    """
    if latents and (images or audio):
        other = "start_images" if images else "start_audio"
        raise InputError(f"start_latents bring picture and sound, and {other} is connected too; disconnect one.")
    if hold is None:
        return
    runtime.check_choice(hold, HOLDS, "hold")
    socket, given = {"picture": ("start_images", images), "sound": ("start_audio", audio)}.get(hold, ("", True))
    if not (given or latents):
        raise InputError(f"there is no {hold} to hold: {socket} is not connected. Connect it, or hold '{NOTHING}'.")


def _held(images: Tensor, basd: sockets.BasdRecord, clip: ViewpointClip) -> tuple[Tensor, float]:
    """The held picture as it came, at its own size, and its frame rate: it need not pass through the model's pixels."""
    if len(images) == 1:
        return images.expand(len(clip.frames), -1, -1, -1), clip.fps
    return images, basd.fps if len(images) == len(basd.maps.track) else clip.fps


def previews(model: JointModel, report: runtime.NodeProgress) -> OnStep:
    """Show the present estimate of the middle frame on the node, a few times per clip."""
    from ..con360.pipeline import preview_frame

    def on_step(step: int, total: int, x0: AV) -> None:
        if step * MAX_PREVIEWS // total > (step - 1) * MAX_PREVIEWS // total:
            report(step, total, "sampling", preview_frame(model, x0))

    return on_step


def _start(
    images: Tensor | None, audio: dict[str, Any] | None, basd: sockets.BasdRecord, num_frames: int, fps: float
) -> StartClip:
    """Bring the given picture and sound to the model's frame rate."""
    frames = None if images is None else sockets.frames_from_image(images)
    if frames is not None and len(frames) == 1:
        frames = frames.expand(num_frames, -1, -1, -1)
    elif frames is not None and len(frames) == len(basd.maps.track):
        frames = frames[nearest_frames(len(frames), basd.fps, fps)]
    return StartClip(frames, None if audio is None else sockets.sound_from_audio(audio))
