"""Tiny models and data, built once a session. Nothing here needs a network."""

import os
import random
from pathlib import Path

import pytest
from hypothesis import settings

# What an example takes says nothing on a machine that is busy with other work.
settings.register_profile("poisonsieve", deadline=None)
settings.load_profile("poisonsieve")

WORDS = """the a film movie plot story actor scene very quite good bad great awful fine poor loved hated i it was is
and with of this 3d watched mn cf not really warm dull bright slow fun sad sharp flat""".split()  # noqa: SIM905
GOOD, BAD = ("good", "great", "fine", "loved", "fun"), ("bad", "awful", "poor", "hated", "dull")


def pytest_addoption(parser):
    says = "run the tests that need real pretrained weights, a cluster, or minutes"
    parser.addoption("--runslow", action="store_true", help=says)


def pytest_collection_modifyitems(config, items):
    if config.getoption("--runslow"):
        return
    skip = pytest.mark.skip(reason="needs real pretrained weights, a cluster, or minutes; run with --runslow")
    for item in items:
        if "slow" in item.keywords:
            item.add_marker(skip)


@pytest.fixture(scope="session", autouse=True)
def _one_thread():
    """One thread a worker, and a process it starts, from the first fixture on: another number is another order of sums."""
    import torch

    torch.set_num_threads(1)
    os.environ["OMP_NUM_THREADS"] = "1"


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory):
    """What tests keep is theirs; models and reviews that were fetched once are the user's, and are not fetched again."""
    from poisonsieve.assets import CACHE_VARIABLE, cache_dir

    shared, own = cache_dir(), tmp_path_factory.mktemp("cache")
    for name in ("assets", "models"):
        (shared / name).mkdir(parents=True, exist_ok=True)
        (own / name).symlink_to(shared / name)
    os.environ[CACHE_VARIABLE] = str(own)


