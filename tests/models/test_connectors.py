"""Connectors and FiLM on their own: identities, places, shapes, published configurations and warts."""

from __future__ import annotations

import copy
import zlib
from collections.abc import Sequence

import pytest
import torch
from tiny_model import make_tiny_joint_model

from con360.errors import InputError
from con360.models.connector_config import INPUTS, SITES, ConnectorConfig, SideConfig
from con360.models.connectors import Connectors, TokenAttention
from con360.models.dual_unet import DualUNet
from con360.models.signal_encoder import FrameShiftConv, TemporalAttention
from con360.weights.connector_names import published_to_ours

KINDS = ("additive", "attn")
GOLDEN = [-0.858831, -0.901336, -0.909794, -0.911233, -1.069958, -1.637448, -1.608319, -1.561457]


@pytest.fixture(scope="module", params=KINDS)
def tiny(request) -> DualUNet:
    return make_tiny_joint_model(3, kind=request.param).unet


def inputs(batch: int = 1, frames: int = 4):
    g = torch.Generator().manual_seed(5)
    x_v, x_a = torch.randn(batch, 4, frames, 8, 8, generator=g), torch.randn(batch, 8, 16, 16, generator=g)
    text_v = torch.randn(batch, 5, 16, generator=g)
    text_a = torch.nn.functional.normalize(torch.randn(batch, 16, generator=g), dim=-1)
    return x_v, x_a, 400, 300, text_v, text_a


def film_for(unet: DualUNet, frames: int = 4, scale: float = 0.0, shift: float = 0.0, sites: Sequence[str] = SITES):
    """Make a modulation of these sites, different by channel (see the wart below); a sound's is one for all bands."""
    film = {}
    shapes = unet.site_shapes((frames, 8, 8), (16, 16))
    for site in sites:
        shape = shapes[site]
        shape = (1, *shape[:-1], 1) if site.startswith("audio") else (1, *shape)
        pattern = torch.linspace(-1, 1, shape[1]).view(1, -1, *(1,) * (len(shape) - 2)).expand(shape)
        film[site] = (scale * pattern, shift * pattern)
    return film


@torch.no_grad()
def test_zero_connectors_are_the_plain_unets(tiny):
    x = inputs()
    unet = DualUNet(tiny.unet_v, tiny.unet_a, Connectors(tiny.connectors.config))
    joint = unet(*x, unet.encode_cross(*x[:4]), film_for(unet, scale=0.5, shift=0.5))
    plain = unet(*x, use_connectors=False)
    library = tiny.unet_v(x[0], 400, x[4].repeat_interleave(4, dim=0)).sample
    assert torch.equal(joint[0], plain[0]) and torch.equal(joint[1], plain[1])
    # Ours attends to the text once per clip, diffusers once per frame: rounding differs.
    assert torch.allclose(plain[0], library, atol=1e-5)
    assert torch.equal(DualUNet(tiny.unet_v, tiny.unet_a)(*x)[0], plain[0])


@torch.no_grad()
def test_zero_film_is_no_film(tiny):
    x = inputs()
    cross = tiny.encode_cross(*x[:4])
    without, zeros = tiny(*x, cross), tiny(*x, cross, film_for(tiny))
    assert torch.equal(without[0], zeros[0]) and torch.equal(without[1], zeros[1])
    assert not torch.equal(without[0], tiny(*x, use_connectors=False)[0])


@torch.no_grad()
@pytest.mark.parametrize("site", (*SITES, *INPUTS))
def test_each_film_site_reaches_its_modality(tiny, site):
    x = inputs()
    cross = tiny.encode_cross(*x[:4])
    one = film_for(tiny, scale=1.0, shift=1.0, sites=(site,))
    plain, moved = tiny(*x, cross), tiny(*x, cross, one)
    changed = [not torch.allclose(a, b, atol=1e-6) for a, b in zip(plain, moved, strict=True)]
    assert changed == ([True, False] if site.startswith("video") else [False, True])


@torch.no_grad()
def test_wart_film_equal_over_channels_changes_nothing():
    """FiLM must vary by channel: CMC-PE's next norm removes any modulation that all channels share."""
    unet = make_tiny_joint_model(3).unet
    x = inputs()
    cross = unet.encode_cross(*x[:4])
    film = {site: (torch.zeros(()).expand(s.shape), torch.ones_like(s)) for site, (s, _) in film_for(unet).items()}
    for got, wanted in zip(unet(*x, cross, film), unet(*x, cross), strict=True):
        assert torch.allclose(got, wanted, atol=1e-4 * float(wanted.abs().max()))


