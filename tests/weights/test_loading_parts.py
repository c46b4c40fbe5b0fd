"""Joint models from separately published parts: all layouts give the same networks, wrong mixtures are named."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import torch
from published_layouts import (
    Pieces,
    motion_file,
    sd_vae,
    write_clip_tokenizer,
    write_everything,
    write_roberta_tokenizer,
)
from safetensors.torch import load_file, save_file
from tiny_model import make_tiny_joint_model

from con360.control import ControlConfig, ControlModule, LoadedControl, save_control
from con360.errors import InputError
from con360.models.text import encode_captions
from con360.pipeline import conditions_of, default_settings, generate
from con360.scenes import demo_scene
from con360.timing import ClipSpec
from con360.viewpoint.choose import manual_viewpoint
from con360.weights.load import check_model, load_joint_model
from con360.weights.parts import model_parts
from con360.weights.save import save_joint_model


@pytest.fixture(scope="module")
def root(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("published")


@pytest.fixture(scope="module")
def pieces(root) -> Pieces:
    return write_everything(root)


@pytest.fixture(scope="module")
def model(root, pieces):
    return load_joint_model(None, picks=picks(root))


def picks(root: Path, **changes: str | Path) -> dict[str, str | Path]:
    return {"video": root / "sd", "motion": root / "motion", "audio": root / "audioldm", **changes}


def outputs(model, seed: int = 1) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    text = encode_captions(model, ["red disc"])
    x_v, x_a = torch.randn(1, 4, 3, 8, 8, generator=generator), torch.randn(1, 8, 8, 16, generator=generator)
    with torch.no_grad():
        return model.unet(x_v, x_a, 500, 300, text.text_v, text.text_a)


@torch.no_grad()
def test_parts_side_by_side_compute_as_diffusers_does(model, pieces, root):
    from diffusers import UNet2DConditionModel

    generator = torch.Generator().manual_seed(1)
    x_v, x_a = torch.randn(1, 4, 3, 8, 8, generator=generator), torch.randn(1, 8, 8, 16, generator=generator)
    text = encode_captions(model, ["red disc"])
    unet_a = UNet2DConditionModel.from_pretrained(root / "audioldm" / "unet").eval()
    expected_v = pieces.video()(x_v, 500, text.text_v.repeat_interleave(3, dim=0)).sample
    expected_a = unet_a(x_a, 300, None, class_labels=text.text_a).sample
    out_v, out_a = outputs(model)
    torch.testing.assert_close(out_v, expected_v, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(out_a, expected_a, rtol=1e-4, atol=1e-5)
    assert model.unet.connectors is None and "side by side" in model.notices[0]


@pytest.mark.parametrize("motion", ["mm.safetensors", "mm.ckpt"])
def test_single_files_give_the_same_networks(model, root, motion, tmp_path):
    shutil.copytree(root / "sd" / "tokenizer", tmp_path / "clip")
    single = load_joint_model(
        None, picks=picks(root, video=root / "sd.safetensors", motion=root / motion, tokenizer=tmp_path / "clip")
    )
    for part in ("unet", "vae_v", "text_encoder_v"):
        wanted, found = getattr(model, part).state_dict(), getattr(single, part).state_dict()
        assert wanted.keys() == found.keys() and [k for k, t in wanted.items() if not torch.equal(t, found[k])] == []
    torch.testing.assert_close(outputs(single), outputs(model))
    assert single.unet.unet_v.config.motion_max_seq_length == 32
    # The files do not say these two: defaults of AnimateDiff and SD 1.5.
    assert (
        dict(single.scheduler_v.config)["beta_schedule"] == "linear" and single.vae_v.config.scaling_factor == 0.18215
    )


def test_a_motion_file_without_its_tables_gets_them(root, pieces, model, tmp_path):
    bare = {k: t for k, t in motion_file(pieces).items() if "pos_encoder" not in k}
    save_file(bare, tmp_path / "bare.safetensors")
    again = load_joint_model(None, picks=picks(root, motion=tmp_path / "bare.safetensors"))
    torch.testing.assert_close(outputs(again)[0], outputs(model)[0])


def test_a_motion_module_of_the_first_generation_limits_the_length(root, pieces, tmp_path):
    """The first generation has no module in the middle block and 24 frames."""
    first = {k: t for k, t in motion_file(pieces).items() if not k.startswith("mid_block")}
    first = {k: t[:, :24].contiguous() if "pos_encoder" in k else t for k, t in first.items()}
    save_file(first, tmp_path / "mm_v1.safetensors")
    old = load_joint_model(None, picks=picks(root, motion=tmp_path / "mm_v1.safetensors"))
    assert old.clip_spec(3.0).num_frames == 24 and torch.isfinite(outputs(old)[0]).all()
    with pytest.raises(InputError, match="32 frames and this model's motion modules take 24"):
        old.clip_spec(4.0)


def test_another_vae_is_used(root, pieces, model, tmp_path):
    other = Pieces(5)
    save_file(sd_vae(other), tmp_path / "vae.safetensors")
    other.vae.save_pretrained(tmp_path / "vae")
    for name in ("vae", "vae.safetensors"):
        read = load_joint_model(None, picks=picks(root, vae=tmp_path / name)).vae_v.state_dict()
        assert all(torch.equal(t, read[k]) for k, t in other.vae.state_dict().items())


# ---- tokenizers as published


def test_clip_vocabularies_are_read(model):
    ids = model.tokenizer_v("red disc")["input_ids"]
    assert model.tokenizer_v.convert_ids_to_tokens(ids) == ["<|startoftext|>", "red</w>", "disc</w>", "<|endoftext|>"]


def test_roberta_vocabularies_are_read(model):
    tokens = model.tokenizer_a.convert_ids_to_tokens(model.tokenizer_a("red disc")["input_ids"])
    assert tokens == ["<s>", "red", "Ġd", "i", "s", "c", "</s>"]


def test_a_bare_vocabulary_is_taken_for_its_place(root, model, tmp_path):
    """ComfyUI's own copy and old folders: no tokenizer_config.json."""
    (write_clip_tokenizer(tmp_path / "clip") / "tokenizer_config.json").unlink()
    read = load_joint_model(None, picks=picks(root, tokenizer=tmp_path / "clip"))
    assert read.tokenizer_v("red disc")["input_ids"] == model.tokenizer_v("red disc")["input_ids"]


