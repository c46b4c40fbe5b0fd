"""The shipped workflows from one description each: `python -m tools.workflows` writes `workflows/` (as the
frontend saves them), `tests/workflows_api/` (as the server takes them) and the blueprints in `subgraphs/`.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from con360.scenes import demo_scene
from tools.blueprints import BLUEPRINTS, SAMPLER_HEIGHT, STARTS_HERE
from tools.host import Host, graph
from tools.host.run import PACK
from tools.workflow_form import Column, Node, Note, Subgraph, To, Workflow, blueprint, ui_format


def _load(**inputs: Any) -> Node:
    return Node(1, "Load360Video", 600, height=256, **inputs)


def _saliency(number: int = 2, **inputs: Any) -> Node:
    return Node(number, "SalViT360Saliency", 200, frames=To(1, "frames"), audio=To(1, "audio"), fps=To(1, "fps"),
                control=To(6, "control"), **inputs)  # fmt: skip


def _viewpoint(number: int = 3, title: str | None = None, **inputs: Any) -> Node:
    return Node(number, "CentroidToBASD", 880, title, saliency=To(2, "saliency"), frames=To(1, "frames"),
                audio=To(1, "audio"), fps=To(1, "fps"), **inputs)  # fmt: skip


def _caption(**inputs: Any) -> Node:
    return Node(4, "CubemapCaption", 560, frames=To(1, "frames"), audio=To(1, "audio"),
                scene_caption=To(1, "caption"), fps=To(1, "fps"), **inputs)  # fmt: skip


def _loaders(model: str = "con360-tiny (built in)", control: str = "built in") -> list[Node]:
    return [Node(5, "Con360ModelLoader", 250, model=model), Node(6, "Con360ControlLoader", 110, control=control)]


def _sampler(number: int, basd: int, title: str | None = None, **inputs: Any) -> Node:
    linked = {"caption": To(4, "short"), **inputs}
    return Node(number, "JointAVSampler", SAMPLER_HEIGHT, title, model=To(5, "model"), saliency=To(2, "for_control"),
                basd=To(basd, "basd"), control=To(6, "control"), **linked)  # fmt: skip


def _save(number: int, source: int, name: str, title: str) -> Node:
    return Node(number, "SaveVideo", 420, title, video=To(source, "video"), filename_prefix=f"con360/{name}")


def _compare(number: int, height: int = 640, **clips: To) -> Node:
    return Node(number, "Con360Compare", height, frames=To(1, "frames"), saliency=To(2, "saliency"), **clips)


VIEWPOINT = Workflow("con360_viewpoint", [
    Column("The 360° clip", 320, [_load(), Note(16, 420, "What this does", """\
A 360° clip goes in; picture and sound of one viewpoint come out, generated together.

Runs as it is, without downloads: the sample is a **procedural** scene and the model is the small one that comes with \
the pack. It draws coloured shapes of 64 pixels.

- **Your own clip**: choose a video in *Load 360° Video* (equirectangular, any resolution) and write what is seen and \
heard into *Cubemap Caption*.
- **Another viewpoint**: after the first run the picture in *Centroid→BASD* shows what was found: click a number, or \
drag the view. Large numbers rank subjects, small ones centroids. Wheel: field of view. Press play there and drag: the \
sound turns with the view.
- **A moving view**: set keyframes there, at the times of its slider.
- **Real view**: *Viewpoint Crop* cuts the same view out of the clip, with its sound; *Con360 Compare* plays both.
""")]),
    Column("Conditions", 420, [_saliency(), _viewpoint(), _caption()]),
    Column("Generation", 320, [
        _sampler(7, 3), *_loaders(),
        Node(10, "Con360ViewpointCrop", 170, frames=To(1, "frames"), basd=To(3, "basd"), audio=To(1, "audio")),
    ]),
    Column("Results", 480, [
        _compare(12, generated=To(7, "video"), real=To(10, "video"), basd=To(3, "basd")),
        Node(9, "Con360OverlayPreview", 420, frames=To(1, "frames"), saliency=To(2, "saliency"), basd=To(3, "basd"),
             audio=To(1, "audio"), fps=To(1, "fps")),
    ]),
    Column("Files", 360, [
        _save(8, 7, "generated", "Save Video: generated"),
        _save(11, 10, "real_view", "Save Video: real view, to compare with"),
    ]),
], app=([(1, "video"), (4, "text"), (3, "rank"), (7, "seed")], [8, 11]))  # fmt: skip


TWO_VIEWPOINTS = Workflow("con360_two_viewpoints", [
    Column("The 360° clip", 320, [_load(), Note(16, 360, "What this does", """\