@torch.no_grad()
def test_one_modality_alone_keeps_its_connectors(tiny):
    """Without the other modality FiLM still acts, so that images or sound alone can train."""
    x_v, x_a, t_v, t_a, text_v, text_a = inputs()
    film = film_for(tiny, scale=1.0, shift=1.0)
    video, audio = tiny.forward_video(x_v, t_v, text_v), tiny.forward_audio(x_a, t_a, text_a)
    assert not torch.equal(video, tiny.forward_video(x_v, t_v, text_v, use_connectors=False))
    assert not torch.equal(video, tiny.forward_video(x_v, t_v, text_v, film=film))
    assert not torch.equal(audio, tiny.forward_audio(x_a, t_a, text_a, film=film))
    cross = tiny.encode_cross(x_v, None, t_v)
    assert cross.into_video is None and cross.into_audio is not None


@torch.no_grad()
def test_a_single_frame_is_finite(tiny):
    x = inputs(frames=1)
    out = tiny(*x, tiny.encode_cross(*x[:4]))
    assert all(torch.isfinite(o).all() for o in out) and out[0].shape == x[0].shape


@torch.no_grad()
@pytest.mark.parametrize(
    ("latent_v", "latent_a"), [((4, 8, 8), (16, 16)), ((2, 12, 10), (24, 16)), ((1, 16, 8), (13, 12))]
)
def test_site_shapes_are_those_of_a_forward(tiny, latent_v, latent_a):
    seen = {}
    hooks = [
        tiny.connectors.at(site).register_forward_hook(
            lambda m, args, out, site=site: seen.update({site: (out.shape, args[1])})
        )
        for site in SITES
    ]
    x_v, x_a, t_v, t_a, text_v, text_a = inputs()
    tiny(torch.randn(1, 4, *latent_v), torch.randn(1, 8, *latent_a), t_v, t_a, text_v, text_a)
    for hook in hooks:
        hook.remove()
    shapes = tiny.site_shapes(latent_v, latent_a)
    assert set(shapes) == {*SITES, *INPUTS}
    for site, (out, frames) in seen.items():
        assert shapes[site] == ((out[1], frames, *out[2:]) if site.startswith("video") else tuple(out[1:]))


def test_full_size_site_shapes_match_the_report():
    """Method notes: 32 frames of 256 px, 4 s of sound."""
    from diffusers import MotionAdapter, UNet2DConditionModel, UNetMotionModel
    from published_svg import read_json

    values = read_json("svg_full_report.json")["configs"]
    with torch.device("meta"):
        unet_a = UNet2DConditionModel(**values["unet_a"])
        unet_v = UNetMotionModel.from_unet2d(
            UNet2DConditionModel(**values["unet_v_2d"]), MotionAdapter(**values["motion_adapter"]), load_weights=False
        )
    shapes = DualUNet(unet_v, unet_a).site_shapes((32, 32, 32), (104, 16))
    assert shapes["audio.down.2"] == (576, 13, 2) and shapes["audio.down.3"] == (960, 13, 2)
    assert shapes["audio.up.0"] == (960, 26, 4) and shapes["audio.up.1"] == (576, 52, 8)
    assert shapes["video.down.2"] == shapes["video.down.3"] == (1280, 32, 4, 4)
    assert shapes["video.up.0"] == (1280, 32, 8, 8) and shapes["video.up.1"] == (1280, 32, 16, 16)


