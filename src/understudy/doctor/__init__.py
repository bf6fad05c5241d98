"""What is wrong with a set-up, found before it trains."""

from understudy.doctor.checkup import examine
from understudy.doctor.finding import Finding, Severity

__all__ = ["Finding", "Severity", "examine"]
