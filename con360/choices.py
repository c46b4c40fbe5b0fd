"""Words that users choose from: one list for the library, the command line and the nodes. Imports nothing heavy."""

from __future__ import annotations

from typing import Literal, get_args

# One eye of a stereo panorama, or the picture as it is.
Eye = Literal["whole", "left", "right"]
EYES: tuple[Eye, ...] = get_args(Eye)

# Sound of a reframed video. `auto` leaves mono and stereo as they are and makes stereo of the rest.
SoundKind = Literal["auto", "stereo", "mono", "foa", "headphones", "none"]
SOUND_KINDS: tuple[SoundKind, ...] = get_args(SoundKind)
# Sound of a cropped view: its microphone, the mono downmix, or two ears that look there.
ViewSound = Literal["view", "omni", "headphones"]
VIEW_SOUNDS: tuple[ViewSound, ...] = get_args(ViewSound)

# Codecs of a picture that is written, and how many bytes it gets.
VideoCodec = Literal["H.264", "H.265"]
VIDEO_CODECS: tuple[VideoCodec, ...] = get_args(VideoCodec)
Quality = Literal["high", "medium", "small"]
QUALITIES: tuple[Quality, ...] = get_args(Quality)

# What a viewpoint looks at: a subject, or the paper's centroid of a region cut out by a threshold.
Ranking = Literal["subject", "centroid"]
RANKINGS: tuple[Ranking, ...] = get_args(Ranking)
# How the camera moves: it holds still, or follows the region.
ViewMode = Literal["still", "track"]
VIEW_MODES: tuple[ViewMode, ...] = get_args(ViewMode)

# Saliency methods that need no weights. A control's file names the method of the maps that it was trained with.
MULTICUE, TRAINING_FREE = "multi-cue", "training-free"
NAMED_METHODS = (MULTICUE, TRAINING_FREE)

# The model that comes with the package.
BUILT_IN_MODEL = "con360-tiny"

# Of the sampler. The modality that is held stays as it is given; `low` memory has one network at a time on the device.
SAMPLERS = ("ddim", "dpm++")
HOLDS = ("picture", "sound")
MEMORY_MODES = ("normal", "low")

# Number formats of the networks; `auto` depends on the device.
DTYPES = ("auto", "float32", "float16", "bfloat16")

# Laws by which a field becomes stereo: two virtual cardioids, or panning between two loudspeakers.
StereoLaw = Literal["cardioids", "tangent", "constant-power"]
STEREO_LAWS: tuple[StereoLaw, ...] = get_args(StereoLaw)
