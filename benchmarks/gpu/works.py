"""The stages of a run and of a training as single calls, over random networks in the published sizes.

The same calls are counted on the meta device and measured on a GPU. Networks are made where they run, in the precision
that runs choose by themselves: nothing is downloaded, nothing is read.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Any

import torch
from torch import Tensor, nn

from con360.control import ControlConfig, ControlModule
from con360.models.codecs import decode_frames, decode_mel, vocode
from con360.models.precision import working_dtype
from con360.saliency.salvit360 import SalViT360
from con360.sampling.settings import SamplerSettings
from train.losses import JointDraws, joint_predictions
from train.trainee import REGIMES, checkpoint_activations

from ..sampling import Scenario, published_shape
from .counting import as_autocast

STEPS, FPS, SOUND_S, SAMPLE_HZ = 50, 8.0, 4.16, 16000
# In the published training the previous estimate is dropped for each modality in half of the clips.
WITH_ESTIMATE = 0.75


@dataclass(frozen=True)
class Sizes:
    """Sizes of the networks and of a clip.

    Args:
        video, audio: widths of the U-Nets. connectors: their width.
        latent_px, frames, rows: of the latents. picture, mel: widths of the VAEs. vocoder: its width.
        text: width and layers of both text encoders.
        vision, querying, speaking: settings of the captioner's three networks. merging: of the language model.
        words: tokens of its question and its answer.
        panorama_frames: for saliency.
    """

    video: tuple[int, ...]
    audio: tuple[int, ...]
    connectors: int
    latent_px: int
    frames: int
    rows: int
    picture: tuple[int, ...]
    mel: tuple[int, ...]
    vocoder: int
    text: tuple[int, int]
    vision: dict[str, int]
    querying: dict[str, int]
    speaking: dict[str, int]
    merging: dict[str, int]
    words: int
    panorama_frames: int


PUBLISHED = Sizes(
    video=(320, 640, 1280, 1280), audio=(192, 384, 576, 960), connectors=1280, latent_px=32, frames=32, rows=104,
    picture=(128, 256, 512, 512), mel=(128, 256, 512), vocoder=1024, text=(768, 12),
    vision={}, querying={"encoder_hidden_size": 1408},
    speaking={"hidden_size": 2560, "ffn_dim": 10240, "num_hidden_layers": 32, "num_attention_heads": 32,
              "vocab_size": 50304, "word_embed_proj_dim": 2560},
    merging={"vocab_size": 128256, "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16,
             "num_attention_heads": 32, "num_key_value_heads": 8},
    words=1324, panorama_frames=32,
)  # fmt: skip
_LITTLE = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
# The same shapes, for tests.
TINY = Sizes(
    video=(64, 64, 64, 64), audio=(64, 64, 64, 64), connectors=32, latent_px=8, frames=2, rows=16,
    picture=(32, 32, 32, 32), mel=(32, 32, 32), vocoder=32, text=(32, 1),
    vision={**_LITTLE, "intermediate_size": 32}, querying={**_LITTLE, "intermediate_size": 32,
                                                           "encoder_hidden_size": 32},
    speaking={**_LITTLE, "ffn_dim": 32, "vocab_size": 64, "word_embed_proj_dim": 32},
    merging={**_LITTLE, "intermediate_size": 32, "num_key_value_heads": 1, "vocab_size": 64}, words=12,
    panorama_frames=1,
)  # fmt: skip


@dataclass(frozen=True)
class Work:
    """One call.

    Args:
        held_bytes: weights, and an optimiser's state, that are on the device at once.
        networks: all that the call goes through.
        run: the call. times: how often one clip needs it; a share for what only some clips need.
    """

    held_bytes: int
    networks: tuple[nn.Module, ...]
    run: Callable[[], object]
    times: float = 1


Maker = Callable[[Sizes, str], Work]


@contextmanager
def made_on(device: str, dtype: torch.dtype) -> Iterator[None]:
    """Make networks on a device in a precision, so that they are never whole anywhere else."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(before)


def bytes_of(*networks: nn.Module) -> int:
    return sum(p.nbytes for network in networks for p in network.parameters())


def _half(device: str) -> torch.dtype:
    """The precision of `auto`; what is counted is counted for GPUs that have bfloat16."""
    return torch.bfloat16 if device == "meta" else working_dtype("auto", device)


# ---- captions and saliency