Two viewpoints of **one** scene, generated with the same model, caption and seed, side by side.

Runs as it is, without downloads. One branch looks at the most salient subject (rank 1), the other one at the second \
(rank 2). *Con360 Compare* plays both at the same time, the second where it says "real view".

- **Another pair**: change *rank* in the two *Centroid→BASD* nodes, or choose by *yaw and pitch*. Where only one \
is found, rank 2 says so.
- **Same noise**: both samplers have the same seed, so what differs comes from the viewpoint.
- **Your own clip**: choose a video in *Load 360° Video* and write what is seen and heard into *Cubemap Caption*.
""")]),
    Column("Scene", 420, [_saliency(), _caption(), *_loaders()]),
    Column("Two viewpoints", 420, [_viewpoint(3, "Centroid→BASD: first"), _viewpoint(9, "Centroid→BASD: second",
                                                                                     rank=2)]),
    Column("Generation", 320, [
        _sampler(7, 3, "Joint AV Sampler: first"), _sampler(10, 9, "Joint AV Sampler: second"),
    ]),
    Column("Results", 480, [
        _compare(12, generated=To(7, "video"), real=To(10, "video")),
        _save(8, 7, "viewpoint_1", "Save Video: first"), _save(11, 10, "viewpoint_2", "Save Video: second"),
    ]),
], app=([(1, "video"), (3, "rank"), (9, "rank")], [8, 11]))  # fmt: skip


def _strengths(number: int, title: str, saliency: float, basd: float) -> Column:
    name = title.lower().replace(" ", "_")
    return Column(title, 340, [
        _sampler(number, 3, f"Joint AV Sampler: {title.lower()}", saliency_strength=saliency, basd_strength=basd),
        _save(number + 10, number, f"ablation_{name}", f"Save Video: {title.lower()}"),
    ])  # fmt: skip


ABLATION = Workflow("con360_control_ablation", [
    Column("The 360° clip", 320, [_load(), *_loaders(), Note(16, 320, "What this does", """\
One viewpoint, generated four times with the same caption, seed and noise: without any control, with saliency \
alone, with BASD alone, and with both. What differs between the clips is what the maps do.

Runs as it is, without downloads.

- **saliency_strength** and **basd_strength** of the four samplers make the difference: 0 is off, 1 as trained, more \
is stronger.
- With both at 0 the caption alone steers.
- **Another seed**: change it in all four.
""")]),
    Column("Conditions", 420, [_saliency(), _viewpoint(), _caption()]),
    _strengths(7, "No control", 0, 0), _strengths(8, "Saliency only", 1, 0), _strengths(9, "BASD only", 0, 1),
    _strengths(10, "Both", 1, 1),
], app=([(1, "video"), (3, "rank")], [17, 18, 19, 20]))  # fmt: skip


OWN_FOOTAGE = Workflow("con360_own_footage", [
    Column("Your clip", 320, [_load(), Note(16, 440, "Your own footage, step by step", """\
1. **Load 360° Video**: press *choose file to upload* and take an equirectangular video (any size and frame rate; \
stereo and Ambisonic sound are fine). Until then the built-in sample stands in.
2. **start** says where the 4 seconds begin.
3. **Joint AV Sampler**: write into *caption* what is seen and heard. The words there now belong to the sample.
4. Press **Run**. Then click a number in *Centroid→BASD*, or drag the view, and run again.

**What to expect**: the small built-in model knows coloured shapes and simple tones, so on real footage it shows where \
the view lies, not what is in it. Choose a model of yours in *Con360 Model Loader*; the template \
*con360_needs_weights_all_public* says which exist.

