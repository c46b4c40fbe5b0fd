"""Quirks of the published joint model that its weights were trained with, each shown on its own."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from tiny_model import make_tiny_joint_model

from con360.models import connectors as c
from con360.models import signal_encoder
from con360.models.dual_unet import run_blocks, time_embedding
from con360.timing import ClipSpec


def normal(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_wart_a_connectors_output_is_the_down_blocks_last_skip_too():
    """The decoder gets the connector's output over the skip, not the block's own output."""
    unet = make_tiny_joint_model(0).unet.unet_a
    temb = torch.cat([time_embedding(unet, 10, torch.zeros(1)), unet.class_embedding(normal(1, 16))], dim=-1)
    x = normal(1, 8, 16, 16)
    skips: list[torch.Tensor] = []
    unet.up_blocks[0].register_forward_pre_hook(
        lambda module, args, kwargs: skips.extend(kwargs["res_hidden_states_tuple"]), with_kwargs=True
    )
    run_blocks(unet, x, temb, None, lambda site, h: torch.full_like(h, 7.0) if site == "down.3" else None)
    assert skips[-1].unique().tolist() == [7.0], "the last skip of the last down block"
    assert all(s.unique().numel() > 1 for s in skips[:-1]), "and no other"


@torch.no_grad()
def test_wart_residuals_add_the_normalised_tensor():
    """With attention and feed-forward at zero, a CMC-PE block still normalises three times."""
    block = c.AdditiveBlock(32, 8, 16, time_axis=1)
    for name, parameter in block.named_parameters():
        if not name.startswith("norm"):
            parameter.zero_()
    x = 5 * normal(1, 3, 2, 2, 32) + 1
    thrice = F.layer_norm(F.layer_norm(F.layer_norm(x, (32,)), (32,)), (32,))
    torch.testing.assert_close(block(x, None, None), thrice)
    # The other variant is an ordinary pre-norm block: at zero, it is the identity.
    plain = c.PooledTokenBlock(32, 8, 16)
    for name, parameter in plain.named_parameters():
        if not name.startswith("norm"):
            parameter.zero_()
    assert torch.equal(plain(x, None, None), x)


@torch.no_grad()
def test_wart_the_signal_has_unit_length_along_time_or_as_one_token():
    """CMC-PE: each channel has unit norm over time. `attn`: one token per clip, of unit norm over channels."""
    x_v, x_a = normal(2, 4, 6, 8, 8), normal(2, 8, 16, 16, seed=1)
    additive = make_tiny_joint_model(0).unet.encode_cross(x_v, x_a, 10, 10)
    assert additive.into_audio.shape == (2, 32, 6) and additive.into_video.shape == (2, 32, 8)
    attn = make_tiny_joint_model(0, kind="attn").unet.encode_cross(x_v, x_a, 10, 10)
    assert attn.into_audio.shape == attn.into_video.shape == (2, 32)
    for signal in (*additive, *attn):
        torch.testing.assert_close(signal.norm(dim=-1), torch.ones(signal.shape[:-1]))


@torch.no_grad()
def test_wart_the_signal_is_laid_along_time_by_nearest_neighbour():
    """Three positions over eight frames make steps, no ramps; all pixels of a frame get the same value."""
    context = c.PositionalContext(32, 8, 16, time_axis=1)
    laid = context.along_time(torch.zeros(1, 8, 2, 2, 32), normal(1, 16, 3))
    assert laid.shape == (1, 8, 1, 1, 32)
    assert [int((laid[0, t] == laid[0, t - 1]).all()) for t in range(1, 8)] == [1, 1, 0, 1, 1, 0, 1]


@torch.no_grad()
def test_wart_group_norm_reads_all_frames_together_only_in_cmc_pe():
    x = normal(4, 32, 2, 2)
    x[1] += 3.0
    together = c.Connector(32, 8, 16, "additive", is_video=True)._normalise(x, 4)
    alone = c.Connector(32, 8, 16, "attn", is_video=True)._normalise(x, 4)
    assert together[0, 1].mean() > 1, "a frame that stands out keeps standing out"
    assert alone[0, 1].mean().abs() < 1e-5, "the frame is normalised alone"


@torch.no_grad()
def test_wart_frame_positions_are_seconds_at_8_fps():
    positions = signal_encoder._frame_positions(torch.zeros(1, 17, 64))
    # The fastest sine runs at one radian per second: frame 8 is at 1 s, frame 16 at 2 s.
    torch.testing.assert_close(positions[[8, 16], 0], torch.tensor([1.0, 2.0]).sin())
    torch.testing.assert_close(positions[8, 32], torch.tensor(1.0).cos())


@torch.no_grad()
def test_wart_encoders_embed_time_without_the_class():
    """The sound's encoder gets the U-Net's embedding of the timestep, without its embedding of the text."""
    unet, x_a = make_tiny_joint_model(0).unet, normal(1, 8, 16, 16)
    heard: list[torch.Tensor] = []
    unet.connectors.encoders["audio"].register_forward_pre_hook(lambda module, args: heard.append(args[1]))
    unet.encode_cross(None, x_a, None, 10)
    assert torch.equal(heard[0], unet.unet_a.time_embedding(unet.unet_a.time_proj(torch.tensor([10]))))


@torch.no_grad()
def test_wart_all_104_rows_are_sampled():
    """4 s are 100 latent rows, padded to 104; the 32 frames' signal is stretched over all of them, 4.16 s."""
    spec = ClipSpec(seconds=4.0)
    assert (spec.num_latent_rows, spec.num_latent_rows_padded) == (100, 104)
    assert spec.latent_seconds_a == pytest.approx(4.16)
    context = c.PositionalContext(32, 8, 16, time_axis=2)
    rows = context.along_time(torch.zeros(1, 1, 52, 8, 32), normal(1, 16, 32))[0, 0, :, 0]
    # Frame 16 is shown at 2 s; its signal begins at row 26 of 52, which is heard at 2.08 s.
    assert not torch.equal(rows[25], rows[26]) and torch.equal(rows[26], rows[27])


@torch.no_grad()
def test_wart_standardising_is_looser_at_half_precision():
    """The floor under the variance is 1e-5 in float32 and 1e-3 in half precision."""
    x = 1e-3 * torch.tensor([[1.0, -1.0] * 8])
    assert signal_encoder._standardise(x, -1).std(unbiased=False) == pytest.approx(1e-3 / 1e-5**0.5, rel=1e-3)
    assert signal_encoder._standardise(x.bfloat16(), -1).float().std(unbiased=False) == pytest.approx(
        1e-3 / 1e-3**0.5, rel=2e-2
    )
