"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Seed = Annotated[int, typer.Option(help="Seed of everything random.", min=0, max=2**32 - 1)]
Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout; progress stays on stderr.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="No progress bars, and no line on threads.")]
Force = Annotated[bool, typer.Option("--force", help="Replace what --out already holds.")]
AllowPickle = Annotated[
    bool,
    typer.Option(
        "--allow-pickle",
        help="Open .bin/.pt weights. RISK: a pickle can run code when loaded; it is scanned and read weights-only.",
    ),
]
Set = Annotated[
    list[str] | None,
    typer.Option("--set", help="Another argument of --defense; can be repeated.", metavar="KEY=VALUE"),
]
RejectTruncated = Annotated[
    bool,
    typer.Option(
        "--reject-truncated",
        help="Reject texts that are longer than the guard reads. Default: they are judged by their beginning.",
    ),
]
Base = Annotated[str | None, typer.Option(help="Location of an adapter's base model, if it was moved.")]
Backend = Annotated[
    str,
    typer.Option(
        help="torch, or openvino: the same scores but for rounding, in about half the time on a processor; needs "
        "poisonsieve[openvino].",
    ),
]
Frr = Annotated[
    float | None,
    typer.Option(
        help="At most this share of clean texts is rejected, with 95% confidence over the draw of the calibration rows. "
        "Default: 0.01, or the lowest rate that the rows can promise, up to 0.05.",
        min=0,
        max=1,
    ),
]
FrrMean = Annotated[
    float | None,
    typer.Option(help="Instead: share of clean texts rejected on average over such draws.", min=0, max=1),
]
_STORED = "from the stored calibration"
OtherFrr = Annotated[
    float | None, typer.Option(help=f"Another false-rejection rate, with 95% confidence, {_STORED}.")
]
OtherFrrMean = Annotated[float | None, typer.Option(help=f"Another false-rejection rate, on average, {_STORED}.")]
OtherGamma = Annotated[float | None, typer.Option(help="Threshold to use instead of the guard's.")]
DATA_HELP = "hub:ID, packaged:NAME, a file (JSONL, CSV, TSV, Parquet) or a folder; append #SPLIT to choose a split."
TextColumn = Annotated[
    str | None,
    typer.Option("--text-column", help="Column with the texts. Default: text or sentence.", metavar="NAME"),
]
LabelColumn = Annotated[
    str | None, typer.Option("--label-column", help="Column with the labels. Default: label.", metavar="NAME")
]
IdColumn = Annotated[
    str | None,
    typer.Option("--id-column", help="Column with ids, which are copied to the records.", metavar="NAME"),
]
Epochs = Annotated[int | None, typer.Option(help="Passes over the rows. Default: depends on the method.", min=1)]
LearningRate = Annotated[
    float | None,
    typer.Option("--lr", help="Peak learning rate. Default: depends on the method and the model's width."),
]
BatchSize = Annotated[int, typer.Option(help="Rows per step.", min=1)]
MaxLength = Annotated[
    int | None, typer.Option(help="Maximum tokens per text. Default: as the model was tuned, else 256.", min=8)
]
Precision = Annotated[str, typer.Option(help="auto, fp32 or bf16 (training only; scoring is fp32).")]
