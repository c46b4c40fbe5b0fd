"""A small stand-in for ComfyUI: enough of the V3 node interface to load this pack and run its workflows.

It is not ComfyUI, and shares no code with it: it is written from the public documentation (docs.comfy.org) and checked
against `tests/contract/`, which is recorded from a real server. It knows the names that this pack uses and the core
nodes in this pack's workflows; everything else is an error. The real server is lax about combo values, output types and
fingerprints that raise. The stand-in is as lax where a pack must cope with that, and stricter where a pack must not
rely on it.
"""

from .run import Host, Run

__all__ = ["Host", "Run"]
