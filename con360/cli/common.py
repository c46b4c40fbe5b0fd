"""Load and check what several commands take."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..choices import NAMED_METHODS
from .option_groups import ModelOptions
from .report import Report

if TYPE_CHECKING:
    from ..control import LoadedControl
    from ..models.joint import JointModel
    from ..records import Conditions, SourceTrack
    from ..saliency.human_faces import FaceDetector
    from ..viewpoint.keyframes import Keyframe


def check_saliency(name: str | None) -> None:
    """Check that a saliency method is known or its file exists, before a long video is read."""
    if name is not None and name not in NAMED_METHODS:
        from ..media.files import existing_file
        from ..saliency.predict import check_method

        check_method(name)
        existing_file(name)


def face_detector(name: str | None) -> FaceDetector | None:
    """Load the detector of a file, or the one in the model folders; None for "none", or where none is found."""
    from ..saliency.human_faces import FaceDetector
    from ..weights.find import face_detector_file

    path = face_detector_file(name)
    return None if path is None else FaceDetector(path)


def track_of_file(name: str) -> SourceTrack:
    """Read a file of keyframes: a path of a sound, or of a head."""
    from ..media.files import existing_text
    from ..sound.source_tracks import track_from_json

    return track_from_json(existing_text(name))


def keyframes_of_file(name: str) -> tuple[Keyframe, ...]:
    """Read a file of keyframes: a path of a camera."""
    from ..media.files import existing_text
    from ..viewpoint.keyframes import keyframes_from_json

    return keyframes_from_json(existing_text(name))


def load(
    options: ModelOptions, device: str, report: Report, *, rest: str | None = None
) -> tuple[JointModel, LoadedControl | None]:
    """Load the joint model and its control as the options name them; `rest` is where the model lies meanwhile."""
    from ..door import load_model

    with report.stage("loading the model", steps=False):
        return load_model(
            options.model, parts=options.part, control=options.control, device=device, dtype=options.dtype, rest=rest
        )


def notice_missing(
    conditions: Conditions, control: LoadedControl | None, options: ModelOptions, report: Report
) -> None:
    """Say which conditions are missing: the control, or a typed caption."""
    if control is None and options.control is None:
        report.notice("the model comes without a control module: the caption alone steers, and the view does not")
    if conditions.caption.origin == "plain":
        report.notice(f"no caption was typed, so the model gets no words: {conditions.caption.long}")
