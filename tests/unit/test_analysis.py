"""Whether a candidate is worse: phases, reasons, and how often chance is taken for a fault."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from textclf.rollout.analysis import (
    TESTS,
    Finding,
    Phase,
    assess_observations,
    assess_pairs,
    level_per_test,
)
from textclf.rollout.budgets import Budgets
from textclf.rollout.finding import LEAST_TRIALS
from textclf.rollout.observation import Answer, Observation, Pair
from textclf.rollout.pairs import PairSummary, summarise
from textclf.rollout.rates import effective_trials
from textclf.rollout.sequential import ANY_RATE, Floats
from textclf.rollout.simulation import (
    EDGES_SECONDS,
    Looks,
    Rule,
    Schedule,
    Speed,
    simulate_batches,
    simulate_latency,
    simulate_pairs,
    simulate_rate,
)

BUDGETS = Budgets()
SHAPE = ("positive:boolean",)
LOOKS = 20
SCHEDULE = Schedule(rollouts=2000, looks=LOOKS, batch=50, reference_batch=50)


def observe(
    requests: int,
    *,
    errors: int = 0,
    positive: float = 0.5,
    speed: Speed | None = None,
    edges: tuple[float, ...] = EDGES_SECONDS,
) -> Observation:
    """Return what is expected of a version; each request that does not fail has one text."""
    shares = (speed or Speed()).buckets(edges).cumsum()
    counts = np.diff([0, *np.round(requests * shares)]).astype(int)
    positives = round((requests - errors) * positive)
    return Observation(
        requests=requests,
        errors=errors,
        labels={"negative": requests - errors - positives, "positive": positives},
        latency_edges_seconds=edges,
        latency_counts=tuple(counts.tolist()),
    )


def pairs_of(n: int, *, flips: int = 0, shift: float = 0.0, slower: float = 1.0) -> list[Pair]:
    """Return pairs of a few different latencies; the first ones flip."""
    pairs = []
    for i in range(n):
        seconds = 0.02 * 1.05 ** (i % 20)
        stable = Answer(status=200, seconds=seconds, shape=SHAPE, labels=("pos",), scores=(0.9,))
        candidate = Answer(
            status=200,
            seconds=seconds * slower,
            shape=SHAPE,
            labels=("neg" if i < flips else "pos",),
            scores=(0.9 - shift,),
        )
        pairs.append(
            Pair(request_id=f"r-{i}", texts_sha256="aa", stable=stable, candidate=candidate)
        )
    return pairs


def replace_first(pairs: list[Pair], **changes: object) -> list[Pair]:
    """Change the candidate's first answer."""
    first = pairs[0]
    changed = Answer(**{**vars(first.candidate), **changes})
    return [
        Pair(
            request_id=first.request_id,
            texts_sha256=first.texts_sha256,
            stable=first.stable,
            candidate=changed,
        ),
        *pairs[1:],
    ]


def by_metric(findings: Iterable[Finding]) -> dict[str, Finding]:
    """Return findings by their metric."""
    return {finding.metric: finding for finding in findings}


