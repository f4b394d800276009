"""Write annotated copies, crops and evidence from the frames of a scan."""

from maskbatch.sinks.annotated import Copy
from maskbatch.sinks.shard import Sinks, open_sinks

__all__ = ["Copy", "Sinks", "open_sinks"]