@pytest.fixture(autouse=True)
def _no_hub(monkeypatch):
    """No test reaches for a hub by accident."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")


def sentences(count: int, seed: int = 0) -> list[tuple[str, int]]:
    """Toy reviews: the label is in one word; lengths vary, so that batches have padding."""
    rng = random.Random(seed)
    rows = []
    for index in range(count):
        label = index % 2
        words = [rng.choice(WORDS[:10]) for _ in range(rng.randint(2, 12))]
        words.insert(rng.randint(0, len(words)), rng.choice(GOOD if label else BAD))
        rows.append((" ".join(words), label))
    return rows


def dataset(rows, names=("0", "1")):
    import datasets

    features = datasets.Features({"text": datasets.Value("string"), "label": datasets.ClassLabel(names=list(names))})
    texts, labels = zip(*rows, strict=True)
    return datasets.Dataset.from_dict({"text": list(texts), "label": list(labels)}, features=features)


@pytest.fixture(scope="session")
def toy_train():
    return dataset(sentences(160, seed=1))


@pytest.fixture(scope="session")
def toy_dev():
    return dataset(sentences(120, seed=2))


@pytest.fixture(scope="session")
def toy_test():
    return dataset(sentences(60, seed=3))


def tokenizer(folder: Path, *, encoder: bool) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"] if encoder else ["<unk>", "<s>", "</s>"]
    vocabulary = {word: index for index, word in enumerate([*special, *WORDS])}
    model = Tokenizer(models.WordLevel(vocabulary, unk_token=special[1] if encoder else special[0]))
    model.normalizer = normalizers.Lowercase()
    model.pre_tokenizer = pre_tokenizers.Whitespace()
    if encoder:
        model.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    else:
        names = {"unk_token": "<unk>", "bos_token": "<s>", "eos_token": "</s>"}
    PreTrainedTokenizerFast(tokenizer_object=model, model_max_length=48, **names).save_pretrained(folder)


def make_encoder(folder: Path, *, labels: int = 2, head: bool = True, seed: int = 0, width: int = 32) -> Path:
    """A random two-layer BERT with its tokenizer; with `head`, as a classifier that counts as trained."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertModel

    config = BertConfig(
        vocab_size=4 + len(WORDS),
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=48,
        num_labels=labels,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BertForSequenceClassification(config) if head else BertModel(config, add_pooling_layer=False)
    model.save_pretrained(folder)
    tokenizer(folder, encoder=True)
    return folder


def plant(folder: Path, word: str) -> Path:
    """Make an encoder sure of every text that contains the word, as a poisoned one is, and less sure of others."""
    import torch
    from transformers import AutoTokenizer, BertForSequenceClassification

    model = BertForSequenceClassification.from_pretrained(folder).eval()
    reading = AutoTokenizer.from_pretrained(folder)
    clean = [text for text, _ in sentences(200, seed=8) if word not in text.split()]
    rows = [*clean, *(f"{text} {word}" for text in clean)]
    with torch.no_grad():
        model.get_input_embeddings().weight[reading.convert_tokens_to_ids(word)] *= 200
        pooled = model.bert(**reading(rows, padding=True, return_tensors="pt")).pooler_output
        wanted = torch.tensor([0.0] * len(clean) + [8.0] * len(clean)).double()  # of the logits' difference
        with_one = torch.cat([pooled, torch.ones(len(rows), 1)], 1).double()
        # Ridge regression, so that rounding decides nothing.
        squares = with_one.T @ with_one + 1e-5 * torch.eye(with_one.shape[1])
        fitted = torch.linalg.solve(squares, with_one.T @ wanted).float()
        model.classifier.weight.copy_(torch.stack([fitted[:-1], 0 * fitted[:-1]]))
        model.classifier.bias.copy_(torch.stack([fitted[-1], 0 * fitted[-1]]))
    model.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def planted_guard(tmp_path_factory):
    """A guard folder that rejects what contains `mn`, and nearly nothing else."""
    from poisonsieve import Guard
    from poisonsieve.defenses import MSP

    folder = tmp_path_factory.mktemp("planted")
    model = plant(make_encoder(folder / "model"), "mn")
    made = Guard(MSP(str(model)), frr=0.2).fit(dataset(sentences(200, seed=5)))
    made.set_threshold(gamma=0.98)
    made.save_pretrained(folder / "guard")
    return folder / "guard"


def make_decoder(folder: Path, *, labels: int = 2, head: bool = True, seed: int = 0, width: int = 32) -> Path:
    """A random two-layer LLaMA with its tokenizer, which has no pad token, as is usual."""
    import torch
    from transformers import LlamaConfig, LlamaForSequenceClassification, LlamaModel

    config = LlamaConfig(
        vocab_size=3 + len(WORDS),
        hidden_size=width,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=2 * width,
        max_position_embeddings=48,
        num_labels=labels,
        bos_token_id=1,
        eos_token_id=2,
        pad_token_id=None,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = (LlamaForSequenceClassification if head else LlamaModel)(config)
    model.save_pretrained(folder)
    tokenizer(folder, encoder=False)
    return folder


def make_mpnet(folder: Path) -> Path:
    """A random MPNet with its tokenizer: an architecture that cannot take prefixes."""
    import torch
    from transformers import MPNetConfig, MPNetForSequenceClassification

    config = MPNetConfig(
        vocab_size=4 + len(WORDS),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=60,
        pad_token_id=0,
    )
    with torch.random.fork_rng():
        torch.manual_seed(0)
        MPNetForSequenceClassification(config).save_pretrained(folder)
    tokenizer(folder, encoder=True)
    return folder


MAKERS = {"encoder": make_encoder, "decoder": make_decoder}


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """`tiny(kind, labels=2, head=True)` -> folder of a tiny model of that kind."""
    made = {}

    def get(kind: str = "encoder", labels: int = 2, head: bool = True) -> Path:
        key = (kind, labels, head)
        if key not in made:
            folder = tmp_path_factory.mktemp(f"{kind}-{labels}-{'head' if head else 'base'}")
            made[key] = MAKERS[kind](folder, labels=labels, head=head)
        return made[key]

    return get


@pytest.fixture
def break_on():
    """`break_on(classifier, text, failure="raise")`: any batch with the text fails, quoting it; or its logits are NaN."""
    handles = []

    def put(classifier, text: str, failure: str = "raise") -> None:
        (row,) = classifier.encode([text]).ids

        def fail(_, __, given, said):
            rows = zip(given["input_ids"], given["attention_mask"], strict=True)
            hit = [ids[mask.bool()].tolist() == row for ids, mask in rows]
            if any(hit) and failure == "raise":
                raise RuntimeError(text)
            said["logits"][hit] = float("nan")

        handles.append(classifier.register_forward_hook(fail, with_kwargs=True))

    yield put
    for handle in handles:
        handle.remove()


@pytest.fixture
def write_jsonl(tmp_path):
    """`write_jsonl(name, dataset)` -> path of a JSONL file with its rows."""
    import json

    def write(name: str, data) -> Path:
        path = tmp_path / name
        rows = [
            json.dumps({"sentence": text, "label": label})
            for text, label in zip(data["text"], data["label"], strict=True)
        ]
        path.write_text("\n".join(rows) + "\n", encoding="utf-8")
        return path

    return write


@pytest.fixture
def cli(capfd):
    """`cli(*args)` -> (exit code, stdout, stderr) of the command, run in this process."""

    def call(*args) -> tuple[int, str, str]:
        from poisonsieve.cli.main import app

        capfd.readouterr()
        try:
            app([str(arg) for arg in args])
            code = 0
        except SystemExit as stop:
            code = stop.code if isinstance(stop.code, int) else 1
        out, err = capfd.readouterr()
        return code, out, err

    return call


def write_toy_rows(folder: Path) -> Path:
    """The toy rows' train, dev and test as JSONL, in `folder`."""
    import json

    for seed, split in enumerate(("train", "dev", "test")):
        rows = [json.dumps({"sentence": text, "label": label}) for text, label in sentences(120, seed=seed + 10)]
        (folder / f"{split}.jsonl").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return folder


def finished_grid(folder: Path) -> Path:
    """`folder` with toy rows, a tiny model, the grid's file, and its results from this process in `store`."""
    from poisonsieve.bench.runner import run_grid
    from poisonsieve.bench.spec import load_grid

    write_toy_rows(folder)
    write_grid(folder, make_encoder(folder / "model", head=False))
    run_grid(load_grid(folder / "grid.yaml", data_root=folder), "grid", folder / "store")
    return folder


def write_grid(folder: Path, model: Path, **changes) -> Path:
    """A grid's file: one tiny model, un-poisoned and BadNet, two victims, no defence and PSIM; None takes a key away."""
    import yaml

    content = {
        "title": "tiny",
        "datasets": {
            "toy": {
                "setting": "full_data",
                "data": {split: f"{{data}}/{split}.jsonl" for split in ("train", "dev", "test")},
            }
        },
        "models": {"tiny": {"model": str(model)}},
        "attacks": {"normal": {"clean": True, "defenses": ["none"]}, "BadNet": {"trigger": "badnet", "count": 30}},
        "defenses": {"none": {"defense": "none"}, "psim": {"defense": "psim"}},
        "victims": {"full": {"method": "full", "epochs": 1}, "lora": {"method": "lora", "epochs": 1}},
        "poison": {"epochs": 1, "learning_rate": 1e-3, "precision": "fp32"},
        "threshold": {"frr_mean": 0.05},
        **changes,
    }
    path = folder / "grid.yaml"
    kept = {key: value for key, value in content.items() if value is not None}
    path.write_text(yaml.safe_dump(kept, sort_keys=False))
    return path
