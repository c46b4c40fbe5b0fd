"""Settings that decide the content of prepared data.

They are stored beside the shards, and a resumed run must have the same. Workers, devices and shard sizes affect only
the speed; they are in `run.Executor`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from con360.caption.by_models import CaptionModels
from con360.choices import MULTICUE
from con360.errors import InputError
from con360.media.files import atomic_path
from con360.sound.channels import check_ambisonics
from con360.timing import MAX_SECONDS, ClipSpec
from train.preparation.model import FieldFacts, ModelFacts
from train.shards import FORMAT, SETTINGS_FILE, read_settings

TRUTH = "truth"
SALIENCY_HEIGHT = 256
# Paper section 3.2: 10 s clips are cut into 4 s segments.
PAPER_STARTS_S = (0.0, 3.0, 6.0)
SplitMethod = Literal["video", "random", "given"]


def file_digest(path: Path) -> str:
    total = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            total.update(block)
    return total.hexdigest()[:16]


@dataclass(frozen=True)
class Settings:
    """Hold everything that decides an example's content and split.

    Args:
        facts: of the joint model whose autoencoders and text encoders make the latents, from `model_facts`.
        seconds: length of a segment. starts_s: where segments begin in each clip.
        height: rows of the panorama as read; 0 takes twice the model's picture size, at least 256.
        saliency: "multi-cue", "training-free", the path of SalViT360's weights, or "truth" for procedural scenes.
        viewpoints: largest number of views per segment, the most salient first.
        fov_deg: field of view of every view, or "box" for that of each region's bounding box. mode: "still" or "track".
        sound: `view` is a microphone towards the view (needs Ambisonics), `omni` the downmix.
        crops: store the true pictures beside their latents.
        clean: names from `cleaning.RULES`. speech_model: folder for the rule `speech`.
        match_model: for the rule `match`, an encoder as `con360.meaning.load.load_meaning` takes it, or a CLAP folder.
        min_match: lowest cosine for the rule `match`: of picture and sound, or by CLAP of sound and caption.
        caption_model: folder of a captioner for clips without a caption; "" leaves them without.
        caption_writer: folder of the language model that merges the faces' captions; "" joins them by rule.
        caption_times: number of moments per segment to caption.
        split: `video` keeps every video in one split; `random` is the paper's 85/15 by clip; `given` is the source's.
        split_seed: seed of `video` and `random`.
        ambisonics, head_locked: meaning of the sounds' channels, as in `con360.sound.channels.channel_meaning`.
        field: of a model of Ambisonics whose latents and features of pictures are stored too; None stores none.
    """

    facts: ModelFacts
    seconds: float = 4.0
    starts_s: tuple[float, ...] = PAPER_STARTS_S
    height: int = 0
    saliency: str = MULTICUE
    viewpoints: int = 2
    fov_deg: float | Literal["box"] = 90.0
    mode: Literal["still", "track"] = "still"
    sound: Literal["view", "omni"] = "view"
    crops: bool = True
    clean: tuple[str, ...] = ()
    speech_model: str = ""
    match_model: str = ""
    min_match: float = 0.0
    caption_model: str = ""
    caption_writer: str = ""
    caption_times: int = 2
    split: SplitMethod = "video"
    split_seed: int = 0
    ambisonics: str = "auto"
    head_locked: bool = False
    field: FieldFacts | None = None

    def __post_init__(self) -> None:
        if self.viewpoints < 1 or not self.starts_s:
            raise InputError(f"{self.viewpoints} viewpoints from starts {self.starts_s}: give at least one of each.")
        if self.sound not in ("view", "omni"):
            raise InputError(f"the sound {self.sound!r} is unknown; choose 'view' or 'omni'.")
        check_ambisonics(self.ambisonics, self.head_locked)

    @property
    def spec(self) -> ClipSpec:
        longest = MAX_SECONDS if self.field is None else max(MAX_SECONDS, self.field.trained_s)
        return self.facts.clip_spec(self.seconds, longest)

    @property
    def read_height(self) -> int:
        return self.height or max(256, 2 * self.facts.picture_size_px)

    @property
    def caption_models(self) -> CaptionModels | None:
        """Name the models that caption clips without a caption; None: leave them uncaptioned."""
        if not self.caption_model:
            return None
        writer = Path(self.caption_writer) if self.caption_writer else None
        return CaptionModels(Path(self.caption_model), writer, self.caption_times)

    def identity(self) -> dict[str, Any]:
        """Return the values that all runs into one folder must share."""
        values = asdict(self)
        values["facts"].pop("model")
        # Leave defaults of later settings out, so that folders begun before them can be continued.
        later = {"ambisonics": "auto", "head_locked": False, "field": None}
        values = {k: v for k, v in values.items() if k not in later or v != later[k]}
        if self.field is not None:
            values["field"] = {"identity": self.field.identity}
        for name in ("saliency", "speech_model", "match_model", "caption_model", "caption_writer"):
            path = Path(values[name])
            if values[name] and path.exists():
                values[name] = f"{path.name}:{file_digest(path)}" if path.is_file() else path.name
        return json.loads(json.dumps({"format": FORMAT, **values}))


def claim_folder(folder: Path, settings: Settings) -> None:
    """Store the settings in a new folder, or check that an existing folder has the same.

    Raises:
        InputError: the folder was made with other settings; the message names them.
    """
    mine = settings.identity()
    if not (folder / SETTINGS_FILE).exists():
        with atomic_path(folder / SETTINGS_FILE) as temporary:
            temporary.write_text(json.dumps(mine, indent=1) + "\n", encoding="utf-8")
        return
    theirs = read_settings(folder)
    changed = [name for name in sorted(mine.keys() | theirs.keys()) if mine.get(name) != theirs.get(name)]
    if changed:
        was = "; ".join(f"{name} {_brief(theirs.get(name))}, now {_brief(mine.get(name))}" for name in changed)
        raise InputError(f"{folder} was prepared with other settings: {was}. Use the same ones, or another --out.")


def _brief(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 160 else f"{text[:157]}..."


def split_of(key: str, seed: int, fractions: Sequence[tuple[str, float]]) -> str:
    """Draw a key's split by a hash of seed and key; adding other keys never changes it."""
    draw = int.from_bytes(hashlib.sha256(f"{seed}/{key}".encode()).digest()[:8], "big") / 2**64
    for name, fraction in fractions:
        if draw < fraction:
            return name
        draw -= fraction
    return fractions[-1][0]
