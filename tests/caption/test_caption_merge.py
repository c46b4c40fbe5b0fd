"""Test merging face captions by a tiny language model and by rule, and cutting them to the text encoders' length."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from test_caption_faces import Watch
from tiny_captioners import write_llama
from tiny_model import make_tiny_joint_model

from con360.caption import merge as merging
from con360.caption.budget import TokenBudget, fit_caption, whole_sentences
from con360.caption.faces import DIRECTIONS, FaceCaptions
from con360.caption.merge import foreign_share, merge_by_rule, merge_captions
from con360.caption.prompts import CaptionPrompts
from con360.caption.writer import Writer, _tidy, load_writer
from con360.errors import InputError
from con360.models.text import encode_captions
from con360.records import FaceCaption
from con360.weights.find import model_folder
from con360.weights.load import load_joint_model

ROOMY = TokenBudget((("the test", lambda text: len(text.split()), 1000),))


def said(**texts: str | list[str]) -> FaceCaptions:
    """Make face captions by face name; a list gives one for each second."""
    series = {face: text if isinstance(text, list) else [text] for face, text in texts.items()}
    items = [
        FaceCaption(float(time_s), face, DIRECTIONS[face], texts[time_s])
        for time_s in range(max(len(texts) for texts in series.values()))
        for face, texts in series.items()
        if time_s < len(texts)
    ]
    return FaceCaptions(tuple(items), ("a notice of the faces",))


FACES = said(front="a man plays guitar", back=["a drummer", "a crowd"], up="sky .", down="")


@pytest.fixture(scope="module")
def writer(folders: dict[str, Path]) -> Writer:
    return load_writer(folders["llama"])


@pytest.fixture(autouse=True)
def _brief(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "LONG_TOKENS", 12)
    monkeypatch.setattr(merging, "SHORT_TOKENS", 6)


# By rule --------------------------------------------------------------------------------------------------------------


def test_the_rule_names_directions_and_changes() -> None:
    assert merge_by_rule(FACES) == (
        "in front: a man plays guitar; behind: a drummer; above: sky",
        "in front: a man plays guitar; behind: a drummer, then a crowd; above: sky.",
    )
    caption = merge_captions(FACES, budget=ROOMY)
    assert (caption.short, caption.long) == merge_by_rule(FACES)
    assert (caption.origin, caption.faces, caption.notices) == ("rules", FACES.items, ("a notice of the faces",))


def test_the_rule_takes_the_most_frequent_and_joins_equal_directions() -> None:
    faces = said(front=["a tree", "a wall", "a wall"], left="trees", right="trees", up="trees")
    assert merge_by_rule(faces)[0] == "in front: a wall; on the left, on the right and above: trees"
    assert merge_by_rule(said(**dict.fromkeys(DIRECTIONS, "fog")))[0] == "all around: fog"
    with pytest.raises(InputError, match="nothing to merge"):
        merge_by_rule(said(front="", back=""))


# By a language model --------------------------------------------------------------------------------------------------


def asked_of(writer: Writer, call) -> list[str]:
    """Return every request that the network gets, as text."""
    with Watch(writer.model.get_input_embeddings()) as watch:
        call()
    return [writer.tokenizer.decode(ids[0]) for ids in watch.seen if ids.shape[1] > 1]


def test_the_prompts_reach_the_network_in_the_folders_chat_template(writer: Writer) -> None:
    prompts = CaptionPrompts(merge="describe the band : {captions}", short="shorten {description} in a photo")
    caption = None

    def call() -> None:
        nonlocal caption
        caption = merge_captions(FACES, writer, prompts=prompts, budget=ROOMY)

    first, second = asked_of(writer, call)
    assert first.startswith("<s> user : describe the band : 0 . 0 s , in front : a man plays guitar")
    assert "1 . 0 s , behind : a crowd" in first and "below" not in first
    # A fixed date is passed, "26 Jul 2024": three unknown words. The template's own "today" would be one.
    assert first.endswith("<unk> <unk> <unk> assistant :")
    assert second.startswith("<s> user : shorten ") and "in a photo" in second
    assert (caption.origin, caption.faces) == ("models", FACES.items)
    assert caption.short and caption.long and caption.long != caption.short


def test_an_edited_prompt_changes_the_words(writer: Writer) -> None:
    prompts = [CaptionPrompts(merge=f"describe the {word} : {{captions}}") for word in ("band", "wall")]
    one, other, again = (
        merge_captions(FACES, writer, prompts=p, budget=ROOMY) for p in (*prompts, prompts[0])
    )  # fmt: skip
    assert one == again, "the folder's own settings ask for sampling; captions must not sample"
    assert one.long != other.long


def test_the_folders_own_settings_ask_for_sampling(folders: dict[str, Path]) -> None:
    assert json.loads((folders["llama"] / "generation_config.json").read_text())["do_sample"] is True


def test_without_a_chat_template_the_request_is_plain_and_a_notice_says_so(folders: dict[str, Path]) -> None:
    writer = load_writer(folders["plain"])
    results = []
    first, _ = asked_of(writer, lambda: results.append(merge_captions(FACES, writer, budget=ROOMY)))
    assert "user" not in first and "assistant" not in first
    assert any("has no chat template" in notice for notice in results[0].notices)


def test_a_cancel_takes_effect_between_tokens(writer: Writer) -> None:
    told = []

    class Cancelled(Exception):
        pass

    def progress(done: int, total: int, what: str) -> None:
        told.append((done, total, what))
        if done == 3:
            raise Cancelled

    with pytest.raises(Cancelled):
        merge_captions(FACES, writer, progress=progress)
    assert told == [(i, 12, "long caption") for i in (1, 2, 3)]


def test_a_stopped_answer_is_cut_and_gives_a_notice(writer: Writer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(merging, "LONG_TOKENS", 2)
    caption = merge_captions(FACES, writer, budget=ROOMY)
    assert len(caption.long.split()) == 2
    assert any("stopped at 2 tokens of the long caption" in notice for notice in caption.notices)


def test_a_request_that_is_too_long_is_refused(tmp_path: Path) -> None:
    writer = load_writer(write_llama(tmp_path, positions=64))
    with pytest.raises(InputError, match="reads 64; lower the caption times"):
        merge_captions(FACES, writer)


def test_after_an_empty_answer_the_rule_merges_and_a_notice_says_so(folders: dict[str, Path]) -> None:
    writer = load_writer(folders["llama"])
    for parameter in writer.model.parameters():
        parameter.zero_()
    caption = merge_captions(FACES, writer, budget=ROOMY)
    assert caption.origin == "rules" and caption.short == merge_by_rule(FACES)[0]
    assert any("llama wrote nothing" in notice for notice in caption.notices)


def test_out_of_memory_names_what_to_lower(folders: dict[str, Path]) -> None:
    writer = load_writer(folders["llama"])
    with Watch(writer.model.get_input_embeddings(), largest_batch=0), pytest.raises(InputError, match="caption times"):
        merge_captions(FACES, writer)


@pytest.mark.parametrize(("prompts", "words"), [
    ({"merge": "describe"}, "{captions}"), ({"short": "shorten"}, "{description}"),
])  # fmt: skip
def test_a_prompt_without_its_placeholder_is_refused(prompts: dict[str, str], words: str) -> None:
    with pytest.raises(InputError) as caught:
        CaptionPrompts(**prompts)
    assert words in str(caught.value)
    CaptionPrompts(face="")  # the face prompt needs no placeholder


def test_thoughts_markup_and_quotes_are_removed() -> None:
    assert _tidy('<think>\nwell, hm\n</think>\n\n"A **band**\n plays."') == "A band plays."
    assert _tidy("<think>never ends") == ""
    assert _tidy('"') == '"'


def test_another_script_gives_a_notice(folders: dict[str, Path]) -> None:
    assert foreign_share("Café 12, Zürich") == 0.0
    assert foreign_share("一个男人 plays") > merging.FOREIGN_SHARE
    assert foreign_share("12 !") == 0.0
    caption = merge_captions(said(front="мужчина играет"), budget=ROOMY)
    assert any("not in Latin letters" in notice for notice in caption.notices)


def test_an_endless_caption_is_cut_at_a_sentence() -> None:
    caption = merge_captions(said(front="He plays. " * 300), budget=ROOMY)
    assert 1900 < len(caption.long) <= 2000 and caption.long.endswith("plays.")
    assert any("was cut to at most 2000" in notice for notice in caption.notices)


# What the text encoders read ------------------------------------------------------------------------------------------


def words(limit: int) -> TokenBudget:
    return TokenBudget((("the test", lambda text: len(text.split()), limit), ("wider", len, 10**6)))


@pytest.mark.parametrize(("limit", "kept", "notice"), [
    (12, "A man plays. He sings; a crowd listens, claps and leaves.", None),
    (9, "A man plays.", "its first 1 of 2 sentences: the test reads 9 tokens"),
    (2, "A man", "its first 2 of 11 words, within a sentence"),
    (0, "", "not one word of it fits"),
])  # fmt: skip
def test_a_caption_is_cut_at_sentences_before_words(limit: int, kept: str, notice: str | None) -> None:
    short, said_so = fit_caption("A man plays. He sings; a crowd listens, claps and leaves.", words(limit))
    assert short == kept
    assert said_so is None if notice is None else notice in said_so


def test_a_caption_is_cut_at_clauses_before_words() -> None:
    text = "in front: a man plays guitar; behind: a drummer, a crowd; above: sky"
    assert fit_caption(text, words(9))[0] == "in front: a man plays guitar"
    assert fit_caption(text, words(11))[0] == "in front: a man plays guitar; behind: a drummer, a crowd"
    assert "2 of 3 clauses" in fit_caption(text, words(11))[1]
    assert fit_caption("a drummer, a crowd", words(3))[0] == "a drummer"


def test_whole_sentences() -> None:
    assert whole_sentences("A man. He s") == "A man."
    assert whole_sentences('He said "yes." And th') == 'He said "yes."'
    assert whole_sentences("no end") == "no end"
    assert whole_sentences("Mt.Fuji is") == "Mt.Fuji is"


def test_captions_are_measured_by_the_models_tokenizers(tmp_path: Path) -> None:
    model = make_tiny_joint_model()  # reads 12 tokens, two of them special
    budget = TokenBudget.of_model(model)
    text = "a red disc in front, a blue ring on the left; a green square behind"
    short, notice = fit_caption(text, budget)
    assert short == "a red disc in front"
    assert "reads 12 tokens" in notice
    assert not any("its end is not seen" in said for said in encode_captions(model, [short]).notices)
    longer = "a red disc in front, a blue ring on the left"
    assert any("its end is not seen" in said for said in encode_captions(model, [longer]).notices)


def test_a_folder_measures_like_its_loaded_model() -> None:
    folder = model_folder()
    one, other = TokenBudget.of_files(folder), TokenBudget.of_model(load_joint_model(folder))
    assert [(name, limit) for name, _, limit in one.readers] == [(name, limit) for name, _, limit in other.readers]
    text = "a red disc in front, a zebra behind"
    assert [count(text) for _, count, _ in one.readers] == [count(text) for _, count, _ in other.readers]
    with pytest.raises(InputError, match="so it is no joint model"):
        TokenBudget.of_files(folder / "unet_v")


def test_without_a_tokenizer_clip_is_estimated() -> None:
    budget = TokenBudget.clip_estimate()
    short, notice = fit_caption("word " * 100, budget)
    assert 40 <= len(short.split()) <= 75
    assert "CLIP reads 77 tokens (estimated)" in notice


def test_merged_captions_name_the_words_that_the_built_in_model_does_not_know() -> None:
    model = load_joint_model(model_folder())
    caption = merge_captions(said(front="a red disc", back="a zebra."), budget=TokenBudget.of_model(model))
    assert caption.short == "in front: a red disc; behind: a zebra"
    assert encode_captions(model, [caption.short]).unknown_words == ("zebra",)