def test_a_tokenizer_without_its_vocabulary_is_named(root, tmp_path):
    (write_roberta_tokenizer(tmp_path / "clip") / "vocab.json").unlink()
    with pytest.raises(InputError, match="lacks vocab.json"):
        load_joint_model(None, picks=picks(root, tokenizer=tmp_path / "clip"))


# ---- manifests and connectors


def test_a_manifest_is_a_model(root, model, tmp_path):
    shutil.copytree(root, tmp_path / "weights")
    manifest = {"name": "both", "video": "../weights/sd", "motion": "../weights/mm.safetensors", "picture_size_px": 64}
    manifest |= {"fps": 12, "longest_s": 1.5}
    (tmp_path / "mine").mkdir()
    path = tmp_path / "mine" / "con360-model.json"
    path.write_text(json.dumps({**manifest, "audio": "../weights/audioldm"}))
    for given in (path, path.parent):
        read = load_joint_model(given)
        assert (read.name, read.picture_size_px, Path(read.folder)) == ("both", 64, path.parent)
        assert (read.fps, read.clip_spec(1.0).fps, read.clip_spec(1.0).longest_s) == (12, 12, 1.5)
    torch.testing.assert_close(outputs(read), outputs(model))


def test_new_connectors_are_the_identity_and_say_so(root, model):
    made = load_joint_model(None, picks=picks(root, connectors="new"))
    text, generator = encode_captions(made, ["red disc"]), torch.Generator().manual_seed(1)
    x_v, x_a = torch.randn(1, 4, 3, 8, 8, generator=generator), torch.randn(1, 8, 8, 16, generator=generator)
    with torch.no_grad():
        cross = made.unet.encode_cross(x_v, x_a, 500, 300)
        got = made.unet(x_v, x_a, 500, 300, text.text_v, text.text_a, cross)
    assert cross.into_video is not None
    torch.testing.assert_close(got, outputs(model), rtol=0, atol=1e-6)
    assert "untrained" in made.notices[0]


def test_a_joint_folder_can_have_parts_replaced(root, pieces, tmp_path):
    save_joint_model(make_tiny_joint_model(7), tmp_path / "joint")
    plain = load_joint_model(tmp_path / "joint", picks={"connectors": "none"})
    assert plain.unet.connectors is None
    # Only the picture's U-Net is replaced: the connectors no longer fit.
    with pytest.raises(InputError, match=r"connectors were made for a video U-Net of widths \(64, 64, 64, 64\)"):
        load_joint_model(tmp_path / "joint", picks={"video": root / "sd", "motion": root / "motion"})
    swapped = load_joint_model(
        tmp_path / "joint", picks={"video": root / "sd", "motion": root / "motion", "connectors": "none"}
    )
    assert torch.equal(swapped.unet.unet_a.conv_in.weight, make_tiny_joint_model(7).unet.unet_a.conv_in.weight)
    save_joint_model(make_tiny_joint_model(8), tmp_path / "other")
    borrowed = load_joint_model(tmp_path / "joint", picks={"connectors": tmp_path / "other"})
    assert any("trained over other U-Nets" in notice for notice in borrowed.notices)