def test_gradients_reach_every_connector_weight():
    """The `attn` kind is left out: softmax over its one pooled token is constant, so some weights get no gradient."""
    unet = make_tiny_joint_model(1, kind="additive").unet
    unet.connectors.requires_grad_(True)
    _, x_a, *rest = inputs(frames=9)
    # 16x16: a single position has nothing to attend to. 9 frames: the last eighth of channels is seven frames late.
    x = (torch.randn(1, 4, 9, 16, 16, generator=torch.Generator().manual_seed(2)), x_a, *rest)
    sum(o.square().sum() for o in unet(*x, unet.encode_cross(*x[:4]))).backward()
    idle = [name for name, p in unet.connectors.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def test_wart_head_width_and_head_count():
    """The published 8 is the width of a connector's heads, while diffusers reads it as their number."""
    unet = make_tiny_joint_model(0).unet
    assert unet.connectors.at("video.up.0").block.attend_self.heads == 64 // 8
    assert TokenAttention(1280, 8).heads == 160
    assert unet.unet_v.up_blocks[1].attentions[0].transformer_blocks[0].attn1.heads == 8


def test_wart_temporal_norm_works_over_time():
    """Each channel loses its constant over time; a LayerNorm would keep differences between channels."""
    attend = TemporalAttention(32)
    attend.to_out.weight.data.normal_(generator=torch.Generator().manual_seed(0))
    x = torch.randn(2, 6, 32, generator=torch.Generator().manual_seed(1))
    bias = torch.zeros(8, 6, 6)
    assert torch.allclose(attend(x, bias), attend(x + torch.arange(32.0), bias), atol=1e-4)


def test_convention_frame_shift_delays_eighths():
    shift = FrameShiftConv(32)
    shift.conv.bias.data.fill_(1.0)  # the convolution's kernel is zero, so its output is 1 everywhere
    out = shift(torch.zeros(5, 32, 2, 2), 5)[:, :, 0, 0]
    assert out[0].tolist() == [1.0] * 4 + [0.0] * 28
    assert out[4].tolist() == [1.0] * 20 + [0.0] * 12


@pytest.mark.parametrize("kind", KINDS)
def test_published_configuration_round_trips(kind):
    side = SideConfig((64, 96, 128, 160), 8, 256, 8, (1, 2), (1, 2))
    config = ConnectorConfig(SideConfig((64, 64, 64, 64), 4), side, kind, 96, reads_x0=False)
    assert ConnectorConfig.from_published(config.to_published()) == ConnectorConfig(
        config.video, config.audio, kind, 96, reads_x0=False
    )


def test_published_defaults_fill_what_a_folder_leaves_out():
    unets = {
        f"unet_{m}_config": {"block_out_channels": [320, 640, 1280, 1280], "in_channels": c}
        for m, c in (("video", 4), ("audio", 8))
    }
    config = ConnectorConfig.from_published(unets)
    assert (config.kind, config.connector_channel, config.reads_x0) == ("attn", 1280, True)
    assert config.video == SideConfig((320, 640, 1280, 1280), 4, None, 8, (2, 4), (1, 1))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda v: v["unet_video_config"].pop("in_channels"), "in_channels"),
        (lambda v: v["connector_audio_config"].update(connector_channel=7), "connector_channel"),
        (lambda v: v["connector_video_config"].update(with_connector=[True] * 4), "elsewhere"),
        (lambda v: [v[f"connector_{m}_config"].update(connector_in_type="rope") for m in ("audio", "video")], "rope"),
        (lambda v: v["unet_audio_config"].update(block_out_channels=[48, 96, 96, 96]), "48"),
        (lambda v: v["unet_audio_config"].update(block_out_channels=[64, 96, 96]), "3 levels"),
    ],
)
def test_unusable_configurations_are_named(change, says):
    values = copy.deepcopy(make_tiny_joint_model(0).unet.connectors.config.to_published())
    change(values)
    with pytest.raises(InputError, match=says):
        ConnectorConfig.from_published(values)


def test_unknown_published_names_are_not_invented():
    config = make_tiny_joint_model(0).unet.connectors.config
    assert published_to_ours(config, "connector_in_video.0.2.0.norm.weight") == "sites.video_down_2.norm.weight"
    assert published_to_ours(config, "connector_in_video.0.1.0.norm.weight") is None


@torch.no_grad()
def test_golden_slice():
    """Weights from their names, fixed inputs, recorded numbers: a refactor must not move them."""
    unet = make_tiny_joint_model(0).unet
    for name, p in unet.named_parameters():
        wave = torch.sin(torch.arange(p.numel(), dtype=torch.float64) * 12.9898 + zlib.crc32(name.encode()) % 1000)
        p.copy_((1 + 0.1 * wave if "norm" in name else wave / p[0].numel() ** 0.5).view(p.shape))
    ramp = (
        (torch.arange(4 * 4 * 8 * 8) * 0.7).sin().view(1, 4, 4, 8, 8),
        (torch.arange(8 * 256) * 0.3).cos().view(1, 8, 16, 16),
    )
    text = (torch.arange(5 * 16) * 0.9).sin().view(1, 5, 16), torch.full((1, 16), 0.25)
    out_v, out_a = unet(*ramp, 400, 300, *text, unet.encode_cross(*ramp, 400, 300))
    got = torch.cat([out_v[0, 0, 1, 3, :4], out_a[0, 2, 5, :4]])
    assert torch.allclose(got, torch.tensor(GOLDEN), atol=2e-4)
