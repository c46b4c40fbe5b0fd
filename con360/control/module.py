"""The trainable control module: map encoder, feature geometry, FiLM heads.

Source: paper section 2.2. Feature geometry `pooled` is the paper's: panorama features are average-pooled to the size of
each site, whatever the view. `view` resamples them into the view first, so that a feature lies where the thing it
speaks of is seen (measured in the project's notes: R^2 0.97 against 0.31 for the saliency that the view shows).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from ..errors import InputError
from ..geometry.erp import erp_area_weights, erp_directions, sample_erp
from ..geometry.perspective import view_directions
from ..models.connector_config import SITES
from ..records import Conditions, ViewTrack
from .film import Film, FilmHead, add_film, apply_strength, pool_to_audio_site, pool_to_video_site
from .map_encoder import MapEncoder

# Whole numbers of a configuration, and what they may be.
_RANGES = {
    "map_channels": (1, 64), "map_height": (1, 1024), "widths": (1, 8192), "strides": (1, 64), "hidden": (1, 8192),
    "view_grid": (1, 512), "audio_sectors": (0, 360),
}  # fmt: skip


def _check_count(name: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or not low <= value <= high:
        raise InputError(f"{name} of a control is {value!r:.80}; wanted a whole number, {low} to {high}.")


@dataclass(frozen=True)
class ControlConfig:
    """Everything that decides a control module's shape.

    Args:
        site_channels: injection site to its number of channels (`models.connectors.SITES`).
        map_channels: maps per frame; saliency and BASD are 2.
        map_height, widths, strides, hidden, with_directions: see `MapEncoder`.
        geometry: `pooled` (paper) or `view`.
        view_grid: points across the view at which `view` samples features, before pooling to a site.
        directions_at_sites: give the heads directions beside the features: video sites, those that the view looks in
            (geometry `view` only); audio sites, the direction each map points in. A caption speaks of directions, and
            an encoder trained for minutes keeps elevation (sky, ground) but loses azimuth.
        audio_sectors: give the audio heads each map's mean in so many sectors around the listener (`sector_means`); 0,
            the paper's, leaves them the mean over all directions, which does not say from where a pulse comes.
        sound: which sound the module was trained towards, `omni` (the downmix) or `view` (wide microphone).
        fov_range_deg: fields of view that it has seen in training.
    """

    site_channels: dict[str, int]
    map_channels: int = 2
    map_height: int = 64
    widths: tuple[int, ...] = (32, 64, 128)
    strides: tuple[int, ...] = (2, 2, 2)
    hidden: int = 256
    with_directions: bool = False
    geometry: Literal["pooled", "view"] = "pooled"
    view_grid: int = 16
    directions_at_sites: bool = False
    audio_sectors: int = 0
    sound: Literal["omni", "view"] = "omni"
    fov_range_deg: tuple[float, float] = (60.0, 120.0)

    def __post_init__(self) -> None:
        """Numbers that make sense: a file's own configuration decides how much is allocated for it.

        Raises:
            InputError: names the first that does not.
        """
        for name, (low, high) in _RANGES.items():
            value = getattr(self, name)
            for one in value if isinstance(value, tuple) else (value,):
                _check_count(name, one, low, high)
        if not isinstance(self.site_channels, dict) or not set(self.site_channels) <= set(SITES):
            raise InputError(f"a control acts at sites of {', '.join(SITES)}; got {self.site_channels!r:.200}.")
        for site, channels in self.site_channels.items():
            _check_count(f"channels of {site}", channels, 1, 16384)
        if self.geometry not in ("pooled", "view") or self.sound not in ("omni", "view"):
            raise InputError(f"geometry {self.geometry!r:.40} with sound {self.sound!r:.40} is not known.")
        low, high = self.fov_range_deg if len(self.fov_range_deg) == 2 else (0, 0)
        if not (isinstance(low, int | float) and isinstance(high, int | float) and 0 < low <= high < 180):
            raise InputError(f"fov_range_deg is {self.fov_range_deg!r:.80}; wanted two angles between 0 and 180.")

    def to_dict(self) -> dict:
        return asdict(self)

    @staticmethod
    def from_dict(values: dict) -> ControlConfig:
        tuples = {k: tuple(v) for k, v in values.items() if k in ("widths", "strides", "fov_range_deg")}
        return ControlConfig(**{**values, **tuples})


class ControlModule(nn.Module):
    """Maps of a clip to the modulation of every site, once per clip: the maps do not depend on the noise level."""

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
        # Module names cannot hold dots.
        self.heads = nn.ModuleDict(
            {
                site.replace(".", "_"): FilmHead(config.hidden + extra[site.split(".")[0]], channels)
                for site, channels in config.site_channels.items()
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
    ) -> Film:
        """Modulation of each site.

        Args:
            maps: `[B, T, map_channels, H, W]` in [0, 1].
            rays: `[B, T, g, g, 3]` directions of the view, for geometry `view`; None for `pooled`.
            site_shapes: site to `(channels, T, h, w)` for video, `(channels, rows, freq)` for audio.
            fps: frame rate of the maps.
            audio_seconds: time that all audio latent rows span, padding included.
            features: what the encoder made of these maps, where that is known already; their mean over the panorama,
                `[B, T, hidden, 1, 1]`, is enough for audio sites.

        Returns:
            Site to `(scale, shift)`: `[B, C, T, h, w]` for video, `[B, C, rows, 1]` for audio.
        """
        features = self.encoder(maps) if features is None else features
        heard = self._with_sources(features, maps)
        # A sound trained alone asks for no picture, and resampling costs more than the heads.
        seen = self._seen(features, rays) if any(site.startswith("video") for site in site_shapes) else features
        film: Film = {}
        for site, shape in site_shapes.items():
            if site.startswith("video"):
                pooled = pool_to_video_site(seen, shape[1:])
            else:
                # The coarser sites have fewer rows over the same time.
                pooled = pool_to_audio_site(heard, shape[1], audio_seconds / shape[1], fps)
            film[site] = self.heads[site.replace(".", "_")](pooled)
        return film

    def _with_sources(self, features: Tensor, maps: Tensor) -> Tensor:
        """Features of the audio heads: beside each, what the configuration tells them of directions."""
        told = [pointing(maps)] if self.config.directions_at_sites else []
        if self.config.audio_sectors:
            told.append(sector_means(maps, self.config.audio_sectors))
        size = features.shape[-2:]
        return torch.cat([features, *(t[..., None, None].expand(-1, -1, -1, *size) for t in told)], dim=2)

    def _seen(self, features: Tensor, rays: Tensor | None) -> Tensor:
        """Features of the video heads."""
        if self.config.geometry == "pooled":
            return features
        seen = self._resample_into_view(features, rays)
        return torch.cat([seen, rays.movedim(-1, 2).to(seen)], dim=2) if self.config.directions_at_sites else seen

    def _resample_into_view(self, features: Tensor, rays: Tensor | None) -> Tensor:
        if rays is None:
            raise ValueError("feature geometry 'view' needs the view's directions; none were given")
        B, T = features.shape[:2]
        sampled = sample_erp(features.flatten(0, 1), rays.flatten(0, 1))
        return sampled.view(B, T, *sampled.shape[1:])


def pointing(maps: Tensor) -> Tensor:
    """The direction that each map points in: `[B, T, C, H, W]` to `[B, T, 3 C]`, the mean of direction times value.

    Scaled so that a BASD map, close to a cosine lobe (1 + cos) / 2 whose mean is a sixth of its axis, gives about unit
    length; a map of zeros points nowhere.
    """
    H = maps.shape[-2]
    weight = erp_area_weights(H).to(maps) * erp_directions(H).permute(2, 0, 1).to(maps)
    return 6 * torch.einsum("btchw,dhw->btcd", maps, weight / (2 * H)).flatten(2)


def sector_means(maps: Tensor, sectors: int) -> Tensor:
    """Each map's mean around each of `sectors` azimuths: `[B, T, C, H, W]` to `[B, T, sectors * C]`.

    Sector k looks at yaw `360 k / sectors`. Neighbours overlap linearly, so that nothing jumps from one to the next and
    all of them add up to the whole. Scaled as `pointing`.
    """
    H, W = maps.shape[-2:]
    position = (torch.arange(W, dtype=torch.float64) + 0.5) / W * sectors - sectors / 2
    apart = (position - torch.arange(sectors)[:, None] + sectors / 2) % sectors - sectors / 2
    columns = (1 - apart.abs()).clamp_min(0.0) * sectors / W
    rows = 6 * erp_area_weights(H).flatten()
    means = torch.einsum("btchw,h,kw->btkc", maps, rows.to(maps), columns.to(maps))
    return means.flatten(2)


def view_rays(tracks: Sequence[ViewTrack], grid: int) -> Tensor:
    """Directions of each clip's view per frame: `[B, T, grid, grid, 3]`."""
    return torch.stack(
        [
            torch.stack([view_directions(v.yaw_deg, v.pitch_deg, v.fov_deg, grid) for v in track.views])
            for track in tracks
        ]
    )


