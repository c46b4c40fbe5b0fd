"""Reject segments that are not worth training on, by OmniAudio's rules for Sphere360 and our own; each is optional.

Source: OmniAudio (arXiv 2504.14906) and its cleaning scripts. Static: more than 85 % of frame pairs at 2 fps differ by
a gray mean squared error below 5. Silent: below -35 dBFS for more than 90 % of the time. Match: picture against sound,
as OmniAudio does with ImageBind, by any encoder that reads both into one space; CLAP alone compares sound and caption.
OmniAudio detects speech with SenseVoice, which transformers does not load: an AudioSet classifier replaces it.

The rules `not360` and `notfoa` are those of `con360 check`: what it would mend of the picture's projection, edges and
poles, and of the sound's channels and their order.

A signal-processing voice detector is no replacement. WebRTC's strictest mode finds speech in 95 % of a bird recording,
92 % of a piano and 70 % of a drum kit, beside 96 % of a speech recording.
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from con360.errors import InputError
from con360.meaning.built_in import BUILT_IN_MEANING
from con360.meaning.load import NAMES, places_of
from con360.meaning.measure import check_picture, check_shared, check_sound
from con360.protocols import MeaningEncoder
from con360.records import PanoramaClip, Sound
from con360.weights.places import config_of

STATIC_FPS = 2.0
STATIC_MSE = 5.0
STATIC_SHARE = 0.85
SILENT_DBFS = -35.0
SILENT_SHARE = 0.9
SILENT_WINDOW_S = 0.1
SPEECH_PROBABILITY = 0.5
RULES = ("static", "silent", "speech", "match", "not360", "notfoa")
# Findings of a check that a whole panorama must not have to mend.
NOT_360 = ("projection", "seam", "poles")


class Rejected(Exception):
    """Raised for a valid segment that a rule leaves out; the message says why."""


def check_rules(rules: tuple[str, ...], speech_model: str, match_model: str) -> None:
    """Raise InputError for an unknown rule, or for one whose model folder is missing."""
    unknown = sorted(set(rules) - set(RULES))
    if unknown:
        raise InputError(f"the cleaning rules {', '.join(unknown)} are unknown; choose from {', '.join(RULES)}.")
    if "speech" in rules and not Path(speech_model or "?").is_dir():
        raise InputError(
            "the cleaning rule 'speech' needs a sound classifier with a label 'Speech': give --speech-model a local "
            "folder in the transformers layout, for example of MIT/ast-finetuned-audioset-10-10-0.4593."
        )
    if "match" in rules and not match_model:
        raise InputError(
            "the cleaning rule 'match' compares the picture with the sound: give --match-model an encoder "
            f"({BUILT_IN_MEANING}, {', '.join(NAMES[:2])}, a file or a folder), or a folder of CLAP, which compares "
            "the sound with the caption."
        )
    if "match" in rules:
        places_of(match_model)


def static_share(frames: Tensor, fps: float) -> float:
    """Share of neighbouring frames at 2 fps whose gray values (0 to 255) differ by a mean squared error below 5.

    Args:
        frames: `[T, 3, H, W]` in [0, 1].
    """
    gray = 255 * torch.einsum("tchw,c->thw", frames[:: max(1, round(fps / STATIC_FPS))], frames.new_tensor(_LUMA))
    if len(gray) < 2:
        return 1.0
    return float(((gray[1:] - gray[:-1]).square().mean((1, 2)) < STATIC_MSE).float().mean())


_LUMA = (0.299, 0.587, 0.114)


def silent_share(mono: Sound) -> float:
    """Share of tenths of a second whose level (RMS, full scale 1) is below -35 dBFS."""
    window = round(SILENT_WINDOW_S * mono.sample_rate_hz)
    parts = mono.waveform[0].unfold(0, window, window)
    return float((parts.square().mean(1) < 10 ** (SILENT_DBFS / 10)).float().mean())


def check_static(frames: Tensor, fps: float) -> None:
    """Raise Rejected for a picture that does not move."""
    share = static_share(frames, fps)
    if share > STATIC_SHARE:
        raise Rejected(f"static: {100 * share:.0f} % of the frame pairs do not differ")


def check_silent(mono: Sound) -> None:
    """Raise Rejected for sound that is nearly silent."""
    share = silent_share(mono)
    if share > SILENT_SHARE:
        raise Rejected(f"silent: {100 * share:.0f} % of the sound is below {SILENT_DBFS:g} dBFS")


def check_speech(mono: Sound, folder: str) -> None:
    """Raise Rejected for sound that a classifier calls speech."""
    probability = speech_probability(mono, folder)
    if probability > SPEECH_PROBABILITY:
        raise Rejected(f"speech: probability {probability:.2f}")


def reads_captions(match_model: str) -> bool:
    """True where the rule `match` compares sound and caption: a folder of CLAP alone."""
    places = places_of(match_model)
    return len(places) == 1 and config_of(places[0]).get("model_type") == "clap"


def check_seen(frames: Tensor, fps: float, mono: Sound, encoder: MeaningEncoder, least: float) -> None:
    """Raise Rejected if picture and sound do not match, InputError for an encoder without a space of both.

    Args:
        frames: `[T, 3, H, W]` in [0, 1]: the whole panorama, as OmniAudio compares it.
    """
    check_shared(encoder, "a comparison")
    try:
        check_picture(frames[None])
        check_sound(mono.waveform)
    except InputError as error:
        raise Rejected(f"match: {error}") from error
    with torch.no_grad():
        picture, sound = encoder.read_picture(frames[None], fps), encoder.read_sound(mono.waveform, mono.sample_rate_hz)
    cosine = float((picture * sound).sum())
    if cosine < least:
        raise Rejected(f"match: the cosine of picture and sound is {cosine:.3f}, below {least:g}")


def check_match(mono: Sound, caption: str, folder: str, least: float) -> None:
    """Raise Rejected if sound and caption do not match, InputError if there is no caption."""
    if not caption:
        raise InputError("the rule 'match' compares the sound with the caption, and this clip has none")
    cosine = sound_caption_cosine(mono, caption, folder)
    if cosine < least:
        raise Rejected(f"match: the cosine of sound and caption is {cosine:.3f}, below {least:g}")


def check_is_360(clip: PanoramaClip) -> None:
    """Raise Rejected for a picture that is no whole panorama."""
    from con360.checking.run import findings_of_pictures

    _reject("not360", [f.says for f in findings_of_pictures(clip) if f.name in NOT_360 and f.state == "mend"])


def check_is_foa(sound: Sound) -> None:
    """Raise Rejected for sound that is no Ambisonics, or Ambisonics of another order or gain than it is read as."""
    from con360.checking.run import findings_of_sound

    if sound.layout != "ambix":
        raise Rejected(f"notfoa: the sound is {sound.layout}")
    found = findings_of_sound(sound)
    # What is good in a file with loudspeakers, four independent channels, teaches nothing as a field.
    wrong = (("channels", "mend"), ("order", "mend"), ("order", "look"))
    _reject("notfoa", [f.says for f in found if (f.name, f.state) in wrong])


def _reject(rule: str, sentences: list[str]) -> None:
    if sentences:
        raise Rejected(f"{rule}: {' '.join(sentences)}")


@torch.no_grad()
def speech_probability(mono: Sound, folder: str) -> float:
    """Probability that AudioSet's label "Speech" holds, by a local classifier."""
    from con360.sound.levels import resample

    model, extract = _classifier(folder)
    rate = extract.sampling_rate
    wave = resample(mono, rate).waveform[0].numpy()
    inputs = extract(wave, sampling_rate=rate, return_tensors="pt")
    # A sound may have several AudioSet labels: sigmoid per label, no softmax.
    return float(model(**inputs).logits.sigmoid()[0, _speech_label(model, folder)])


