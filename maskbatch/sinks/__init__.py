"""Annotated copies and crops of the frames of a scan. Arrays come in, files go out."""

from maskbatch.sinks.annotated import Copy
from maskbatch.sinks.shard import Sinks, open_sinks

__all__ = ["Copy", "Sinks", "open_sinks"]
