"""How the gallery writes numbers."""

from __future__ import annotations

from math import isfinite, isnan

_THIN = "\u202f"  # between thousands
_DASH = "–"


def figure(value: float) -> str:
    """Three significant digits, or all of a whole number's: "0.0127", "99.8", "6 604", "1.2e9"."""
    if isnan(value):
        return _DASH
    if not isfinite(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    if size >= 1e7 or 0 < size < 1e-3:
        mantissa, _, exponent = f"{value:.2e}".partition("e")
        text = f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    elif size >= 99.95:
        text = f"{value:,.0f}".replace(",", _THIN)
    elif size >= 1:
        text = f"{value:.{1 if size >= 9.995 else 2}f}"
    else:
        text = f"{value:.3g}"
    return text.replace("-", "−")


def times(gain: float) -> str:
    """A gain: "×7.7", "×154"."""
    if not isfinite(gain):
        return _DASH
    return ("×" if gain >= 0 else "−×") + f"{abs(gain):,.{1 if abs(gain) < 99.95 else 0}f}"


def count(number: int) -> str:
    """A whole number: "10,568"."""
    return f"{number:,}"


def units(number: int) -> str:
    """So many units: "1 unit", "96 units"."""
    return f"{number:,} unit{'' if number == 1 else 's'}"


def ordinal(number: int) -> str:
    """A place: "1st", "22nd", "113th"."""
    teen = number % 100 in (11, 12, 13)
    ending = "th" if teen else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number:,}{ending}"


def duration(seconds: float) -> str:
    """A time: "0.3 s", "12 min", "4 h"."""
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.0f} h"


def rounded(value: float) -> float | None:
    """To three significant digits, for a script; None for what is no number."""
    return float(f"{value:.3g}") if isfinite(value) else None
