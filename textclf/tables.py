"""Figures in rows: as Markdown, and for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from textclf.description import TriedVariant

Row = Sequence[str]


def markdown_table(header: Row, rows: Iterable[Row]) -> str:
    """Render a table in Markdown."""
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(
        "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |" for cells in lines
    )


def text_table(rows: Iterable[Row]) -> str:
    """Render rows in columns as wide as they have to be."""
    cells = list(rows)
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in cells
    )


def variant_rows(variants: Sequence[TriedVariant]) -> list[Row]:
    """Return a header and a row for each variant that an import tried.

    A column such as ``ms 8x32`` is the median of one run on 8 texts of 32 tokens.
    """
    shapes = list(variants[0].milliseconds)
    labelled = any(variant.accuracy is not None for variant in variants)
    header = [
        "variant", "MB", *(f"ms {shape}" for shape in shapes), "speed-up", "agreement",
        *(["accuracy"] if labelled else []), "shift", "shift in batches", "flips", "verdict",
    ]  # fmt: skip
    return [header, *(_variant_row(variant, shapes, labelled=labelled) for variant in variants)]


def _variant_row(variant: TriedVariant, shapes: Sequence[str], *, labelled: bool) -> Row:
    return [
        variant.name,
        _number(variant.size_bytes and variant.size_bytes / 1e6, ".1f"),
        *(_number(variant.milliseconds.get(shape), ".2f") for shape in shapes),
        _number(variant.speedup, ".2f"),
        _number(variant.agreement, ".2%"),
        *([_number(variant.accuracy, ".4f")] if labelled else []),
        _number(variant.largest_score_shift, ".4f"),
        _number(variant.batch_score_shift, ".4f"),
        _number(variant.batch_labels_flipped, "d"),
        variant.verdict,
    ]


def _number(value: float | None, form: str) -> str:
    return "" if value is None else format(value, form)
