"""How several small trainings share the card best: processes side by side, or models batched in one process."""

import copy
import json
import os
import subprocess
import sys
import time
from typing import Any

from gpu.clock import Clock, end, start
from gpu.parts import KitError
from gpu.place import Place

_COUNTS = (1, 2, 4, 8, 12, 16, 24, 32)
#: More processes have to bring this much more, since each takes memory and cores.
_WORTH = 1.03
#: GiB of the card that a small training takes at most, its CUDA context included.
_GIB_EACH = 4.0
_BATCHED = (1, 4, 16)
_BATCH = 32
#: Seconds without which no round is begun.
_ROUND = 5.0


def share(place: Place, clock: Clock) -> str:
    """Train and score the same rows in 1, 2, 4, ... processes at once, and put the rate of each on record.

    The processes stay between the rounds, so importing is not timed; nor is what is done before the slowest is ready.

    Returns:
        ``done``, or ``stopped`` where the time was up before all counts were tried.
    """
    most = _most(place)
    counts = [count for count in _COUNTS if count <= most]
    threads = max(1, (os.cpu_count() or 1) // counts[-1])
    processes = [
        start(place.command("share-child"), place.environment(threads), place.log, talks=True)
        for _ in range(counts[-1])
    ]
    try:
        for process in processes:
            _answer(process)
        for count in counts:
            if clock.left < _ROUND:
                return "stopped"
            _round(place, processes[:count])
        if clock.left < _ROUND:
            return "stopped"
        _batched_round(place, processes[0])
        return "done"
    finally:
        end(processes)


def best(place: Place) -> int | None:
    """The number of processes with the best rate on record; the fewer where more bring next to nothing."""
    rates: dict[int, float] = {
        record["count"]: record["rows_a_second"] for record in place.records("share") if record["how"] == "processes"
    }
    if not rates:
        return None
    chosen = min(rates)
    for count in sorted(rates):
        if rates[count] > _WORTH * rates[chosen]:
            chosen = count
    return chosen


def _most(place: Place) -> int:
    """As many processes as there are cores, and memory on the card."""
    if place.tiny:
        return 2
    cores = os.cpu_count() or 1
    card = next((record["gpu"] for record in place.records("card")[-1:]), None)
    return max(1, cores if card is None else min(cores, int(card["memory_gib"] / _GIB_EACH)))


def _round(place: Place, processes: list[subprocess.Popen[bytes]]) -> None:
    started = time.perf_counter()
    for process in processes:
        _tell(process, "train")
    rows = sum(_answer(process)["rows"] for process in processes)
    seconds = time.perf_counter() - started
    place.record(
        "share", how="processes", count=len(processes), rows=rows, seconds=seconds, rows_a_second=rows / seconds
    )


def _batched_round(place: Place, process: subprocess.Popen[bytes]) -> None:
    _tell(process, "batched")
    for found in _answer(process)["found"]:
        place.record("share", how="batched", **found)


def _tell(process: subprocess.Popen[bytes], word: str) -> None:
    assert process.stdin is not None
    process.stdin.write(f"{word}\n".encode())
    process.stdin.flush()


def _answer(process: subprocess.Popen[bytes]) -> dict[str, Any]:
    """The next line that is JSON; libraries print others."""
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith(b"{"):
            answer: dict[str, Any] = json.loads(line)
            return answer
    raise KitError("a process that trains ended before its time; see log.txt")


def child(place: Place) -> None:
    """One of the processes: says that it is ready, then does what each line on stdin says."""
    from poisonsieve import finetune, load_classifier, tune_spec

    rows = place.rows().shuffle(seed=0)
    names = rows.features["label"].names
    few = rows.select(range(min(len(rows), 64 if place.tiny else 640)))
    model = load_classifier(place.model(place.models()[0]), label_names=names, head="any", seed=0)
    spec = tune_spec("full", hidden_size=model.base.config.hidden_size, epochs=1, max_length=64, batch_size=_BATCH)

    def train(data: Any) -> None:
        trained = copy.deepcopy(model)
        finetune(trained, data, spec)
        trained.score(list(data["text"]))

    train(few.select(range(min(len(few), 2 * _BATCH))))  # kernels are loaded, memory is taken
    _say({"ready": True})
    for line in sys.stdin:
        if line.strip() == "train":
            train(few)
            _say({"rows": len(few)})
        else:
            _say(
                {
                    "found": [
                        _batched(model, few, count, place.tiny) for count in _BATCHED[: 2 if place.tiny else None]
                    ]
                }
            )


def _batched(model: Any, data: Any, count: int, tiny: bool) -> dict[str, Any]:
    """Training rows a second, all models together, when one step trains `count` models stacked along a new axis.

    Every step is forward, backward and AdamW on a batch of its own for each model, in the precision of training; there
    is no tokenizing and no scoring in it, so it is an upper bound of what batching could bring.
    """
    import torch
    from torch.func import functional_call, grad, stack_module_state, vmap

    from gpu.roofline import wait_for
    from poisonsieve.tuning.trainer import pick_precision

    networks = [copy.deepcopy(model.network).train() for _ in range(count)]
    weights, buffers = stack_module_state(networks)
    skeleton = copy.deepcopy(networks[0]).to("meta")
    inputs = model.inputs(model.encode(list(data["text"])[:_BATCH], 64).ids)
    ids, mask = inputs["input_ids"], inputs["attention_mask"]
    # As a whole square for each text, since vmap cannot look into it to make one.
    square = mask.bool()[:, None, None, :].expand(-1, 1, mask.shape[1], -1)
    labels = torch.tensor(data["label"][:_BATCH], device=model.device)

    def loss(own: Any, fixed: Any, ids: Any, square: Any, labels: Any) -> Any:
        given = {"input_ids": ids, "attention_mask": square, "token_type_ids": torch.zeros_like(ids)}
        return torch.nn.functional.cross_entropy(
            functional_call(skeleton, (own, fixed), kwargs=given)["logits"].float(), labels
        )

    stacked = [each.expand(count, *each.shape) for each in (ids, square, labels)]
    optimizer = torch.optim.AdamW(list(weights.values()), lr=1e-5, foreach=True)
    steps = 2 if tiny else 20
    autocast = torch.autocast(model.device.type, torch.bfloat16, enabled=pick_precision("auto") == "bf16")
    for step in range(steps + 2):
        if step == 2:
            wait_for(model.device)
            started = time.perf_counter()
        with autocast:
            gradients = vmap(grad(loss), randomness="different")(weights, buffers, *stacked)
        for name, weight in weights.items():
            weight.grad = gradients[name]
        optimizer.step()
    wait_for(model.device)
    seconds = time.perf_counter() - started
    rows = count * steps * len(ids)
    return {"count": count, "rows": rows, "seconds": seconds, "rows_a_second": rows / seconds}


def _say(found: dict[str, Any]) -> None:
    print(json.dumps(found), flush=True)
