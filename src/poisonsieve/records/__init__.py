"""The output of `poisonsieve screen`: one record per input, as JSON lines, CSV, Parquet or SARIF.

A file is written completely or not at all. No format holds all records in memory.
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