def _speech_label(model: Any, folder: str) -> int:
    labels = {str(name).lower(): int(index) for index, name in model.config.id2label.items()}
    if "speech" not in labels:
        raise InputError(f"the classifier in {folder} has no label 'Speech'; give one that was trained on AudioSet.")
    return labels["speech"]


@torch.no_grad()
def sound_caption_cosine(mono: Sound, caption: str, folder: str) -> float:
    """Cosine of CLAP's sound and text embeddings, by a local model."""
    from con360.sound.levels import resample

    model, processor = _clap(folder)
    rate = processor.feature_extractor.sampling_rate
    wave = resample(mono, rate).waveform[0].numpy()
    sound = processor.feature_extractor(wave, sampling_rate=rate, return_tensors="pt")
    text = processor.tokenizer([caption], return_tensors="pt", truncation=True)
    output = model(**text, **sound)
    return float(torch.cosine_similarity(output.audio_embeds, output.text_embeds)[0])


@lru_cache(maxsize=1)
def _classifier(folder: str) -> tuple[Any, Any]:
    from transformers import AutoFeatureExtractor, AutoModelForAudioClassification

    return _local(folder, AutoModelForAudioClassification), _local(folder, AutoFeatureExtractor)


@lru_cache(maxsize=1)
def _clap(folder: str) -> tuple[Any, Any]:
    from transformers import ClapModel, ClapProcessor

    return _local(folder, ClapModel), _local(folder, ClapProcessor)


def _local(folder: str, kind: Any) -> Any:
    try:
        loaded = kind.from_pretrained(folder, local_files_only=True)
    except Exception as error:  # transformers raises many kinds for a damaged folder
        reason = str(error).strip().split("\n")[0][:160]
        raise InputError(f"{folder} cannot be loaded as {kind.__name__} ({reason}).") from error
    return loaded.eval() if hasattr(loaded, "eval") else loaded
