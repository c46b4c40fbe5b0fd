"""The shipped workflows about sound: where it lies, and when it strikes."""

from __future__ import annotations

import json
from typing import Any

from tools.workflow_form import Column, Node, Note, To, Workflow
from tools.workflow_parts import caption, load, loaders, saliency, sampler, save, viewpoint


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
        Node(3, "Con360SampleSound", 110, voice="bell"), load(fps=15), Note(16, 400, "What this does", """\
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
    Column("The 360° clip", 320, [load(), Note(16, 400, "What this does", """\
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
        _heard(6, To(1, "audio")), save(8, 3, "headphones", "Save Video: the view on headphones"),
    ]),
], app=([(1, "video"), (2, "mode"), (4, "ears")], [5, 8]))  # fmt: skip


ANY_GENERATOR = Workflow("con360_any_generator", [
    Column("The 360° clip", 320, [load()]),
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
    Column("The 360° clip", 320, [load(), Note(16, 460, "What this does", """\
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


# Five moments that no map knows, each with its own strength.
STRUCK = json.dumps({"onsets": [{"time": time_s, "strength": strength} for time_s, strength in
                                ((0.4, 1), (1.1, 0.6), (1.6, 1), (2.5, 0.8), (3.3, 1))]})  # fmt: skip


TIME_TRACK = Workflow("con360_time_track", [
    Column("The 360° clip", 320, [load(), Note(16, 460, "What this does", """\
The sound strikes when you say: five drawn moments, and a sound generated to them.

Runs as it is, without downloads: the sample is a **procedural** scene and the model is the small one that comes with \
the pack.

- **Other moments**: drag the heads in *Time Track*, click to add one, Delete removes it. *loudness* in its second row \
draws the level. After the first run the real view, its sound and its movement stand behind the drawing.
- **From a sound or a picture**: set *source* to *the audio* or *the images*, or read a file (CSV, Audacity labels, \
JSON).
- **What came of it**: *Time Track Preview* plays the sound, draws what was asked over what came, and gives figures.
- **Stronger or off**: *when_strength* of *Joint AV Sampler* (0 is off). Drawn moments take longer than none.
""")]),
    Column("Conditions", 420, [saliency(), viewpoint(), caption()]),
    Column("When", 440, [
        Node(9, "Con360TimeTrack", 760, audio=To(10, "audio"), images=To(10, "frames"), fps=To(1, "fps"),
             track=STRUCK),
        Node(10, "Con360ViewpointCrop", 170, frames=To(1, "frames"), basd=To(3, "basd"), audio=To(1, "audio")),
    ]),
    Column("Generation", 320, [sampler(7, 3, when=To(9, "track")), *loaders()]),
    Column("Results", 480, [
        Node(11, "Con360TimeTrackPreview", 640, track=To(9, "track"), audio=To(7, "audio"), images=To(7, "frames"),
             fps=To(1, "fps")),
        save(8, 7, "time_track", "Save Video"),
    ]),
], app=([(1, "video"), (9, "source"), (7, "seed")], [8, 11]))  # fmt: skip
