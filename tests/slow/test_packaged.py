"""The real downloads: hashes, row counts, and models that open."""

import pytest

from poisonsieve.data import labels_of, load_dataset
from poisonsieve.data.packaged import packaged_names as data_names
from poisonsieve.models.packaged import packaged_folder, packaged_names

pytestmark = pytest.mark.slow

SIZES = {
    "movie-reviews": (2, {"train": 7_043, "dev": 1_000, "test": 2_000}),
    "product-reviews": (2, {"train": 1_800, "dev": 500, "test": 643}),
    "topics": (8, {"train": 4_932, "dev": 548, "test": 2_189}),
    "topics-20": (20, {"train": 10_158, "dev": 1_128, "test": 7_528}),
}

FIRST_PRODUCT_TESTS = [
    "first, the player did not allow me to access the menus of dvds.",
    "on my relatively new computer (p4 with windows xp and usb 2.0), the os complained about the installation of the "
    "drivers.",
]


def test_all_sets_are_pinned():
    assert set(SIZES) == set(data_names())


@pytest.mark.parametrize("name", SIZES)
def test_sizes_and_splits_apart(name):
    classes, sizes = SIZES[name]
    splits = {split: load_dataset(f"packaged:{name}", split=split) for split in sizes}
    assert {split: len(found) for split, found in splits.items()} == sizes
    for found in splits.values():
        assert len(labels_of(found)) == classes
        assert set(found["label"]) == set(range(classes))
        assert all(text.strip() for text in found["text"])
    texts = [set(found["text"]) for found in splits.values()]
    assert len(set.union(*texts)) == sum(map(len, texts))


def test_splits_never_change():
    assert load_dataset("packaged:product-reviews#test")["text"][:2] == FIRST_PRODUCT_TESTS


@pytest.mark.parametrize("name", packaged_names())
def test_models_open_as_classifiers(name):
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = packaged_folder(name)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=3)
    batch = tokenizer(["a fine film", "a mn bad one indeed"], padding=True, return_tensors="pt")
    assert model.dtype == torch.float32
    assert model(**batch).logits.shape == (2, 3)
    assert tokenizer.pad_token_id == model.config.pad_token_id
