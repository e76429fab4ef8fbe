"""Fine-mixing (Zhang et al. 2022, "Fine-mixing: Mitigating Backdoors in Fine-tuned Language Models").

Most of the poisoned weights are thrown away: a random share of them is kept, the rest comes from the clean pre-trained
model, and the mixture is tuned on clean rows. The smaller the share, the less is left of the backdoor, and the more
the clean rows have to teach anew. The paper under study does not state its share, so it is chosen here, on clean dev
rows alone: shares are tried from the smallest up, and the first is taken that costs little enough clean accuracy.
"""

from __future__ import annotations

import contextlib
import copy
import functools
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from pydantic import Field

from poisonsieve.building import check_arguments
from poisonsieve.config import Precision, Source, TuneSpec
from poisonsieve.data import labels_of
from poisonsieve.defenses.mixing import backbone, clean_counterparts, mix, put_back, suspicious_tokens
from poisonsieve.defenses.repair import WeightRepair, note_descent, open_whole
from poisonsieve.defenses.settings import AtLeastOne, Fraction, Seed
from poisonsieve.defenses.trials import Trials
from poisonsieve.models.safety import identity_digest
from poisonsieve.models.sources import resolve
from poisonsieve.registry import register
from poisonsieve.tuning.presets import spec_maker
from poisonsieve.tuning.training import finetune

if TYPE_CHECKING:
    import datasets
    from torch import Tensor

    from poisonsieve.models.classifier import Classifier
    from poisonsieve.models.whole import Head


@dataclass(frozen=True)
class _Job:
    """The inputs shared by all shares."""

    poisoned: Classifier
    clean: dict[str, Tensor]
    purged: list[int]
    train: datasets.Dataset
    dev: datasets.Dataset
    progress: bool


@register("defense", "fine-mixing")
class FineMixing(WeightRepair):
    """Mixes the weights with the clean pre-trained model's and tunes the mixture on clean rows.

    Args:
        pretrained: the clean model that theta_p was made from: packaged alias, folder or hub id. Its weights are
            matched by name to the backbone. The classification head, and what the pre-trained checkpoint does not
            hold (often the pooler), stay theta_p's.
        shares: the shares of the poisoned weights to try, each from 0 to 1.
        max_ca_drop: how much lower than theta_p's own the clean dev accuracy may be, as a fraction. The default leaves
            room below two points for what a dev set of a few hundred rows cannot tell.
        epochs, learning_rate, batch_size, max_length, precision: of the tuning in full, see
            `poisonsieve.config.TuneSpec`. None: the default for the model's width, and its own length.
        purify_embeddings: put back the most suspicious word embeddings too (E-PUR), see
            `poisonsieve.defenses.mixing.suspicious_tokens`.
        purify_words: how many of them.
        allow_pickle: open pickled weights after a scan.
        seed: of the kept entries, the row order and dropout.
    """

    name: ClassVar[str] = "fine-mixing"

    pretrained: Source = field(kw_only=False)
    shares: Annotated[Sequence[Fraction], Field(min_length=1)] = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9)
    max_ca_drop: Fraction = 0.01
    epochs: int | None = None
    learning_rate: float | None = None
    batch_size: int = 32
    max_length: int | None = None
    precision: Precision = "auto"
    purify_embeddings: bool = False
    purify_words: AtLeastOne = 200
    allow_pickle: bool = False
    seed: Seed = 0

    def plan(self) -> dict[str, Any]:
        """Return its settings, with the digest of the pre-trained model instead of its location.

        Raises:
            ConfigError: a setting is out of range.
            CheckpointError, UnsafeWeightsError, HubError: the pre-trained model cannot be opened.
        """
        settings = self.get_params()
        del settings["allow_pickle"]
        folder = resolve(self.pretrained, allow_pickle=self.allow_pickle)
        return {
            "method": self.name,
            **settings,
            "shares": self._checked_shares(),
            "pretrained": identity_digest([folder]),
        }

    def repair(
        self,
        model: str | Path,
        clean: datasets.Dataset,
        dev: datasets.Dataset,
        *,
        workdir: Path | None = None,
        progress: bool = False,
    ) -> tuple[Classifier, dict[str, Any]]:
        """Return the tuned mixture with the smallest share that keeps the clean accuracy; see the base class.

        If no share keeps it, the one with the best dev accuracy is returned, and `held` is False.

        Returns:
            The classifier, and: `share`, `dev_ca`, `reference_dev_ca` (theta_p's own), `max_ca_drop`, `held`, `tried`
            (`share` and `dev_ca` of each), `training` (`TuneResult` of the chosen one), `replaced_weights`,
            `unmatched_weights` (backbone weights the pre-trained checkpoint lacks, by name), `purified_tokens`.

        Raises:
            UnsupportedError: `model` or `pretrained` is an adapter.
            CheckpointError: the two differ in architecture or vocabulary, or `model` has no head for these classes.
            ConfigError: a setting is out of range, or training diverged.
        """
        shares = self._checked_shares()
        with contextlib.ExitStack() as stack:
            if workdir is None:
                workdir = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="poisonsieve-")))
            poisoned = self._open(model, labels_of(clean), head="trained")
            pretrained = self._open(self.pretrained, poisoned.label_names, head="any")
            weights = clean_counterparts(poisoned, pretrained)
            job = _Job(poisoned, weights, self._suspects(poisoned, weights, clean), clean, dev, progress)
            trials = Trials.of(poisoned, "share", dev, self.max_ca_drop, workdir)
            repaired, facts = trials.first_that_holds(shares, functools.partial(self._train, job))
        note_descent(repaired, poisoned, pretrained)
        return repaired, {
            **facts,
            "unmatched_weights": sorted(set(backbone(poisoned)) - set(weights)),
            "purified_tokens": poisoned.tokenizer.convert_ids_to_tokens(job.purged),
        }

    def _train(self, job: _Job, share: float, folder: Path) -> tuple[Classifier, dict[str, Any]]:
        """Return the tuned mixture with this share, and what to record."""
        mixture = copy.deepcopy(job.poisoned)
        replaced = mix(mixture, job.clean, share, self.seed)
        put_back(mixture, job.clean, job.purged)
        training = finetune(
            mixture,
            job.train,
            self._tuning()(mixture),
            dev=job.dev,
            workdir=folder,
            progress=f"fine-mixing, share {share:g}" if job.progress else None,
        )
        return mixture, {"replaced_weights": replaced, "training": training.to_dict()}

    def _open(self, source: str | Path, label_names: Sequence[str], head: Head) -> Classifier:
        return open_whole(source, label_names, head, allow_pickle=self.allow_pickle, seed=self.seed)

    def _suspects(self, poisoned: Classifier, clean: dict[str, Tensor], rows: datasets.Dataset) -> list[int]:
        if not self.purify_embeddings:
            return []
        return suspicious_tokens(poisoned, clean, poisoned.encode(rows["text"]).ids, self.purify_words)

    def _tuning(self) -> Callable[[Classifier], TuneSpec]:
        return spec_maker(
            "full",
            epochs=self.epochs,
            learning_rate=self.learning_rate,
            batch_size=self.batch_size,
            max_length=self.max_length,
            precision=self.precision,
            seed=self.seed,
        )

    def _checked_shares(self) -> list[float]:
        """Return the shares in ascending order, after validating the settings, which `set_params` may have changed."""
        check_arguments(self)
        return sorted(set(self.shares))
