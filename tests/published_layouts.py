"""Tiny random models in the layouts that people have: diffusers folders, single files, tokenizers with vocabularies."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import torch
from diffusers import AutoencoderKL, MotionAdapter, PNDMScheduler, UNet2DConditionModel, UNetMotionModel
from safetensors.torch import load_file, save_file
from tiny_model import make_tiny_joint_model
from transformers import ClapTextConfig, ClapTextModelWithProjection, CLIPTextConfig, CLIPTextModel

from con360.weights.save import save_joint_model

WIDTHS, TEXT, LAYERS = (64, 64, 128, 128), 64, 1
WORDS = ("red", "disc", "hum")


class Pieces:
    """The networks of SD 1.5 and AnimateDiff, small and random."""

    def __init__(self, seed: int = 0) -> None:
        torch.manual_seed(seed)
        self.unet = UNet2DConditionModel(
            sample_size=8, in_channels=4, out_channels=4, block_out_channels=WIDTHS, layers_per_block=LAYERS,
            cross_attention_dim=TEXT, attention_head_dim=8,
        ).eval()  # fmt: skip
        self.motion = MotionAdapter(WIDTHS, motion_layers_per_block=LAYERS).eval()
        for name, parameter in self.motion.named_parameters():
            # A fresh motion module changes nothing, so tests would not notice its loss.
            if "proj_out" in name:
                torch.nn.init.normal_(parameter, std=0.05)
        self.vae = AutoencoderKL(
            3, 3, ("DownEncoderBlock2D",) * 3, ("UpDecoderBlock2D",) * 3, (32, 32, 32), layers_per_block=1,
            latent_channels=4, sample_size=64,
        ).eval()  # fmt: skip
        self.text = CLIPTextModel(
            CLIPTextConfig(
                vocab_size=len(clip_vocabulary()), hidden_size=TEXT, intermediate_size=96, num_hidden_layers=2,
                num_attention_heads=1, max_position_embeddings=16,
            )
        ).eval()  # fmt: skip

    def video(self) -> UNetMotionModel:
        """Join U-Net and motion module as diffusers does."""
        return UNetMotionModel.from_unet2d(self.unet, self.motion).eval()


# ---- folders


def write_sd_folder(pieces: Pieces, folder: Path) -> Path:
    pieces.unet.save_pretrained(folder / "unet")
    pieces.vae.save_pretrained(folder / "vae")
    pieces.text.save_pretrained(folder / "text_encoder")
    write_clip_tokenizer(folder / "tokenizer")
    PNDMScheduler(beta_schedule="scaled_linear").save_pretrained(folder / "scheduler")
    write_json(folder / "model_index.json", {"_class_name": "StableDiffusionPipeline"})
    return folder


def write_svg_folder(folder: Path, seed: int = 0) -> Path:
    """Write the joint model as published: a diffusers folder of pickled weights."""
    save_joint_model(make_tiny_joint_model(seed), folder)
    pickle_weights(folder)
    return folder


def pickle_weights(folder: Path) -> None:
    """Store the weights of a folder as `.bin`, under the names of its libraries."""
    for path in folder.rglob("*.safetensors"):
        name = "pytorch_model.bin" if path.name.startswith("model") else "diffusion_pytorch_model.bin"
        torch.save(load_file(path), path.with_name(name))
        path.unlink()


def write_audioldm_folder(folder: Path, seed: int = 0) -> Path:
    """Write AudioLDM as on the hub: its own part names, RoBERTa's vocabulary, a `.bin` among the weights."""
    model = make_tiny_joint_model(seed)
    save_joint_model(model, folder / "joint")
    for name in ("unet", "vae", "scheduler", "text_encoder"):
        shutil.move(folder / "joint" / f"{name}_a", folder / name)
    shutil.move(folder / "joint" / "vocoder", folder / "vocoder")
    shutil.rmtree(folder / "joint")
    write_roberta_tokenizer(folder / "tokenizer")
    torch.manual_seed(seed)
    text = ClapTextModelWithProjection(
        ClapTextConfig(
            vocab_size=len(roberta_vocabulary()), hidden_size=16, intermediate_size=32, num_hidden_layers=1,
            num_attention_heads=2, max_position_embeddings=18, projection_dim=16, pad_token_id=1, bos_token_id=0,
            eos_token_id=2,
        )
    ).eval()  # fmt: skip
    text.save_pretrained(folder / "text_encoder")
    (folder / "text_encoder" / "model.safetensors").unlink()
    torch.save(text.state_dict(), folder / "text_encoder" / "pytorch_model.bin")
    write_json(folder / "model_index.json", {"_class_name": "AudioLDMPipeline"})
    return folder


