"""Train the tiny bundle's two text encoders on captions alone, before any picture or sound stage.

    python -m train.tiny.text --out runs/tiny

Public text encoders are trained on hundreds of millions of pairs. The tiny bundle's denoisers train for minutes, too
short to teach theirs to bind "a red disc hums on the left". So each encoder learns to answer questions about captions:
the picture's tokens tell what stands in a given direction, the sound's vector how loud each voice is towards eight
directions. The heads that answer are dropped after training.
"""

from __future__ import annotations

import argparse
import math
import time
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from con360.geometry.sphere import directions
from con360.media.files import atomic_path
from con360.models.text import encode_sentences, encode_tokens
from con360.scenes import COLOURS, GROUNDS, SHAPES, SKIES, VOICES, Scene
from train.examples import scene_of
from train.tiny.networks import TEXT_DIM_A, TEXT_DIM_V, make_text_encoder_a, make_text_encoder_v, make_tokenizer

# Traits to ask about; each has one more class, "nobody there".
TRAITS = {"colour": list(COLOURS), "shape": list(SHAPES), "voice": list(VOICES)}
REACH_DEG = 35.0
EAR_YAWS_DEG = np.arange(8) * 45.0


class TokenReader(nn.Module):
    """Answer "what stands in this direction" from caption tokens, by one cross-attention as in the U-Net.

    Its keys and values initialise the picture U-Net's cross-attention at 8x8 (`adopt_keys`). Its query, linear in the
    direction, is the target for that attention's queries (`train.tiny.readers.QueryTeacher`).
    """

    def __init__(self) -> None:
        super().__init__()
        self.ask = nn.Linear(3, TEXT_DIM_V)
        self.attend = Attention(TEXT_DIM_V, cross_attention_dim=TEXT_DIM_V, heads=2, dim_head=TEXT_DIM_V // 2)
        self.answer = nn.ModuleDict({t: nn.Linear(TEXT_DIM_V, len(values) + 1) for t, values in TRAITS.items()})
        self.sky, self.ground = nn.Linear(TEXT_DIM_V, len(SKIES)), nn.Linear(TEXT_DIM_V, len(GROUNDS))

    def knowledge(self) -> dict[str, Tensor]:
        """Return keys, values and the direction's query, `query.weight [D, 3]` and `query.bias [D]`."""
        kept = {name: t for name, t in self.attend.state_dict().items() if name.startswith(("to_k", "to_v"))}
        kept["query.weight"] = (self.attend.to_q.weight @ self.ask.weight).detach()
        kept["query.bias"] = (self.attend.to_q.weight @ self.ask.bias).detach()
        return kept

    def forward(self, tokens_BLD: Tensor, rays_BQ3: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor]:
        found = self.attend(self.ask(rays_BQ3), encoder_hidden_states=tokens_BLD)
        whole = tokens_BLD.mean(dim=1)
        return {t: head(found) for t, head in self.answer.items()}, self.sky(whole), self.ground(whole)


def adopt_keys(unet_v: nn.Module, reader: dict[str, Tensor]) -> int:
    """Initialise cross-attentions of equal width from the reader's keys and values; return their number."""
    adopted = 0
    for module in unet_v.modules():
        attention = getattr(module, "attn2", None)
        if attention is None or attention.to_k.weight.shape != reader["to_k.weight"].shape:
            continue
        if attention.to_k.in_features == reader["to_k.weight"].shape[1] and attention.is_cross_attention:
            attention.to_k.load_state_dict({"weight": reader["to_k.weight"]})
            attention.to_v.load_state_dict({"weight": reader["to_v.weight"]})
            adopted += 1
    return adopted


def questions(scene: Scene, rng: np.random.Generator, count: int = 8) -> tuple[np.ndarray, dict[str, list[int]]]:
    """Draw yaws to ask about, at performers and elsewhere, with the right answers."""
    near = [p.yaw_at(2.0) + rng.uniform(-20, 20) for p in scene.performers]
    yaws = np.array([*near, *rng.uniform(-180, 180, count - len(near))])
    answers: dict[str, list[int]] = {trait: [] for trait in TRAITS}
    for yaw in yaws:
        gaps = [abs((yaw - p.yaw_at(2.0) + 180) % 360 - 180) for p in scene.performers]
        nearest = int(np.argmin(gaps))
        for trait, values in TRAITS.items():
            there = gaps[nearest] < REACH_DEG
            answers[trait].append(values.index(getattr(scene.performers[nearest], trait)) if there else len(values))
    return yaws, answers


def loudness(scene: Scene) -> Tensor:
    """Compute `[8, voices]`: each voice's amplitude in a wide microphone towards 8 directions; absent is 0."""
    gains = torch.zeros(len(EAR_YAWS_DEG), len(VOICES))
    for p in scene.performers:
        angle = np.radians(EAR_YAWS_DEG - p.yaw_at(2.0))
        gains[:, list(VOICES).index(p.voice)] = torch.from_numpy(0.75 + 0.25 * np.cos(angle)).float()
    return gains


def train_text(out: Path, steps: int, batch: int, seed: int) -> None:
    torch.manual_seed(seed)
    tokenizer = make_tokenizer()
    text_v, text_a, reader = make_text_encoder_v(tokenizer), make_text_encoder_a(tokenizer), TokenReader()
    ears = nn.Sequential(nn.Linear(TEXT_DIM_A, 192), nn.SiLU(), nn.Linear(192, len(EAR_YAWS_DEG) * len(VOICES)))
    modules = nn.ModuleList([text_v, text_a, reader, ears])
    optimiser = torch.optim.AdamW(modules.parameters(), lr=1e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 1.5e-3, total_steps=steps, pct_start=0.05)
    rng, started = np.random.default_rng(seed), time.time()
    for step in range(steps):
        scenes = [scene_of("train", 500_000 + step * batch + i) for i in range(batch)]
        asked = [questions(scene, rng) for scene in scenes]
        rays = torch.stack([directions(torch.from_numpy(y).float(), torch.zeros(len(y))) for y, _ in asked])
        captions = [scene.caption().short for scene in scenes]
        answers, sky, ground = reader(encode_tokens(tokenizer, text_v, captions), rays)
        loss = sum(
            F.cross_entropy(answers[t].flatten(0, 1), torch.tensor([a[t] for _, a in asked]).flatten()) for t in TRAITS
        )
        loss = loss + F.cross_entropy(sky, torch.tensor([list(SKIES).index(s.sky) for s in scenes]))
        loss = loss + F.cross_entropy(ground, torch.tensor([list(GROUNDS).index(s.ground) for s in scenes]))
        # A unit vector's components are small: rescale to about 1 for the heads.
        heard = ears(encode_sentences(tokenizer, text_a, captions) * math.sqrt(TEXT_DIM_A))
        wanted = torch.stack([loudness(scene) for scene in scenes]).flatten(1)
        loss = loss + 10 * F.mse_loss(heard, wanted)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(modules.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        if step % 100 == 0 or step == steps - 1:
            truth = torch.tensor([a["colour"] for _, a in asked])
            right = (answers["colour"].argmax(-1) == truth).float().mean().item()
            error = (heard - wanted).abs().mean().item()
            print(f"text step {step} loss {loss.item():.3f} colour {right:.3f} ears {error:.3f}", end=" ")
            print(f"{time.time() - started:.0f} s", flush=True)
    out.mkdir(parents=True, exist_ok=True)
    with atomic_path(out / "text.pt") as temporary:
        states = {"text_v": text_v.state_dict(), "text_a": text_a.state_dict(), "reader": reader.knowledge()}
        torch.save(states, temporary)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("runs/tiny"))
    parser.add_argument("--steps", type=int, default=2500)
    parser.add_argument("--batch", type=int, default=48)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    train_text(args.out, args.steps, args.batch, args.seed)


if __name__ == "__main__":
    main()
