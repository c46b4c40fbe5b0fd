"""Load and check what several commands take."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from ..choices import NAMED_METHODS
from .report import Report
from .requests import ModelOptions

if TYPE_CHECKING:
    from ..control import LoadedControl
    from ..models.joint import JointModel
    from ..records import Conditions
    from ..saliency.human_faces import FaceDetector
    from ..weights.parts import ModelParts


def check_saliency(name: str | None) -> None:
    """Check that a saliency method is known or its file is there, before a long video is read."""
    from ..media.files import existing_file
    from ..saliency.predict import check_method

    if name is not None and name not in NAMED_METHODS:
        check_method(name)
        existing_file(name)


def face_detector(name: str | None) -> FaceDetector | None:
    """The detector in a file, or the one in the model folders; None for "none", or where there is none."""
    from ..saliency.human_faces import FaceDetector
    from ..weights.find import face_detector_file

    path = face_detector_file(name)
    return None if path is None else FaceDetector(path)


def load(
    options: ModelOptions, device: str, report: Report, *, rest: str | None = None
) -> tuple[JointModel, LoadedControl | None]:
    """The joint model and its control module, as the options name them; `rest` is where the model lies meanwhile."""
    from ..control import load_control
    from ..models.precision import working_dtype
    from ..weights.load import load_joint_model

    dtype = working_dtype(options.dtype, device)
    with report.stage("loading the model", steps=False):
        parts, path = chosen(options)
        model = load_joint_model(parts, device=rest or device, dtype=dtype)
        return model, None if path is None else load_control(path, device=device)


def chosen(options: ModelOptions) -> tuple[ModelParts, Path | None]:
    """The parts of the model and its control file; one that is put together of parts comes without."""
    from ..weights.find import chosen_parts, control_file, model_folder

    parts = chosen_parts(options.model, options.part)
    if options.part and options.control is None:
        return parts, None
    return parts, control_file(options.control, model_folder(options.model))


def notice_missing(
    conditions: Conditions, control: LoadedControl | None, options: ModelOptions, report: Report
) -> None:
    """Say what does not steer: a control that is not there, a caption that was not typed."""
    if control is None and options.control is None:
        report.notice("the model comes without a control module: the caption alone steers, and the view does not")
    if conditions.caption.origin == "plain":
        report.notice(f"no caption was typed, so the model gets no words: {conditions.caption.long}")