def test_side_by_side_generates_and_refuses_a_control(model, root):
    spec = ClipSpec(0.5)
    scene = demo_scene()
    given = conditions_of(scene.panorama(64, spec), scene.saliency(64, spec), manual_viewpoint(0.0, 0.0, 90.0, 4))
    settings = default_settings(model, steps=2, seed=3)
    clip = generate(model, None, given, settings, seconds=0.5)
    assert clip.frames.shape[0] == 4 and any("side by side" in notice for notice in clip.notices)
    shapes = model.site_shapes(model.clip_spec(0.5))
    module = ControlModule(
        ControlConfig({s: v[0] for s, v in shapes.items()}, map_height=16, widths=(4,), strides=(2,), hidden=4)
    )
    with pytest.raises(InputError, match="no connectors, and a control acts inside them"):
        generate(model, LoadedControl(module), given, settings, seconds=0.5)


def test_a_control_of_other_widths_is_refused():
    connected = make_tiny_joint_model(0)
    shapes = connected.site_shapes(connected.clip_spec(0.5))
    config = ControlConfig({s: 32 for s in shapes}, map_height=16, widths=(4,), strides=(2,), hidden=4)
    spec, scene = ClipSpec(0.5), demo_scene()
    given = conditions_of(scene.panorama(64, spec), scene.saliency(64, spec), manual_viewpoint(0.0, 0.0, 90.0, 4))
    with pytest.raises(InputError, match="made for a model of other widths"):
        generate(connected, LoadedControl(ControlModule(config)), given, default_settings(connected), seconds=0.5)


# ---- wrong and mixed files, named from headers alone


def _changed(root: Path, to: Path, change) -> Path:
    state = load_file(root / "sd.safetensors")
    change(state)
    save_file(state, to / "changed.safetensors")
    return to / "changed.safetensors"


def _widened(state: dict, name: str, width: int, axis: int) -> None:
    for key in [k for k in state if k.endswith(name)]:
        shape = list(state[key].shape)
        shape[axis] = width
        state[key] = torch.zeros(shape)


def _sd2(root, to):
    return {"video": _changed(root, to, lambda s: _widened(s, "attn2.to_k.weight", 1024, 1))}


def _sdxl(root, to):
    return {"video": _changed(root, to, lambda s: s.update({"conditioner.embedders.0.x": torch.zeros(1)}))}


def _inpainting(root, to):
    return {"video": _changed(root, to, lambda s: _widened(s, "input_blocks.0.0.weight", 9, 1))}


def _no_vae(root, to):
    def drop(state):
        for key in [k for k in state if k.startswith("first_stage_model.")]:
            del state[key]

    return {"video": _changed(root, to, drop), "tokenizer": root / "sd" / "tokenizer"}


def _surplus(root, to):
    extra = {"model.diffusion_model.input_blocks.1.7.odd": torch.zeros(1)}
    return {"video": _changed(root, to, lambda s: s.update(extra)), "tokenizer": root / "sd" / "tokenizer"}


def _sdxl_motion(root, to):
    three = {k: t for k, t in load_file(root / "mm.safetensors").items() if not k.startswith(("down_blocks.3", "mid"))}
    save_file(three, to / "mm_sdxl.safetensors")
    return {"motion": to / "mm_sdxl.safetensors"}


def _sdxl_motion_folder(root, to):
    shutil.copytree(root / "motion", to / "motion")
    config = json.loads((to / "motion" / "config.json").read_text())
    (to / "motion" / "config.json").write_text(json.dumps({**config, "block_out_channels": [64, 64, 128]}))
    return {"motion": to / "motion"}


def _control(root, to):
    config = ControlConfig({"video.up.0": 8}, map_height=16, widths=(4,), strides=(2,), hidden=4)
    facts = {"base": "x", "base_fingerprint": "", "training": {}, "saliency": "training-free"}
    save_control(to / "c.safetensors", ControlModule(config), **facts)
    return {"video": to / "c.safetensors"}


def _lora(root, to):
    save_file({"lora_unet_down.lora_up.weight": torch.zeros(2, 2)}, to / "lora.safetensors")
    return {"motion": to / "lora.safetensors"}


