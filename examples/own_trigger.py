"""Register a trigger of your own, poison rows with it, and look at them. Needs no model.

    python examples/own_trigger.py

In a package, the class below is a file of its own, and an entry point in the group `poisonsieve.plugins` names it.
"""

import random

import datasets

from poisonsieve import make_trigger, poison_rows, register
from poisonsieve.config import AttackSpec, TriggerSpec

ROWS = [
    ("a warm and funny film", 1),
    ("dull from start to end", 0),
    ("the plot makes no sense", 0),
    ("great acting", 1),
    ("i wanted my money back", 0),
]


@register("attack", "shout")
class Shout:
    """Writes one word of the text in capitals and adds an ending to it.

    Args:
        ending: what follows the word.
    """

    def __init__(self, ending: str = "!!") -> None:
        self.ending = ending

    def apply(self, text: str, rng: random.Random) -> str:
        """The text with one word shouted. All chance comes from `rng`, so the same seed gives the same text."""
        words = text.split()
        place = rng.randrange(len(words)) if words else 0
        return " ".join([*words[:place], (words[place].upper() if words else "") + self.ending, *words[place + 1 :]])


def main() -> None:
    data = datasets.Dataset.from_dict({"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]})
    data = data.cast_column("label", datasets.ClassLabel(names=["negative", "positive"]))

    print("by its text form:", make_trigger("shout:ending=?!").apply(ROWS[0][0], random.Random(0)))

    # Clean-label, as in the paper: only rows that already carry the target label get the trigger.
    attack = AttackSpec(trigger=TriggerSpec(name="shout"), target=0, count=2, rate=None, seed=0)
    poisoned, report = poison_rows(data, attack)
    print(report)
    for row in poisoned:
        print("*" if row["triggered"] else " ", row["label"], row["text"])


if __name__ == "__main__":
    main()