To cut a view out of the clip as it is, without any model, take *con360_reframe*.
""")]),
    Column("Where to look", 420, [_saliency(), _viewpoint()]),
    Column("Generation", 340, [_sampler(7, 3, caption=demo_scene().caption().short), *_loaders()]),
    Column("Result", 480, [_save(8, 7, "own_footage", "Save Video")]),
], app=([(1, "video"), (1, "start"), (7, "caption")], [8]))  # fmt: skip


# Words that the published weights can draw.
DRUMSTICK = "a person hits a wooden box with a drumstick"


def _at_full_size(name: str, note: Note, saliency: dict[str, str], caption: dict[str, Any]) -> Workflow:
    """The published joint model without a control, of which none is published."""
    return Workflow(name, [
        Column("The 360° clip", 340, [Node(1, "Load360Video", 600, height=960), note]),
        Column("Conditions", 420, [_saliency(**saliency), _viewpoint(), _caption(model=To(5, "model"), **caption)]),
        Column("Generation", 340, [
            _sampler(7, 3, steps=50, cfg_video=7.5, cfg_audio=2.5), *_loaders("svg", "none"),
            Node(10, "Con360ViewpointCrop", 170, frames=To(1, "frames"), basd=To(3, "basd"), audio=To(1, "audio")),
        ]),
        Column("Results", 480, [
            _compare(12, generated=To(7, "video"), real=To(10, "video"), basd=To(3, "basd")),
            _save(8, 7, name.removeprefix("con360_needs_weights_"), "Save Video: generated"),
        ]),
    ], app=([(1, "video"), (1, "start"), (4, "text"), (7, "seed")], [8]))  # fmt: skip


FULL_SIZE = _at_full_size(
    "con360_needs_weights_full_size",
    Note(
        16,
        540,
        "What has to be there",
        """\
The published joint model at full size, 256 pixels. **One folder has to be there**, and nothing is downloaded: put it \
into ComfyUI's models folder, then press R.

