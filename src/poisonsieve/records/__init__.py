"""What `poisonsieve screen` writes: one record for each input, as JSON lines, CSV, Parquet or SARIF.

A file appears whole or not at all. No format needs all records in memory.
"""

from poisonsieve.records.record import Record
from poisonsieve.records.writing import (
    FORMATS,
    Format,
    chosen_format,
    format_by_ending,
    require_plain,
    writing_records,
)

__all__ = ["FORMATS", "Format", "Record", "chosen_format", "format_by_ending", "require_plain", "writing_records"]
