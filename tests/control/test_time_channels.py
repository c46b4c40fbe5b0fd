"""Time channels of a control: what is written, folded, dialled and left alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from test_control_module import SHAPES, TIME, conditions, config, module

from con360.control import ControlModule, encode_control, load_control, save_control
from con360.control.time_channels import ENVELOPE, ONSET, PRESENCE, SINCE, channels_of, folded
from con360.errors import InputError
from con360.records import Envelope, OnsetTrack, TimeTrack
from con360.sound.envelopes import mu_law

# Rows of 40 ms and of 20 ms over 0.52 s.
FOLDS = {"audio.down.2": 4, "audio.up.1": 2, "audio.input": 2}
TIMED = {**SHAPES, "audio.input": (8, 26, 8)}
TRACK = TimeTrack(OnsetTrack((0.0, 0.204, 0.4999), (1.0, 0.5, 0.8)))


def timed(seed: int = 0):
    """A control that reads time tracks, every head trained."""
    made = module(seed, site_channels={s: shape[0] for s, shape in TIMED.items()}, time_folds=FOLDS)
    for head in made.when.values():
        torch.nn.init.normal_(head.head.linear.weight, std=0.1)
    return made


def drawn(track=TRACK):
    return replace(conditions(), when=track)


def differs(a, b) -> set[str]:
    return {site for site in a if not all(torch.equal(x, y) for x, y in zip(a[site], b[site], strict=True))}


def test_onsets_stand_in_their_frames_and_die_away_in_a_tenth_of_a_second():
    channels = channels_of(TRACK, 50)
    assert channels[ONSET].nonzero().flatten().tolist() == [0, 20, 49]
    assert channels[ONSET, [0, 20, 49]].tolist() == pytest.approx([1.0, 0.5, 0.8])
    assert channels[SINCE, 19] == pytest.approx(torch.exp(torch.tensor(-1.9)).item()) and channels[SINCE, 20] == 1
    assert channels[PRESENCE].min() == 1
    # 30 ms after an onset of strength 1, which rises to an RMS of 0.2 and dies away in a quarter of a second.
    assert channels[ENVELOPE, 3] == pytest.approx(
        mu_law(torch.tensor(0.2 * 2.718281828 ** (-0.02 / 0.25))).item(), abs=0.01
    )


def test_an_envelope_is_companded_and_its_free_part_is_absent():
    values, present = torch.full((63,), 0.25), torch.ones(63)
    present[30:] = 0
    channels = channels_of(TimeTrack(envelope=Envelope(values, present=present)), 50)
    assert channels[ENVELOPE, :20].tolist() == pytest.approx([mu_law(torch.tensor(0.25)).item()] * 20)
    assert channels[PRESENCE].unique_consecutive().tolist() == [1, 0] and channels[PRESENCE].sum() in (24, 25)
    assert channels[ENVELOPE, 30:].abs().max() == 0 and channels[[ONSET, SINCE]].abs().max() == 0


def test_rows_keep_every_mel_frame_and_are_absent_past_the_end():
    channels = torch.arange(20.0).view(1, 2, 10)
    rows = folded(channels, 4, 4)
    assert rows.shape == (1, 8, 4)
    assert rows[0, :4, 1].tolist() == [4, 5, 6, 7] and rows[0, 4:, 2].tolist() == [18, 19, 0, 0]
    assert rows[..., 3].abs().max() == 0
    with pytest.raises(ValueError, match="do not fit"):
        folded(channels, 2, 4)


def test_untrained_time_heads_change_nothing():
    made = ControlModule(config(site_channels={s: shape[0] for s, shape in TIMED.items()}, time_folds=FOLDS))
    for scale, shift in encode_control(made, drawn(), TIMED, **TIME).values():
        assert scale.abs().max() == 0 and shift.abs().max() == 0


def test_a_track_moves_the_sound_alone_by_channel_and_row():
    made = timed()
    with_track, without = (encode_control(made, given, TIMED, **TIME) for given in (drawn(), conditions()))
    assert differs(with_track, without) == set(FOLDS)
    moved = with_track["audio.input"][1] - without["audio.input"][1]
    assert moved.shape == (1, 8, 26, 1)
    assert moved.std(dim=1).min() > 0, "a shift that all channels share is lost in the next norm"
    assert moved.std(dim=2).min() > 0


def test_a_track_turned_off_is_no_track():
    made = timed()
    off = encode_control(made, drawn(), TIMED, **TIME, strengths={"when": 0})
    assert not differs(off, encode_control(made, conditions(), TIMED, **TIME))
    alone = {"saliency": 0.0, "basd": 0.0}
    assert encode_control(made, conditions(), TIMED, **TIME, strengths=alone) is None
    assert encode_control(made, drawn(), TIMED, **TIME, strengths=alone) is not None


def test_a_strength_scales_what_the_track_adds():
    made = timed()
    none, half, whole = (
        encode_control(made, drawn(), TIMED, **TIME, strengths={"when": s})["audio.input"][1] for s in (0, 0.5, 1)
    )
    assert torch.allclose(half - none, 0.5 * (whole - none), atol=1e-6)


def test_clips_that_drop_their_track_have_none():
    made = timed()
    rays = torch.nn.functional.normalize(torch.rand(2, 4, 8, 8, 3), dim=-1)
    given = (torch.rand(2, 4, 2, 16, 32), rays, TIMED)
    when = channels_of(TRACK, 52)[None].expand(2, -1, -1)
    with torch.no_grad():
        some = made(*given, **TIME, when=when, keep_when=torch.tensor([1.0, 0.0]))["audio.input"][1]
        none = made(*given, **TIME)["audio.input"][1]
    assert torch.equal(some[1], none[1]) and not torch.equal(some[0], none[0])


def test_file_keeps_the_time_heads_and_an_earlier_one_names_none(tmp_path):
    made = timed()
    save_control(tmp_path / "c.safetensors", made, base="", base_fingerprint="", training={}, saliency="multicue")
    again = load_control(tmp_path / "c.safetensors").module
    assert again.config == made.config and again.config.time_channels == 4
    before, after = (encode_control(m, drawn(), TIMED, **TIME)["audio.input"][1] for m in (made, again))
    assert torch.allclose(before, after, atol=1e-6) and before.abs().max() > 0
    assert {"time_folds", "view_margin"}.isdisjoint(config().to_dict())
    assert config().time_channels == 0


def test_a_control_without_time_heads_leaves_a_track_alone_and_names_no_dial():
    assert not differs(*(encode_control(module(), given, SHAPES, **TIME) for given in (drawn(), conditions())))
    with pytest.raises(InputError, match="reads saliency, basd"):
        encode_control(module(), drawn(), SHAPES, **TIME, strengths={"when": 1})


@pytest.mark.parametrize("folds", [{"video.up.1": 8}, {"audio.up.0": 8}, {"audio.up.1": 0}, ["audio.up.1"]])
def test_folds_of_other_sites_are_refused(folds):
    with pytest.raises(InputError, match="audio"):
        config(time_folds=folds)


def test_a_map_of_the_name_of_the_dial_is_refused():
    with pytest.raises(InputError, match="'when' names the drawn time track"):
        config(time_folds={"audio.up.1": 2}, channels=("saliency", "basd", "when"))


@pytest.mark.parametrize("track", [TimeTrack(), TimeTrack(OnsetTrack((9.0,))), TimeTrack(OnsetTrack((float("nan"),)))])
def test_tracks_that_a_clip_cannot_follow_are_refused(track):
    with pytest.raises(InputError):
        encode_control(timed(), drawn(track), TIMED, **TIME)
