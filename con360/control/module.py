"""The trainable control module: map encoder, signal and view features, time channels, feature geometry, FiLM heads.

Source: paper section 2.2. Feature geometry `pooled` is the paper's: panorama features are average-pooled to the size of
each site, whatever the view. `view` resamples them into the view first, so that a feature lies where its object is
seen (measured in the project's notes: R^2 0.97 against 0.31 for the saliency that the view shows).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce

import torch
from einops import rearrange
from torch import Tensor, nn

from ..errors import InputError
from ..geometry.erp import erp_area_weights, erp_directions, sample_erp
from ..records import Conditions, Signal
from .config import WHEN, ControlConfig
from .film import Film, FilmHead, add_film, apply_strength, pool_to_audio_site, pool_to_video_site
from .inputs import stack_maps, stack_signals, view_rays
from .map_encoder import MapEncoder
from .signal_features import FEATURES, SignalFeatures
from .time_channels import MEL_RATE_HZ, TimeHead, channels_of
from .view_features import WIDTHS as VIEW_WIDTHS
from .view_features import ViewFeatures


class ControlModule(nn.Module):
    """Turn the maps and signals of a clip into the modulation of every site.

    It runs once per clip, for maps and signals do not depend on the noise level.
    """

    def __init__(self, config: ControlConfig) -> None:
        super().__init__()
        self.config = config
        self.encoder = MapEncoder(
            config.map_channels, config.map_height, config.widths, config.strides, config.hidden, config.with_directions
        )
        extra = {"video": 0, "audio": 0}
        if config.directions_at_sites:
            if config.geometry != "view":
                raise ValueError(f"directions_at_sites needs feature geometry 'view'; got {config.geometry!r}")
            extra = {"video": 3, "audio": 3 * config.map_channels}
        extra["audio"] += config.audio_sectors * config.map_channels
        self.signals = SignalFeatures(config.signals)
        # Module names cannot hold dots.
        self.heads = nn.ModuleDict(
            {
                site.replace(".", "_"): FilmHead(
                    config.hidden + extra[site.split(".")[0]] + self.signals.num_features, channels
                )
                for site, channels in config.site_channels.items()
            }
        )
        if config.view_margin:
            self.near = ViewFeatures(config.map_channels, config.view_margin)
            self.near_heads = nn.ModuleDict(
                {
                    site.replace(".", "_"): FilmHead(VIEW_WIDTHS[-1], channels)
                    for site, channels in config.site_channels.items()
                    if site.startswith("video")
                }
            )
        self.when = nn.ModuleDict(
            {
                site.replace(".", "_"): TimeHead(fold, config.site_channels[site])
                for site, fold in config.time_folds.items()
            }
        )

    def forward(
        self,
        maps: Tensor,
        rays: Tensor | None,
        site_shapes: dict[str, tuple[int, ...]],
        *,
        fps: float,
        audio_seconds: float,
        features: Tensor | None = None,
        signals: Mapping[str, Signal] | None = None,
        keep_signals: Mapping[str, Tensor] | None = None,
        when: Tensor | None = None,
        keep_when: Tensor | None = None,
    ) -> Film:
        """Compute the modulation of each site.

        Args:
            maps: `[B, T, map_channels, H, W]` in [0, 1].
            rays: `[B, T, g, g, 3]` directions of the view, for geometry `view`; None for `pooled`.
            site_shapes: site to `(channels, T, h, w)` for video, `(channels, rows, freq)` for audio; sites at which
                the control does not act are left out.
            fps: frame rate of the maps.
            audio_seconds: time that all audio latent rows span, padding included.
            features: the encoder's features of these maps, where they are known already. Audio sites need no more than
                their mean over the panorama, `[B, T, hidden, 1, 1]`.
            signals: values `[B, T, ...]` by name; a signal that is left out is dropped.
            keep_signals: `[B]` by name, 0 where a clip drops the signal and 1 elsewhere; without its name, none does.
            when: `[B, 4, S]`, channels of a time track from `channels_of`; None is no track.
            keep_when: `[B]`, 0 where a clip drops its track and 1 elsewhere; None drops none.

        Returns:
            Site to `(scale, shift)`: `[B, C, T, h, w]` for video, `[B, C, rows, 1]` for audio.
        """
        site_shapes = {site: shape for site, shape in site_shapes.items() if site in self.config.site_channels}
        features = self.encoder(maps) if features is None else features
        heard = self._with_sources(features, maps)
        # A sound trained alone asks for no picture, and resampling costs more than the heads.
        seen = self._seen(features, rays) if any(site.startswith("video") for site in site_shapes) else features
        timed = self.signals(signals or {}, keep_signals or {})
        film: dict[str, tuple[Tensor, Tensor]] = {}
        for site, shape in site_shapes.items():
            if site.startswith("video"):
                row_seconds = 1 / fps
                pooled = pool_to_video_site(seen, (shape[1], shape[2], shape[3]))
            else:
                # The coarser sites have fewer rows over the same time.
                row_seconds = audio_seconds / shape[1]
                pooled = pool_to_audio_site(heard, shape[1], row_seconds, fps)
            if self.config.signals:
                pooled = _beside(pooled, self.signals.aligned(timed, pooled, row_seconds))
            film[site] = self.heads[site.replace(".", "_")](pooled)
        parts: list[Film] = [film]
        if self.config.view_margin and rays is not None:
            parts.append(self._near(maps, rays, site_shapes))
        if when is not None:
            parts.append(self._timed(when, keep_when, site_shapes))
        return reduce(add_film, parts)

    def _near(self, maps: Tensor, rays: Tensor, site_shapes: Mapping[str, tuple[int, ...]]) -> Film:
        """Modulation of the picture's sites by the maps in the view and beyond its edge."""
        sites = {site: shape for site, shape in site_shapes.items() if site.startswith("video")}
        if not sites:
            return {}
        seen = self.near(maps, rays)
        heads = {site: self.near_heads[site.replace(".", "_")] for site in sites}
        return {site: heads[site](pool_to_video_site(seen, (s[1], s[2], s[3]))) for site, s in sites.items()}

    def _timed(self, when: Tensor, keep: Tensor | None, site_shapes: Mapping[str, tuple[int, ...]]) -> Film:
        """Modulation of the sound's sites by a time track; the identity for clips that drop it."""
        film: dict[str, tuple[Tensor, Tensor]] = {}
        for site in self.config.time_folds:
            if site in site_shapes:
                made = self.when[site.replace(".", "_")](when, site_shapes[site][1])
                weight = 1.0 if keep is None else keep.to(when)[:, None, None, None]
                film[site] = (made[0] * weight, made[1] * weight)
        return film

    def _with_sources(self, features: Tensor, maps: Tensor) -> Tensor:
        """Append to the features the directions that the configuration gives the audio heads."""
        told = [pointing(maps)] if self.config.directions_at_sites else []
        if self.config.audio_sectors:
            told.append(sector_means(maps, self.config.audio_sectors))
        size = features.shape[-2:]
        return torch.cat([features, *(t[..., None, None].expand(-1, -1, -1, *size) for t in told)], dim=2)

    def _seen(self, features: Tensor, rays: Tensor | None) -> Tensor:
        """Resample the features as the configuration gives them to the video heads."""
        if self.config.geometry == "pooled":
            return features
        if rays is None:
            raise ValueError("feature geometry 'view' needs the view's directions; none were given")
        seen = self._resample_into_view(features, rays)
        return torch.cat([seen, rays.movedim(-1, 2).to(seen)], dim=2) if self.config.directions_at_sites else seen

    def _resample_into_view(self, features: Tensor, rays: Tensor) -> Tensor:
        frames, dirs = (rearrange(t, "b t ... -> (b t) ...") for t in (features, rays))
        return rearrange(sample_erp(frames, dirs), "(b t) c h w -> b t c h w", t=features.shape[1])


