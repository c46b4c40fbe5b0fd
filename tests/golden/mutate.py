"""Break the code once in each of the ways below and see a parity test fail: `python -m tests.golden.mutate [WORDS]`.

Nothing on disk is touched: a changed source is compiled aside, its functions' code is put into the loaded module of a
forked process, and the named group of test_published.py runs there. Exit status 1 where a change goes unseen.
"""

from __future__ import annotations

import importlib
import os
import sys
import types
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import published_svg
from golden import runs_omniaudio, runs_onsets, runs_salvit, runs_sound, runs_svg, test_published

# (module, what stands there, what would be wrong, group or test that must fail)
MUTATIONS = [
    ("models.connectors", "FRAME_RATE_HZ = 8.0", "FRAME_RATE_HZ = 25.0", "additive case3"),
    ("models.connectors", "_frame_positions(x_MTC), dim=1)", "_frame_positions(x_MTC), dim=-1)", "additive case3"),
    ("models.connectors", "chunks = 8", "chunks = 4", "additive case3"),
    ("models.connectors", "F.pad(moved, (0, 0, 1, -1))", "moved", "additive case3"),
    ("models.connectors", "        x = self.norm3(x)\n", "", "additive case3"),
    ("models.connectors", "size=x_BThwC.shape[self.time_axis])", "size=x_BThwC.shape[self.time_axis], mode='linear')",
     "additive case3"),
    ("models.connectors", "_attend_in_frames(self.attend_self, x) + x",
     "_attend_in_frames(self.attend_self, x) + x_BThwC", "additive case3"),
    ("models.connectors", "vector_norm(signal, dim=-1", "vector_norm(signal, dim=1", "additive case3"),
    ("models.connectors", "vector_norm(signal, dim=-1", "vector_norm(signal, dim=0", "attn case3"),
    ("models.connectors", "self.heads = width // head_width", "self.heads = head_width", "additive case3"),
    ("models.connectors", "eps=1e-6", "eps=1e-2", "additive case3"),
    ("models.connectors", "centred.square().mean(", "centred.abs().mean(", "additive case3"),
    ("models.cpu.feed_forward", "value * F.gelu(gate)", "gate * F.gelu(value)", "additive case3"),
    ("models.dual_unet", "h, added = bridged, (*added[:-1], bridged)", "h = bridged", "additive case3"),
    ("models.dual_unet", "torch.cat([temb, label], dim=-1)", "torch.cat([label, temb], dim=-1)", "additive case3"),
    ("sampling.schedule", "+ schedule.steps_offset", "", "timesteps"),
    ("sampling.schedule", "np.float32(exponent)) * np.float32(count))", "np.float32(exponent)) * count - 0.5)",
     "timesteps"),
    ("sampling.schedule", "(1 - alpha_next - sigma**2) ** 0.5", "(1 - alpha_next) ** 0.5", "scheduler video"),
    ("sampling.schedule", "+ [self.final_alpha]", "+ [1.0]", "scheduler audio"),
    ("sampling.guidance", "scale * (after - before)", "(scale - 1) * (after - before)", "sampling, adjusted timesteps"),
    ("sound.mels", "MEL_FLOOR = 1e-5", "MEL_FLOOR = 1e-6", "mel"),
    ("sound.mels", 'pad_mode="reflect"', 'pad_mode="constant"', "mel"),
    ("sound.mels", "* (2.0 / (upper - lower))", "", "mel"),
    ("models.codecs", "_decode(vae_v, part) / 2 + 0.5", "_decode(vae_v, part) / 2 + 0.49", "decoding"),
    ("models.codecs", "posterior.mode().float() * vae.config.scaling_factor", "posterior.mode().float()", "encoding"),
    ("saliency.salvit360", "reach = math.radians(scale.fov_deg) / 2\n    line",
     "reach = math.tan(math.radians(scale.fov_deg) / 2)\n    line", "saliency geometry 0"),
    ("saliency.salvit360", 'padding_mode="border", align_corners=True\n    )\n    return patches',
     'padding_mode="border", align_corners=False\n    )\n    return patches', "saliency geometry 0"),
    ("saliency.salvit360", "inverse_latitude=59.6", "inverse_latitude=60.0", "saliency geometry 1"),
    ("saliency.salvit360", "weight > 1e-5", "weight > -1", "saliency geometry 0"),
    ("saliency.salvit360", "place + self.time[:, :, None]", "place", "saliency of one scale"),
    ("saliency.salvit360", "self.attn_s(self.norm_s(x)) + x", "self.attn_s(x) + x", "saliency of one scale"),
    ("saliency.salvit360", "values = patches[..., :DECODED_PX, :DECODED_PX]",
     "values = F.avg_pool2d(patches, patches.shape[-1] // DECODED_PX)", "saliency of one scale"),
    ("models.oobleck", "self.alpha.exp()[:, None]", "self.alpha[:, None]", "omniaudio autoencoder"),
    ("models.oobleck", "self.beta.exp()", "self.beta", "omniaudio autoencoder"),
    ("models.oobleck", "self.weight_v.flatten(1).norm(dim=1)[:, None, None]", "self.weight_v.flatten(1).norm()",
     "omniaudio autoencoder"),
    ("models.oobleck", "F.softplus(scale) + 1e-4", "scale.exp()", "omniaudio autoencoder"),
    ("models.oobleck", "return x + self.layers(x)", "return self.layers(x)", "omniaudio autoencoder"),
    ("models.oobleck", "padding=3 * dilation, dilation=dilation", "padding=3", "omniaudio autoencoder"),
    ("models.picture_features", 'bc_type="natural"', 'bc_type="not-a-knot"', "omniaudio splines"),
    ("models.picture_features", "np.linspace(0, count - 1, rows)", "np.linspace(0, count, rows, endpoint=False)",
     "omniaudio splines"),
    ("models.picture_features", 'self.conditioners["video_fov"]', 'self.conditioners["video_360"]',
     "omniaudio embedders"),
    ("models.flow_transformer", "first, second = turned.chunk(2, dim=-1)",
     "first, second = turned[..., ::2], turned[..., 1::2]", "omniaudio dit3"),
    ("models.flow_transformer", "torch.cat((-second, first), dim=-1)", "torch.cat((second, -first), dim=-1)",
     "omniaudio dit3"),
    ("models.flow_transformer", "self.turned = head_width // 2", "self.turned = head_width", "omniaudio dit1"),
    ("models.flow_transformer", "value * F.silu(gate)", "gate * F.silu(value)", "omniaudio dit1"),
    ("models.flow_transformer", "(angle.cos(), angle.sin())", "(angle.sin(), angle.cos())", "omniaudio dit1"),
    ("models.flow_transformer", "2 * math.pi * t[:, None].float()", "2000 * math.pi * t[:, None].float()",
     "omniaudio dit1"),
    ("models.flow_transformer", ".amax(dim=1, keepdim=True)", ".mean(dim=1, keepdim=True)", "omniaudio dit1"),
    ("models.flow_transformer", "self.to_global_embed(pictures).amax(dim=1, keepdim=True)",
     "self.to_global_embed(pictures.amax(dim=1, keepdim=True))", "omniaudio dit1"),
    ("models.flow_transformer", "return y + self.postprocess_conv(y)", "return y", "omniaudio dit1"),
    ("models.flow_transformer", "self.transformer.rotary_pos_emb.angles(features.audio.shape[1])",
     "tuple(a.roll(1, 0) for a in self.transformer.rotary_pos_emb.angles(features.audio.shape[1]))",
     "omniaudio sampling cfg3"),
    ("models.omniaudio", "torch.cat((token, torch.zeros_like(added)), dim=1)",
     "torch.cat((torch.zeros_like(token), torch.zeros_like(added)), dim=1)", "omniaudio dit1"),
    ("models.omniaudio", "torch.cat((token, torch.zeros_like(added)), dim=1)",
     "torch.cat((token, self.embedders.view(torch.zeros_like(view[:, :1])).expand_as(added)), dim=1)",
     "omniaudio dit1"),
    ("sampling.guidance", "x.std(dim=1, keepdim=True)", "x.std(dim=-1, keepdim=True)", "omniaudio dit1"),
    ("sampling.flow", "x - self.times[index] * prediction", "x + self.times[index] * prediction",
     "omniaudio sampling cfg3"),
    ("sampling.flow", "self.start * (1 - i / steps)", "self.start * (1 - (i + 0.5) / steps)",
     "omniaudio sampling cfg3"),
    ("sampling.flow", "(1 - timestep) * x0 + timestep * noise", "x0 + timestep * noise", "omniaudio variation"),
    ("sounding.pictures", "np.linspace(-1, 1, SIDE_PX)", "(np.arange(SIDE_PX) + 0.5) / SIDE_PX * 2 - 1",
     "omniaudio pictures"),
    ("sounding.pictures", "VIEW_FOV_DEG = 120.0", "VIEW_FOV_DEG = 90.0", "omniaudio pictures"),
    ("sounding.pictures", "(np.arctan2(x, z) / (2 * np.pi) + 0.5) * width",
     "(np.arctan2(x, z) / (2 * np.pi) + 0.5) * width - 0.5", "omniaudio pictures"),
    ("sounding.pictures", "cv2.INTER_CUBIC", "cv2.INTER_NEAREST", "omniaudio filtered pictures"),
    ("sounding.pictures", "Image.Resampling.BICUBIC", "Image.Resampling.NEAREST", "omniaudio filtered pictures"),
    ("sounding.pictures", "((bar, bar), (0, 0)) if width > height", "((0, 2 * bar), (0, 0)) if width > height",
     "omniaudio filtered pictures"),
    ("models.onset_network", "channels_in * channels * 27 //", "channels_in * channels * 28 //", "onset case_s"),
    ("models.onset_network", "F.relu(self.conv2(self.conv1(x)) + shortcut)", "self.conv2(self.conv1(x)) + shortcut",
     "onset case_s"),
    ("models.onset_network", "self.conv1(x)) + shortcut)", "self.conv1(x))) + shortcut", "onset case_m"),
    ("models.onset_network", "nn.BatchNorm3d(channels), nn.ReLU())", "nn.BatchNorm3d(channels, 1e-3), nn.ReLU())",
     "onset case_m"),
    ("models.onset_network", "padding=(1, 0, 0), bias=False)", "padding=(2, 0, 0), dilation=(2, 1, 1), bias=False)",
     "onset case_s"),
    ("models.onset_network", "x.mean((-1, -2))", "x.amax((-1, -2))", "onset case_m"),
    ("models.onset_network", "nn.ReLU(), nn.Linear(128, 1)", "nn.Identity(), nn.Linear(128, 1)", "onset case_s"),
    ("models.onset_network", 'self.net["model"](x)', 'self.net["model"](x.flip(2))', "onset case_m"),
    ("models.onset_network", "(frames - mean) / std", "(frames.flip(1) - mean) / std", "onset case_f"),
    ("models.envelope_networks", "F.relu(convolution(x))", "convolution(F.relu(x))", "envelope of video"),
    ("models.envelope_networks", "F.relu(over_features(x))", "over_features(F.relu(x))", "envelope of video"),
]  # fmt: skip