def stack_maps(conditions: Conditions) -> Tensor:
    """Saliency and BASD of one clip as the map encoder reads them: `[1, T, 2, H, W]`, each min-max normalised.

    Source: paper section 2.2.
    """
    saliency, basd = conditions.saliency.maps, conditions.basd.maps
    if saliency.shape[0] != basd.shape[0]:
        raise InputError(
            f"the saliency has {saliency.shape[0]} frames and the BASD map {basd.shape[0]}; "
            f"make both from the same clip at the same frame rate."
        )
    if basd.shape[-2:] != saliency.shape[-2:]:
        basd = torch.nn.functional.interpolate(basd[:, None], saliency.shape[-2:], mode="area")[:, 0]
    return torch.stack([_min_max(saliency), _min_max(basd)], dim=1)[None]


def _min_max(maps: Tensor) -> Tensor:
    low, high = maps.amin(dim=(-2, -1), keepdim=True), maps.amax(dim=(-2, -1), keepdim=True)
    # A flat map carries no information and stays flat, at its own value, instead of turning into 0/0.
    return torch.where(high > low, (maps - low) / (high - low).clamp_min(1e-12), maps.clamp(0, 1))


@torch.no_grad()
def encode_control(
    module: ControlModule,
    conditions: Conditions,
    site_shapes: dict[str, tuple[int, ...]],
    *,
    fps: float,
    audio_seconds: float,
    saliency_strength: float = 1.0,
    basd_strength: float = 1.0,
) -> Film | None:
    """The modulation of one clip at the asked strengths; None when both strengths are 0.

    Equal strengths s scale the modulation of both maps: `(1 + s scale) x + s shift`. Unequal ones mix it with the
    modulation of the stronger map alone, the other being dropped as it is in training (zeros).
    """
    if min(saliency_strength, basd_strength) < 0:
        raise InputError(
            f"control strengths must not be negative; got saliency {saliency_strength:g} and BASD {basd_strength:g}."
        )
    device = next(module.parameters()).device
    dtype = next(module.parameters()).dtype
    maps = stack_maps(conditions).to(device, dtype)
    rays = view_rays([conditions.track], module.config.view_grid).to(device, dtype)

    def film_of(keep: tuple[float, float]) -> Film:
        kept = maps * torch.tensor(keep, device=device, dtype=dtype).view(1, 1, 2, 1, 1)
        return module(kept, rays, site_shapes, fps=fps, audio_seconds=audio_seconds)

    common = min(saliency_strength, basd_strength)
    parts = [apply_strength(film_of((1.0, 1.0)), common)] if common > 0 else []
    if saliency_strength > common:
        parts.append(apply_strength(film_of((1.0, 0.0)), saliency_strength - common))
    elif basd_strength > common:
        parts.append(apply_strength(film_of((0.0, 1.0)), basd_strength - common))
    if not parts:
        return None
    return parts[0] if len(parts) == 1 else add_film(parts[0], parts[1])
