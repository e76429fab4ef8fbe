"""Syntactically controlled paraphrasing by rules (after SCPD, Qi et al. 2021): plain ``S(NP)(VP)(.)`` sentences.

In SCPD, the trained paraphrase model SCPN rewrites a text before the victim reads it, in a form without any syntactic
trigger. Here, rules on a dependency parse do that. They reorder clauses and complete fragments, but remove no word
(except with `fronted`), so a word or sentence trigger stays in the text.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import field
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from poisonsieve.defenses.rewriter import Rewriter
from poisonsieve.pinned import PARSER
from poisonsieve.registry import register
from poisonsieve.rewriting.clauses import compose, declare, fronted, marker, sentences, strip_edges, without
from poisonsieve.rewriting.spacy_parser import parse_with
from poisonsieve.texts import as_texts

if TYPE_CHECKING:
    from spacy.tokens import Doc, Token

_PARENTHESES = re.compile(r"-lrb-|-rrb-|[()\[\]]", re.IGNORECASE)


@register("defense", "scpd-rules")
class RuleSCPD(Rewriter):
    """Rewrites every sentence as subject, predicate and full stop, by rules on a parse.

    - Words before the subject go behind the predicate: *when it is quiet, the film works* becomes *the film works
      when it is quiet*.
    - A fragment gets the subject and verb that it lacks: *a fine film* becomes *it is a fine film*.
    - A leading ``and`` or ``but`` is removed, and so are parentheses, whose words stay.
    - Questions stay as they are, and so does anything else in which the rules find no statement.

    Args:
        fronted: how to treat a subordinate clause in front: ``move`` puts it behind the main clause, ``drop`` removes
            it with its subordinator. The first keeps the meaning; the second also removes what a trigger put there.
        parser: a spaCy pipeline with tags and dependencies, called with a text; None for the packaged one, which
            needs the extra ``syntax`` and is fetched on first use.

    Raises:
        ConfigError: `fronted` is neither.
    """

    name: ClassVar[str] = "scpd-rules"

    fronted: Literal["move", "drop"] = field(default="move", kw_only=False)
    parser: Any = field(default=None, kw_only=False)

    def rewrite_each(self, texts: Sequence[str], *, progress: str | None = None) -> list[str | None]:
        """Return every text in plain sentences, in order; None for a text that does not change.

        The share of results that are not None is the share of texts that the defence changes.

        Raises:
            DataError: `texts` contains something other than strings.
            UnsupportedError: spaCy is not installed.
        """
        texts = as_texts(texts)
        flat = [_PARENTHESES.sub(" ", text) for text in texts]
        docs = parse_with(self.parser, flat, progress)
        return [self._rewrite_one(text, doc) for text, doc in zip(texts, docs, strict=True)]

    def reads(self) -> dict[str, Any]:
        """Return the parser's name and version."""
        meta = getattr(self.parser, "meta", {})
        given = f"{meta.get('name', 'unnamed')} {meta.get('version', '')}".strip()
        return {"parser": PARSER.requirement if self.parser is None else given}

    def _rewrite(self, texts: list[str], *, progress: str | None) -> list[str]:
        rewritten = self.rewrite_each(texts, progress=progress)
        return [text if new is None else new for text, new in zip(texts, rewritten, strict=True)]

    def _rewrite_one(self, text: str, doc: Doc | None) -> str | None:
        if doc is None:
            return None
        plain = " ".join(self._plain(tokens) for tokens in sentences(doc))
        return None if not plain or plain == " ".join(text.split()) else plain

    def _plain(self, tokens: list[Token]) -> str:
        core = strip_edges(tokens)
        if self.fronted == "drop" and core:
            core = without(core, *(part for part in fronted(core) if marker(part) is not None))
        statement = declare(core) if any(token.is_alpha for token in core) else None
        return (
            "".join(token.text_with_ws for token in tokens).strip()
            if statement is None
            else compose(tokens, statement)
        )
