"""Words that users choose from: one list for the library, the command line and the nodes. Imports nothing heavy."""

from __future__ import annotations

import re
from typing import Literal, get_args

from .errors import InputError

# One eye of a stereo panorama, or the picture as it is.
Eye = Literal["whole", "left", "right"]
EYES: tuple[Eye, ...] = get_args(Eye)

# How the eyes lie in a file's picture, and its projection, in place of what the metadata says.
Layout = Literal["auto", "mono", "top-bottom", "left-right"]
LAYOUTS: tuple[Layout, ...] = get_args(Layout)
ProjectionWord = Literal["auto", "equirectangular", "vr180", "cubemap-3x2", "cubemap-6x1", "eac"]
PROJECTIONS: tuple[ProjectionWord, ...] = get_args(ProjectionWord)

# Sound of a reframed video. `auto` leaves mono and stereo as they are and makes stereo of the rest.
SoundKind = Literal["auto", "stereo", "mono", "foa", "headphones", "none"]
SOUND_KINDS: tuple[SoundKind, ...] = get_args(SoundKind)
# Sound of a cropped view: its microphone, the mono downmix, or two ears that look there.
ViewSound = Literal["view", "omni", "headphones"]
VIEW_SOUNDS: tuple[ViewSound, ...] = get_args(ViewSound)

# Sound of a generated clip: as above, and two cardioids that turn with the view.
ClipSound = Literal["view", "omni", "stereo", "headphones"]
CLIP_SOUNDS: tuple[ClipSound, ...] = get_args(ClipSound)

# Codecs of a picture that is written, and how many bytes it gets.
VideoCodec = Literal["H.264", "H.265"]
VIDEO_CODECS: tuple[VideoCodec, ...] = get_args(VideoCodec)
# Codec of a picture to edit, and codecs of a clip's sound.
MasterCodec = Literal["ProRes"]
SoundCodec = Literal["AAC", "Opus", "PCM"]
Quality = Literal["high", "medium", "small"]
QUALITIES: tuple[Quality, ...] = get_args(Quality)
# HDR is mapped to SDR, or stays HDR in a file of 10 bits; frames in memory may hold its bare values.
Hdr = Literal["tone-map", "keep", "values"]
WRITTEN_HDR: tuple[Hdr, ...] = ("tone-map", "keep")
LOADED_HDR: tuple[Hdr, ...] = ("tone-map", "values")
# Kinds of files, each for players that need it (`media.presets`).
PresetName = Literal["youtube", "quest", "headlocked", "third-order", "master"]
PRESETS: tuple[PresetName, ...] = get_args(PresetName)

# What a viewpoint looks at: a subject, or the paper's centroid of a region cut out by a threshold.
Ranking = Literal["subject", "centroid"]
RANKINGS: tuple[Ranking, ...] = get_args(Ranking)
# How the camera moves: it holds still, or follows the region.
ViewMode = Literal["still", "track"]
VIEW_MODES: tuple[ViewMode, ...] = get_args(ViewMode)

# How a view moves from one keyframe to the next.
Ease = Literal["linear", "smooth", "hold"]
EASES: tuple[Ease, ...] = get_args(Ease)
# Shapes of a picture, width to height; `aspect_of` reads any other one too.
ASPECTS = ("1:1", "16:9", "9:16", "4:5", "5:4", "4:3", "3:4", "3:2", "2:3", "21:9")
ASPECT_RANGE = (0.25, 4.0)

# Saliency methods that need no weights. A control's file names the method of the maps that it was trained with.
MULTICUE, TRAINING_FREE = "multi-cue", "training-free"
NAMED_METHODS = (MULTICUE, TRAINING_FREE)

# The model that comes with the package.
BUILT_IN_MODEL = "con360-tiny"

# Models that make Ambisonics: the one that comes with the package, and the published one of the model folders.
BUILT_IN_AMBISONICS, OMNIAUDIO_MODEL = "con360-small", "omniaudio"
# Where the view that such a model reads looks: the published front, or the most salient region.
LooksTo = Literal["front", "salient"]
LOOKS_TO: tuple[LooksTo, ...] = get_args(LooksTo)

# Of the sampler. The modality that is held stays as it is given; `low` memory has one network at a time on the device.
SAMPLERS = ("ddim", "dpm++")
HOLDS = ("picture", "sound")
MEMORY_MODES = ("normal", "low")
# Of a span that is made anew.
RedoPart = Literal["both", "picture", "sound"]
REDO_PARTS: tuple[RedoPart, ...] = get_args(RedoPart)

# Number formats of the networks; `auto` depends on the device.
DTYPES = ("auto", "float32", "float16", "bfloat16")

# Of the guide by meaning: its loss, what it moves, and how.
GuideLoss = Literal["safe", "pairwise", "volume"]
GUIDE_LOSSES: tuple[GuideLoss, ...] = get_args(GuideLoss)
GuideSteer = Literal["sound", "picture", "both"]
GUIDE_STEERS: tuple[GuideSteer, ...] = get_args(GuideSteer)
GuideUpdate = Literal["sign", "rms"]
GUIDE_UPDATES: tuple[GuideUpdate, ...] = get_args(GuideUpdate)

# What a time track is drafted from.
TimesFrom = Literal["sound", "picture"]
TIMES_FROM: tuple[TimesFrom, ...] = get_args(TimesFrom)

# Laws by which a field becomes stereo: two virtual cardioids, or panning between two loudspeakers.
StereoLaw = Literal["cardioids", "tangent", "constant-power"]
STEREO_LAWS: tuple[StereoLaw, ...] = get_args(StereoLaw)

# What tells a performer's voice in a procedural scene: nothing, its colour or its shape.
VoiceFollows = Literal["none", "colour", "shape"]
VOICE_FOLLOWS: tuple[VoiceFollows, ...] = get_args(VoiceFollows)


def check_aspect(aspect: float) -> float:
    """Check a picture's width over its height.

    Raises:
        InputError: narrower than 1:4 or wider than 4:1, or not a number.
    """
    low, high = ASPECT_RANGE
    if not low <= aspect <= high:
        raise InputError(f"an aspect ratio of {aspect:.4g} was asked for; choose one from 1:4 to 4:1.")
    return float(aspect)


def aspect_of(text: str) -> float:
    """Read an aspect ratio such as `16:9` or `2.39:1`: width over height.

    Raises:
        InputError: another form, or as `check_aspect`.
    """
    found = re.fullmatch(r"(\d{1,5}(?:\.\d{1,4})?):(\d{1,5}(?:\.\d{1,4})?)", text.strip())
    if found is None or not float(found[2]):
        raise InputError(f"the aspect ratio {text!r} is not understood; write WIDTH:HEIGHT, such as 16:9.")
    return check_aspect(float(found[1]) / float(found[2]))
