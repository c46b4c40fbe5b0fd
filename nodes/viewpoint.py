"""Choose a viewpoint, from the saliency or by hand, and draw its BASD maps.

Both nodes carry the viewpoint editor of `web/editor.js`, which writes into their widgets and shows their UI output
`con360`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comfy_api.v0_0_2 import io

from ..con360.choices import ASPECTS, RANKINGS, VIEW_MODES, ViewMode, aspect_of
from ..con360.errors import InputError
from . import previews, sockets
from .host import runtime

if TYPE_CHECKING:
    from torch import Tensor

    from ..con360.records import BasdNormalization, SaliencyMaps, Sound, Viewpoint, ViewTrack
    from ..con360.viewpoint.choose import Ranking
    from ..con360.viewpoint.keyframes import Keyframe

BY_SUBJECT, BY_CENTROID = RANKINGS
BY_HAND, BY_KEYFRAMES = "yaw and pitch", "keyframes"
CHOICES = [*RANKINGS, BY_HAND, BY_KEYFRAMES]
MODES = list(VIEW_MODES)
STILL = MODES[0]
HAND_MODES = [STILL, BY_KEYFRAMES]
NORMALIZATIONS: list[BasdNormalization] = ["minmax", "diagonal"]
YAW = {"default": 0.0, "min": -180.0, "max": 180.0, "step": 1.0}
PITCH = {"default": 0.0, "min": -90.0, "max": 90.0, "step": 1.0}
FOV = {"default": 90.0, "min": 30.0, "max": 150.0, "step": 1.0}
KEYFRAMES_HELP = (
    'The path over time as a JSON list: [{"time": 0, "yaw": 0, "pitch": 0, "fov": 90}, ...], seconds and degrees. '
    "The editor writes it."
)
KEYFRAMES_TOLD = (
    "The camera's path, to edit or to give to another node; a followed one as few keyframes, within 1 degree."
)
SHAPE_HELP = "Shape of the view; the Joint AV Sampler makes the square around it."
AUDIO_HELP = "Played in the editor; Ambisonics (four channels) turns with the view while you drag it."


def _normalization() -> io.Combo.Input:
    return io.Combo.Input(
        "normalization", options=NORMALIZATIONS,
        tooltip="'minmax' is the Con360-AV paper's, 'diagonal' the BASD paper's.",
    )  # fmt: skip


def _editor_inputs() -> list[io.Input]:
    """Inputs for the editor: the keyframes that it writes and the sound that it plays."""
    return [
        io.String.Input("keyframes", default="", optional=True, tooltip=KEYFRAMES_HELP),
        io.Audio.Input("audio", optional=True, tooltip=AUDIO_HELP),
    ]


def camera_inputs(shape: str) -> list[io.Input]:
    """The camera's lean and the picture's shape; `shape` says what that shape does."""
    return [
        runtime.advanced(io.Float.Input(
            "roll", default=0.0, min=-180.0, max=180.0, step=1.0, optional=True,
            tooltip="Degrees that the camera leans to its right; keyframes have their own.")),
        runtime.advanced(io.Combo.Input("aspect", options=list(ASPECTS), default=ASPECTS[0], optional=True,
                                        tooltip=shape)),
    ]  # fmt: skip


def _outputs() -> list[io.Output]:
    return [
        sockets.Con360Basd.Output(display_name="basd"),
        io.Mask.Output(display_name="preview", tooltip="The BASD maps: bright inside the view."),
        io.Float.Output(display_name="yaw", tooltip="Of the first frame, in degrees."),
        io.Float.Output(display_name="pitch", tooltip="Of the first frame, in degrees."),
        io.Float.Output(display_name="fov"),
        io.String.Output(display_name="keyframes", tooltip=KEYFRAMES_TOLD),
    ]


class CentroidToBASD(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="CentroidToBASD",
            display_name="Centroid→BASD",
            category=runtime.CATEGORY,
            **runtime.search_words("CentroidToBASD", "viewpoint", "distance map", "camera"),
            **runtime.sent_again(),
            description="Chooses a viewpoint, a salient subject, a region's centroid or angles by hand, and draws its "
            "signed distance map (BASD) over the panorama.",
            inputs=[
                io.Mask.Input(
                    "saliency", tooltip="Saliency over the panorama: one map per frame, or one for all frames.",
                ),
                io.Float.Input(
                    "fps", default=8.0, min=1.0, max=120.0, step=1.0, tooltip="Frame rate of the saliency maps.",
                ),
                io.Combo.Input(
                    "choose_by", options=CHOICES,
                    tooltip="'subject' frames what is salient, 'centroid' is the paper's middle of a salient region, "
                    "'yaw and pitch' looks where you say, 'keyframes' moves along the path set in the editor.",
                ),
                io.Int.Input("rank", default=1, min=1, max=8,
                             tooltip="Which subject or region: 1 is the most salient."),
                io.Combo.Input(
                    "mode", options=MODES,
                    tooltip="'still' keeps one view for the clip, 'track' follows what was found. Used with 'subject' "
                    "and 'centroid'.",
                ),
                io.Float.Input("yaw", **YAW,
                               tooltip="Degrees to the right of the panorama's centre. Used with 'yaw and pitch'."),
                io.Float.Input("pitch", **PITCH,
                               tooltip="Degrees upwards. Used with 'yaw and pitch'."),
                io.Float.Input("fov", **FOV,
                               tooltip="Field of view in degrees, across the longer side."),
                _normalization(),
                io.Image.Input(
                    "frames", optional=True, tooltip="The panorama that the saliency is of, for the editor's picture.",
                ),
                *_editor_inputs(),
                *camera_inputs(SHAPE_HELP),
            ],
            outputs=_outputs(),
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, choose_by: str | None = None, keyframes: str | None = "") -> bool | str:
        return runtime.verdict(
            choose_by=lambda: choose_by is None or runtime.check_choice(choose_by, CHOICES, "choose_by"),
            keyframes=lambda: check_keyframes(keyframes, choose_by == BY_KEYFRAMES),
        )

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, saliency: Tensor, fps: float, choose_by: str, rank: int, mode: ViewMode, yaw: float, pitch: float,
        fov: float, normalization: BasdNormalization, frames: Tensor | None = None, keyframes: str = "",
        audio: dict[str, Any] | None = None, roll: float = 0.0, aspect: str = ASPECTS[0],
    ) -> io.NodeOutput:  # fmt: skip
        for value, options, what in ((choose_by, CHOICES, "choose_by"), (mode, MODES, "the mode"),
                                     (aspect, ASPECTS, "the aspect ratio")):  # fmt: skip
            runtime.check_choice(value, options, what)
        maps = sockets.saliency_from_mask(saliency, None if frames is None else len(frames))
        count, height, width = maps.maps.shape
        if frames is not None and len(frames) != count:
            raise InputError(
                f"there are {len(frames)} frames and {count} saliency maps; connect the frames that the saliency was "
                "made of, or none."
            )
        report = runtime.progress()
        report(0, 3, "viewpoint")
        ranked = choose_by in RANKINGS
        found: dict[str, tuple[Viewpoint, ...]] = {
            ranking: found_viewpoints(maps, fps, mode if ranked else STILL, fov, ranking) for ranking in RANKINGS
        }
        path = None
        if ranked:
            track = _leaning(of_rank(told(found[choose_by]), rank).track, roll, aspect)
        else:
            keyed = choose_by == BY_KEYFRAMES
            track, path = _by_hand(keyed, (yaw, pitch, fov, roll), aspect, keyframes, fps, count)
        report(1, 3, "picture")
        picture = maps.maps.new_zeros(count, height, width, 3) if frames is None else frames
        preview = previews.panorama_preview(picture, fps, previews.FLAT_PX, maps, sound=_sound(audio))
        report(2, 3, "BASD")
        rankings = {ranking: previews.regions(viewpoints) for ranking, viewpoints in found.items()}
        shown = {
            "panorama": preview, "regions": rankings[choose_by if ranked else BY_SUBJECT], "rankings": rankings,
            "asked": {"choose_by": choose_by, "rank": rank, "mode": mode},
        }  # fmt: skip
        result = _output(track, path, height, normalization, fps, shown)
        report(3, 3, "BASD")
        return result


class Con360Centroids(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360Centroids",
            display_name="Centroids",
            category=runtime.CATEGORY,
            **runtime.search_words("Con360Centroids", "regions", "subjects", "viewpoint"),
            description="Lists the salient subjects or regions; the nodes after this one run once for each of them.",
            inputs=[
                io.Mask.Input("saliency", tooltip="Saliency over the panorama, one map per frame."),
                io.Float.Input(
                    "fps", default=8.0, min=1.0, max=120.0, step=1.0, tooltip="Frame rate of the saliency maps.",
                ),
                io.Combo.Input("mode", options=MODES,
                               tooltip="As in Centroid→BASD: places of the whole clip, or followed over time."),
                io.Int.Input("at_most", default=3, min=1, max=8,
                             tooltip="Largest length of the list, the most salient first; fewer where fewer are "
                             "found."),
                io.Combo.Input("choose_by", options=RANKINGS, default=BY_SUBJECT, optional=True,
                               tooltip="As in Centroid→BASD: subjects, or the regions' centroids as in the paper."),
            ],
            outputs=[
                io.Int.Output(display_name="rank", is_output_list=True, tooltip="For the rank of Centroid→BASD."),
                io.Float.Output(display_name="yaw", is_output_list=True, tooltip="Of the first frame, in degrees."),
                io.Float.Output(display_name="pitch", is_output_list=True, tooltip="Of the first frame, in degrees."),
            ],
        )  # fmt: skip

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, saliency: Tensor, fps: float, mode: ViewMode, at_most: int,
        # Workflows saved before this widget existed ranked by centroid.
        choose_by: Ranking = BY_CENTROID,
    ) -> io.NodeOutput:  # fmt: skip
        runtime.check_choice(mode, MODES, "the mode")
        runtime.check_choice(choose_by, RANKINGS, "choose_by")
        report = runtime.progress()
        report(0, 1, "centroids")
        maps = sockets.saliency_from_mask(saliency)
        found = told(found_viewpoints(maps, fps, mode, FOV["default"], choose_by))[:at_most]
        report(1, 1, "centroids")
        views = [viewpoint.track.views[0] for viewpoint in found]
        return io.NodeOutput(
            [viewpoint.rank for viewpoint in found], [view.yaw_deg for view in views],
            [view.pitch_deg for view in views],
        )  # fmt: skip


class Con360ViewpointByHand(io.ComfyNode):
    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="Con360ViewpointByHand",
            display_name="Viewpoint by Hand",
            category=runtime.CATEGORY,
            **runtime.search_words("Con360ViewpointByHand", "camera", "keyframes", "BASD"),
            **runtime.sent_again(),
            description="Sets a viewpoint by hand, still or moving along keyframes, without any saliency.",
            inputs=[
                io.Image.Input("frames", tooltip="The panorama: as many views are made as there are frames."),
                io.Float.Input(
                    "fps", default=8.0, min=1.0, max=120.0, step=1.0, tooltip="Frame rate of the frames.",
                ),
                io.Combo.Input(
                    "mode", options=HAND_MODES,
                    tooltip="'still' keeps the view, 'keyframes' moves along the path set in the editor.",
                ),
                io.Float.Input("yaw", **YAW,
                               tooltip="Degrees to the right of the panorama's centre. Used with 'still'."),
                io.Float.Input("pitch", **PITCH, tooltip="Degrees upwards. Used with 'still'."),
                io.Float.Input("fov", **FOV,
                               tooltip="Field of view in degrees, across the longer side. Used with 'still'."),
                _normalization(),
                io.Int.Input("map_height", default=256, min=64, max=2048, step=2,
                             tooltip="Height of the BASD maps in pixels; the width is twice that."),
                *_editor_inputs(),
                *camera_inputs(SHAPE_HELP),
            ],
            outputs=_outputs(),
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, mode: str | None = None, keyframes: str | None = "") -> bool | str:
        return runtime.verdict(
            mode=lambda: mode is None or runtime.check_choice(mode, HAND_MODES, "the mode"),
            keyframes=lambda: check_keyframes(keyframes, mode == BY_KEYFRAMES),
        )

    @classmethod
    @runtime.needs_packages
    def execute(
        cls, frames: Tensor, fps: float, mode: str, yaw: float, pitch: float, fov: float,
        normalization: BasdNormalization, map_height: int, keyframes: str = "", audio: dict[str, Any] | None = None,
        roll: float = 0.0, aspect: str = ASPECTS[0],
    ) -> io.NodeOutput:  # fmt: skip
        runtime.check_choice(mode, HAND_MODES, "the mode")
        runtime.check_choice(aspect, ASPECTS, "the aspect ratio")
        report = runtime.progress()
        report(0, 2, "picture")
        view = (yaw, pitch, fov, roll)
        track, path = _by_hand(mode == BY_KEYFRAMES, view, aspect, keyframes, fps, len(frames))
        preview = previews.panorama_preview(frames, fps, previews.FLAT_PX, sound=_sound(audio))
        report(1, 2, "BASD")
        result = _output(track, path, map_height, normalization, fps, {"panorama": preview, "regions": []})
        report(2, 2, "BASD")
        return result


def _sound(audio: dict[str, Any] | None) -> Sound | None:
    return None if audio is None else sockets.sound_from_audio(audio)


def check_keyframes(text: str | None, needed: bool) -> None:
    """Refuse keyframes that cannot be read, and none where they are needed; a linked text, None, is not known yet."""
    from ..con360.viewpoint.keyframes import keyframed_track

    if needed and text is not None:
        keyframed_track(_keyframes(text), 1.0, 1)
    elif text:
        _keyframes(text)


def _keyframes(text: str) -> tuple[Keyframe, ...]:
    from ..con360.viewpoint.keyframes import keyframes_from_json

    return keyframes_from_json(text)


def keyframes_text(keyframes: tuple[Keyframe, ...]) -> str:
    from ..con360.viewpoint.keyframes import keyframes_to_json

    return keyframes_to_json(keyframes)


def _by_hand(
    keyed: bool, view: tuple[float, float, float, float], aspect: str, keyframes: str, fps: float, num_frames: int
) -> tuple[ViewTrack, tuple[Keyframe, ...]]:  # fmt: skip
    """The track that was set by hand, and its keyframes."""
    from ..con360.viewpoint.choose import manual_viewpoint
    from ..con360.viewpoint.keyframes import Keyframe, keyframed_track

    if keyed:
        path = _keyframes(keyframes)
        return keyframed_track(path, fps, num_frames, aspect_of(aspect)), path
    yaw, pitch, fov, roll = view
    track = manual_viewpoint(yaw, pitch, fov, num_frames, roll, aspect_of(aspect)).track
    return track, (Keyframe(0.0, track.views[0]),)


def _leaning(track: ViewTrack, roll: float, aspect: str) -> ViewTrack:
    """A track that was found, with the camera's roll and the picture's shape."""
    from dataclasses import replace

    from ..con360.geometry.degrees import wrap_yaw_deg

    lean = float(wrap_yaw_deg(roll))
    return replace(track, views=tuple(replace(v, roll_deg=lean) for v in track.views), aspect=aspect_of(aspect))


def found_viewpoints(
    maps: SaliencyMaps, fps: float, mode: ViewMode, fov: float, ranking: Ranking
) -> tuple[Viewpoint, ...]:
    from ..con360.viewpoint.choose import viewpoints

    return viewpoints(maps, fps, fov_deg=fov, mode=mode, ranking=ranking)


def told(found: tuple[Viewpoint, ...]) -> tuple[Viewpoint, ...]:
    """Log the notices of the viewpoints, and return the viewpoints."""
    from ..con360.viewpoint.choose import viewpoint_notices

    for notice in viewpoint_notices(found):
        runtime.log.warning(notice)
    return found


def of_rank(found: tuple[Viewpoint, ...], rank: int) -> Viewpoint:
    if rank > len(found):
        raise InputError(f"viewpoint {rank} was asked for, {len(found)} found; choose a rank up to {len(found)}.")
    return found[rank - 1]


def _output(
    track: ViewTrack, path: tuple[Keyframe, ...] | None, height: int, normalization: BasdNormalization, fps: float,
    shown: dict[str, Any],
) -> io.NodeOutput:  # fmt: skip
    """The outputs of a viewpoint, and what its editor shows; a path of None is found in the track."""
    from ..con360.viewpoint.basd import basd_maps
    from ..con360.viewpoint.keyframes import keyframes_of

    runtime.check_choice(normalization, NORMALIZATIONS, "the normalization")
    maps = basd_maps(track, height, normalization)
    view, record = track.views[0], sockets.BasdRecord(maps, float(fps))
    text = keyframes_text(keyframes_of(track, fps) if path is None else path)
    return io.NodeOutput(
        record, sockets.mask_from_maps(maps.maps), view.yaw_deg, view.pitch_deg, view.fov_deg,
        text, ui={"con360": [{**shown, "keyframes": text}]},
    )  # fmt: skip
