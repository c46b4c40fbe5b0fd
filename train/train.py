"""Train the control module over a frozen joint model, on procedural scenes.

    python train/train.py                                  # about 3 minutes on two CPU cores: a first look
    python train/train.py --minutes 240 --seconds 4        # a real one over the tiny bundle

The two U-Nets, the connectors, the autoencoders and the text encoders stay as they are (paper section 3.2); what is
trained is the map encoder and the FiLM layers. The result is a safetensors file that the Con360 Control Loader and
`con360 generate --control` read.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# Run as a script, the first entry of the path is this folder, in which `train` would mean this very file.
if __name__ == "__main__":
    sys.path[0] = str(ROOT)

import torch  # noqa: E402
from torch import Tensor  # noqa: E402
from tqdm import tqdm  # noqa: E402

from con360.control import ControlConfig, ControlModule, fingerprint, save_control  # noqa: E402
from con360.control.file import load_control  # noqa: E402
from con360.control.film import Film  # noqa: E402
from con360.errors import InputError  # noqa: E402
from con360.models.catalog import BUILT_IN_MODEL, control_file, model_folder  # noqa: E402
from con360.models.codecs import encode_frames, encode_mel, log_mel  # noqa: E402
from con360.models.loading import JointModel, load_joint_model  # noqa: E402
from con360.models.text import encode_captions  # noqa: E402
from con360.timing import ClipSpec  # noqa: E402
from train.data import make_example, rays_of  # noqa: E402
from train.losses import Dropout, drop_maps, joint_loss, keep_mask, mask_film  # noqa: E402


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a run.

    Args:
        base: model name or folder.
        out: control file to write.
        minutes: time for training steps; `steps` replaces it where given.
        seconds: length of the training clips.
        batch_size: clips per step.
        learning_rate: peak, after a short rise and before a cosine to zero.
        pool: different scenes rendered and encoded before the first step; steps draw from them.
        seed: of weights, scenes and noise.
        init: control file to go on from; None starts at zero, where the control changes nothing.
    """

    base: str = BUILT_IN_MODEL
    out: Path = Path("runs/control/control.safetensors")
    minutes: float = 1.8
    steps: int | None = None
    seconds: float = 1.0
    batch_size: int = 4
    learning_rate: float = 2e-3
    pool: int = 96
    seed: int = 0
    init: Path | None = None

    @property
    def spec(self) -> ClipSpec:
        return ClipSpec(self.seconds)


@dataclass(frozen=True)
class Encoded:
    """Clips as the loop reads them; shapes as in `train.data.Batch`, text features included."""

    latents_v: Tensor
    latents_a: Tensor
    maps: Tensor
    rays: Tensor
    text_v: Tensor
    text_a: Tensor

    def rows(self, index: Tensor) -> Encoded:
        return Encoded(*(getattr(self, name)[index] for name in self.__dataclass_fields__))


@torch.no_grad()
def encode_examples(
    model: JointModel, split: str, count: int, spec: ClipSpec, size: int, grid: int, bar=None
) -> Encoded:
    """Render and encode the first `count` scenes of a split: what does not change during training, once."""
    rows: dict[str, list[Tensor]] = {name: [] for name in Encoded.__dataclass_fields__}
    for index in range(count):
        example = make_example(split, index, num_frames=spec.num_frames, spec=spec, size=size)
        text = encode_captions(model, [example.caption])
        views = torch.tensor([[v.yaw_deg, v.pitch_deg, v.fov_deg] for v in example.track.views])
        rows["latents_v"].append(encode_frames(model.vae_v, example.frames))
        rows["latents_a"].append(
            encode_mel(model.vae_a, log_mel(example.waveform[None]), spec.num_latent_rows_padded)[0]
        )
        rows["maps"].append(example.maps)
        rows["rays"].append(rays_of(views[None], grid)[0])
        rows["text_v"].append(text.text_v[0])
        rows["text_a"].append(text.text_a[0])
        if bar is not None:
            bar.update(1)
    return Encoded(**{name: torch.stack(values) for name, values in rows.items()})


