"""What a registered version says of itself in tags.

Hashes of its files and its figures, so that the next registration can be compared with it, and an
import be checked, without a download.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from pydantic import ValidationError

from textclf.artifact import CARD, DESCRIPTION, DRIFT, GOLDEN, GRAPH, TOKENIZER
from textclf.description import ClassifierDescription, Evaluation
from textclf.errors import RegistrationError

HASH_TAGS = {
    GRAPH: "sha256",
    TOKENIZER: "sha256_tokenizer_json",
    DESCRIPTION: "sha256_classifier_json",
    GOLDEN: "sha256_golden_jsonl",
    DRIFT: "sha256_drift_json",
    CARD: "sha256_model_card_md",
}
_MAX_CHARACTERS = 256  # of a value; Source: limits of tags in Azure Resource Manager
_MAX_TAGS = 50


def write_tags(description: ClassifierDescription, sha256: Mapping[str, str]) -> dict[str, str]:
    """Return the tags of a version; a value that is too long goes on in the next tag.

    Args:
        description: Of the classifier.
        sha256: Of each of its files, by name.

    Raises:
        RegistrationError: There would be more tags than Azure takes.
    """
    lineage = description.lineage
    whole = {tag: sha256[file] for file, tag in HASH_TAGS.items() if file in sha256} | {
        "source": lineage.source,
        "source_uri": lineage.uri,
        "source_version": lineage.version,
        "importer": lineage.importer,
        "precision": description.precision.weights,
    }
    for number, figure in enumerate(description.evaluations, start=1):
        whole[f"evaluation_{number}"] = figure.model_dump_json()
    tags: dict[str, str] = {}
    for tag, value in whole.items():
        tags |= dict(_split(tag, value))
    if len(tags) > _MAX_TAGS:
        raise RegistrationError(
            f"{description.tag} would take {len(tags)} tags, and Azure allows {_MAX_TAGS}; leave "
            f"evaluations out of {DESCRIPTION}"
        )
    return tags


def _split(tag: str, value: str) -> Iterator[tuple[str, str]]:
    """Yield ``tag``, ``tag_part2`` and so on, as short as Azure wants them; nothing for nothing."""
    for start in range(0, len(value), _MAX_CHARACTERS):
        part = start // _MAX_CHARACTERS + 1
        yield (
            tag if part == 1 else f"{tag}_part{part}",
            value[start : start + _MAX_CHARACTERS],
        )


def read_tag(tags: Mapping[str, str], tag: str) -> str:
    """Return the whole value of a tag; empty if there is none."""
    value, part = tags.get(tag, ""), 2
    while (name := f"{tag}_part{part}") in tags:
        value, part = value + tags[name], part + 1
    return value


def read_evaluations(tags: Mapping[str, str]) -> Iterator[Evaluation]:
    """Yield the figures that were registered with a version."""
    for tag in tags:
        if re.fullmatch(r"evaluation_\d+", tag):
            try:
                yield Evaluation.model_validate_json(read_tag(tags, tag))
            except ValidationError:  # somebody else's tag
                continue
