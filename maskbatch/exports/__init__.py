"""Results in the formats of other programs: one module per format, each a function of tables."""

from maskbatch.exports.formats import FORMATS, Exported, write_export

__all__ = ["FORMATS", "Exported", "write_export"]
