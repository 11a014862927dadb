"""Whether a candidate is worse than the version it is compared with; nothing is read or written.

Every assessment gives one ``Finding`` a metric. A finding is

- ``Failed`` if the candidate is worse beyond its budget, and chance is no excuse however often one
  looks: a bound that holds at every look exceeds the budget. A break of the contract needs no such
  bound: one is enough.
- ``Inconclusive`` if there are fewer requests than the plan asks for, on either side, or if what
  was seen exceeds the budget by itself and is more than two standard errors off. Few pairs of noise
  are no excuse: what exceeds the budget beside fewer than ``LEAST_TRIALS`` waits too.
- ``Successful`` otherwise.

The tests share the level of the budgets equally: each takes a ``len(TESTS)``-th.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace

from textclf.rollout.budgets import Budgets
from textclf.rollout.finding import LEAST_TRIALS, SEVERITY, Finding, Phase, Terms
from textclf.rollout.latency import Latencies, judge_latency
from textclf.rollout.observation import Observation
from textclf.rollout.pairs import PairSummary
from textclf.rollout.rates import Rates, effective_trials, judge_rates, rate
from textclf.rollout.sequential import ANY_RATE, bounds

__all__ = [
    "TESTS",
    "Finding",
    "Phase",
    "assess_observations",
    "assess_pairs",
    "level_per_test",
]

# What takes a share of the level; a break of the contract takes none.
TESTS = (
    "error_rate",
    "latency_p50",
    "latency_p99",
    "class_mix",
    "pair_error_rate",
    "disagreement_rate",
    "score_shift",
    "pair_latency_p50",
    "pair_latency_p99",
    "accuracy",
)
_MOST_SHIFTED = 0.01  # so that the budget is that of the 99th percentile


def assess_observations(
    candidate: Observation, reference: Observation, budgets: Budgets, *, minimum_requests: int
) -> tuple[Finding, ...]:
    """Compare what two versions answered in the same span of time.

    Args:
        candidate: Since a moment that all looks have in common, and not since the last look.
        reference: Of the version that it is compared with, since the same moment. The shares of
            traffic must have been in one proportion throughout: otherwise traffic that drifts makes
            versions differ that do not.
        budgets: What may be found.
        minimum_requests: That success needs on either side.

    Returns:
        Errors, latency (median and 99th percentile) and class mix, in this order.
    """
    terms = Terms(level_per_test(budgets), minimum_requests, "requests", "the reference's")
    errors = Rates(
        counts=(candidate.errors, candidate.requests),
        reference=(reference.errors, reference.requests),
        words="failed",
    )
    most = budgets.latency_ratio
    latencies = Latencies.of_observations(candidate, reference)
    return (
        judge_rates("error_rate", errors, budgets.error_rate_increase, terms),
        judge_latency("latency_p50", latencies, most, terms),
        judge_latency("latency_p99", latencies, most, terms),
        _judge_class_mix(candidate, reference, budgets, terms),
    )


def assess_pairs(
    pairs: PairSummary, noise: PairSummary | None, budgets: Budgets, *, minimum_pairs: int
) -> tuple[Finding, ...]:
    """Judge a candidate's answers beside the stable version's to the same requests.

    Args:
        pairs: Since the mirroring began.
        noise: Of the stable version with itself; None if it is taken to agree with itself.
        budgets: What may be found.
        minimum_pairs: That success needs.

    Returns:
        Shape, scores' range, errors, labels, score shifts (if a route gives scores), latency and
        accuracy (if right labels are known), in this order.
    """
    terms = Terms(
        level_per_test(budgets),
        minimum_pairs,
        "pairs",
        "the stable version's with itself",
        LEAST_TRIALS,
    )
    alone = replace(terms, whose="the stable version's")
    most = budgets.latency_ratio
    latencies = Latencies.of_pairs(pairs)
    findings = [
        _judge_breaks("answer_shape", pairs.shape_breaks, pairs.first_shape_breaks, pairs, terms),
        _judge_breaks(
            "score_range", pairs.invalid_scores, pairs.first_invalid_scores, pairs, terms
        ),
        *_judge_pair_rates(pairs, noise, budgets, terms),
        judge_latency("pair_latency_p50", latencies, most, alone),
        judge_latency("pair_latency_p99", latencies, most, alone),
    ]
    return (*findings, _judge_accuracy(pairs, terms)) if pairs.texts_known else tuple(findings)


def _judge_class_mix(
    candidate: Observation, reference: Observation, budgets: Budgets, terms: Terms
) -> Finding:
    """Judge each label's share, up and down, and return what is said of the worst."""
    names = sorted({*candidate.labels, *reference.labels}) or ["any label"]
    # Of two labels the shares add up to 1, so that both tests are the same.
    level = terms.level / (1 if len(names) == 2 else len(names))
    both = candidate, reference
    totals = [sum(seen.labels.values()) for seen in both]
    effective = [
        float(effective_trials(total, seen.answered))
        for total, seen in zip(totals, both, strict=True)
    ]
    unit = "predictions" if effective[0] == totals[0] else "effective predictions"
    shared = replace(terms, level=level, unit=unit)
    trials = min(effective)
    if trials >= LEAST_TRIALS:  # beyond which a plan's minimum is of requests, however many texts
        trials = min(*totals, candidate.answered, reference.answered)
    findings = []
    for name in names:
        ours, theirs = (
            (n * seen.labels.get(name, 0) / max(total, 1), n)
            for seen, total, n in zip(both, totals, effective, strict=True)
        )
        up = rate(ours) >= rate(theirs)  # of labels that went down, judge the share of all others
        rates = Rates(
            counts=ours if up else (ours[1] - ours[0], ours[1]),
            reference=theirs if up else (theirs[1] - theirs[0], theirs[1]),
            words=f"are {name}" if up else f"are not {name}",
            prior=ANY_RATE,
        )
        found = judge_rates("class_mix", rates, budgets.class_mix_shift, shared, trials=trials)
        findings.append((SEVERITY.index(found.phase), round(found.value or 0.0, 9), up, found))
    return max(findings, key=lambda rank: rank[:3])[3]


