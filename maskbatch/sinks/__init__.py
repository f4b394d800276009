"""Where the frames of a scan go: annotated copies and crops. Arrays come in, files go out."""

from maskbatch.sinks.shard import Sinks, open_sinks

__all__ = ["Sinks", "open_sinks"]
