"""Short forms of calls that scripts make one after the other; `import con360` offers them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from .caption import typed_caption
from .choices import BUILT_IN_MODEL, MULTICUE, NAMED_METHODS
from .control import LoadedControl, load_control
from .devices import resolve_device
from .errors import InputError
from .models.joint import JointModel
from .models.precision import working_dtype
from .pipeline import conditions_of
from .placing.folder import open_views
from .placing.run import Placed, PlaceSettings, place_alone, place_on_clip
from .placing.sources import PlacedSound
from .records import Conditions, PanoramaClip, Progress, SaliencyMaps, SceneCaption, TimeTrack, Viewpoint
from .saliency.predict import clip_saliency
from .sounding.model import AmbisonicsModel, load_ambisonics_model
from .sounding.run import MadeAmbisonics, ambisonics_for_clip
from .sounding.settings import AmbisonicsSettings
from .weights.find import chosen_files
from .weights.load import load_joint_model


def load_model(
    model: str | Path = BUILT_IN_MODEL, *, parts: Sequence[str] = (), control: str | Path | None = None,
    device: str = "auto", dtype: str = "auto", rest: str | None = None,
) -> tuple[JointModel, LoadedControl | None]:  # fmt: skip
    """Load a joint model and its control.

    Args:
        model: `con360-tiny`, a name that `con360 models` lists, a folder, or a con360-model.json.
        parts: parts from elsewhere, each as NAME=PATH.
        control: a control file, or `none`; None takes the model's own, and none for a model with parts from elsewhere.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`. dtype: one of `choices.DTYPES`.
        rest: where the model lies until its parts are called to `device`, with `memory="low"`; None is `device`.

    Returns:
        The model, and its control or None.

    Raises:
        InputError: a name, file, device or precision that cannot be used.
    """
    device = resolve_device(device)
    files, path = chosen_files(model, parts, control)
    joint = load_joint_model(files, device=rest or device, dtype=working_dtype(dtype, device))
    return joint, None if path is None else load_control(path, device=device)


def place(
    sounds: Sequence[PlacedSound], out: str | Path, on: str | Path | None = None, settings: PlaceSettings | None = None,
    *, views: str | Path | None = None, progress: Progress | None = None,
) -> Placed:  # fmt: skip
    """Put sounds around the listener: on a 360° clip, or in a field by themselves.

    Args:
        sounds: files with their places.
        out: an MP4 with `on`, else a WAV of Ambisonics.
        on: a 360° clip; its picture is copied bit for bit.
        views: a folder with sounds of views, as `placing.folder.open_views` reads it; they join the others.
        settings: order, and whether the clip's own sound stays. progress: told of each second; may raise to cancel.

    Raises:
        InputError: a file, a place or an option cannot be used.
    """
    opened = None if views is None else open_views(views)
    if on is None:
        return place_alone(sounds, out, settings, views=opened, progress=progress)
    return place_on_clip(on, sounds, out, settings, views=opened, progress=progress)


def ambisonics(
    clip: str | Path, out: str | Path, model: str | Path | AmbisonicsModel | None = None,
    settings: AmbisonicsSettings | None = None, *, pictures: str | Path | None = None, device: str = "auto",
    dtype: str = "auto", progress: Progress | None = None,
) -> MadeAmbisonics:  # fmt: skip
    """Write a 360° clip with first-order Ambisonics that a model makes for its picture, which is copied bit for bit.

    Args:
        clip: a 360° video. out: the MP4 to write.
        model: a loaded one, or what `load_ambisonics_model` takes; None is the built-in one.
        settings: sampler, part of the clip, view and level; None takes the defaults.
        pictures: OmniAudio's picture encoder; None takes the one in the model folders.
        device: `auto`, `cpu`, `cuda`, `cuda:1`, `mps`. dtype: one of `choices.DTYPES`.
        progress: told of each step; may raise to cancel.

    Raises:
        InputError: a file, model, device or setting cannot be used.
    """
    if not isinstance(model, AmbisonicsModel):
        device = resolve_device(device)
        model = load_ambisonics_model(model, pictures, device=device, dtype=working_dtype(dtype, device))
    return ambisonics_for_clip(clip, out, model, settings, progress=progress)


def make_conditions(
    clip: PanoramaClip, viewpoint: Viewpoint, control: LoadedControl | None = None, *,
    caption: str | SceneCaption | None = None, saliency: SaliencyMaps | None = None, when: TimeTrack | None = None,
) -> Conditions:  # fmt: skip
    """Assemble the conditions of one viewpoint: saliency as the control reads it, BASD maps, caption and time track.

    Args:
        clip: the panorama. viewpoint: of the same clip.
        control: it names the saliency method that it was trained with; None takes `multi-cue`.
        caption: None states plainly what was found.
        saliency: `[T, H, W]` maps of the clip, in place of new ones.
        when: times at which the sound shall strike, and its level (`read_time_track`).

    Raises:
        InputError: the control was trained with a method that needs weights, and `saliency` is not given.
    """
    if saliency is None:
        method = MULTICUE if control is None else control.saliency
        if method not in NAMED_METHODS:
            raise InputError(
                f"the control was trained with saliency by {method}; give saliency=clip_saliency(clip, FILE) with "
                f"the file of its weights."
            )
        saliency = clip_saliency(clip, method)
    words = typed_caption(caption) if isinstance(caption, str) else caption
    return replace(conditions_of(clip, saliency, viewpoint, words, control=control), when=when)
