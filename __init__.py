"""The ComfyUI door of Con360-AV: the pack's nodes, registered through `comfy_entrypoint` alone.

There is no NODE_CLASS_MAPPINGS, not even an empty one: ComfyUI takes a module that has it for an old-style pack and
never calls `comfy_entrypoint`.

ComfyUI imports this file under a name made of the pack's path. Test runners import it too, as `__init__` or as the
checkout folder's name; there is nothing for them here. So the nodes are imported only as part of a package and only
where ComfyUI's `folder_paths` is loaded. Either check alone is not enough: a checkout folder may be a valid module
name, and a test may have put a stand-in for ComfyUI in place.
"""

import sys

WEB_DIRECTORY = "./web"

if __package__ and "folder_paths" in sys.modules:
    from .nodes import comfy_entrypoint

    __all__ = ["WEB_DIRECTORY", "comfy_entrypoint"]
