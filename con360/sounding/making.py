"""Make a clip's sound block by block: pictures, groups of windows, level."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor

from ..media.reader import PanoramaStream
from ..records import Progress, Sound
from ..reframing.aim import Estimator
from ..saliency.human_faces import FaceDetector
from ..sound.levels import fit_length
from .generate import generated_blocks, groups_for
from .level import Level
from .model import AmbisonicsModel
from .picture_encoder import PictureFeatures
from .reading import Excerpt, features_of
from .settings import AmbisonicsSettings
from .store import Store, key_of

# Of a clip that does not say.
USUAL_FPS = 30.0
# A clip shorter than this part of the trained length is worth a sentence.
SHORT = 0.9


class Maker:
    """Make a clip's sound block by block, and remember what happened.

    Args:
        stream: the panorama. detector, progress: as in `ambisonics_for_clip`.

    Attributes:
        groups, kept: groups of windows, and those that an earlier run had finished.
        read_pictures: False where an earlier run had read them.
    """

    def __init__(
        self, stream: PanoramaStream, model: AmbisonicsModel, settings: AmbisonicsSettings,
        detector: FaceDetector | None, progress: Progress | None,
    ) -> None:  # fmt: skip
        self.stream, self.model, self.settings, self.progress = stream, model, settings, progress
        self.field = settings.of_model(model)
        self.store = Store() if settings.keep else None
        self.level = Level(model.network.sample_rate_hz, settings.gain_db, settings.limiter)
        self.kept = KeptGroups(self.store, "")
        looks = settings.view == "salient"
        self._follows = Estimator(settings.saliency, detector, model.network.device) if looks else None
        self.groups, self.read_pictures, self.seconds, self.picture_s = 0, False, 0.0, 0.0

    def sound(self, key: str, start_s: float = 0.0, stop_s: float = math.inf) -> Sound:
        """Make the sound of all `blocks`: `ambix`, as long as the picture."""
        made, rate_hz = torch.cat(list(self.blocks(key, start_s, stop_s)), dim=1), self.model.network.sample_rate_hz
        return fit_length(Sound(made, rate_hz, "ambix"), round(self.picture_s * rate_hz))

    def blocks(self, key: str, start_s: float = 0.0, stop_s: float = math.inf) -> Iterator[Tensor]:
        """Yield `[4, n]` at the model's rate and the final level.

        Args:
            key: of the clip's content.
            start_s, stop_s: part of the clip.
        """
        network, excerpt = self.model.network, Excerpt(self.stream, key, start_s, stop_s, self.settings.published_jpeg)
        pictures, seconds, was_kept = features_of(
            excerpt, self.model.encoder, self.store, follows=self._follows, progress=self.progress
        )
        self.read_pictures, self.picture_s = not was_kept, seconds
        self.seconds = seconds = self._whole_rows_s(seconds)
        self.groups = len(groups_for(network, seconds, self.field))
        self.kept = KeptGroups(self.store, self._key(pictures, seconds))
        made = generated_blocks(network, pictures, seconds, self.field, self._tell, self.kept)
        yield from self.level.set(made, first=math.inf if self.groups == 1 else 1)

    def _whole_rows_s(self, seconds: float) -> float:
        """Length in whole latent rows: what is left over is at most a frame of the video, else there is a row more."""
        codec = self.model.network.codec
        rows = codec.rows(seconds)
        more = seconds - rows * codec.seconds_per_row > 1 / (self.stream.info.fps or USUAL_FPS)
        return (rows + (more and rows > 0)) * codec.seconds_per_row

    def _key(self, pictures: PictureFeatures, seconds: float) -> str:
        digest = hashlib.blake2b(digest_size=16)
        for features in (pictures.panorama, pictures.view):
            digest.update(features.contiguous().numpy())
        return key_of("groups", digest.hexdigest(), self.model.identity, self.field, seconds)

    def _tell(self, group: int, groups: int, step: int, steps: int) -> None:
        if self.progress is not None:
            self.progress(group * steps + step, groups * steps, "making the sound")

    def said(self) -> tuple[str, ...]:
        """Clauses about the pictures, what was kept, and the level."""
        said = [*self.stream.notices]
        if self.seconds < SHORT * (trained_s := self.model.network.trained_s):
            said.append(f"this is shorter than the {trained_s:g} s that the model was trained on")
        if self.kept.taken:
            said.append(f"{self.kept.taken} of {self.groups} groups were finished by an earlier run")
        if self.store and self.store.problem:
            said.append(self.store.problem)
        return (*said, *self.level.said())


class KeptGroups:
    """Finished groups of one sound (`FinishedGroups`); `taken` counts those that were found."""

    def __init__(self, store: Store | None, key: str) -> None:
        self.store, self.key, self.taken = store, key, 0

    def get(self, number: int) -> Tensor | None:
        found = None if self.store is None else self.store.get(f"{self.key}-{number}")
        self.taken += found is not None
        return None if found is None else found["rows"]

    def put(self, number: int, rows: Tensor) -> None:
        if self.store is not None:
            self.store.put(f"{self.key}-{number}", {"rows": rows})