def _judge_pair_rates(
    pairs: PairSummary, noise: PairSummary | None, budgets: Budgets, terms: Terms
) -> Iterator[Finding]:
    """Judge what pairs differ in, over what the stable version differs from itself in."""
    failures = Rates(
        counts=(pairs.candidate_failures_alone, pairs.pairs),
        reference=(noise.candidate_failures_alone, noise.pairs) if noise else None,
        words="failed where the stable version did not",
    )
    yield judge_rates(
        "pair_error_rate", failures, budgets.error_rate_increase, terms, trials=pairs.pairs
    )
    labels = Rates(
        counts=(pairs.disagreement, pairs.compared),
        reference=(noise.disagreement, noise.compared) if noise else None,
        words="disagree in the label",
    )
    yield judge_rates(
        "disagreement_rate", labels, budgets.disagreement_rate, terms, trials=pairs.compared
    )
    if pairs.score_shifts or not pairs.answered:
        scores = Rates(
            counts=_shifted(pairs, budgets),
            reference=_shifted(noise, budgets) if noise else None,
            words=f"moved a score by more than {budgets.score_shift:g}",
        )
        shift = judge_rates("score_shift", scores, _MOST_SHIFTED, terms, trials=pairs.answered)
        yield replace(shift, seen=pairs.score_shift_quantiles())


def _shifted(pairs: PairSummary, budgets: Budgets) -> tuple[int, int]:
    over = sum(shift > budgets.score_shift for shift in pairs.score_shifts)
    return over, len(pairs.score_shifts)


def _judge_breaks(
    metric: str, breaks: int, words: list[str], pairs: PairSummary, terms: Terms
) -> Finding:
    """Judge what must not happen even once."""
    phase: Phase = "Successful"
    what = metric.replace("_", " ")
    reason = f"{what}: no break in {pairs.answered} pairs"
    if breaks:
        phase, reason = (
            "Failed",
            f"{what}: {breaks} broken in {pairs.pairs} pairs, first: {words[0]}",
        )
    elif pairs.answered < terms.minimum:
        phase, reason = "Inconclusive", f"{reason}: too few, {terms.minimum} are needed"
    return Finding(
        metric=metric,
        phase=phase,
        n=pairs.answered,
        value=float(breaks) if pairs.pairs else None,
        lower=None,
        upper=None,
        threshold=0.0,
        reason=reason,
    )


def _judge_accuracy(pairs: PairSummary, terms: Terms) -> Finding:
    """Judge by McNemar's test whether the candidate errs more; it never waits for more labels.

    Source: McNemar, Note on the sampling error of the difference between correlated proportions,
    Psychometrika 1947; at every look, since under its null either version is alone right as often.
    """
    lost, won = pairs.stable_right_alone, pairs.candidate_right_alone
    parted, n = lost + won, pairs.texts_known
    lower, upper = (
        (2 * share - 1) * parted / n + 0.0 for share in bounds(lost, parted, terms.level, ANY_RATE)
    )
    phase: Phase = "Successful"
    verdict = "no less accurate, as far as can be told"
    if lower > 0:
        phase, verdict = "Failed", "surely less accurate"
    elif lost - won > 2 * math.sqrt(parted):
        phase, verdict = "Inconclusive", "less accurate, but not yet surely"
    return Finding(
        metric="accuracy",
        phase=phase,
        n=n,
        value=(lost - won) / n,
        lower=lower,
        upper=upper,
        threshold=0.0,
        reason=f"of {n} texts with a known label the stable version alone has {lost} right, "
        f"the candidate alone {won}: {verdict}",
    )


def level_per_test(budgets: Budgets) -> float:
    """Return each test's share of the level."""
    return budgets.level / len(TESTS)