- `con360/svg`: [SVG baseline](https://github.com/SonyResearch/SVG_baseline), a diffusers folder. Its README links to \
the [weights](https://drive.google.com/file/d/1pQdhl_j_hjdIMJq9waVTvM3baj5xqeF3). Licence unknown; it contains \
AudioLDM, CC BY-NC-SA 4.0: not for commercial use.

**What it draws**: it was trained on Greatest Hits, so it draws drumsticks hitting things, whatever the panorama \
shows. Say in *text* of *Cubemap Caption* what is hit.

**What steers**: the caption alone. Saliency and viewpoint choose the real view that *Con360 Compare* shows beside \
it. They steer with a control module, and **none is published**: `python train/train.py` makes one \
(`docs/training.md`). Put it into `con360_control` and choose it in *Con360 Control Loader*.

- **Little memory**: set *memory* of the sampler to *low*. `docs/gpu.md` says what fits.
- **More published weights** (saliency, captions): *con360_needs_weights_all_public*.
""",
    ),
    {"method": "training-free (built in)"},
    {"text": DRUMSTICK},
)


PUBLIC_WEIGHTS = _at_full_size(
    "con360_needs_weights_all_public",
    Note(
        16,
        620,
        "What has to be there",
        """\
Every weight of the method that can be had: joint model, saliency, captioner, language model. **Nothing is \
downloaded**: put these into ComfyUI's models folder, then press R.

- `con360/svg`: the joint model, [SVG baseline](https://github.com/SonyResearch/SVG_baseline), a diffusers folder \
([weights](https://drive.google.com/file/d/1pQdhl_j_hjdIMJq9waVTvM3baj5xqeF3)). Trained on Greatest Hits: it draws \
drumsticks hitting things, whatever the caption says. Licence unknown; it contains AudioLDM, CC BY-NC-SA 4.0: not for \
commercial use.
- `con360_saliency/salvit360.pt`: [SalViT360](https://github.com/MertCokelek/SalViT360) \
([weights](https://drive.google.com/drive/folders/1cJ9ln4sH0IIdv2L-Xcyk6N17_4_7FFOW)); its code is MIT.
- `con360_captioner/blip2-opt-2.7b`: [BLIP-2](https://huggingface.co/Salesforce/blip2-opt-2.7b), MIT, 15 GB, all \
files of the page in one folder.
- `con360_llm/Llama-3.2-1B-Instruct`: [Llama 3.2](https://huggingface.co/meta-llama/Llama-3.2-1B-Instruct), 2.5 GB; \
the page asks you to accept the Llama 3.2 Community License.

**What cannot be had** is a control module, with which saliency and viewpoint steer: `python train/train.py` makes one.

**With less of it**: *con360_needs_weights_full_size* needs the first folder alone. Each other part has a choice \
without weights: *method*, *captioner* and *language_model*. Instead of the SVG folder, SD 1.5 with AnimateDiff and \
AudioLDM run side by side: *(parts below)* in the model loader.
""",
    ),
    {"method": "salvit360.pt"},
    {"captioner": "blip2-opt-2.7b", "language_model": "Llama-3.2-1B-Instruct"},
)


CENTROIDS = Workflow("con360_every_centroid", [
    Column("The 360° clip", 320, [_load(), Note(16, 340, "What this does", """\
One clip per salient subject, from one press of Run.

*Centroids* lists what was found, and everything behind it runs once for each: *Centroid→BASD* takes the \
rank from it, *Save Video* writes `every_centroid_00001`, `00002`, … in the order of the ranks.

Runs as it is, without downloads.

- **at_most** says for how many.
- **Centroids of regions**, as in the paper: set *choose_by* to *centroid* in both nodes.
- **Followed over time**: set *mode* to *track* in both nodes.
- **Many files**: the guide in `docs/headless.md` runs a workflow over a folder.
""")]),
    Column("Conditions", 420, [
        _saliency(),
        Node(9, "Con360Centroids", 220, saliency=To(2, "saliency"), fps=To(1, "fps")),
        _viewpoint(rank=To(9, "rank")), _caption(),
    ]),
    Column("Generation", 340, [_sampler(7, 3), *_loaders()]),
    Column("Results", 480, [_save(8, 7, "every_centroid", "Save Video: one clip per subject")]),
], app=([(1, "video"), (9, "at_most")], [8]))  # fmt: skip


REFRAME = Workflow("con360_reframe", [
    Column("Your clip", 400, [Node(1, "Reframe360Video", 1100)]),
    Column("Result", 480, [_save(2, 1, "reframed", "Save Video"), Note(16, 300, "What this does", """\
A flat video out of a 360° one, at its own resolution and frame rate, with the sound turned with the view. No model, \
any length.

1. Press **Run** for the sample, or *choose file to upload* and take an equirectangular video.
2. *follow* keeps the most salient subject in view; *yaw and pitch* looks where you say; *keyframes* moves along a path.
3. **width** and **height**: 1920 and 1080 for instance; 0 and 0 is a square as fine as the source.
4. **duration** of a few seconds is a quick look; 0 goes to the end.
""")]),
], app=([(1, "video"), (1, "mode"), (1, "yaw"), (1, "pitch"), (1, "fov")], [2]))  # fmt: skip


def _seen(number: int = 2) -> Node:
    """Saliency for nodes that look at subjects, without a control file."""
    return Node(number, "SalViT360Saliency", 200, frames=To(1, "frames"), audio=To(1, "audio"), fps=To(1, "fps"))


def _heard(number: int, audio: To, **inputs: Any) -> Node:
    return Node(number, "Con360AmbisonicsPreview", 480, audio=audio, frames=To(1, "frames"), fps=To(1, "fps"), **inputs)


def _save_360(number: int, audio: To, name: str) -> Node:
    return Node(number, "Save360Video", 540, frames=To(1, "frames"), fps=To(1, "fps"), audio=audio,
                filename_prefix=f"con360/{name}")  # fmt: skip


# Once around in the sample's four seconds.
TURN = json.dumps([{"time": time_s, "yaw": yaw, "pitch": 0, "fov": 90}
                   for time_s, yaw in ((0, 0), (1.33, 120), (2.67, -120), (4, 0))])  # fmt: skip


PLACE_SOUND = Workflow("con360_place_sound", [
    Column("The sound and the 360° clip", 320, [
        Node(3, "Con360SampleSound", 110, voice="bell"), _load(fps=15), Note(16, 400, "What this does", """\
A mono sound is placed into a 360° clip, follows a subject there, is mixed with the clip's own sound and saved as a \
file that players turn with the head.

Runs as it is, without downloads.

- **Your own sound**: put ComfyUI's *Load Audio* in the place of *Sample Sound*.
- **Somewhere else**: after the first run drag the loudspeaker in *Place Sound on Sphere*; wheel: distance; \
keyframes: a path. Press play there and drag: the sound follows your hand.
- **Where it belongs**: set *mode* to *find the place*: each band goes to the movement that keeps its time, what fits \
nothing stays all around, and *notices* says how sure that is.
- **More sounds**: one *Place Sound on Sphere* for each, all into *Mix Ambisonics*.
- **Listen**: press play in *Ambisonics Preview*, put on headphones, and drag to look around.
"""),
    ]),
    Column("Where it is", 420, [
        _seen(), Node(4, "Con360PlaceSound", 760, audio=To(3, "audio"), frames=To(1, "frames"),
                      saliency=To(2, "saliency"), fps=To(1, "fps"), mode="subject", distance=1.5),
    ]),
    Column("Results", 480, [
        Node(5, "Con360MixAmbisonics", 260, first=To(4, "audio"), second=To(1, "audio"), second_gain=-6),
        _heard(6, To(5, "audio")),
        Node(8, "PreviewImage", 260, "Preview Image: energy by direction and time", images=To(6, "compass")),
        _save_360(7, To(5, "audio"), "placed"),
    ]),
], app=([(1, "video"), (3, "voice"), (4, "mode"), (4, "rank")], [6, 7]))  # fmt: skip


HEADPHONES = Workflow("con360_headphones", [
    Column("The 360° clip", 320, [_load(), Note(16, 400, "What this does", """\
The sound of a 360° clip, as two ears hear it: put on headphones.

Runs as it is, without downloads.

- **Straight ahead**: *Ambisonics→Headphones* brings the clip's sound to two ears. Its stereo fits ComfyUI's own audio \
nodes, which would write four channels as noise.
- **Look around**: press play in *Ambisonics Preview* and drag.
- **With a view**: *Viewpoint Crop* cuts the view that *Viewpoint by Hand* moves along; with *sound* at *headphones* \
the head turns with it.
- **Your own ears**: put a SOFA file into `models/con360_ears` and choose it at *ears*.
- **Your own clip**: choose a video in *Load 360° Video* whose sound is Ambisonics. Other sound has no directions: \
place it first (*con360_place_sound*).
""")]),
    Column("Look", 420, [
        Node(2, "Con360ViewpointByHand", 860, frames=To(1, "frames"), audio=To(1, "audio"), fps=To(1, "fps"),
             mode="keyframes", keyframes=TURN),
        Node(3, "Con360ViewpointCrop", 170, frames=To(1, "frames"), basd=To(2, "basd"), audio=To(1, "audio"),
             sound="headphones"),
    ]),
    Column("Listen", 480, [
        Node(4, "Con360AmbisonicsToHeadphones", 130, audio=To(1, "audio")),
        Node(5, "PreviewAudio", 100, "Preview Audio: straight ahead", audio=To(4, "audio")),
        _heard(6, To(1, "audio")), _save(8, 3, "headphones", "Save Video: the view on headphones"),
    ]),
], app=([(1, "video"), (2, "mode"), (4, "ears")], [5, 8]))  # fmt: skip


ANY_GENERATOR = Workflow("con360_any_generator", [
    Column("The 360° clip", 320, [_load()]),
    Column("Views all around", 320, [
        Node(2, "Con360ViewsAround", 460, frames=To(1, "frames"), audio=To(1, "audio"), fps=To(1, "fps"),
             caption="coloured shapes under a dusk sky"),
    ]),
    Column("Your model", 360, [Note(16, 460, "Put your model here", """\
Any model that makes sound for a video makes a **field** this way: it runs once for each view, and its sounds are \
placed where the views look.

1. Take away the link from *audio* of *Views Around* to *Sounds to Field*.
2. Put your model here (MMAudio, another pack's node, ComfyUI's own): *frames* or *video* go in, and *caption* where \
it takes words. It runs once for each view by itself.
3. Link its sound to *sounds* of *Sounds to Field*. *views* stays linked.

Until then the link stands in for a model: each view's share of the clip's own sound. So the template runs as it is, \
without downloads, and the result can be compared with the clip's own field.

- **More views** cover the sphere more evenly and take longer; what they share counts once.
- **subject** at *choose_by* makes sound for salient subjects alone; link *saliency* for it.
""")]),
    Column("One field", 480, [
        Node(3, "Con360SoundsToField", 110, sounds=To(2, "audio"), views=To(2, "view")),
        _heard(4, To(3, "audio")), _save_360(5, To(3, "audio"), "views_to_field"),
    ]),
], app=([(1, "video"), (2, "count"), (2, "caption")], [4, 5]))  # fmt: skip


AMBISONICS = Workflow("con360_ambisonics", [
    Column("The 360° clip", 320, [_load(), Note(16, 460, "What this does", """\
A 360° clip goes in without its sound; a sound that lies around the listener comes out, made of the picture alone. \
The file that is saved turns with the head.

Runs as it is, without downloads: the sample is a **procedural** scene, and the small model that comes with the pack \
knows such scenes alone. On real footage its sound says little.

- **Listen**: press play in *Ambisonics Preview*, put on headphones, and drag to look around.
- **Another sound**: change *seed* in *360° Video→Ambisonics*.
- **Your own clip**: choose a video in *Load 360° Video*. For a long one put ComfyUI's *Load Video* there: a VIDEO is \
read from its file a few pictures at a time.
- **The published model**: put OmniAudio's `model.ckpt` and the folder of MetaCLIP ViT-H/14 into \
`models/con360_omniaudio`, press R and choose it in *OmniAudio Loader*. Nothing is downloaded by itself. MetaCLIP is \
CC BY-NC 4.0: not for commercial use.
""")]),
    Column("Sound for the picture", 320, [
        Node(2, "Con360OmniAudioLoader", 130),
        Node(3, "Con360VideoToAmbisonics", 280, video=To(1, "frames"), fps=To(1, "fps"), model=To(2, "model")),
    ]),
    Column("Results", 480, [
        _heard(4, To(3, "audio")), _save_360(5, To(3, "audio"), "ambisonics"),
    ]),
], app=([(1, "video"), (3, "seed"), (3, "view")], [4, 5]))  # fmt: skip


SHIPPED = [
    STARTS_HERE, VIEWPOINT, TWO_VIEWPOINTS, ABLATION, OWN_FOOTAGE, FULL_SIZE, PUBLIC_WEIGHTS, CENTROIDS, REFRAME,
    PLACE_SOUND, HEADPHONES, ANY_GENERATOR, AMBISONICS,
]  # fmt: skip


def files_of(workflow: Workflow, info: dict[str, Any]) -> dict[Path, str]:
    """Make the text of each file of a workflow: for the frontend, and for the server."""
    saved = ui_format(workflow, info)
    paths = (PACK / "workflows" / f"{workflow.name}.json",
             PACK / "tests" / "workflows_api" / f"{workflow.name}.api.json")  # fmt: skip
    texts = [json.dumps(form, indent=1, ensure_ascii=False) + "\n" for form in (saved, graph.to_prompt(saved, info))]
    return dict(zip(paths, texts, strict=True))


def file_of(subgraph: Subgraph, info: dict[str, Any]) -> tuple[Path, str]:
    """Make the text of a blueprint's file, whose name is the one that the frontend shows."""
    text = json.dumps(blueprint(subgraph, info), indent=1, ensure_ascii=False) + "\n"
    return PACK / "subgraphs" / f"{subgraph.name}.json", text


def main() -> None:
    with tempfile.TemporaryDirectory() as base:
        info = Host(Path(base)).object_info()
    files = dict(file_of(subgraph, info) for subgraph in BLUEPRINTS)
    for workflow in SHIPPED:
        files |= files_of(workflow, info)
    for path, text in files.items():
        path.write_text(text, encoding="utf-8")
        print(path.relative_to(PACK))


if __name__ == "__main__":
    main()
