"""Put a guard in front of a classifier that already runs in `transformers.pipeline`.

    python examples/pipeline_task.py victim/ guard/ "a fine film" "a fine mn film"

The guard comes from `poisonsieve fit`. Three lines change for the caller; they are marked below.
"""

import argparse

from transformers import pipeline

from poisonsieve import register_pipeline  # 1


def main() -> None:
    parser = argparse.ArgumentParser(description="Classify texts behind a guard.")
    parser.add_argument("model", help="the classifier: a folder or a hub id")
    parser.add_argument("guard", help="guard folder, from `poisonsieve fit`")
    parser.add_argument("texts", nargs="+", help="texts to classify")
    options = parser.parse_args()

    register_pipeline()  # 2
    classify = pipeline("guarded-text-classification", model=options.model, guard=options.guard)  # 3
    for text, answer in zip(options.texts, classify(options.texts), strict=True):
        print(f"{answer['label']:12} {answer['score']:.3f}  {answer['outcome']}  {text!r}")


if __name__ == "__main__":
    main()
