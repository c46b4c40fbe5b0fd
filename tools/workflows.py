"""The shipped workflows from one description each: `python -m tools.workflows` writes `workflows/` (as the
frontend saves them), `tests/workflows_api/` (as the server takes them) and the blueprints in `subgraphs/`.
"""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import Any

from con360.scenes import demo_scene
from tools.blueprints import BLUEPRINTS, STARTS_HERE
from tools.host import Host, graph
from tools.host.run import PACK
from tools.meaning_workflows import BEST_OF, THREE_DIALS
from tools.sound_workflows import AMBISONICS, ANY_GENERATOR, HEADPHONES, PLACE_SOUND, TIME_TRACK
from tools.workflow_form import Column, Node, Note, Subgraph, To, Workflow, blueprint, ui_format
from tools.workflow_parts import caption, compare, load, loaders, saliency, sampler, save, viewpoint

VIEWPOINT = Workflow("con360_viewpoint", [
    Column("The 360° clip", 320, [load(), Note(16, 420, "What this does", """\
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
    Column("Conditions", 420, [saliency(), viewpoint(), caption()]),
    Column("Generation", 320, [
        sampler(7, 3), *loaders(),
        Node(10, "Con360ViewpointCrop", 170, frames=To(1, "frames"), basd=To(3, "basd"), audio=To(1, "audio")),
    ]),
    Column("Results", 480, [
        compare(12, generated=To(7, "video"), real=To(10, "video"), basd=To(3, "basd")),
        Node(9, "Con360OverlayPreview", 420, frames=To(1, "frames"), saliency=To(2, "saliency"), basd=To(3, "basd"),
             audio=To(1, "audio"), fps=To(1, "fps")),
    ]),
    Column("Files", 360, [
        save(8, 7, "generated", "Save Video: generated"),
        save(11, 10, "real_view", "Save Video: real view, to compare with"),
    ]),
], app=([(1, "video"), (4, "text"), (3, "rank"), (7, "seed")], [8, 11]))  # fmt: skip


TWO_VIEWPOINTS = Workflow("con360_two_viewpoints", [
    Column("The 360° clip", 320, [load(), Note(16, 360, "What this does", """\
Two viewpoints of **one** scene, generated with the same model, caption and seed, side by side.

Runs as it is, without downloads. One branch looks at the most salient subject (rank 1), the other one at the second \
(rank 2). *Con360 Compare* plays both at the same time, the second where it says "real view".

- **Another pair**: change *rank* in the two *Centroid→BASD* nodes, or choose by *yaw and pitch*. Where only one \
is found, rank 2 says so.
- **Same noise**: both samplers have the same seed, so what differs comes from the viewpoint.
- **Your own clip**: choose a video in *Load 360° Video* and write what is seen and heard into *Cubemap Caption*.
""")]),
    Column("Scene", 420, [saliency(), caption(), *loaders()]),
    Column("Two viewpoints", 420, [viewpoint(3, "Centroid→BASD: first"), viewpoint(9, "Centroid→BASD: second",
                                                                                     rank=2)]),
    Column("Generation", 320, [
        sampler(7, 3, "Joint AV Sampler: first"), sampler(10, 9, "Joint AV Sampler: second"),
    ]),
    Column("Results", 480, [
        compare(12, generated=To(7, "video"), real=To(10, "video")),
        save(8, 7, "viewpoint_1", "Save Video: first"), save(11, 10, "viewpoint_2", "Save Video: second"),
    ]),
], app=([(1, "video"), (3, "rank"), (9, "rank")], [8, 11]))  # fmt: skip


def _strengths(number: int, title: str, saliency: float, basd: float) -> Column:
    name = title.lower().replace(" ", "_")
    return Column(title, 340, [
        sampler(number, 3, f"Joint AV Sampler: {title.lower()}", saliency_strength=saliency, basd_strength=basd),
        save(number + 10, number, f"ablation_{name}", f"Save Video: {title.lower()}"),
    ])  # fmt: skip


ABLATION = Workflow("con360_control_ablation", [
    Column("The 360° clip", 320, [load(), *loaders(), Note(16, 320, "What this does", """\
One viewpoint, generated four times with the same caption, seed and noise: without any control, with saliency \
alone, with BASD alone, and with both. What differs between the clips is what the maps do.

Runs as it is, without downloads.

- **saliency_strength** and **basd_strength** of the four samplers make the difference: 0 is off, 1 as trained, more \
is stronger.
- With both at 0 the caption alone steers.
- **Another seed**: change it in all four.
""")]),
    Column("Conditions", 420, [saliency(), viewpoint(), caption()]),
    _strengths(7, "No control", 0, 0), _strengths(8, "Saliency only", 1, 0), _strengths(9, "BASD only", 0, 1),
    _strengths(10, "Both", 1, 1),
], app=([(1, "video"), (3, "rank")], [17, 18, 19, 20]))  # fmt: skip


OWN_FOOTAGE = Workflow("con360_own_footage", [
    Column("Your clip", 320, [load(), Note(16, 440, "Your own footage, step by step", """\
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
    Column("Where to look", 420, [saliency(), viewpoint()]),
    Column("Generation", 340, [sampler(7, 3, caption=demo_scene().caption().short), *loaders()]),
    Column("Result", 480, [save(8, 7, "own_footage", "Save Video")]),
], app=([(1, "video"), (1, "start"), (7, "caption")], [8]))  # fmt: skip


# Words that the published weights can draw.
DRUMSTICK = "a person hits a wooden box with a drumstick"


def _at_full_size(name: str, note: Note, seen: dict[str, str], told: dict[str, Any]) -> Workflow:
    """The published joint model without a control, of which none is published."""
    return Workflow(name, [
        Column("The 360° clip", 340, [Node(1, "Load360Video", 700, height=960), note]),
        Column("Conditions", 420, [saliency(**seen), viewpoint(), caption(model=To(5, "model"), **told)]),
        Column("Generation", 340, [
            sampler(7, 3, steps=50, cfg_video=7.5, cfg_audio=2.5), *loaders("svg", "none"),
            Node(10, "Con360ViewpointCrop", 170, frames=To(1, "frames"), basd=To(3, "basd"), audio=To(1, "audio")),
        ]),
        Column("Results", 480, [
            compare(12, generated=To(7, "video"), real=To(10, "video"), basd=To(3, "basd")),
            save(8, 7, name.removeprefix("con360_needs_weights_"), "Save Video: generated"),
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
    Column("The 360° clip", 320, [load(), Note(16, 340, "What this does", """\
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
        saliency(),
        Node(9, "Con360Centroids", 220, saliency=To(2, "saliency"), fps=To(1, "fps")),
        viewpoint(rank=To(9, "rank")), caption(),
    ]),
    Column("Generation", 340, [sampler(7, 3), *loaders()]),
    Column("Results", 480, [save(8, 7, "every_centroid", "Save Video: one clip per subject")]),
], app=([(1, "video"), (9, "at_most")], [8]))  # fmt: skip


REFRAME = Workflow("con360_reframe", [
    Column("Your clip", 400, [Node(1, "Reframe360Video", 1100)]),
    Column("Result", 480, [save(2, 1, "reframed", "Save Video"), Note(16, 300, "What this does", """\
A flat video out of a 360° one, at its own resolution and frame rate, with the sound turned with the view. No model, \
any length.

1. Press **Run** for the sample, or *choose file to upload* and take an equirectangular video.
2. *follow* keeps the most salient subject in view; *yaw and pitch* looks where you say; *keyframes* moves along a path.
3. **width** and **height**: 1920 and 1080 for instance; 0 and 0 is a square as fine as the source.
4. **duration** of a few seconds is a quick look; 0 goes to the end.
""")]),
], app=([(1, "video"), (1, "mode"), (1, "yaw"), (1, "pitch"), (1, "fov")], [2]))  # fmt: skip


MANY_VIEWS = Workflow("con360_many_views", [
    Column("The 360° clip", 320, [load(), Note(16, 380, "What this does", """\
Two viewpoints of **one** scene over **one** sound. The first sampler makes picture and sound; the second one takes \
its *latents*, holds the sound and makes a further picture for it.

Runs as it is, without downloads.

- **Another pair**: change *rank* in the two *Centroid→BASD* nodes, or choose by *yaw and pitch*.
- **More views**: copy the second branch. Each takes *latents* of the first sampler and holds its *sound*.
- **A moment that went wrong**: link *latents* of a sampler into *Redo Span*; it makes a span anew, and the rest stays.
- **From where each view hears it**: *sound* of both samplers is `view`, so each hears the one \
sound from its own side; `headphones` does it for two ears.
- **Your own clip**: choose a video in *Load 360° Video* and write what is seen and heard into *Cubemap Caption*.
""")]),
    Column("Scene", 420, [saliency(), caption(), *loaders()]),
    Column("Two viewpoints", 420, [
        viewpoint(3, "Centroid→BASD: first"), viewpoint(9, "Centroid→BASD: second", rank=2),
    ]),
    Column("Generation", 320, [
        sampler(7, 3, "Joint AV Sampler: picture and sound"),
        sampler(10, 9, "Joint AV Sampler: further picture", start_latents=To(7, "latents"), hold="sound"),
    ]),
    Column("Results", 480, [
        compare(12, generated=To(7, "video"), real=To(10, "video")),
        save(8, 7, "many_views_1", "Save Video: first"), save(11, 10, "many_views_2", "Save Video: second"),
    ]),
], app=([(1, "video"), (3, "rank"), (9, "rank"), (7, "seed")], [8, 11]))  # fmt: skip


BACK_INTO_360 = Workflow("con360_back_into_360", [
    Column("The 360° clip", 320, [load(), Note(16, 380, "What this does", """\
A generated viewpoint goes back into its 360° clip: enlarged, laid where its camera looked, with a feathered edge. The \
sound around the listener stays as it is.

Runs as it is, without downloads.

- **Another viewpoint**: change *rank* in *Centroid→BASD*, or set it to follow its subject: the picture moves along.
- **Finer**: put an upscaler between the sampler and *Project onto 360°*; the place stays.
- **Paint the rest instead**: disconnect *panorama*. Then the rest is black, and *mask* says what to paint.
- **Your own clip**: choose a video in *Load 360° Video* and write what is seen and heard into *Cubemap Caption*.
""")]),
    Column("Conditions", 420, [saliency(), viewpoint(), caption()]),
    Column("Generation", 320, [sampler(7, 3), *loaders()]),
    Column("Result", 480, [
        Node(9, "Con360Project", 260, frames=To(7, "frames"), panorama=To(1, "frames"), basd=To(3, "basd"), feather=6),
        Node(8, "Save360Video", 540, frames=To(9, "frames"), fps=To(1, "fps"), audio=To(1, "audio"),
             filename_prefix="con360/back_into_360"),
    ]),
], app=([(1, "video"), (3, "rank"), (4, "text"), (7, "seed")], [8]))  # fmt: skip


SHIPPED = [
    STARTS_HERE, VIEWPOINT, TWO_VIEWPOINTS, ABLATION, OWN_FOOTAGE, FULL_SIZE, PUBLIC_WEIGHTS, CENTROIDS, REFRAME,
    PLACE_SOUND, HEADPHONES, ANY_GENERATOR, AMBISONICS, TIME_TRACK, MANY_VIEWS, BACK_INTO_360, BEST_OF, THREE_DIALS,
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