@pytest.mark.parametrize(
    ("metric", "candidate", "phase"),
    [
        ("error_rate", observe(500), "Successful"),
        ("error_rate", observe(500, errors=3), "Successful"),
        ("error_rate", observe(500, errors=10), "Inconclusive"),
        ("error_rate", observe(500, errors=40), "Failed"),
        ("error_rate", observe(20, errors=20), "Failed"),
        ("error_rate", observe(199), "Inconclusive"),
        ("class_mix", observe(500, positive=0.54), "Successful"),
        ("class_mix", observe(500, positive=0.6), "Inconclusive"),
        ("class_mix", observe(500, positive=0.8), "Failed"),
        ("class_mix", observe(500, positive=0.2), "Failed"),
        ("latency_p50", observe(500, speed=Speed(median_seconds=0.036)), "Successful"),
        ("latency_p50", observe(500, speed=Speed(median_seconds=0.040)), "Failed"),
        ("latency_p50", observe(100, speed=Speed(median_seconds=0.038)), "Inconclusive"),
        ("latency_p99", observe(500, speed=Speed(slowest_factor=1.5)), "Inconclusive"),
        ("latency_p99", observe(2000, speed=Speed(slowest_factor=1.5)), "Failed"),
        ("latency_p99", observe(4000, speed=Speed(slowest_factor=1.3)), "Failed"),
        ("latency_p99", observe(4000, speed=Speed(slowest_factor=1.2)), "Successful"),
    ],
    ids=str,
)
def test_one_metric_against_a_healthy_baseline(
    metric: str, candidate: Observation, phase: Phase
) -> None:
    """Within the budget it passes, beyond doubt over it it fails, and between the two it waits."""
    reference = observe(max(candidate.requests, 500))
    findings = assess_observations(candidate, reference, BUDGETS, minimum_requests=200)
    found = by_metric(findings)

    assert tuple(found) == TESTS[:4]
    assert found[metric].phase == phase, found[metric].reason
    others = {name: found[name].phase for name in found if found[name].phase == "Failed"}
    assert set(others) <= {metric, "latency_p99"}


NOTHING = Observation(
    requests=0, errors=0, labels={}, latency_edges_seconds=(), latency_counts=(0,)
)


@pytest.mark.parametrize(
    ("candidate", "reference"),
    [
        (NOTHING, NOTHING),
        (NOTHING, observe(1000)),
        (observe(1000), NOTHING),
        (observe(1000, errors=1000), NOTHING),
        (observe(199), observe(1000)),
        (observe(1000), observe(199)),
    ],
    ids=["none", "candidate's", "reference's", "errors alone", "thin", "thin reference"],
)
def test_thin_or_missing_data_never_passes(candidate: Observation, reference: Observation) -> None:
    """Every metric waits, and none fails."""
    findings = assess_observations(candidate, reference, BUDGETS, minimum_requests=200)

    assert {finding.phase for finding in findings} == {"Inconclusive"}


def test_a_metric_that_vanished_does_not_pass() -> None:
    """Requests without predictions or latencies leave these undecided."""
    healthy = observe(1000)
    candidate = Observation(
        requests=1000, errors=0, labels={}, latency_edges_seconds=(), latency_counts=(1000,)
    )
    found = by_metric(assess_observations(candidate, healthy, BUDGETS, minimum_requests=200))

    assert found["error_rate"].phase == "Successful"
    assert {found[name].phase for name in TESTS[1:4]} == {"Inconclusive"}


def test_buckets_that_only_one_version_has_are_merged() -> None:
    """A version with coarser buckets is compared at the edges that both have."""
    coarse = observe(1000, edges=EDGES_SECONDS[::4])
    found = by_metric(
        assess_observations(
            observe(1000, speed=Speed(median_seconds=0.06)), coarse, BUDGETS, minimum_requests=200
        )
    )

    assert found["latency_p50"].phase == "Failed"
    assert found["latency_p50"].value == pytest.approx(2, rel=0.2)


def test_a_reason_is_one_line_with_the_figures() -> None:
    """What a person needs to understand a roll-back stands in it."""
    candidate = observe(500, errors=40, positive=0.8, speed=Speed(median_seconds=0.045))
    found = by_metric(assess_observations(candidate, observe(500), BUDGETS, minimum_requests=200))

    assert found["error_rate"].reason == (
        "8.0 % of 500 requests failed, against 0.0 % of the reference's 500: surely "
        f"{100 * (found['error_rate'].lower or 0):.1f} % more, 1.0 % are allowed"
    )
    assert found["class_mix"].reason.startswith(
        "80.0 % of 460 predictions are positive, against 50.0 % of the reference's 500: surely"
    )
    assert "x1.5" in found["latency_p50"].reason
    assert all("\n" not in finding.reason for finding in found.values())


