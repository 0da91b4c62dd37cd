"""impasto as nodes of ComfyUI: put this folder into ComfyUI's `custom_nodes`, and install its requirements.txt."""

from .nodes import NODE_CLASS_MAPPINGS, NODE_DISPLAY_NAME_MAPPINGS

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]
