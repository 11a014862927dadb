"""Drift over a time that has passed, on one page: read what was recorded, compare, draw."""

from textclf.drift_report.page import render_page
from textclf.drift_report.recording import Recording, from_pages, from_prometheus
from textclf.drift_report.review import Review, review

__all__ = ["Recording", "Review", "from_pages", "from_prometheus", "render_page", "review"]
