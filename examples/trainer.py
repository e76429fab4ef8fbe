"""Tune a published checkpoint with the Trainer of transformers and LoRA, and put a guard in front of the result.

Run it with a checkpoint that has a trained head (a folder, or a hub id that transformers opens) and clean labelled rows:

    python examples/trainer.py theta_p/ reviews.jsonl --out tuned/

The guard comes from the checkpoint as it was published; it knows nothing of how you tune. Then:

    poisonsieve screen tuned/guard inbox.jsonl --victim tuned/victim
"""

import argparse
from pathlib import Path

import peft
import transformers

from poisonsieve import Guard, GuardedClassifier, PSIMRarity, load_dataset


def tune(checkpoint: str, rows, folder: Path, epochs: float) -> None:
    """What you do anyway: nothing in it is poisonsieve's."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(checkpoint)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(checkpoint)
    model = peft.get_peft_model(model, peft.LoraConfig(peft.TaskType.SEQ_CLS, target_modules="all-linear"))
    encoded = rows.map(lambda row: tokenizer(row["text"], truncation=True, max_length=256))
    settings = transformers.TrainingArguments(
        str(folder / "training"), num_train_epochs=epochs, learning_rate=5e-4, report_to="none", save_strategy="no"
    )
    transformers.Trainer(model, settings, train_dataset=encoded, processing_class=tokenizer).train()
    model.save_pretrained(folder / "victim")  # the adapter and the head; GuardedClassifier opens it as it is
    tokenizer.save_pretrained(folder / "victim")


def main() -> None:
    parser = argparse.ArgumentParser(description="Tune with the Trainer, and guard.")
    parser.add_argument("checkpoint", help="the checkpoint that may be poisoned")
    parser.add_argument("data", help="clean rows: a file, a folder, packaged:NAME or hub:ID")
    parser.add_argument("--out", type=Path, required=True, help="folder for the victim and the guard")
    parser.add_argument("--frr", type=float, default=0.01, help="at most this share of clean texts is rejected")
    parser.add_argument("--epochs", type=float, default=3)
    options = parser.parse_args()

    rows = load_dataset(options.data)
    tune(options.checkpoint, rows, options.out, options.epochs)
    Guard(PSIMRarity(options.checkpoint, seed=0), frr=options.frr).fit(rows).save_pretrained(options.out / "guard")
    guarded = GuardedClassifier.from_pretrained(options.out / "guard", options.out / "victim")
    for text, verdict in zip(rows["text"][:3], guarded.screen(rows["text"][:3]), strict=True):
        print(f"{verdict.outcome:10} {verdict.label_name}  {text!r}")


if __name__ == "__main__":
    main()