def test_texts_of_one_request_are_not_many_trials() -> None:
    """64 texts a request do not make 64 times the evidence."""
    labels = {"negative": 64 * 30, "positive": 64 * 70}
    candidate = Observation(
        requests=100,
        errors=0,
        labels=labels,
        latency_edges_seconds=EDGES_SECONDS,
        latency_counts=observe(100).latency_counts,
    )
    found = by_metric(assess_observations(candidate, observe(100), BUDGETS, minimum_requests=50))

    assert found["class_mix"].n == 100
    assert found["class_mix"].phase == "Inconclusive"


@pytest.mark.parametrize(
    ("sizes", "trials"),
    [
        ([1] * 500, 500),
        ([64] * 500, 500),
        ([1] * 475 + [64] * 25, 2075**2 / (475 + 25 * 64**2)),
        ([1] * 499 + [3], 502**2 / (499 + 9)),
        ([], 0),
    ],
    ids=["one text each", "all full", "a few full", "one of three", "none"],
)
def test_effective_trials_are_those_of_the_worst_mixture(sizes: list[int], trials: float) -> None:
    """Requests of one text and full ones tell least for their mean; any other tell no less."""
    assert effective_trials(sum(sizes), len(sizes)) == pytest.approx(trials)


@given(st.lists(st.integers(1, 64), min_size=1, max_size=200))
def test_no_mixture_is_worth_less_than_its_effective_trials(sizes: list[int]) -> None:
    """Whatever the sizes of requests are, Kish's formula gives no less."""
    exact = sum(sizes) ** 2 / sum(size**2 for size in sizes)

    assert effective_trials(sum(sizes), len(sizes)) <= exact * (1 + 1e-9)


def test_refused_requests_make_no_predictions() -> None:
    """Half of the requests are refused, so that the others had two texts on average."""
    candidate = replace(observe(1000, positive=0.7), refused=500)
    found = by_metric(assess_observations(candidate, observe(1000), BUDGETS, minimum_requests=500))

    assert found["class_mix"].phase == "Inconclusive"
    assert "effective predictions are positive" in found["class_mix"].reason


def test_full_requests_of_one_label_are_no_shift_of_the_mix() -> None:
    """Of 2,000 equal candidates with 64 texts in one request of twenty, none fails at any look."""
    rule = Rule(
        threshold=BUDGETS.class_mix_shift, level=level_per_test(BUDGETS) / 3, prior=ANY_RATE
    )
    looks = simulate_batches(
        np.random.default_rng(9), replace(SCHEDULE, looks=60), (0.5, 0.5), rule, batched=0.05
    )

    assert not looks.failed.any()


@pytest.mark.parametrize("seed", range(3))
def test_simulated_mixes_are_judged_as_the_analysis_does(seed: int) -> None:
    """Predictions of many texts that are alike get the same phase from both."""
    schedule = Schedule(rollouts=4, looks=4, batch=800, reference_batch=800)
    rule = Rule(threshold=BUDGETS.class_mix_shift, level=level_per_test(BUDGETS), prior=ANY_RATE)
    share = 0.5 + 0.2 * seed
    looks = simulate_batches(
        np.random.default_rng(seed), schedule, (share, 0.5), rule, batched=0.05
    )
    generator = np.random.default_rng(seed)
    mixes = []
    for each in (share, 0.5):
        full = generator.binomial(800, 0.05, (4, 4))
        ours = 64 * generator.binomial(full, each)
        ours += generator.binomial(800 - full, each)
        mixes.append((ours.cumsum(axis=1), (800 + 63 * full).cumsum(axis=1)))
    for rollout, look in np.ndindex(4, 4):
        candidate, reference = (
            replace(
                observe(800 * (look + 1)),
                labels={
                    "negative": int(total[rollout, look] - positive[rollout, look]),
                    "positive": int(positive[rollout, look]),
                },
            )
            for positive, total in mixes
        )
        found = by_metric(assess_observations(candidate, reference, BUDGETS, minimum_requests=1))
        failed = looks.failed[rollout, look]
        suspected = looks.suspected[rollout, look]
        phase = found["class_mix"].phase
        assert (phase == "Failed") == failed
        if is_enough(candidate) and is_enough(reference):
            assert (phase == "Inconclusive") == (suspected and not failed)