def _beside(features: Tensor, told: Tensor) -> Tensor:
    """Append values over time, `[B, F, rows]`, to the channels of features `[B, C, rows, ...]`."""
    spread = told[(...,) + (None,) * (features.ndim - told.ndim)]
    return torch.cat([features, spread.expand(-1, -1, *features.shape[2:])], dim=1)


def pointing(maps: Tensor) -> Tensor:
    """Find where each map points, the mean of direction times value: `[B, T, C, H, W]` to `[B, T, 3 C]`.

    Scaled so that a BASD map, close to a cosine lobe (1 + cos) / 2 whose mean is a sixth of its axis, gives about unit
    length; a map of zeros points nowhere.
    """
    H = maps.shape[-2]
    weight = erp_area_weights(H).to(maps) * erp_directions(H).permute(2, 0, 1).to(maps)
    return 6 * torch.einsum("btchw,dhw->btcd", maps, weight / (2 * H)).flatten(2)


def sector_means(maps: Tensor, sectors: int) -> Tensor:
    """Average each map around each of `sectors` azimuths: `[B, T, C, H, W]` to `[B, T, sectors * C]`.

    Sector k looks at yaw `360 k / sectors` degrees. Neighbours overlap linearly: nothing jumps from one to the next,
    and together they add up to the whole. Scaled as `pointing`.
    """
    H, W = maps.shape[-2:]
    position = (torch.arange(W, dtype=torch.float64) + 0.5) / W * sectors - sectors / 2
    apart = (position - torch.arange(sectors)[:, None] + sectors / 2) % sectors - sectors / 2
    columns = (1 - apart.abs()).clamp_min(0.0) * sectors / W
    rows = 6 * erp_area_weights(H).flatten()
    means = torch.einsum("btchw,h,kw->btkc", maps, rows.to(maps), columns.to(maps))
    return means.flatten(2)


