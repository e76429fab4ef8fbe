"""Loading texts from files, the hub or packages into a `datasets.Dataset` with `text` and `label`."""

from poisonsieve.data.classes import class_number
from poisonsieve.data.columns import Columns
from poisonsieve.data.inputs import InputRow, read_inputs
from poisonsieve.data.loading import cut_words, dataset_names, labels_of, load_dataset, split_off

__all__ = [
    "Columns",
    "InputRow",
    "class_number",
    "cut_words",
    "dataset_names",
    "labels_of",
    "load_dataset",
    "read_inputs",
    "split_off",
]