def new_control(model: JointModel, spec: ClipSpec, init: Path | None) -> ControlModule:
    """A zero-initialised control of the same shape as the base's own, or one to go on from."""
    if init is not None:
        return load_control(init).module.train().requires_grad_(True)
    own = control_file(None, Path(model.folder))
    if own is not None:
        return ControlModule(load_control(own).module.config)
    channels = {site: shape[0] for site, shape in model.site_shapes(spec).items()}
    return ControlModule(ControlConfig(channels, with_directions=True, geometry="view", sound="view"))


def control_losses(
    model: JointModel,
    control: ControlModule | None,
    batch: Encoded,
    spec: ClipSpec,
    dropout: Dropout,
    g: torch.Generator,
) -> tuple[Tensor, Tensor]:
    """(picture loss, sound loss) of one batch."""
    film: Film | None = None
    if control is not None:
        maps = drop_maps(batch.maps, dropout, g)
        film = control(maps, batch.rays, model.site_shapes(spec), fps=spec.fps, audio_seconds=spec.latent_seconds_a)
        film = mask_film(film, keep_mask(dropout.control, len(maps), g))
    shared_noise = model.metadata.get("defaults", {}).get("shared_noise", 0.0)
    return joint_loss(
        model.unet, (model.scheduler_v, model.scheduler_a), (batch.latents_v, batch.latents_a),
        (batch.text_v, batch.text_a), film, dropout, g,
        shared_noise=shared_noise,
    )  # fmt: skip


@torch.no_grad()
def validate(
    model: JointModel, control: ControlModule | None, data: Encoded, spec: ClipSpec, seed: int
) -> tuple[float, float]:
    """Mean losses over held-out scenes, with the same noise each time so that figures can be compared."""
    g = torch.Generator().manual_seed(seed)
    nothing = Dropout(text=0, control=0, saliency=0, basd=0)
    chunks = torch.arange(len(data.maps)).split(4)
    losses = [control_losses(model, control, data.rows(chunk), spec, nothing, g) for chunk in chunks]
    return tuple(float(torch.stack(column).mean()) for column in zip(*losses, strict=True))


def _indices(pool: int, batch: int, g: torch.Generator) -> Iterator[Tensor]:
    while True:
        yield from (part for part in torch.randperm(pool, generator=g).split(batch) if len(part) == batch)