def is_enough(seen: Observation) -> bool:
    """Say whether predictions are worth as many trials as a plan may ask for at least."""
    return bool(effective_trials(sum(seen.labels.values()), seen.answered) >= LEAST_TRIALS)


@pytest.mark.parametrize(
    ("metric", "pairs", "phase"),
    [
        ("answer_shape", pairs_of(300), "Successful"),
        ("answer_shape", pairs_of(299), "Inconclusive"),
        ("answer_shape", replace_first(pairs_of(2), shape=("positive:string",)), "Failed"),
        ("score_range", replace_first(pairs_of(2), scores=(math.nan,)), "Failed"),
        ("pair_error_rate", replace_first(pairs_of(300), status=500), "Successful"),
        ("disagreement_rate", pairs_of(300, flips=5), "Successful"),
        ("disagreement_rate", pairs_of(300, flips=9), "Inconclusive"),
        ("disagreement_rate", pairs_of(300, flips=60), "Failed"),
        ("disagreement_rate", pairs_of(20, flips=20), "Failed"),
        ("score_shift", pairs_of(300, shift=0.04), "Successful"),
        ("score_shift", pairs_of(300, shift=0.06), "Failed"),
        ("pair_latency_p50", pairs_of(300, slower=1.2), "Successful"),
        ("pair_latency_p50", pairs_of(300, slower=1.4), "Failed"),
        ("pair_latency_p99", pairs_of(300, slower=0.5), "Successful"),
    ],
)
@pytest.mark.parametrize("noise", [None, summarise(pairs_of(1000))], ids=["no noise", "noise"])
def test_one_metric_of_pairs(
    metric: str, pairs: list[Pair], phase: Phase, noise: PairSummary | None
) -> None:
    """A break fails at once; rates within the budget pass, and beyond doubt over it fail."""
    findings = assess_pairs(summarise(pairs), noise, BUDGETS, minimum_pairs=300)

    assert by_metric(findings)[metric].phase == phase, by_metric(findings)[metric].reason


def test_a_break_is_told_in_words() -> None:
    """The reason of a broken contract names the member and the request."""
    pairs = summarise(replace_first(pairs_of(9), shape=("positive:string",)))
    found = by_metric(assess_pairs(pairs, None, BUDGETS, minimum_pairs=300))

    assert found["answer_shape"].reason == (
        "answer shape: 1 broken in 9 pairs, first: "
        "positive is a string, was a boolean in request r-0"
    )


def test_noise_is_no_fault_of_the_candidate() -> None:
    """What the stable version does to itself as often passes."""
    noise = summarise(pairs_of(1000, flips=50))
    pairs = summarise(pairs_of(1000, flips=55))

    assert by_metric(assess_pairs(pairs, noise, BUDGETS, minimum_pairs=300))[
        "disagreement_rate"
    ].phase == ("Successful")
    assert by_metric(assess_pairs(pairs, None, BUDGETS, minimum_pairs=300))[
        "disagreement_rate"
    ].phase == ("Failed")


