"""Trainings of Ambisonics on the loop: losses fall, stopping changes nothing, and each part learns when it should."""

from __future__ import annotations

import signal
from dataclasses import replace
from functools import partial

import pytest
import torch
from tiny_fields import ROWS, clip, make_codec_loop, make_flow_loop, make_model, make_pictures_loop

from train.checkpoint import checkpoint_to_resume, checkpoints
from train.job import TRAINING, VALIDATION
from train.loop import Interrupted
from train.monitor import read_log
from train.omniaudio.cache import stacked
from train.omniaudio.flow import SPAN_ROWS, FlowDraws, FlowNet, random_spans, seen_by

LOOPS = {
    "pictures": make_pictures_loop,
    "codec": make_codec_loop,
    "codec and critic": partial(make_codec_loop, critic_weight=0.1),
    "decoder": partial(make_codec_loop, train="decoder"),
    "coarse": partial(make_flow_loop, train="coarse"),
    "video": make_flow_loop,
    "video, maximum": partial(make_flow_loop, panorama="maximum"),
}


QUICK = ("codec and critic", "video")


@pytest.mark.parametrize("name", [*QUICK, *(pytest.param(n, marks=pytest.mark.slow) for n in LOOPS if n not in QUICK)])
def test_a_stage_that_stops_and_goes_on_equals_one_that_never_stopped(tmp_path, name):
    def stop(progress):
        if progress.step == 2:
            signal.raise_signal(signal.SIGTERM)

    whole = LOOPS[name](tmp_path / "whole")
    whole.run()
    with pytest.raises(Interrupted):
        LOOPS[name](tmp_path / "parts", stop).run()
    rest = LOOPS[name](tmp_path / "parts")
    rest.load(checkpoint_to_resume(rest.config))
    rest.run()
    a, b = (read_log(loop.config.folder) for loop in (whole, rest))
    assert len(a) == 4
    for one, other in zip(a, b, strict=True):
        del one["clips per second"], other["clips per second"]
        assert one == other
    assert all(torch.equal(p, rest.trained[n]) for n, p in whole.trained.items())


@pytest.mark.parametrize("name", ["codec", "video", pytest.param("pictures", marks=pytest.mark.slow)])
def test_losses_fall(tmp_path, name):
    loop = LOOPS[name](tmp_path, steps=30, learning_rate=3e-3)
    before = sum(loop.validate().values())
    loop.run()
    first, last = (sum(line[n] for n in line if n.startswith("loss/") and n.count("/") == 1) for line in
                   (read_log(loop.config.folder)[0], read_log(loop.config.folder)[-1]))  # fmt: skip
    assert last < 0.9 * first
    assert name == "pictures" or sum(loop.validate().values()) < before


def moved(loop, before) -> set[str]:
    """The networks of which a weight moved since."""
    found = (n for n, p in loop.net.named_parameters() if not torch.equal(p, before[n]))
    return {".".join(name.split(".")[:2]) for name in found}


def weights(loop):
    return {n: p.clone() for n, p in loop.net.named_parameters()}


def test_codec_and_critic_learn_in_turns_and_the_others_moments_stay(tmp_path):
    loop = make_codec_loop(tmp_path, critic_weight=0.1, steps=2, clip_norm=100.0)
    seen = []

    def note(progress):
        seen.append(moved(loop, note.before))
        note.before = weights(loop)

    note.before, loop.on_step = weights(loop), note
    loop.run()
    own = {"vae.encoder", "vae.decoder", "vae.stem"}
    assert seen == [own, {"critic.towers"}]
    log = read_log(loop.config.folder)
    assert "loss/spectra" in log[0] and "loss/critic" not in log[0]
    assert "loss/critic" in log[1] and "loss/spectra" not in log[1], "a discriminator's step has an error of its own"
    assert loop.optimiser.param_groups[1]["lr"] == 2 * loop.optimiser.param_groups[0]["lr"]


def test_a_decoder_alone_leaves_the_latents(tmp_path):
    loop = make_codec_loop(tmp_path, train="decoder")
    before = weights(loop)
    loop.run()
    assert moved(loop, before) == {"vae.decoder"}


def test_validation_never_asks_the_critic(tmp_path):
    loop = make_codec_loop(tmp_path, critic_weight=0.1)
    loop.progress.step = 1
    assert set(loop.validate()) == {"spectra", "wave", "intensity", "kl", "verdict", "likeness"}


def flow_batch(loop, numbers=(0, 1)):
    batch = loop.job.collate([loop.source[loop.order.clip(n)] for n in numbers])
    return batch, loop.job.draw(batch, numbers, TRAINING, 0)


def test_a_clip_is_drawn_the_same_in_any_batch(tmp_path):
    loop = make_flow_loop(tmp_path, train="coarse")
    _, together = flow_batch(loop, (6, 7))
    _, alone = flow_batch(loop, (7,))
    for a, b in zip(vars(together).values(), vars(alone).values(), strict=True):
        assert torch.equal(a[1:], b)
    assert not torch.equal(loop.job.draw(*flow_batch(loop)[:1], (0, 1), VALIDATION, 0).noise, flow_batch(loop)[1].noise)