def train(config: TrainConfig, model: JointModel | None = None, say=print) -> dict:
    """Train and write the control file; returns its training record."""
    if config.out.suffix != ".safetensors":
        raise InputError(f"--out is {config.out}; wanted a name that ends in .safetensors.")
    torch.manual_seed(config.seed)
    g, spec = torch.Generator().manual_seed(config.seed), config.spec
    model = model or load_joint_model(model_folder(config.base))
    model.unet.requires_grad_(False)
    control = new_control(model, spec, config.init)
    grid, size = control.config.view_grid, model.picture_size_px
    held_out = max(8, config.pool // 12)
    with tqdm(total=config.pool + held_out, desc="rendering scenes", unit="clip") as bar:
        data = encode_examples(model, "train", config.pool, spec, size, grid, bar)
        validation = encode_examples(model, "validation", held_out, spec, size, grid, bar)
    before = validate(model, None, validation, spec, config.seed)
    steps, seconds = _loop(config, model, control, data, g)
    after = validate(model, control.eval(), validation, spec, config.seed)
    record = {
        "data": "procedural scenes", "regime": "control", "steps": steps, "seconds": round(seconds, 1),
        "clip_seconds": config.seconds, "batch_size": config.batch_size, "seed": config.seed,
        "learning_rate": config.learning_rate, "validation_clips": held_out,
        "validation_without_control": {"picture": before[0], "sound": before[1]},
        "validation_with_control": {"picture": after[0], "sound": after[1]},
    }  # fmt: skip
    config.out.parent.mkdir(parents=True, exist_ok=True)
    base = fingerprint(model.unet.unet_v, model.unet.unet_a)
    save_control(config.out, control, base=model.name, base_fingerprint=base, training=record)
    say(_report(config, record))
    return record


def _loop(
    config: TrainConfig, model: JointModel, control: ControlModule, data: Encoded, g: torch.Generator
) -> tuple[int, float]:
    """Optimise until the time or the steps are used up; returns (steps, seconds)."""
    optimiser = torch.optim.AdamW(control.parameters(), lr=config.learning_rate, weight_decay=1e-2)
    batches, dropout = _indices(config.pool, min(config.batch_size, config.pool), g), Dropout()
    started, step, running = time.monotonic(), 0, None
    with tqdm(
        total=config.steps or round(config.minutes * 60), desc="training", unit="step" if config.steps else "s"
    ) as bar:
        while True:
            elapsed = time.monotonic() - started
            fraction = step / config.steps if config.steps else elapsed / (60 * config.minutes)
            if fraction >= 1:
                return step, elapsed
            rate = min(1.0, (step + 1) / 10) * 0.5 * (1 + torch.cos(torch.tensor(fraction * torch.pi)).item())
            for group in optimiser.param_groups:
                group["lr"] = config.learning_rate * rate
            loss = sum(control_losses(model, control, data.rows(next(batches)), config.spec, dropout, g))
            optimiser.zero_grad(set_to_none=True)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(control.parameters(), 1.0)
            optimiser.step()
            step += 1
            running = loss.item() if running is None else 0.95 * running + 0.05 * loss.item()
            bar.n = step if config.steps else round(min(time.monotonic() - started, config.minutes * 60))
            bar.set_postfix(step=step, loss=f"{running:.4f}")


def _report(config: TrainConfig, record: dict) -> str:
    without, with_control = record["validation_without_control"], record["validation_with_control"]
    rate = record["steps"] / max(record["seconds"], 1e-9)
    full = 20_000
    return "\n".join(
        [
            f"wrote {config.out} after {record['steps']} steps in {record['seconds']:.0f} s",
            f"validation loss on {record['validation_clips']} unseen scenes, without control -> with it:",
            f"  picture {without['picture']:.4f} -> {with_control['picture']:.4f}",
            f"  sound   {without['sound']:.4f} -> {with_control['sound']:.4f}",
            f"This was a first look. A real training takes some {full} steps, here about {full / rate / 3600:.0f} h:",
            f"  python train/train.py --steps {full} --seconds 4 --pool 2000 --rate 3e-4",
            f"Use the result:  con360 generate INPUT -o OUT.mp4 --control {config.out}",
        ]
    )


def main(argv: list[str] | None = None) -> int:
    defaults = TrainConfig()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--base", default=defaults.base, help="model name or folder (default: the built-in tiny bundle)"
    )
    parser.add_argument(
        "--out", type=Path, default=defaults.out, help=f"control file to write (default: {defaults.out})"
    )
    parser.add_argument("--minutes", type=float, default=defaults.minutes, help="time for training steps")
    parser.add_argument("--steps", type=int, help="number of steps, instead of --minutes")
    parser.add_argument(
        "--seconds", type=float, default=defaults.seconds, help="length of the training clips, 0.5 to 4"
    )
    parser.add_argument("--batch", type=int, default=defaults.batch_size, help="clips per step")
    parser.add_argument("--rate", type=float, default=defaults.learning_rate, help="peak learning rate")
    parser.add_argument("--pool", type=int, default=defaults.pool, help="different scenes to train on")
    parser.add_argument("--seed", type=int, default=defaults.seed)
    parser.add_argument("--init", type=Path, help="control file to go on from")
    args = parser.parse_args(argv)
    config = TrainConfig(
        args.base,
        args.out,
        args.minutes,
        args.steps,
        args.seconds,
        args.batch,
        args.rate,
        args.pool,
        args.seed,
        args.init,
    )
    try:
        train(config)
    except InputError as error:
        print(f"train: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