def captions(sizes: Sizes, device: str) -> Work:
    """Six faces at once: see, query, and write 40 tokens after 32 for the picture."""
    from transformers import Blip2Config, Blip2ForConditionalGeneration

    text = {"model_type": "opt", **sizes.speaking}
    config = Blip2Config(vision_config=sizes.vision, qformer_config=sizes.querying, text_config=text)
    dtype = _half(device)
    with made_on(device, dtype):
        model = Blip2ForConditionalGeneration(config).eval()
    side = model.config.vision_config.image_size

    @torch.no_grad()
    def run() -> Tensor:
        seen = model.vision_model(torch.zeros(6, 3, side, side, device=device, dtype=dtype)).last_hidden_state
        queries = model.query_tokens.expand(6, -1, -1)
        asked = model.qformer(query_embeds=queries, encoder_hidden_states=seen).last_hidden_state
        read = model.language_projection(asked.to(dtype))
        read = torch.cat([read, read.new_zeros(6, 40, read.shape[-1])], dim=1)
        return model.language_model(inputs_embeds=read, logits_to_keep=1).logits

    # Three moments of a clip by default.
    return Work(bytes_of(model), (model,), run, times=3)


def merging(sizes: Sizes, device: str) -> Work:
    """Read the faces' captions and write an answer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(**sizes.merging, tie_word_embeddings=True, max_position_embeddings=4096)
    with made_on(device, _half(device)):
        model = LlamaForCausalLM(config).eval()
    ids = torch.zeros(1, sizes.words, dtype=torch.long, device=device)

    @torch.no_grad()
    def run() -> Tensor:
        return model(input_ids=ids, logits_to_keep=1).logits

    return Work(bytes_of(model), (model,), run, times=2)


def saliency(sizes: Sizes, device: str) -> Work:
    """All frames of a clip; the network works at 960 x 1920 whatever comes."""
    with made_on(device, torch.float32):
        model = SalViT360().eval()
    frames = torch.zeros(sizes.panorama_frames, 3, 240, 480)
    return Work(bytes_of(model), (model,), lambda: model.raw_maps(frames))


# ---- generation


def _joint(sizes: Sizes, device: str, dtype: torch.dtype) -> Scenario:
    with made_on(device, dtype):
        scenario = published_shape(
            "", sizes.video, sizes.audio, sizes.latent_px, sizes.frames, rows=sizes.rows,
            connector_channel=sizes.connectors,
        )  # fmt: skip
    scenario.unet.to(dtype)
    return scenario


def _codecs(sizes: Sizes, device: str) -> tuple[nn.Module, nn.Module, nn.Module]:
    from diffusers import AutoencoderKL
    from transformers import SpeechT5HifiGan, SpeechT5HifiGanConfig

    def vae(channels: int, latent: int, widths: tuple[int, ...]) -> AutoencoderKL:
        down, up = ("DownEncoderBlock2D",) * len(widths), ("UpDecoderBlock2D",) * len(widths)
        return AutoencoderKL(channels, channels, down, up, widths, layers_per_block=2, latent_channels=latent)

    vocoder = SpeechT5HifiGanConfig(
        model_in_dim=64, upsample_initial_channel=sizes.vocoder, upsample_rates=[5, 4, 2, 2, 2],
        upsample_kernel_sizes=[16, 16, 8, 4, 4], normalize_before=False,
    )  # fmt: skip
    with made_on(device, torch.float32):
        parts = vae(3, 4, sizes.picture), vae(1, 8, sizes.mel), SpeechT5HifiGan(vocoder)
    return tuple(part.eval().requires_grad_(False) for part in parts)


def _text_encoders(sizes: Sizes, device: str) -> tuple[nn.Module, nn.Module]:
    from transformers import ClapTextConfig, ClapTextModelWithProjection, CLIPTextConfig, CLIPTextModel

    width, layers = sizes.text
    shape = {"hidden_size": width, "num_hidden_layers": layers, "intermediate_size": 4 * width,
             "num_attention_heads": max(1, width // 64)}  # fmt: skip
    with made_on(device, _half(device)):
        return CLIPTextModel(CLIPTextConfig(**shape)), ClapTextModelWithProjection(ClapTextConfig(**shape))


def _sampling(memory: str) -> Maker:
    def make(sizes: Sizes, device: str) -> Work:
        scenario = _joint(sizes, device, _half(device))
        unet, settings = scenario.unet, SamplerSettings(steps=1, cfg_video=7.5, cfg_audio=2.5, memory=memory)
        run = partial(scenario.ours, settings=settings, device=device)
        if memory == "low":
            visits = [bytes_of(*unet.parts(group)) for group in ((), *unet.groups)]
            return Work(max(visits), (unet if device == "meta" else unet.to("cpu"),), run, times=STEPS)
        there = unet, *_codecs(sizes, device), *_text_encoders(sizes, device)
        return Work(bytes_of(*there), there, run, times=STEPS)

    return make


def _decoding(memory: str) -> Maker:
    def make(sizes: Sizes, device: str) -> Work:
        picture, mel, vocoder = codecs = _codecs(sizes, device)
        latent_v = torch.zeros(4, sizes.frames, sizes.latent_px, sizes.latent_px, device=device)
        latent_a = torch.zeros(1, 8, sizes.rows, 16, device=device)

        @torch.no_grad()
        def run() -> Tensor:
            decode_frames(picture, latent_v)
            mels = decode_mel(mel, latent_a)
            return vocode(vocoder, mels, mels.shape[1] * SAMPLE_HZ // 100)

        if memory == "low":
            return Work(max(map(bytes_of, codecs)), codecs, run)
        there = *codecs, _joint(sizes, device, _half(device)).unet, *_text_encoders(sizes, device)
        return Work(bytes_of(*there), there, run)

    return make


# ---- training


def _training(regime: str) -> Maker:
    def make(sizes: Sizes, device: str) -> Work:
        scenario = _joint(sizes, device, torch.float32)
        unet, channels = scenario.unet, scenario.control.config.site_channels
        with made_on(device, torch.float32):
            control = ControlModule(ControlConfig(channels, with_directions=True, geometry="view"))
        for part in REGIMES[regime]:
            for network in {"connectors": [unet.connectors], "unets": [unet.unet_v, unet.unet_a]}[part]:
                network.requires_grad_(True)
        checkpoint_activations(scenario, True)
        learning = [p for p in chain(unet.parameters(), control.parameters()) if p.requires_grad]
        # AdamW's two moments and the moving average.
        state = 3 * sum(p.nbytes for p in learning)
        step = _Step(scenario, control, learning, device)
        return Work(bytes_of(unet, control) + state, (unet, control), step)

    return make


class _Step:
    """One clip forward and backward, and the optimiser's step where there is something to compute."""

    def __init__(
        self, scenario: Scenario, control: ControlModule, learning: list[nn.Parameter], device: str
    ) -> None:  # fmt: skip
        self.unet, self.control, self.schedulers = scenario.unet, control, scenario.schedulers
        self.device, self.learning = device, learning
        self.latents = tuple(start.to(device) for start in scenario.start)
        self.text = scenario.text_v[:1].to(device), scenario.text_a[:1].to(device)
        self.maps = scenario.maps.to(device)
        grid = control.config.view_grid
        self.rays = torch.zeros(1, self.maps.shape[1], grid, grid, 3, device=device)
        self.optimiser = None if device == "meta" else torch.optim.AdamW(learning, lr=1e-5)
        self.average = [torch.zeros_like(p) for p in learning]

    def __call__(self) -> None:
        time = torch.zeros(1, dtype=torch.long, device=self.device)
        dropped = torch.zeros(1)
        draws = JointDraws(time, (time, time), self.latents, self.latents, (dropped, dropped))
        shapes = self.unet.site_shapes(*(tuple(latent.shape[2:]) for latent in self.latents))
        film = self.control(self.maps, self.rays, shapes, fps=FPS, audio_seconds=SOUND_S)
        # The meta device's autocast must outlast the recomputation in the backward pass.
        with _autocast(self.device):
            out, wanted = joint_predictions(self.unet, self.schedulers, self.latents, self.text, film, draws)
            sum((o.float() - w).square().mean() for o, w in zip(out, wanted, strict=True)).backward()
        if self.optimiser is not None:
            self.optimiser.step()
        for parameter in self.learning:
            parameter.grad = None


