"""The pack's nodes, one file per stage; each turns sockets into one call of the library and back."""

from comfy_api.v0_0_2 import ComfyExtension, io

from .ambisonics import Con360AmbisonicsToHeadphones, Con360MixAmbisonics, Con360RotateAmbisonics
from .best_of import Con360BestOf
from .caption import CubemapCaption
from .check import Con360CheckClip
from .compare import Con360Compare, Con360OverlayPreview
from .crop import Con360ViewpointCrop
from .field_preview import Con360AmbisonicsPreview
from .former import FORMER, announce
from .guide import Con360MeaningGuide
from .host import folders, pages, words
from .level import Con360Level360Video
from .load_video import Load360Video
from .loaders import Con360ControlLoader, Con360ModelLoader
from .meaning import Con360Meaning, Con360MeaningLoader
from .metrics import Con360SaliencyKL
from .omniaudio import Con360OmniAudioLoader, Con360VideoToAmbisonics
from .place_sound import Con360PlaceSound
from .project import Con360Project
from .redo import Con360RedoSpan
from .reframe import Reframe360Video
from .saliency import SalViT360Saliency
from .sample_sound import Con360SampleSound
from .sampler import JointAVSampler
from .save import Save360Video
from .sound_field import Con360SoundField
from .time_preview import Con360TimeTrackPreview
from .time_track import Con360TimeTrack
from .viewpoint import CentroidToBASD, Con360Centroids, Con360ViewpointByHand
from .views_around import Con360SoundsToField, Con360ViewsAround

NODES: list[type[io.ComfyNode]] = [
    Load360Video,
    SalViT360Saliency,
    CentroidToBASD,
    CubemapCaption,
    Con360ModelLoader,
    Con360ControlLoader,
    JointAVSampler,
    Con360ViewpointCrop,
    Con360ViewpointByHand,
    Con360OverlayPreview,
    Con360Compare,
    Reframe360Video,
    Save360Video,
    Con360SaliencyKL,
    Con360Centroids,
    Con360PlaceSound,
    Con360MixAmbisonics,
    Con360RotateAmbisonics,
    Con360AmbisonicsToHeadphones,
    Con360AmbisonicsPreview,
    Con360ViewsAround,
    Con360SoundsToField,
    Con360SampleSound,
    Con360OmniAudioLoader,
    Con360VideoToAmbisonics,
    Con360Level360Video,
    Con360SoundField,
    Con360TimeTrack,
    Con360TimeTrackPreview,
    Con360RedoSpan,
    Con360CheckClip,
    Con360Project,
    Con360MeaningGuide,
    Con360BestOf,
    Con360MeaningLoader,
    Con360Meaning,
]


class Con360Extension(ComfyExtension):
    """Give ComfyUI the list of nodes."""

    async def on_load(self) -> None:
        await announce()

    async def get_node_list(self) -> list[type[io.ComfyNode]]:
        nodes = [words.checked(node) for node in NODES]
        # The former ones first: the core notes what it reads on a class, and a subclass read later would inherit it.
        return [*FORMER, *nodes]


async def comfy_entrypoint() -> Con360Extension:
    folders.register_model_folders()
    pages.add_routes()
    return Con360Extension()