# ---- tokenizers as published: a vocabulary and merges, no tokenizer.json


def clip_vocabulary() -> list[str]:
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    pieces = [*letters, *(f"{c}</w>" for c in letters), "re", "red</w>", "di", "sc</w>", "disc</w>"]
    return [*pieces, "<|startoftext|>", "<|endoftext|>"]


def write_clip_tokenizer(folder: Path) -> Path:
    folder.mkdir(parents=True)
    write_json(folder / "vocab.json", {piece: i for i, piece in enumerate(clip_vocabulary())})
    (folder / "merges.txt").write_text("#version: 0.2\nr e\nre d</w>\nd i\ns c</w>\ndi sc</w>\n")
    names = {"bos_token": "<|startoftext|>", "eos_token": "<|endoftext|>", "unk_token": "<|endoftext|>"}
    config = {**names, "pad_token": "<|endoftext|>", "model_max_length": 16, "tokenizer_class": "CLIPTokenizer"}
    write_json(folder / "tokenizer_config.json", config)
    write_json(folder / "special_tokens_map.json", {**names, "pad_token": "<|endoftext|>"})
    return folder


def roberta_vocabulary() -> list[str]:
    letters = [chr(c) for c in range(ord("a"), ord("z") + 1)]
    return ["<s>", "<pad>", "</s>", "<unk>", *letters, "Ġ", "re", "red", "Ġd", "<mask>"]


def write_roberta_tokenizer(folder: Path) -> Path:
    folder.mkdir(parents=True)
    write_json(folder / "vocab.json", {piece: i for i, piece in enumerate(roberta_vocabulary())})
    (folder / "merges.txt").write_text("#version: 0.2\nr e\nre d\nĠ d\n", encoding="utf-8")
    names = {
        "bos_token": "<s>",
        "eos_token": "</s>",
        "unk_token": "<unk>",
        "pad_token": "<pad>",
        "mask_token": "<mask>",
    }
    config = {**names, "model_max_length": 16, "tokenizer_class": "RobertaTokenizer"}
    write_json(folder / "tokenizer_config.json", config)
    return folder


# ---- single files


def sd_checkpoint(pieces: Pieces) -> dict[str, torch.Tensor]:
    """Return the tensors of an SD 1.5 single file, under the names of the program that trained it."""
    unet = {f"model.diffusion_model.{_ldm_unet(name)}": t for name, t in pieces.unet.state_dict().items()}
    vae = {f"first_stage_model.{name}": t for name, t in sd_vae(pieces).items()}
    text = {f"cond_stage_model.transformer.{_text(name)}": t for name, t in pieces.text.state_dict().items()}
    extras = {"alphas_cumprod": torch.rand(10), "model_ema.decay": torch.tensor(0.5)}
    return {name: t.clone().contiguous() for name, t in {**unet, **vae, **text, **extras}.items()}


def sd_vae(pieces: Pieces) -> dict[str, torch.Tensor]:
    named = {_ldm_vae(name): t for name, t in pieces.vae.state_dict().items()}
    # That program wrote the attention projections as 1x1 convolutions.
    conv = re.compile(r"attn_1\.(q|k|v|proj_out)\.weight")
    return {n: t[:, :, None, None].contiguous() if conv.search(n) else t for n, t in named.items()}


def motion_file(pieces: Pieces) -> dict[str, torch.Tensor]:
    """Return the motion tensors under AnimateDiff's names: two attention blocks, each with the positional table."""
    state = {}
    for name, t in pieces.motion.state_dict().items():
        name = name.replace("motion_modules.", "motion_modules.").replace(".transformer_blocks.", ".BLOCKS.")
        head, _, tail = re.match(r"(.*?motion_modules\.\d+)(\.)(.*)", name).groups()
        tail = tail.replace("BLOCKS", "transformer_blocks").replace("attn1", "attention_blocks.0")
        tail = tail.replace("attn2", "attention_blocks.1").replace("norm3", "ff_norm")
        tail = re.sub(r"\.norm1\.", ".norms.0.", re.sub(r"\.norm2\.", ".norms.1.", tail))
        for index in (0, 1) if "pos_embed" in tail else (0,):
            renamed = tail.replace("pos_embed", f"attention_blocks.{index}.pos_encoder")
            state[f"{head}.temporal_transformer.{renamed}"] = t.clone()
    return state