def _autocast(device: str) -> AbstractContextManager[Any]:
    return as_autocast() if device == "meta" else torch.autocast(torch.device(device).type, torch.bfloat16)


def _estimate(sizes: Sizes, device: str) -> Work:
    """The previous step's estimate, which the connectors see in training: one pass without gradients."""
    scenario = _joint(sizes, device, torch.float32)

    @torch.no_grad()
    def run() -> Any:
        with _autocast(device):
            start, text = [s.to(device) for s in scenario.start], (scenario.text_v[1:], scenario.text_a[1:])
            cross = scenario.unet.encode_cross(*start, 500, 500)
            return scenario.unet(*start, 500, 500, *(t.to(device) for t in text), cross)

    return Work(bytes_of(scenario.unet), (scenario.unet,), run, times=WITH_ESTIMATE)


NORMAL, LOW = "normal", "low"
# (what, memory mode) to the maker of the call.
WORKS: dict[tuple[str, str], Maker] = {
    ("captions: BLIP-2", ""): captions,
    ("captions: Llama 3.2 1B", ""): merging,
    ("saliency: SalViT360", ""): saliency,
    ("generation: sampling", NORMAL): _sampling(NORMAL),
    ("generation: sampling", LOW): _sampling(LOW),
    ("generation: decoding", NORMAL): _decoding(NORMAL),
    ("generation: decoding", LOW): _decoding(LOW),
    **{(f"training `{regime}`", ""): _training(regime) for regime in ("control", "control+cmcpe", "all")},
    ("training: the estimate before", ""): _estimate,
}
