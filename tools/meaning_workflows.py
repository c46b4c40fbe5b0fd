"""The shipped workflows about meaning: the best of several seeds, and all three dials at once."""

from __future__ import annotations

import json

from tools.workflow_form import Column, Node, Note, To, Workflow
from tools.workflow_parts import caption, load, loaders, saliency, sampler, save, viewpoint

# Three moments of two seconds.
MOMENTS = json.dumps({"onsets": [{"time": 0.3, "strength": 1}, {"time": 0.9, "strength": 0.7},
                                 {"time": 1.5, "strength": 1}]})  # fmt: skip


BEST_OF = Workflow("con360_best_of", [
    Column("The 360° clip", 320, [load(duration=2.0), Note(16, 400, "What this does", """\
One viewpoint is generated with several seeds. *Best of Seeds* shows the clips side by side, ranked, and keeps the one \
whose caption, picture and sound agree best.

Runs as it is, without downloads: the sample is a **procedural** scene and the model is the small one that comes with \
the pack.

- **More clips**: *count* in *Best of Seeds*. Each costs a generation.
- **Hear another one**: click it there.
- **The figures**: V is the volume that caption, picture and sound span, small is aligned. It is blind to signs, so a \
clip with a negative cosine to its caption stands behind all others.
- **Who judges**: the model's own encoder, or one that is linked into *judge*. An encoder that guides may not judge.
""")]),
    Column("Conditions", 420, [saliency(), viewpoint(), caption()]),
    Column("Generation", 320, [sampler(7, 3), *loaders()]),
    Column("Results", 480, [
        Node(9, "Con360BestOf", 620, model=To(5, "model"), latents=To(7, "latents"), control=To(6, "control"), count=3),
        save(8, 9, "best_of", "Save Video: the best"),
    ]),
], app=([(1, "video"), (4, "text"), (9, "count"), (7, "seed")], [9, 8]))  # fmt: skip


THREE_DIALS = Workflow("con360_three_dials", [
    Column("The 360° clip", 320, [load(duration=2.0), Note(16, 460, "What this does", """\
Three dials at once: **where** the view looks, **when** the sound strikes, and **what** is seen and heard.

Runs as it is, without downloads: the sample is a **procedural** scene and the model is the small one that comes with \
the pack. *App mode* shows the three dials and a player alone.

- **Where**: *rank* in *Centroid→BASD*, or drag the view there after the first run.
- **When**: drag the heads in *Time Track*, or set *source* to *the audio* or *the images*.
- **What**: *text* in *Cubemap Caption*. *Guide by Meaning* pulls the sound towards it; *strength* 0 is off.
- **One dial at a time**: 0 at *saliency_strength* and *basd_strength*, *when_strength* or *strength* turns one off. \
`docs/what.md` has what each does to the others' figures.
""")]),
    Column("Where", 420, [saliency(), viewpoint()]),
    Column("When", 440, [
        Node(9, "Con360TimeTrack", 760, audio=To(10, "audio"), images=To(10, "frames"), fps=To(1, "fps"),
             track=MOMENTS, duration=2.0),
        Node(10, "Con360ViewpointCrop", 170, frames=To(1, "frames"), basd=To(3, "basd"), audio=To(1, "audio")),
    ]),
    Column("What", 420, [caption(), Node(12, "Con360MeaningGuide", 230)]),
    Column("Generation", 320, [sampler(7, 3, when=To(9, "track"), guide=To(12, "guide")), *loaders()]),
    Column("Results", 480, [save(8, 7, "three_dials", "Save Video")]),
], app=([(3, "rank"), (9, "source"), (4, "text")], [8]))  # fmt: skip