@pytest.mark.parametrize(
    ("noise", "phase"),
    [
        (pairs_of(3), "Inconclusive"),
        (pairs_of(3, flips=1), "Inconclusive"),
        (pairs_of(1000), "Failed"),
    ],
    ids=["three pairs", "three of which one differs", "enough"],
)
def test_a_thin_noise_floor_excuses_nothing(noise: list[Pair], phase: Phase) -> None:
    """Beside few pairs of noise, labels that differ wait, and those that hardly do pass."""
    found, healthy = (
        by_metric(assess_pairs(summarise(pairs), summarise(noise), BUDGETS, minimum_pairs=1000))
        for pairs in (pairs_of(1300, flips=300), pairs_of(1300, flips=9))
    )

    assert found["disagreement_rate"].phase == phase, found["disagreement_rate"].reason
    assert healthy["disagreement_rate"].phase == "Successful"


def test_a_noise_floor_without_scores_excuses_no_shift() -> None:
    """Half of the scores moved, and what the stable version does to its own is not known."""
    noise = [
        replace(
            pair, stable=replace(pair.stable, scores=()), candidate=replace(pair.stable, scores=())
        )
        for pair in pairs_of(1000)
    ]
    pairs = [*pairs_of(150), *pairs_of(150, shift=0.3)]
    found = by_metric(assess_pairs(summarise(pairs), summarise(noise), BUDGETS, minimum_pairs=300))

    assert found["score_shift"].phase == "Inconclusive"
    assert found["score_shift"].reason.endswith(
        "too few of the stable version's with itself, 100 are needed"
    )


def test_score_shifts_and_latencies_are_told() -> None:
    """A finding holds quantiles of what was compared, for the record."""
    found = by_metric(
        assess_pairs(
            summarise(pairs_of(300, shift=0.01, slower=1.2)), None, BUDGETS, minimum_pairs=300
        )
    )

    assert found["score_shift"].seen == {
        name: pytest.approx(0.01) for name in ("p50", "p90", "p99", "most")
    }
    median = found["pair_latency_p50"].seen
    assert median["candidate_seconds"] == pytest.approx(1.2 * median["reference_seconds"], rel=0.1)


@pytest.mark.parametrize("noise", [None, PairSummary()], ids=["no noise", "empty noise"])
def test_no_pairs_never_pass(noise: PairSummary | None) -> None:
    """Every metric waits."""
    findings = assess_pairs(PairSummary(), noise, BUDGETS, minimum_pairs=300)

    assert {finding.phase for finding in findings} == {"Inconclusive"}


def test_a_route_without_scores_has_no_score_shift() -> None:
    """Answers that hold no scores are not waited for to have some."""
    pairs = [
        Pair(
            request_id="r",
            texts_sha256="aa",
            stable=Answer(status=200, seconds=0.02, shape=SHAPE, labels=("true",)),
            candidate=Answer(status=200, seconds=0.02, shape=SHAPE, labels=("true",)),
        )
    ] * 300
    findings = assess_pairs(summarise(pairs), None, BUDGETS, minimum_pairs=300)

    assert "score_shift" not in by_metric(findings)
    assert {finding.phase for finding in findings} == {"Successful"}


@pytest.mark.parametrize(
    ("flips", "known", "phase"),
    [
        (0, "pos", "Successful"),
        (8, "pos", "Inconclusive"),
        (30, "pos", "Failed"),
        (30, "neg", "Successful"),
    ],
    ids=["equal", "perhaps worse", "worse", "better"],
)
def test_accuracy_where_labels_are_known(flips: int, known: str, phase: Phase) -> None:
    """McNemar: of texts that one version alone has right, neither should have more."""
    pairs = summarise(pairs_of(500, flips=flips), {"aa": (known,)})
    found = by_metric(assess_pairs(pairs, None, BUDGETS, minimum_pairs=300))["accuracy"]

    assert found.phase == phase, found.reason


def union(looks: Iterable[Looks]) -> float:
    """Return the share of rollouts that any metric failed at any look."""
    failed = [each.failed.any(axis=1) for each in looks]
    return float(np.logical_or.reduce(failed).mean())


SLOWING = [Speed(median_seconds=0.03 * 2 ** (i / LOOKS)) for i in range(LOOKS)]


