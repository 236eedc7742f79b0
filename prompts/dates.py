"""Dates as the templates write them."""

from datetime import date

_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")


def today() -> str:
    """Today, as `26 Jul 2024`."""
    # strftime's %b follows the locale of the process; the wire format is English.
    day = date.today()
    return f"{day.day:02} {_MONTHS[day.month - 1]} {day.year}"