def extend_control(
    module: ControlModule, *, maps: tuple[str, ...] = (), signals: Mapping[str, int] | None = None
) -> ControlModule:
    """Copy a control and let the copy read more maps and signals.

    The new inputs have zero weights: until they are trained, the copy modulates as the module does.

    Args:
        maps: names of further maps.
        signals: names of further signals, with the number of values at a time.

    Raises:
        InputError: a name is taken or is none.
    """
    old = module.config
    more = dict(signals or {})
    taken = sorted(set(more) & set(old.signals))
    if taken:
        raise InputError(f"the control reads the signal {taken[0]!r} already; add only what is new.")
    config = replace(old, channels=(*old.channels, *maps), signals={**old.signals, **more})
    grown = ControlModule(config).to(next(module.parameters())).train(module.training)
    state = {**grown.state_dict(), **module.state_dict()}
    convolution, before, after = "encoder.convs.0.weight", old.map_channels, config.map_channels
    state[convolution] = _with_zeros(state[convolution], [before], after - before)
    if config.view_margin:
        state["near.convs.0.weight"] = _with_zeros(state["near.convs.0.weight"], [before], after - before)
    for site in config.site_channels:
        name = f"heads.{site.replace('.', '_')}.linear.weight"
        state[name] = _grown_head(state[name], old, config, site.startswith("audio"))
    grown.load_state_dict(state)
    return grown


def _grown_head(weight: Tensor, old: ControlConfig, new: ControlConfig, hears: bool) -> Tensor:
    """Give a head's weights zeros for the inputs that `new` adds: directions and sectors of maps, and signals."""
    more, at = new.map_channels - old.map_channels, old.hidden
    if hears and old.directions_at_sites:
        at += 3 * old.map_channels
        weight = _with_zeros(weight, [at], 3 * more)
        at += 3 * more
    if hears:
        # Each sector holds one value per map.
        ends = [at + (k + 1) * old.map_channels for k in range(old.audio_sectors)]
        weight = _with_zeros(weight, ends, more)
    return _with_zeros(weight, [weight.shape[1]], FEATURES * (len(new.signals) - len(old.signals)))


def _with_zeros(weight: Tensor, places: Sequence[int], count: int) -> Tensor:
    """Insert `count` inputs of weight 0 at each of the places: `[out, in, ...]`."""
    pieces = weight.tensor_split(list(places), dim=1)
    zeros = weight.new_zeros(weight.shape[0], count, *weight.shape[2:])
    return torch.cat([pieces[0], *(t for piece in pieces[1:] for t in (zeros, piece))], dim=1)


@torch.no_grad()
def encode_control(
    module: ControlModule,
    conditions: Conditions,
    site_shapes: dict[str, tuple[int, ...]],
    *,
    fps: float,
    audio_seconds: float,
    strengths: Mapping[str, float] | None = None,
) -> Film | None:
    """Compute the modulation of one clip at the asked strengths; None when all strengths are 0.

    Equal strengths s scale the modulation of all maps and signals: `(1 + s scale) x + s shift`. Unequal ones add, for
    each distinct strength in rising order, its rise times the modulation of the maps and signals that are at least so
    strong. The others are dropped as they are in training (zeros).

    Args:
        fps: frame rate of the maps.
        audio_seconds: time that all audio latent rows span, padding included.
        strengths: by name of map or signal, `when` for the time track; 0 is off and 1 as trained; names that are left
            out have 1.

    Raises:
        InputError: a strength is negative or of a name that the control does not read, or a map or signal whose
            strength is not 0 is absent or of another length.
    """
    wanted = _checked(strengths or {}, module.config)
    if conditions.when is None:
        wanted.pop(WHEN, None)
    device = next(module.parameters()).device
    dtype = next(module.parameters()).dtype
    rays = view_rays([conditions.track], module.config.view_grid).to(device, dtype)
    seconds = len(conditions.saliency.maps) / fps

    def film_of(kept: set[str]) -> Film:
        maps = stack_maps(conditions, module.config.channels, kept).to(device, dtype)
        widths = {name: width for name, width in module.config.signals.items() if name in kept}
        signals = {
            name: replace(signal, values=signal.values.to(device, dtype))
            for name, signal in stack_signals(conditions, widths, seconds).items()
        }
        when = None
        if WHEN in kept and conditions.when is not None:
            when = channels_of(conditions.when, round(seconds * MEL_RATE_HZ))[None].to(device, dtype)
        return module(maps, rays, site_shapes, fps=fps, audio_seconds=audio_seconds, signals=signals, when=when)

    parts, below = [], 0.0
    for level in sorted({s for s in wanted.values() if s > 0}):
        parts.append(apply_strength(film_of({name for name, s in wanted.items() if s >= level}), level - below))
        below = level
    return reduce(add_film, parts) if parts else None


def _checked(strengths: Mapping[str, float], config: ControlConfig) -> dict[str, float]:
    """Strength of everything that a control reads."""
    unknown = [name for name in strengths if name not in config.dials]
    if unknown:
        raise InputError(f"a strength is set for {unknown[0]!r}; this control reads {', '.join(config.dials)}.")
    wanted = {name: strengths.get(name, 1.0) for name in config.dials}
    if not all(strength >= 0 for strength in wanted.values()):  # NaN fails as well
        named = ", ".join(f"{name} {strength:g}" for name, strength in wanted.items())
        raise InputError(f"control strengths must not be negative; got {named}.")
    return wanted