@pytest.mark.parametrize(
    ("errors", "positive", "speeds"),
    [
        (np.full(LOOKS, 0.01), np.full(LOOKS, 0.5), [Speed()] * LOOKS),
        (np.linspace(0, 0.1, LOOKS), np.linspace(0.2, 0.8, LOOKS), SLOWING),
    ],
    ids=["steady traffic", "drifting traffic"],
)
@pytest.mark.parametrize("level", [0.01, 0.2])
def test_false_alarms_of_whole_rollouts(
    errors: Floats, positive: Floats, speeds: list[Speed], level: float
) -> None:
    """Of 2,000 rollouts of an equal candidate, no more fail at any of 20 looks than stated."""
    generator = np.random.default_rng(7)
    budgets = Budgets(
        level=level,
        error_rate_increase=0.0,
        class_mix_shift=0.0,
        latency_ratio=1.0,
        disagreement_rate=0.0,
    )
    share = level_per_test(budgets)
    rule = Rule(threshold=0.0, level=share)
    ratio = Rule(threshold=1.0, level=share)
    looks = [
        simulate_rate(generator, SCHEDULE, (errors, errors), rule),
        simulate_rate(
            generator,
            SCHEDULE,
            (positive, positive),
            Rule(threshold=0.0, level=share, prior=ANY_RATE),
        ),
        *(
            simulate_latency(generator, SCHEDULE, (speeds, speeds), ratio, quantile=quantile)
            for quantile in (0.5, 0.99)
        ),
        simulate_pairs(generator, SCHEDULE, (0.01, 0.01), rule, noise_pairs=200),
    ]

    assert union(looks) <= level


def test_a_good_candidate_passes_and_a_bad_one_does_not() -> None:
    """At 200 requests nearly all equal candidates pass, and nearly none with 5 % of errors."""
    generator = np.random.default_rng(8)
    rule = Rule(threshold=BUDGETS.error_rate_increase, level=level_per_test(BUDGETS))
    good = simulate_rate(generator, SCHEDULE, (0.0, 0.0), rule)
    bad = simulate_rate(generator, SCHEDULE, (0.05, 0.0), rule)

    assert good.passed_at(200) > 0.95
    assert bad.passed_at(200) < 0.02
    assert (bad.requests_to_failure(0.9) or math.inf) <= 700


@pytest.mark.parametrize("seed", range(6))
def test_simulations_judge_as_the_analysis_does(seed: int) -> None:
    """What is drawn is what the analysis is given, and both say the same of it."""
    schedule = Schedule(rollouts=4, looks=3, batch=150, reference_batch=150)
    speeds = [Speed(median_seconds=0.03 + 0.004 * seed)] * 3, [Speed()] * 3
    rule = Rule(threshold=BUDGETS.latency_ratio, level=level_per_test(BUDGETS))
    for name, quantile in (("latency_p50", 0.5), ("latency_p99", 0.99)):
        looks = simulate_latency(
            np.random.default_rng(seed), schedule, speeds, rule, quantile=quantile
        )
        generator = np.random.default_rng(seed)
        ours, theirs = (
            generator.multinomial(150, [each.buckets(EDGES_SECONDS) for each in seen], (4, 3))
            for seen in speeds
        )
        for rollout, look in np.ndindex(4, 3):
            candidate, reference = (
                Observation(
                    requests=150 * (look + 1),
                    errors=0,
                    labels={},
                    latency_edges_seconds=EDGES_SECONDS,
                    latency_counts=tuple(counts[rollout, : look + 1].sum(axis=0).tolist()),
                )
                for counts in (ours, theirs)
            )
            found = by_metric(
                assess_observations(candidate, reference, BUDGETS, minimum_requests=1)
            )[name]
            expected = (
                "Failed"
                if looks.failed[rollout, look]
                else "Inconclusive"
                if looks.suspected[rollout, look]
                else "Successful"
            )
            assert found.phase == expected, found.reason
