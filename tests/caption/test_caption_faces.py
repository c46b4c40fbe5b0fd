"""Test which faces a tiny captioner is shown, in which order, and how its words are used."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from con360.caption.budget import whole_sentences
from con360.caption.captioner import Captioner, load_captioner
from con360.caption.faces import DIRECTIONS, _pictures, caption_faces, caption_times
from con360.errors import InputError
from con360.geometry.cubemap import FACE_NAMES, cubemap_to_erp
from con360.records import PanoramaClip
from con360.scenes import demo_scene
from con360.timing import ClipSpec

TOKENS = 6
COLOURS = {
    "front": (1, 0, 0), "right": (0, 1, 0), "back": (0, 0, 1), "left": (1, 1, 0), "up": (0, 1, 1), "down": (1, 0, 1),
}  # fmt: skip


@pytest.fixture(scope="module", params=["blip2", "blip"])
def captioner(request: pytest.FixtureRequest, folders: dict[str, Path]) -> Captioner:
    return replace(load_captioner(folders[request.param]), max_new_tokens=TOKENS)


@pytest.fixture(scope="module")
def blip2(folders: dict[str, Path]) -> Captioner:
    return replace(load_captioner(folders["blip2"]), max_new_tokens=TOKENS)


@pytest.fixture(scope="module")
def scene() -> PanoramaClip:
    return demo_scene().panorama(64, ClipSpec(1.0))


class Watch:
    """Record the batches that a module gets; run out of memory above `largest_batch`."""

    def __init__(self, module: torch.nn.Module, largest_batch: int = 10**9) -> None:
        self.seen: list[Tensor] = []
        self.largest = largest_batch
        self.handle = module.register_forward_pre_hook(self.look, with_kwargs=True)

    def look(self, module: torch.nn.Module, args: tuple, kwargs: dict) -> None:
        values = kwargs.get("pixel_values", args[0] if args else None)
        if len(values) > self.largest:
            raise torch.OutOfMemoryError("out of memory, as a GPU says it")
        self.seen.append(values.detach().clone())

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.handle.remove()


def coloured(inverted: bool = False) -> Tensor:
    """Make a panorama `[3, 64, 128]` whose six faces are flat colours."""
    faces = torch.tensor([COLOURS[name] for name in FACE_NAMES], dtype=torch.float32)
    faces = 1 - faces if inverted else faces
    return cubemap_to_erp(faces[None, :, :, None, None].expand(1, 6, 3, 32, 32).contiguous(), 64, "nearest")[0]


def test_each_face_is_shown_under_its_direction_and_time(captioner: Captioner) -> None:
    clip = PanoramaClip(torch.stack([coloured(), coloured(), coloured(True), coloured(True)]), 2.0)
    with Watch(captioner.model.vision_model) as watch:
        said = caption_faces(captioner, clip, times=2, batch_size=5)
    assert [len(batch) for batch in watch.seen] == [5, 5, 2]
    # Away from the face's rim, where neighbours are mixed in.
    shown = (torch.cat(watch.seen)[:, :, 4:-4, 4:-4] * 0.5 + 0.5).mean((2, 3))
    for item, colour in zip(said.items, shown, strict=True):
        want = torch.tensor(COLOURS[item.face], dtype=torch.float32)
        torch.testing.assert_close(colour, want if item.time_s < 1 else 1 - want, atol=0.01, rtol=0)
    assert [(item.time_s, item.direction) for item in said.items] == [
        (time_s, direction) for time_s in (0.5, 1.5)
        for direction in ("in front", "on the right", "behind", "on the left", "above", "below")
    ]  # fmt: skip


@pytest.mark.parametrize("prompt", ["a photo of", ""])
def test_batches_say_the_same_as_one_by_one(captioner: Captioner, scene: PanoramaClip, prompt: str) -> None:
    results = [caption_faces(captioner, scene, times=2, batch_size=size, prompt=prompt) for size in (1, 5, 12, 12)]
    assert all(result.items == results[0].items for result in results)
    assert len({item.text for item in results[0].items}) > 2, "the words do not depend on the picture"


def test_the_prompt_reaches_the_network_and_not_the_caption(blip2: Captioner, scene: PanoramaClip) -> None:
    tokenizer = blip2.processor.tokenizer
    with Watch(blip2.model.get_input_embeddings()) as watch:
        said = caption_faces(blip2, scene, times=1, prompt="a drummer {direction} plays")
    asked = [tokenizer.decode(ids[0], skip_special_tokens=True) for ids in watch.seen if ids.shape[1] > 2]
    assert asked == [f"a drummer {direction} plays" for direction in DIRECTIONS.values()]
    assert all(len(item.text.split()) <= TOKENS for item in said.items)
    other = caption_faces(blip2, scene, times=1, prompt="a woman {direction} plays")
    assert [a.text for a in said.items] != [b.text for b in other.items]


def test_a_cancel_takes_effect_between_batches(blip2: Captioner, scene: PanoramaClip) -> None:
    told: list[tuple[int, int, str]] = []

    class Cancelled(Exception):
        pass

    def progress(*told_now: object) -> None:
        told.append(told_now)
        if told_now[0] >= 5:
            raise Cancelled

    with Watch(blip2.model.vision_model) as watch, pytest.raises(Cancelled):
        caption_faces(blip2, scene, times=3, batch_size=5, progress=progress)
    assert len(watch.seen) == 1
    assert told == [(0, 18, "face captions"), (5, 18, "face captions")]


def test_out_of_memory_halves_the_batch_once(blip2: Captioner, scene: PanoramaClip) -> None:
    want = caption_faces(blip2, scene, times=2)
    with Watch(blip2.model.vision_model, largest_batch=3) as watch:
        said = caption_faces(blip2, scene, times=2, batch_size=6)
    assert said.items == want.items
    assert [len(batch) for batch in watch.seen] == [3, 3, 3, 3]
    assert "memory ran out at 6 faces at once: captioned 3 at once" in said.notices
    with Watch(blip2.model.vision_model, largest_batch=2), pytest.raises(InputError, match="--caption-batch"):
        caption_faces(blip2, scene, times=2, batch_size=6)
    with Watch(blip2.model.vision_model, largest_batch=0), pytest.raises(InputError, match="captioned 1 faces"):
        caption_faces(blip2, scene, times=2, batch_size=1)


def test_times_are_the_middles_of_equal_parts() -> None:
    assert caption_times(32, 3) == (5, 16, 26)
    assert caption_times(32, 1) == (16,)
    assert caption_times(2, 2) == (0, 1)


def test_a_short_clip_is_captioned_frame_by_frame(blip2: Captioner) -> None:
    said = caption_faces(blip2, PanoramaClip(coloured()[None], 8.0), times=3)
    assert len(said.items) == 6
    assert any("3 times were asked for and the clip has 1 frames" in notice for notice in said.notices)


def test_captions_stopped_at_the_token_limit_are_cut_to_whole_sentences(blip2: Captioner, scene: PanoramaClip) -> None:
    longer = replace(blip2, max_new_tokens=16)
    said = caption_faces(longer, scene, times=1, prompt="")
    pictures = _pictures(scene.frames[[scene.num_frames // 2]], blip2.size_px)
    raw = longer.describe(pictures)
    stopped = [not ended for _, ended in raw]
    assert 0 < sum(stopped)
    assert f"{sum(stopped)} of 6 face captions were stopped at 16 tokens" in said.notices
    for item, (text, ended) in zip(said.items, raw, strict=True):
        assert item.text == (text if ended else whole_sentences(text))


def test_a_captioner_without_words_is_an_error(folders: dict[str, Path], scene: PanoramaClip) -> None:
    captioner = replace(load_captioner(folders["blip2"]), max_new_tokens=TOKENS)
    for parameter in captioner.model.parameters():
        parameter.zero_()  # all tokens are equally likely: the first, padding, is chosen
    with pytest.raises(InputError, match="wrote nothing for any face"):
        caption_faces(captioner, scene, times=1)


def test_faces_without_words_are_named(captioner: Captioner, scene: PanoramaClip) -> None:
    said = caption_faces(captioner, scene, times=2)
    silent = [item for item in said.items if not item.text]
    notices = [notice for notice in said.notices if "wrote nothing" in notice]
    assert bool(silent) == bool(notices)
    assert all(f"{item.direction} at {item.time_s:.1f} s" in notices[0] for item in silent)


@pytest.mark.parametrize(("change", "words"), [
    ({"times": 0}, "caption times: 0"), ({"times": 99}, "caption times: 99"),
    ({"batch_size": 0}, "caption batch size: 0"),
])  # fmt: skip
def test_numbers_out_of_range(blip2: Captioner, scene: PanoramaClip, change: dict, words: str) -> None:
    with pytest.raises(InputError, match=words):
        caption_faces(blip2, scene, **change)


def test_frames_that_are_no_panorama(blip2: Captioner) -> None:
    frames = coloured()[None].clone()
    with pytest.raises(InputError, match=r"\[T, 3, H, 2H\]"):
        caption_faces(blip2, PanoramaClip(frames[..., :100], 8.0))
    frames[0, 0, 3, 3] = torch.nan
    with pytest.raises(InputError, match="NaN"):
        caption_faces(blip2, PanoramaClip(frames, 8.0))
