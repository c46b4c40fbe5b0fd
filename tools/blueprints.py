"""Subgraphs that people reuse, each as one node: ComfyUI offers them in its node library, templates hold them."""

from __future__ import annotations

from tools.workflow_form import Column, Node, Note, Part, Subgraph, To, Workflow, edge

SAMPLER_HEIGHT = 890

# Numbers of nodes differ from those of the templates and of each other: the frontend would give new ones.

_CLIP = {"frames": edge("frames"), "audio": edge("audio"), "fps": edge("fps")}

CONDITIONS = Subgraph(
    "Con360 Conditions",
    "Saliency, a viewpoint's BASD and a caption of a 360° clip: what Con360 Generate is steered by.",
    ["saliency", "BASD", "caption", "conditions", "360"],
    [
        Column("Where people look", 340, [
            Node(21, "Con360ControlLoader", 110, control=edge("control")),
            Node(22, "SalViT360Saliency", 220, method=edge("method"), control=To(21, "control"), **_CLIP),
        ]),
        Column("Viewpoint and caption", 420, [
            Node(23, "CentroidToBASD", 900, saliency=To(22, "saliency"), choose_by=edge("choose_by"), rank=edge("rank"),
                 mode=edge("mode"), yaw=edge("yaw"), pitch=edge("pitch"), fov=edge("fov"), **_CLIP),
            Node(24, "CubemapCaption", 560, scene_caption=edge("scene_caption"), text=edge("text"), **_CLIP),
        ]),
    ],
    ["frames", "audio", "scene_caption", "fps", "choose_by", "rank", "mode", "yaw", "pitch", "fov", "text", "method",
     "control"],
    {"saliency": To(22, "saliency"), "for_control": To(22, "for_control"), "basd": To(23, "basd"),
     "caption": To(24, "short"), "control": To(21, "control")},
)  # fmt: skip

GENERATE = Subgraph(
    "Con360 Generate",
    "Picture and sound of one viewpoint, generated together from what Con360 Conditions gives.",
    ["generate", "sampler", "audio-visual", "360"],
    [
        Column("Generation", 340, [
            Node(31, "Con360ModelLoader", 250, model=edge("model")),
            Node(32, "JointAVSampler", SAMPLER_HEIGHT, model=To(31, "model"), saliency=edge("saliency"),
                 basd=edge("basd"), caption=edge("caption"), control=edge("control"), seed=edge("seed"),
                 steps=edge("steps"), negative=edge("negative"), saliency_strength=edge("saliency_strength"),
                 basd_strength=edge("basd_strength"), frames=edge("frames")),
        ]),
    ],
    ["saliency", "basd", "control", "caption", "frames", "seed", "steps", "saliency_strength", "basd_strength",
     "negative", "model"],
    {"frames": To(32, "frames"), "audio": To(32, "audio"), "video": To(32, "video")},
)  # fmt: skip

REFRAMED = Subgraph(
    "Con360 Reframe",
    "A flat view of a 360° clip that follows what people look at, with its sound turned along. No model.",
    ["reframe", "follow", "flat view", "virtual camera", "360"],
    [
        Column("Where to look", 420, [
            Node(41, "SalViT360Saliency", 220, **_CLIP),
            Node(42, "CentroidToBASD", 900, saliency=To(41, "saliency"), choose_by=edge("choose_by"), rank=edge("rank"),
                 mode=edge("mode", "track"), yaw=edge("yaw"), pitch=edge("pitch"), fov=edge("fov"), **_CLIP),
        ]),
        Column("The view", 320, [
            Node(43, "Con360ViewpointCrop", 200, frames=edge("frames"), audio=edge("audio"), basd=To(42, "basd"),
                 size=edge("size", 720), sound=edge("sound")),
        ]),
    ],
    ["frames", "audio", "fps", "choose_by", "rank", "mode", "yaw", "pitch", "fov", "size", "sound"],
    {"frames": To(43, "frames"), "audio": To(43, "audio"), "video": To(43, "video"), "basd": To(42, "basd")},
)  # fmt: skip

BLUEPRINTS = [CONDITIONS, GENERATE, REFRAMED]

# The first template is made of them.
STARTS_HERE = Workflow("con360_1_starts_here", [
    Column("The 360° clip", 320, [Node(1, "Load360Video", 700, height=256), Note(7, 360, "Start here", """\
A 360° clip goes in; picture and sound of one viewpoint come out, generated together.

Runs as it is, without downloads: press **Run**. The sample is a **procedural** scene and the model is the small one \
that comes with the pack. It draws coloured shapes of 64 pixels.

- **Another viewpoint**: change *rank* in *Con360 Conditions*, or set *choose_by* to *yaw and pitch* and give both. To \
drag the view on the panorama, open the node (the arrow in its corner, or *Enter subgraph*).
- **Your own clip**: choose a video in *Load 360° Video* (equirectangular, any resolution) and write into *text* what \
is seen and heard.
- **Again, differently**: change *seed* in *Con360 Generate*.
- *Con360 Conditions* and *Con360 Generate* hold the nodes of the template *con360_viewpoint*. On newer ComfyUI you \
find them, and *Con360 Reframe*, in the node library under *Subgraph Blueprints*.
""")]),
    Column("What steers it", 340, [
        Part(2, CONDITIONS, 470, frames=To(1, "frames"), audio=To(1, "audio"), scene_caption=To(1, "caption"),
             fps=To(1, "fps")),
    ]),
    Column("Generation", 340, [
        Part(3, GENERATE, 420, saliency=To(2, "for_control"), basd=To(2, "basd"), control=To(2, "control"),
             caption=To(2, "caption"), frames=To(1, "frames")),
    ]),
    Column("Result", 480, [
        Node(4, "Con360Compare", 640, frames=To(1, "frames"), saliency=To(2, "saliency"), basd=To(2, "basd"),
             generated=To(3, "video")),
        Node(5, "SaveVideo", 420, video=To(3, "video"), filename_prefix="con360/generated"),
    ]),
], app=([(1, "video"), (2, "text"), (2, "rank"), (3, "seed")], [5]))  # fmt: skip
