"""Dates as the templates write them."""

from datetime import date

_MONTHS = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip


def today() -> str:
    """Today, as `26 Jul 2024`."""
    # strftime's %b follows the locale of the process; the wire format is English.
    day = date.today()
    return f"{day.day:02} {_MONTHS[day.month - 1][:3]} {day.year}"


def in_full(day: date) -> str:
    """A date as Meta's code writes it.

    Args:
        day: The date.

    Returns:
        Its text.

    Example:
        >>> in_full(date(2024, 9, 1))
        '01 September 2024'
    """
    return f"{day.day:02} {_MONTHS[day.month - 1]} {day.year}"
