"""A stand-in for ComfyUI, for tests only: enough of the V3 node interface to load this pack and run its workflows.

It is not ComfyUI, and shares no code with it: it is written from the public documentation (docs.comfy.org) and checked
against `tests/contract/`, which is recorded from a real server. It knows the names that this pack uses and the core
nodes in this pack's workflows; everything else is an error. Where the real server is lax (combo values, output types,
a fingerprint that raises), it keeps the server's behaviour for what a pack must cope with and is stricter for what a
pack must not do.
"""

from .run import Host, Run

__all__ = ["Host", "Run"]
