"""List every model part that this project can use: its purpose, its place, and where people get it.

Nothing is ever downloaded; addresses are for people.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from ..choices import BUILT_IN_MODEL
from ..errors import InputError
from .files import read_header
from .kinds import CONTROL, IMAGEBIND, MOTION, OMNIAUDIO, ONSETS, SALVIT360, SD15, VIDEO2RMS, kind_of
from .places import (
    CLIP_FOLDERS,
    CLIP_TYPES,
    INDEX,
    PART_PLACES,
    PICKLE_SUFFIXES,
    WEIGHT_SUFFIXES,
    config_of,
    is_part_folder,
)


@dataclass(frozen=True)
class PublishedWeights:
    """Weights that others publish: title, address, licence and size, for messages. Nothing here downloads them.

    Args:
        note: what they draw, if their title promises more.
        files: addresses of the weight files themselves, where the page lists several files.
    """

    title: str
    address: str
    licence: str
    size: str
    note: str = ""
    files: tuple[str, ...] = ()


_HUB = "https://huggingface.co/"
_BLIP2, _LLAMA = _HUB + "Salesforce/blip2-opt-2.7b", _HUB + "meta-llama/Llama-3.2-1B-Instruct"

# By role: folders of transformers.
FOLDER_MODELS = {
    "captioner": PublishedWeights(
        "BLIP-2", _BLIP2, "MIT", "15 GB (3.74 billion weights, float32)",
        files=tuple(f"{_BLIP2}/resolve/main/model-0000{number}-of-00002.safetensors" for number in (1, 2)),
    ),
    "language model": PublishedWeights(
        "Llama 3.2", _LLAMA, "Llama 3.2 Community License", "2.5 GB (1.24 billion weights, bfloat16)",
        files=(f"{_LLAMA}/resolve/main/model.safetensors",),
    ),
    "picture encoder": PublishedWeights(
        "MetaCLIP ViT-H/14", _HUB + "facebook/metaclip-h14-fullcc2.5b",
        "CC BY-NC 4.0 (not for commercial use)", "unknown (632 M weights in its vision tower)",
    ),
    "clap": PublishedWeights("LAION-CLAP", _HUB + "laion/clap-htsat-unfused", "Apache-2.0", "0.6 GB"),
    "clip": PublishedWeights(
        "CLIP ViT-B/32", _HUB + "openai/clip-vit-base-patch32", "MIT (its code; the weights' page names none)",
        "0.6 GB (151 M weights, float32)",
    ),
    "pe-av": PublishedWeights(
        "PE-AV", _HUB + "facebook/pe-av-large (or -base, -small)", "Apache-2.0", "unknown",
        "captions, pictures and sounds in nearly one space: pairs by a head each; it needs timm",
    ),
}  # fmt: skip


MEANING_FOLDER = "con360_meaning"
UNKNOWN, NONE_SEEN = "unknown", "none seen, neither of the code nor of the weights"
TIME_FOLDER = "con360_onsets"
I3D_FILE = "i3d_torchscript.pt"


@dataclass(frozen=True)
class KnownPart:
    """A published part.

    Args:
        key: short name.
        use: what it is for.
        weights: title, address, licence, size.
        places: model folders where it is looked for; it belongs in the first.
        name: suggested name there.
        fits: tells whether a path in such a folder is this part, or a remainder of it.
    """

    key: str
    use: str
    weights: PublishedWeights
    places: tuple[str, ...]
    name: str
    fits: Callable[[Path], bool]


def advice(key: str) -> str:
    """Say where a missing part belongs and where it can be had."""
    part = next(part for part in KNOWN_PARTS if part.key == key)
    weights, place = part.weights, f"models/{part.places[0]}/{part.name}"
    note = f" ({weights.note})" if weights.note else ""
    return (
        f"{weights.title}{note} belongs in {place}; address: {weights.address}; licence: {weights.licence}; size: "
        f"{weights.size}. Nothing is downloaded by itself."
    )


# ---- how a part is known


def _holds(*names: str) -> Callable[[Path], bool]:
    return lambda path: all((path / name).exists() for name in names)


def _is_part(part: str, file_kind: str) -> Callable[[Path], bool]:
    return lambda path: is_part_folder(part, path) if path.is_dir() else _is_file_of(path, file_kind)


def _is_file_of(path: Path, kind: str) -> bool:
    if not path.is_file() or path.suffix not in WEIGHT_SUFFIXES:
        return False
    try:
        return kind_of(read_header(path)) == kind
    except InputError:
        # An unreadable file is listed with the reason.
        return True


def _is_of_type(*model_types: str) -> Callable[[Path], bool]:
    return lambda path: path.is_dir() and config_of(path).get("model_type") in model_types


def _is_causal(path: Path) -> bool:
    names = config_of(path).get("architectures") or []
    return path.is_dir() and any(str(name).endswith("ForCausalLM") for name in names)


def _is_tempsal(path: Path) -> bool:
    return path.is_file() and "tempsal" in path.name.lower() and path.suffix in PICKLE_SUFFIXES


# Sizes, licences and addresses as their pages state them; where none was found it says so.
KNOWN_PARTS: tuple[KnownPart, ...] = (
    KnownPart(
        BUILT_IN_MODEL, "the built-in model: shows the method on any machine",
        PublishedWeights(
            "con360-tiny", "in this package", "Apache-2.0", "20 M weights",
            "it draws coloured shapes of 64 px; its meaning.safetensors compares captions, pictures, sounds",
        ),
        (), "", lambda _: True,
    ),
    KnownPart(
        "svg", "the joint model: two U-Nets with connectors, codecs, text encoders",
        PublishedWeights(
            "SVG baseline", "https://drive.google.com/file/d/1pQdhl_j_hjdIMJq9waVTvM3baj5xqeF3 (arXiv 2409.17550)",
            "unknown; it contains AudioLDM, CC BY-NC-SA 4.0 (not for commercial use)",
            "unknown (2196 M weights in U-Nets and connectors)",
            "trained on Greatest Hits, so it draws drumsticks hitting things",
        ),
        ("con360",), "svg", _holds(INDEX, "unet_v", "unet_svg"),
    ),
    KnownPart(
        "audio", "sound, where no joint model is at hand",
        PublishedWeights(
            "AudioLDM-m-full", _HUB + "cvssp/audioldm-m-full", "CC BY-NC-SA 4.0 (not for commercial use)",
            "1.9 GB U-Net and VAE; text encoder and vocoder unknown",
        ),
        PART_PLACES["audio"].model_folders, "audioldm-m-full", partial(is_part_folder, "audio"),
    ),
    KnownPart(
        "video", "picture, where no joint model is at hand: any SD 1.5 folder or checkpoint",
        PublishedWeights(
            "Realistic Vision V5.1 (SD 1.5)", _HUB + "SG161222/Realistic_Vision_V5.1_noVAE", "CreativeML OpenRAIL-M",
            "3.8 GB U-Net and VAE; text encoder unknown",
        ),
        PART_PLACES["video"].model_folders, "Realistic_Vision_V5.1_noVAE", _is_part("video", SD15),
    ),
    KnownPart(
        "motion", "makes the picture's model a video model",
        PublishedWeights(
            "AnimateDiff motion adapter v1-5-2", _HUB + "guoyww/animatediff-motion-adapter-v1-5-2", UNKNOWN, "1.8 GB"
        ),
        PART_PLACES["motion"].model_folders, "animatediff-motion-adapter-v1-5-2", _is_part("motion", MOTION),
    ),
    KnownPart(
        "control", "lets saliency and BASD steer; trained by train/train.py, none is published for the full size",
        PublishedWeights("Con360-AV control module", "none published", "yours", UNKNOWN),
        ("con360_control",), "control.safetensors", lambda path: _is_file_of(path, CONTROL),
    ),
    KnownPart(
        "salvit360", "saliency of 360° video; without it, methods that need no weights",
        PublishedWeights(
            "SalViT360",
            "https://drive.google.com/drive/folders/1cJ9ln4sH0IIdv2L-Xcyk6N17_4_7FFOW "
            "(github.com/MertCokelek/SalViT360)",
            "MIT (its code; the weights' page names none)", UNKNOWN,
        ),
        ("con360_saliency",), "salvit360.pt", lambda path: _is_file_of(path, SALVIT360),
    ),
    KnownPart(
        "faces", "finds faces, which saliency then draws the camera to",
        PublishedWeights("CenterFace", "https://github.com/Star-Clouds/CenterFace", "MIT", "7.3 MB"),
        ("con360_faces",), "centerface.onnx", lambda path: path.is_file() and path.suffix == ".onnx",
    ),
    KnownPart(
        "captioner", "describes the six faces of the panorama", FOLDER_MODELS["captioner"], ("con360_captioner",),
        "blip2-opt-2.7b", _is_of_type("blip-2", "blip_2", "blip"),
    ),
    KnownPart(
        "language model", "merges the faces' captions; any small instruct model", FOLDER_MODELS["language model"],
        ("con360_llm", "LLM"), "Llama-3.2-1B-Instruct", _is_causal,
    ),
    KnownPart(
        "omniaudio", "Ambisonics for a 360° video; without it, the built-in small model",
        PublishedWeights(
            "OmniAudio", _HUB + "omniaudio/OmniAudio360V2SA",
            "Apache-2.0; its picture encoder is CC BY-NC 4.0, so that both together are not for commercial use",
            "unknown (1222 M weights, 148 M of them never used)",
        ),
        ("con360_omniaudio",), "model.ckpt", lambda path: _is_file_of(path, OMNIAUDIO),
    ),
    KnownPart(
        "picture encoder", "reads the pictures for OmniAudio", FOLDER_MODELS["picture encoder"],
        CLIP_FOLDERS, "metaclip-h14-fullcc2.5b", _is_of_type(*CLIP_TYPES),
    ),
    KnownPart(
        "onsets", "finds when a picture strikes; without it, motion alone tells",
        PublishedWeights(
            "SyncFusion's onset network", "https://zenodo.org/records/12634630 (arXiv 2310.15247)", NONE_SEEN,
            "125 MB of weights in float32 (31.4 M); a training checkpoint is larger",
            "trained on Greatest Hits, so it knows drumsticks that hit things",
        ),
        (TIME_FOLDER,), "onsets.ckpt", lambda path: _is_file_of(path, ONSETS),
    ),
    KnownPart(
        "video2rms", "tells loudness over time from features that you bring (TSN, colour and flow)",
        PublishedWeights(
            "Video-Foley's Video2RMS", _HUB + "jnwnlee/video-foley (arXiv 2408.11915)", NONE_SEEN,
            "321 MB of weights in float32 (80.2 M)",
        ),
        (TIME_FOLDER,), "video2rms.pt", lambda path: _is_file_of(path, VIDEO2RMS),
    ),
    KnownPart(
        "clap", "metric FAD; with CLIP, captions beside sounds", FOLDER_MODELS["clap"],
        ("con360_metrics",), "clap-htsat-unfused", _is_of_type("clap"),
    ),
    KnownPart(
        "clip", "captions beside pictures, with CLAP", FOLDER_MODELS["clip"],
        (MEANING_FOLDER,), "clip-vit-base-patch32", _is_of_type("clip"),
    ),
    KnownPart(
        "pe-av", "measures what caption, picture and sound share, and guides by it; without it, the built-in encoder",
        FOLDER_MODELS["pe-av"], (MEANING_FOLDER,), "pe-av-large", _is_of_type("pe_audio_video"),
    ),
    KnownPart(
        "imagebind", "the same, as published guidance did",
        PublishedWeights(
            "ImageBind", "https://dl.fbaipublicfiles.com/imagebind/imagebind_huge.pth",
            "CC BY-NC-SA 4.0 by its licence file, CC BY-NC 4.0 by its README (not for commercial use)",
            "4.5 GB (1.2 billion weights)",
            "captions and sounds meet by way of pictures alone; captions need CLIP's vocabulary",
        ),
        (MEANING_FOLDER,), "imagebind_huge.pth", lambda path: _is_file_of(path, IMAGEBIND),
    ),
    KnownPart(
        "i3d", "metric FVD",
        PublishedWeights(
            "I3D (Kinetics-400)", "https://www.dropbox.com/s/ge9e5ujwgetktms/i3d_torchscript.pt", UNKNOWN, UNKNOWN
        ),
        ("con360_metrics",), I3D_FILE, lambda path: path.name == I3D_FILE,
    ),
    KnownPart(
        "tempsal", "the saliency model of the paper's S_KL, as TorchScript (train/evaluate.py --tempsal)",
        PublishedWeights("TempSAL", "https://github.com/IVRL/Tempsal (arXiv 2301.02315)", UNKNOWN, UNKNOWN),
        ("con360_metrics",), "tempsal.pt", _is_tempsal,
    ),
)  # fmt: skip
