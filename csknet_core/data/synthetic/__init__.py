"""Rendered RGB-thermal drives with exact labels."""

from csknet_core.data.synthetic.drive import Drive, RenderedFrame, random_frame

__all__ = ["Drive", "RenderedFrame", "random_frame"]
