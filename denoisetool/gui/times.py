"""Spans of time as people say them."""

from __future__ import annotations

from PySide6.QtCore import QCoreApplication


def time_left(seconds: float) -> str:
    """How much longer it takes."""
    tr = QCoreApplication.translate
    if seconds < 90:
        return tr("times", "%d s left") % max(1, round(seconds))
    if seconds < 90 * 60:
        return tr("times", "%d min left") % round(seconds / 60)
    return tr("times", "%.1f h left") % (seconds / 3600)