def apply(module_name: str, old: str, new: str) -> None:
    """Change a loaded module of this process."""
    module = importlib.import_module(f"con360.{module_name}")
    source = Path(module.__file__).read_text()
    if old not in source:
        raise SystemExit(f"{module_name} no longer holds {old!r}")
    aside = types.ModuleType(module.__name__)
    aside.__dict__.update(__package__=module.__package__, __file__=module.__file__)
    sys.modules[module.__name__] = aside  # dataclasses look their module up
    exec(compile(source.replace(old, new, 1), module.__file__, "exec"), aside.__dict__)  # noqa: S102
    sys.modules[module.__name__] = module
    _transplant(vars(aside), module)


def _transplant(changed: dict, owner: object) -> None:
    for name, value in changed.items():
        mine = vars(owner).get(name)
        plain, own = (getattr(v, "__func__", getattr(v, "fget", v)) for v in (value, mine))
        inner = getattr(getattr(own, "__wrapped__", None), "__closure__", None)
        if isinstance(plain, types.FunctionType) and isinstance(own, types.FunctionType):
            own.__code__ = plain.__code__
        elif hasattr(own, "cache_clear"):
            own.cache_clear()
            _swap_inside(own, plain)
        elif isinstance(value, type) and isinstance(mine, type) and value.__module__ == mine.__module__ and not inner:
            _transplant(vars(value), mine)
        elif isinstance(value, (int, float)) and not name.startswith("__"):
            setattr(owner, name, value)
    if "SCALES" in changed:
        for mine, value in zip(owner.SCALES, changed["SCALES"], strict=True):
            object.__setattr__(mine, "inverse_latitude", value.inverse_latitude)


