"""The best of several seeds: how candidates rank, and how many are held."""

from __future__ import annotations

import weakref

import pytest
import torch

from con360.anew.best import Candidate, best_of, seeds_from
from con360.errors import InputError
from con360.records import Sound, ViewpointClip


class Judge:
    """Reads a vector from a clip's first pixels and samples."""

    name, shared = "judge", True

    def read_text(self, captions):
        assert captions[0].strip(), "checked before"
        return torch.tensor([[1.0, 0, 0]])

    def read_picture(self, frames, fps):
        return torch.nn.functional.normalize(frames[:, 0, :, 0, 0], dim=-1)

    def read_sound(self, sound, rate_hz):
        return torch.nn.functional.normalize(sound[:, :3], dim=-1)


# By seed: picture, sound.
CLIPS = {
    5: ((1.0, 0.9, 0.0), (0.5, 0.1, 0.8)),
    6: ((1.0, 0.1, 0.0), (0.9, 0.1, 0.1)),
    7: ((1.0, 0.0, 0.1), (-0.9, 0.0, 0.0)),  # the least volume, and the opposite of its caption
    8: ((1.0, 0.0, 0.1), (0.0, 0.0, 0.0)),  # silent
}


def clip_of(seed: int) -> ViewpointClip:
    picture, sound = (torch.tensor(values) for values in CLIPS[seed])
    return ViewpointClip(picture[None, :, None, None].expand(2, 3, 4, 4), 8.0, Sound(sound[None], 16000), seed)


def test_a_contradiction_ranks_behind_and_silence_last():
    best = best_of(clip_of, CLIPS, Judge(), "a caption")
    assert [one.seed for one in best.ranked] == [6, 5, 7, 8] and best.clip.seed == 6
    contradicting = best.ranked[2]
    assert contradicting.volume < best.ranked[0].volume and contradicting.ta < 0
    assert "silent" in best.ranked[3].said and best.ranked[3].volume is None


def test_two_clips_at_most_are_held():
    alive: list[weakref.ref] = []
    most = 0

    def make(seed: int) -> ViewpointClip:
        nonlocal most
        most = max(most, sum(ref() is not None for ref in alive))
        clip = clip_of(seed)
        alive.append(weakref.ref(clip))
        return clip

    best_of(make, (5, 6, 7, 8), Judge(), "a caption")
    assert most == 1, "while one is made, the best so far"


def test_an_encoder_of_two_spaces_ranks_by_its_cosines():
    near, far = Candidate(1, None, 0.9, 0.5), Candidate(2, None, 0.6, 0.6)
    assert sorted((far, near), key=lambda c: c.rank_key) == [near, far]


def test_bad_numbers_and_nothing_to_rank_are_sentences():
    assert seeds_from(2**64 - 1, 2) == (2**64 - 1, 0)
    for count in (0, 1, 1000):
        with pytest.raises(InputError, match="choose 2 to 64"):
            seeds_from(0, count)
    with pytest.raises(InputError, match="no candidate can be measured"):
        best_of(clip_of, (8,), Judge(), "a caption")