def test_views_are_left_out_for_a_fifth_and_parts_shown_for_a_tenth(tmp_path):
    loop = make_flow_loop(tmp_path, train="fine")
    batch, _ = flow_batch(loop, (0,))
    draws = [loop.job.draw(batch, [n], TRAINING, 0) for n in range(800)]
    assert 0.16 < 1 - torch.cat([d.keep_view for d in draws]).mean() < 0.24
    shown = [d.masked for d in draws if not d.masked.all()]
    assert 0.06 < len(shown) / len(draws) < 0.14
    video = make_flow_loop(tmp_path / "video")
    assert all(video.job.draw(batch, [n], TRAINING, 0).masked.all() for n in range(50))


def test_spans_are_ten_rows_long():
    g = torch.Generator().manual_seed(0)
    shares = []
    for _ in range(200):
        masked = random_spans(100, 0.7, g)
        edges = torch.diff(torch.cat((torch.zeros(1), masked, torch.zeros(1))))
        lengths = (edges == -1).nonzero() - (edges == 1).nonzero()
        assert lengths.min() >= SPAN_ROWS
        shares.append(float(masked.mean()))
    # Spans overlap: 7 to 10 of them at random places cover about half.
    assert 0.4 < sum(shares) / 200 < 0.7
    assert random_spans(4, 0.7, g).all(), "a clip shorter than a span is masked whole"


@torch.no_grad()
def test_the_loss_counts_masked_rows_and_shows_the_others_clean(tmp_path):
    loop = make_flow_loop(tmp_path, train="fine")
    batch, draws = flow_batch(loop)
    half = (torch.arange(ROWS) < 12).float().expand(2, -1)
    draws = replace(draws, masked=half)
    other = draws.noise.clone()
    other[..., 12:] += 3
    same = loop.net(batch, replace(draws, noise=other))
    assert torch.equal(loop.net(batch, draws).velocity, same.velocity), "noise of shown rows must reach nothing"
    other[..., :12] += 3
    assert not torch.allclose(loop.net(batch, replace(draws, noise=other)).velocity, same.velocity)


@torch.no_grad()
def test_a_dropped_view_leaves_the_panorama():
    model = make_model("maximum")
    net = FlowNet(model, sees=True)
    clips = two_clips()
    draws = FlowDraws(torch.zeros(2, 8, ROWS), torch.randn(2, 8, ROWS), torch.full((2,), 0.5), torch.zeros(2),
                      torch.ones(2, ROWS))  # fmt: skip
    dropped = net(clips, draws).velocity
    assert torch.equal(dropped, net(replace(clips, view=clips.view + 1), draws).velocity)
    assert not torch.equal(dropped, net(replace(clips, panorama=clips.panorama + 1), draws).velocity)
    kept = replace(draws, keep_view=torch.ones(2))
    assert not torch.equal(net(clips, kept).velocity, net(replace(clips, view=clips.view + 1), kept).velocity)
    assert torch.equal(net(clips, kept, sees=False).velocity, net(seen_by(clips, "erp"), kept, sees=False).velocity)


def two_clips():
    return stacked([clip(0), clip(1)])


def test_branches_that_are_not_seen_are_zeros():
    clips = two_clips()
    assert not seen_by(clips, "view").panorama.any() and torch.equal(seen_by(clips, "view").view, clips.view)
    for branches in ("erp", "eac"):
        assert not seen_by(clips, branches).view.any()
        assert torch.equal(seen_by(clips, branches).panorama, clips.panorama)
    assert torch.equal(seen_by(clips, "eac+view").view, clips.view)
    none = seen_by(clips, "none")
    assert not none.panorama.any() and not none.view.any() and torch.equal(none.mean, clips.mean)


def test_the_published_rate(tmp_path):
    """OmniAudio's law: 1 - 0.99^(n + 1), over the root of 1 + n / 1e6."""
    loop = make_flow_loop(tmp_path, learning_rate=5e-5, schedule="inverse")
    for step, rate in ((0, 5e-7), (99, 5e-5 * (1 - 0.99**100) / 1.000099**0.5), (3_000_000, 2.5e-5)):
        loop.progress.step = step
        assert loop.rate() == pytest.approx(rate, rel=1e-6)


def test_a_floor_is_left_of_the_rate(tmp_path):
    loop = make_flow_loop(tmp_path, learning_rate=1e-3, rate_floor=0.02, steps=100)
    loop.progress.step = 100
    assert loop.rate() == pytest.approx(2e-5)


def test_a_look_tells_the_angle_of_made_sounds(tmp_path):
    loop = make_flow_loop(tmp_path, steps=1, sample_every=1)
    loop.run()
    line = next(line for line in read_log(loop.config.folder) if "validation/velocity" in line)
    assert 0 <= line["validation/angular error"] <= 180


def test_checkpoints_name_their_stages_settings(tmp_path):
    loop = make_codec_loop(tmp_path, steps=1, beams=False)
    loop.run()
    text = (checkpoints(loop.config.folder / "checkpoints")[0] / "config.yaml").read_text()
    assert "beams: false" in text and "learning_rate" in text