def _swap_inside(own: object, changed: object) -> None:
    """The function that a cache wraps, however deep."""
    for mine, theirs in zip(_wrapped(own), _wrapped(changed), strict=True):
        mine.__code__ = theirs.__code__


def _wrapped(function: object) -> list[types.FunctionType]:
    found = []
    while hasattr(function, "__wrapped__"):
        function = function.__wrapped__
        if isinstance(function, types.FunctionType) and not function.__closure__:
            found.append(function)
    return found


def fails(group: str) -> bool:
    try:
        if group == "timesteps":
            test_published.test_timesteps()
        else:
            test_published.test_equals_the_samples(group)
    except AssertionError as error:
        print(f"    {str(error).splitlines()[0][:110]}")
        return True
    return False


def main(only: str = "") -> int:
    published_svg.base_unets()
    runs_svg.trajectory("gamma_1.5")
    runs_sound.decoded()
    runs_salvit.features("vst", 0)
    unseen = []
    chosen = [m for m in MUTATIONS if only in " ".join(m)]
    for module, old, new, group in chosen:
        print(f"{module}: {' '.join(old.split())}  ->  {' '.join(new.split()) or '(nothing)'}  [{group}]", flush=True)
        child = os.fork()
        if child == 0:
            os._exit(_in_child(module, old, new, group))
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != 0:
            unseen.append((module, old))
            print("    NOT SEEN", flush=True)
    print(f"{len(chosen) - len(unseen)} of {len(chosen)} changes were seen")
    return 1 if unseen else 0


def _in_child(module: str, old: str, new: str, group: str) -> int:
    """Break the code and run the parity test; return 0 when it fails as it should."""
    apply(module, old, new)
    # Results of the unchanged code, but for what the group builds on.
    for run in (runs_svg.joint_forward, runs_svg.scheduler_steps, runs_sound.mels, runs_sound.encoded,
                runs_salvit.geometry, runs_salvit.prediction, published_svg.tiny_dual_unet,
                *vars(runs_omniaudio).values(), *vars(runs_onsets).values()):  # fmt: skip
        if hasattr(run, "cache_clear"):
            run.cache_clear()
    if group == "decoding":
        runs_sound.decoded.cache_clear()
    if group.startswith("sampling"):
        runs_svg.trajectory.cache_clear()
    seen = fails(group)
    sys.stdout.flush()
    return 0 if seen else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