def _text(name: str) -> str:
    return name if name.startswith("text_model.") else f"text_model.{name}"


_RESNET = {
    "norm1": "in_layers.0", "conv1": "in_layers.2", "time_emb_proj": "emb_layers.1", "norm2": "out_layers.0",
    "conv2": "out_layers.3", "conv_shortcut": "skip_connection",
}  # fmt: skip
_ENDS = {
    "conv_in": "input_blocks.0.0", "time_embedding.linear_1": "time_embed.0", "time_embedding.linear_2": "time_embed.2",
    "conv_norm_out": "out.0", "conv_out": "out.2",
}  # fmt: skip


def _ldm_unet(name: str) -> str:
    for ours, theirs in _ENDS.items():
        if name.startswith(ours + "."):
            return name.replace(ours, theirs)
    path, kind, index, tail = re.match(
        r"(.+?)\.(resnets|attentions|downsamplers|upsamplers)\.(\d+)\.(.*)", name
    ).groups()
    level, index = int(path.split(".")[-1]) if "." in path else 0, int(index)
    place = {"resnets": 0, "attentions": 1}.get(kind, 0)
    if path == "mid_block":
        block = f"middle_block.{1 if kind == 'attentions' else 2 * index}"
    elif path.startswith("down") and kind == "downsamplers":
        block, tail = f"input_blocks.{1 + level * (LAYERS + 1) + LAYERS}.0", tail.replace("conv", "op")
    elif path.startswith("down"):
        block = f"input_blocks.{1 + level * (LAYERS + 1) + index}.{place}"
    else:
        row = level * (LAYERS + 1) + (LAYERS if kind == "upsamplers" else index)
        # The first up block has no attention, so its upsampler comes second.
        block = f"output_blocks.{row}.{(1 if level == 0 else 2) if kind == 'upsamplers' else place}"
    if kind == "resnets":
        layer, rest = tail.split(".", 1)
        tail = f"{_RESNET[layer]}.{rest}"
    return f"{block}.{tail}"


def _ldm_vae(name: str) -> str:
    levels = 3
    name = name.replace("conv_shortcut", "nin_shortcut").replace("conv_norm_out", "norm_out")
    name = re.sub(r"mid_block\.resnets\.(\d)", lambda m: f"mid.block_{int(m[1]) + 1}", name)
    name = name.replace("mid_block.attentions.0", "mid.attn_1")
    name = re.sub(r"down_blocks\.(\d)\.resnets", r"down.\1.block", name)
    name = re.sub(r"down_blocks\.(\d)\.downsamplers\.0", r"down.\1.downsample", name)
    name = re.sub(r"up_blocks\.(\d)\.resnets", lambda m: f"up.{levels - 1 - int(m[1])}.block", name)
    name = re.sub(r"up_blocks\.(\d)\.upsamplers\.0", lambda m: f"up.{levels - 1 - int(m[1])}.upsample", name)
    if "attn_1" in name:
        for ours, theirs in (
            ("group_norm", "norm"),
            ("to_q", "q"),
            ("to_k", "k"),
            ("to_v", "v"),
            ("to_out.0", "proj_out"),
        ):
            name = name.replace(f".{ours}.", f".{theirs}.")
    return name


def write_json(path: Path, values: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(values), encoding="utf-8")


def write_everything(root: Path) -> Pieces:
    """`sd/`, `sd.safetensors`, `motion/`, `mm.safetensors`, `mm.ckpt`, `audioldm/`, all of the same networks."""
    pieces = Pieces()
    write_sd_folder(pieces, root / "sd")
    save_file(sd_checkpoint(pieces), root / "sd.safetensors")
    pieces.motion.save_pretrained(root / "motion")
    save_file(motion_file(pieces), root / "mm.safetensors")
    torch.save({"epoch": 3, "state_dict": {f"module.{k}": t for k, t in motion_file(pieces).items()}}, root / "mm.ckpt")
    write_audioldm_folder(root / "audioldm")
    return pieces
