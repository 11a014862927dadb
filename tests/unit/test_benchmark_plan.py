"""What the benchmark measures, and how long it says that takes."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.catalogue import SYSTEMS
from benchmarks.corpus import MANY, OWN, group_texts, read_corpus
from benchmarks.errors import BenchmarkError
from benchmarks.plan import MOST_SECONDS, OURS, QUICK_SYSTEMS, SHARES, Plan, make_plan


def _plan(mode: str) -> Plan:
    return make_plan(mode, [(system.name, system.many is not None) for system in SYSTEMS])


@pytest.mark.parametrize("mode", ["full", "quick"])
def test_a_run_ends_in_time(mode: str) -> None:
    """The predicted time is under the bound of its mode."""
    assert 0 < _plan(mode).predicted_seconds() <= MOST_SECONDS[mode]


def test_a_full_run_covers_every_system_and_load() -> None:
    """Both models, all systems, all connections, one text and 16, and every open load."""
    plan = _plan("full")

    assert len(plan.models) == 2
    for model in plan.models:
        assert [visit.system for visit in model.visits] == [system.name for system in SYSTEMS]
        for visit, system in zip(model.visits, SYSTEMS, strict=True):
            closed = {(p.texts, p.connections) for p in visit.points if p.share is None}
            many = {(MANY, 8), (MANY, 32)} if system.many else set()
            assert closed == {(1, 1), (1, 8), (1, 32), (1, 128)} | many
            assert tuple(p.share for p in visit.points if p.share is not None) == SHARES


def test_a_quick_run_names_systems_that_exist() -> None:
    """The reference model alone, with this project and some peers."""
    (model,) = _plan("quick").models

    assert [visit.system for visit in model.visits] == list(QUICK_SYSTEMS)
    assert OURS in QUICK_SYSTEMS


def test_the_open_loop_comes_after_the_maximum_it_is_a_share_of() -> None:
    """Every closed load stands before the first open one."""
    for mode in MOST_SECONDS:
        for model in _plan(mode).models:
            for visit in model.visits:
                is_open = [point.share is not None for point in visit.points]
                assert is_open == sorted(is_open)


def test_the_corpus_has_short_and_long_texts() -> None:
    """About 300 different texts of 2 to some 90 words, 15 to 25 in the mean."""
    texts = read_corpus()
    words = [len(text.split()) for text in texts]

    assert 280 <= len(texts) == len(set(texts)) <= 320
    assert min(words) == 2
    assert 70 <= max(words) <= 95
    assert 15 <= sum(words) / len(words) <= 25
    assert sum(count >= 60 for count in words) >= 8


def test_the_corpus_may_be_labelled(tmp_path: Path) -> None:
    """SST-2's form is read without its labels; blank lines are left out."""
    path = tmp_path / "dev.tsv"
    path.write_text("sentence\tlabel\na\tgood one \t1\n\nbad\t0\n", "utf-8")

    assert read_corpus(path) == ["a\tgood one", "bad"]


@pytest.mark.parametrize("content", ["", "\n \n"], ids=["empty", "blank"])
def test_a_corpus_without_texts_is_refused(tmp_path: Path, content: str) -> None:
    """The message names the file and the option."""
    path = tmp_path / "none.txt"
    path.write_text(content, "utf-8")

    with pytest.raises(BenchmarkError, match=r"none\.txt holds no text.*--corpus"):
        read_corpus(path)


def test_groups_are_full_and_the_same_for_a_seed() -> None:
    """The last group is filled up from the start."""
    texts = [str(number) for number in range(21)]

    groups = group_texts(texts, MANY, seed=1)

    assert [len(group) for group in groups] == [MANY, MANY]
    assert {text for group in groups for text in group} == set(texts)
    assert groups == group_texts(texts, MANY, seed=1) != group_texts(texts, MANY, seed=2)
    assert OWN.is_file()
