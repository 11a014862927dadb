"""Whether the texts that are served are still like those that a model was imported with.

::

    import     texts, scores ──► Reference ──► drift.json
    each text  FeatureCounts ──► textclf_drift_texts_total, summed over the workers
    a scrape   those sums ──► SlidingWindow ──► distance and threshold of each feature

Nothing is kept of a text but which bin of each feature it fell into.
"""

from textclf.drift.counting import FeatureCounts
from textclf.drift.distance import LEAST_TEXTS, corrected_psi, threshold
from textclf.drift.monitor import DriftMonitor
from textclf.drift.reference import Feature, Observation, Reference, describe_texts

__all__ = [
    "LEAST_TEXTS",
    "DriftMonitor",
    "Feature",
    "FeatureCounts",
    "Observation",
    "Reference",
    "corrected_psi",
    "describe_texts",
    "threshold",
]
