"""Numbers as people read them."""

_UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def size(num_bytes: int) -> str:
    """Bytes in the largest unit that leaves a number of at least 1, three digits: "257 MiB", "1.25 GiB"."""
    value, unit = float(num_bytes), 0
    while round(value) >= 1024 and unit < len(_UNITS) - 1:
        value, unit = value / 1024, unit + 1
    if unit == 0 or value >= 99.95:
        return f"{value:.0f} {_UNITS[unit]}"
    return f"{value:.1f} {_UNITS[unit]}" if value >= 9.995 else f"{value:.2f} {_UNITS[unit]}"


def count(number: int) -> str:
    """A count with thousands apart."""
    return f"{number:,}"
