"""What the page says about one photo, and about all of them together."""

from __future__ import annotations

from dataclasses import dataclass, field

from denoisetool.events import Outcome, Status
from denoisetool.report.facts import Facts


@dataclass(frozen=True, slots=True)
class Row:
    """What the page says about one photo.

    Attributes:
        name: what to call it.
        status: done, skipped or failed; reason: why, unless done.
        facts: what changed, where both versions were looked at.
        outcome: how the run went for it, where there was one.
        notes: sentences about it.
    """

    name: str
    status: Status = "done"
    reason: str = ""
    facts: Facts | None = None
    outcome: Outcome | None = None
    notes: tuple[str, ...] = ()

    @property
    def megapixels(self) -> float:
        """Size in millions of pixels, before."""
        if self.facts is not None:
            return self.facts.megapixels / self.facts.scale**2
        return 0.0 if self.outcome is None else self.outcome.megapixels

    @property
    def noise(self) -> float | None:
        """Noise in levels of 255: the run's own estimate, or else what was taken away."""
        if self.outcome is not None:
            return self.outcome.noise
        return None if self.facts is None else self.facts.removed

    @property
    def shift(self) -> tuple[float | None, float | None]:
        """Mean and 95th percentile of the colour shift: the run's own, or else as looked at."""
        if self.outcome is not None and self.outcome.shift_mean is not None:
            return self.outcome.shift_mean, self.outcome.shift_p95
        return (None, None) if self.facts is None else (self.facts.shift_mean, self.facts.shift_p95)


@dataclass(slots=True)
class Mean:
    """The mean of the numbers there were."""

    total: float = 0.0
    count: int = 0

    def add(self, value: float | None) -> None:
        """Take a number into account, if there is one."""
        if value is not None:
            self.total += value
            self.count += 1

    @property
    def value(self) -> float | None:
        """The mean; None of nothing."""
        return self.total / self.count if self.count else None


@dataclass(slots=True)
class Totals:
    """All photos together."""

    done: int = 0
    skipped: int = 0
    failed: int = 0
    megapixels: float = 0.0
    noise: Mean = field(default_factory=Mean)
    shift: Mean = field(default_factory=Mean)

    def add(self, row: Row) -> None:
        """Take one photo into account."""
        setattr(self, row.status, getattr(self, row.status) + 1)
        if row.status == "done":
            self.megapixels += row.megapixels
            self.noise.add(row.noise)
            self.shift.add(row.shift[0])
