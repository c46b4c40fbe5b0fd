"""Models with known answers for tests of the evaluation: one gives the true clip, one ignores the maps."""

from __future__ import annotations

from dataclasses import dataclass, replace
from types import SimpleNamespace

import torch

from con360.records import Sound, View, ViewpointClip, ViewTrack
from con360.scenes import Scene
from con360.sound.fields import analyse
from con360.sound.levels import to_mono
from con360.sound.mels import log_mel
from con360.timing import ClipSpec
from train.evaluation.bench import Ask, Clip


@dataclass(frozen=True)
class KnownAsk(Ask):
    """Say the scene and the track themselves instead of conditions."""

    scene: Scene | None = None
    track: ViewTrack | None = None


class TruthTeller:
    """Give the true clip where maps are given, else the true clip of another direction."""

    size = 32
    model = SimpleNamespace(vae_v=None)

    def spec(self, seconds: float) -> ClipSpec:
        return ClipSpec(seconds)

    def ask(self, scene, track, seed, use="maps", seconds=4.0):
        return KnownAsk(None, seed, use, scene, track)

    def truth(self, scene, track, seconds=4.0):
        spec = self.spec(seconds)
        return Clip(scene.view_frames(track, self.size, spec), scene.view_sound(track, spec))

    def generate(self, asks, seconds=4.0):
        return [self.truth(a.scene, self.track_for(a, seconds), seconds) for a in asks]

    def clip(self, ask, seconds=4.0, sound=None):
        """Give the scene's downmix with its true field; a held sound has none."""
        frames, true = self.generate([ask], seconds)[0].frames, ask.scene.foa(self.spec(seconds))
        return ViewpointClip(frames, 8.0, sound or to_mono(true), directions=None if sound else analyse(true))

    def embeddings(self, clip):
        """Embed a clip by its mean colours and its mean mels."""
        return clip.frames.mean((0, 2, 3)), log_mel(clip.sound.waveform)[0].exp().mean(0)

    def sound_through_codec(self, sound: Sound) -> Sound:
        return sound

    def track_for(self, ask, seconds):
        return ask.track if ask.use == "maps" else self.somewhere(ask, seconds)

    def somewhere(self, ask, seconds):
        # Away from the first view, and still, so that it follows nothing.
        view = replace(ask.track.views[0], yaw_deg=(ask.track.views[0].yaw_deg + 330.0) % 360.0 - 180.0)
        return ViewTrack.still(view, self.spec(seconds).num_frames)


class Blind(TruthTeller):
    """Give the same view of a scene always, and no directions: it ignores the maps."""

    def track_for(self, ask, seconds):
        return ViewTrack.still(View(10.0, 0.0, 90.0), self.spec(seconds).num_frames)

    def clip(self, ask, seconds=4.0, sound=None):
        return replace(super().clip(ask, seconds, sound), directions=None)


class Noisy(TruthTeller):
    """Draw noise of the seed over the true frames."""

    def generate(self, asks, seconds=4.0):
        clips = super().generate(asks, seconds)
        return [
            Clip(c.frames + 0.1 * torch.randn(c.frames.shape, generator=torch.Generator().manual_seed(a.seed)), c.sound)
            for a, c in zip(asks, clips, strict=True)
        ]