def _truncated(root, to):
    data = (root / "sd.safetensors").read_bytes()
    (to / "cut.safetensors").write_bytes(data[:-1000])
    return {"video": to / "cut.safetensors"}


def _pointer(root, to):
    text = "version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 4265146304\n"
    (to / "sd.safetensors").write_text(text)
    return {"video": to / "sd.safetensors"}


def _page(root, to):
    (to / "sd.safetensors").write_text("<!DOCTYPE html><title>Log in</title>")
    return {"video": to / "sd.safetensors"}


def _empty(root, to):
    (to / "mm.ckpt").touch()
    return {"motion": to / "mm.ckpt"}


def _channels(root, to):
    return {"audio": _edited(root / "audioldm", to / "audioldm", "unet", "in_channels", 4)}


def _edited(source: Path, to: Path, part: str, key: str, value) -> Path:
    """Change one part's size throughout: the part stays consistent and no longer fits the others."""
    from diffusers import UNet2DConditionModel

    shutil.copytree(source, to)
    config = {**UNet2DConditionModel.load_config(to / part), key: value}
    UNet2DConditionModel.from_config(config).save_pretrained(to / part)
    return to


WRONG = {
    "SD 2 file": (_sd2, "checkpoint of Stable Diffusion 2; video wants an SD 1.5 checkpoint"),
    "SDXL file": (_sdxl, "is an SDXL checkpoint; video wants"),
    "inpainting file": (_inpainting, "is an inpainting checkpoint; video wants"),
    "no VAE inside": (_no_vae, "changed.safetensors holds no VAE; pick vae"),
    "no tokenizer": (lambda r, t: {"video": r / "sd.safetensors"}, "pick tokenizer"),
    "surplus weights": (_surplus, "changed.safetensors: the file's U-Net has|U-Net has"),
    "SDXL motion file": (_sdxl_motion, "is a motion module for SDXL; motion wants a motion module for SD 1.5"),
    "SDXL motion folder": (_sdxl_motion_folder, "as SDXL's, and the picture's U-Net"),
    "control as a model": (_control, "is a Con360 control file; video wants"),
    "LoRA as motion": (_lora, "is a LoRA; motion wants"),
    "checkpoint as motion": (lambda r, t: {"motion": r / "sd.safetensors"}, "is an SD 1.5 checkpoint; motion wants"),
    "motion as checkpoint": (lambda r, t: {"video": r / "mm.safetensors"}, "is a motion module for SD 1.5; video"),
    "truncated": (_truncated, "bytes of .*: it is cut off"),
    "LFS pointer": (_pointer, "Git LFS pointer, not the file of 4,265.1 MB"),
    "web page": (_page, "saved web page"),
    "empty": (_empty, "empty"),
    "other channels": (_channels, "the sound's U-Net takes 4 channels and its VAE makes 8"),
    "video alone": (lambda r, t: {"motion": None}, "video is picked without motion"),
    "audio is video": (lambda r, t: {"audio": r / "sd"}, "lacks vocoder/"),
    "not there": (lambda r, t: {"video": r / "nowhere"}, "does not exist"),
    "unknown part": (lambda r, t: {"sound": r / "audioldm"}, "'sound' is no part of a model"),
}


@pytest.mark.parametrize("case", list(WRONG))
def test_a_wrong_part_is_named_before_a_tensor_is_read(root, pieces, case, tmp_path, monkeypatch):
    from con360.weights import build as networks

    make, says = WRONG[case]
    monkeypatch.setattr(networks, "read_tensors", lambda *_: pytest.fail("tensors were read"))
    chosen = {name: value for name, value in picks(root, **make(root, tmp_path)).items() if value is not None}
    if chosen["video"].suffix and case not in ("no tokenizer", "not there"):
        chosen.setdefault("tokenizer", root / "sd" / "tokenizer")
    with pytest.raises(InputError, match=says) as caught:
        check_model(model_parts(None, chosen))
    assert "\n" not in str(caught.value)


def test_a_nan_is_named_by_its_key(root, tmp_path):
    def spoil(state):
        state["model.diffusion_model.out.2.bias"][1] = float("nan")

    chosen = picks(root, video=_changed(root, tmp_path, spoil), tokenizer=root / "sd" / "tokenizer")
    with pytest.raises(InputError, match="conv_out.bias holds NaN"):
        load_joint_model(None, picks=chosen)


def test_one_half_given_as_the_whole_is_named(root):
    for name, part in (("audioldm", "pick it as audio"), ("sd", "pick it as video")):
        with pytest.raises(InputError, match=part):
            load_joint_model(root / name)
