"""Charts as SVG: lines and bars. Transparent, in colours that can be read on white and on black.

Colours are Okabe and Ito's (jfly.uni-koeln.de/color), which people with any colour vision can tell apart.
"""

from collections.abc import Mapping, Sequence
from html import escape

_WIDTH, _HEIGHT = 720, 400
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 20, 50, 60
_COLOURS = ("#009e73", "#0072b2", "#56b4e9", "#e69f00", "#d55e00", "#cc79a7")
_GREY = "#808080"


def line_chart(
    title: str, x_label: str, y_label: str, lines: Mapping[str, Sequence[tuple[float, float]]], y_max: float
) -> str:
    """One line a name, through points by ascending x; what is above `y_max` is cut off."""
    x_max = max(x for points in lines.values() for x, _ in points) * 1.05
    body = _axes(title, x_label, y_label, y_max)
    body += [_text(_x(tick, x_max), _HEIGHT - _BOTTOM + 18, _number(tick), "middle") for tick in _ticks(x_max)]
    inside = f'<rect x="{_LEFT}" y="{_TOP}" width="{_inner()[0]}" height="{_inner()[1]}"/>'
    body.append(f'<clipPath id="inside">{inside}</clipPath>')
    for colour, points in zip(_COLOURS, lines.values(), strict=False):
        path = " ".join(f"{_x(x, x_max):.1f},{_y(min(y, 10 * y_max), y_max):.1f}" for x, y in points)
        body.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2" clip-path="url(#inside)"/>'
        )
        body += [
            f'<circle cx="{_x(x, x_max):.1f}" cy="{_y(y, y_max):.1f}" r="3" fill="{colour}"/>'
            for x, y in points
            if y <= y_max
        ]
    return _svg(title, body + _legend(list(lines)))


def bar_chart(title: str, y_label: str, groups: Mapping[str, Mapping[str, float]], y_max: float) -> str:
    """Groups of bars with one name each; a bar has its number above it."""
    names = list(dict.fromkeys(name for bars in groups.values() for name in bars))
    body = _axes(title, "", y_label, y_max)
    room = _inner()[0] / len(groups)
    width = 0.8 * room / len(names)
    for place, (group, bars) in enumerate(groups.items()):
        left = _LEFT + room * (place + 0.1)
        body.append(_text(left + 0.4 * room, _HEIGHT - _BOTTOM + 18, group, "middle"))
        for name, value in bars.items():
            number = names.index(name)
            x, y = left + number * width, _y(value, y_max)
            height = _HEIGHT - _BOTTOM - y
            body.append(
                f'<rect x="{x:.1f}" y="{y:.1f}" width="{width - 2:.1f}" height="{height:.1f}" '
                f'fill="{_COLOURS[number]}"/>'
            )
            body.append(_text(x + width / 2 - 1, y - 4, _number(value), "middle"))
    return _svg(title, body + _legend(names))


def _axes(title: str, x_label: str, y_label: str, y_max: float) -> list[str]:
    middle = _TOP + _inner()[1] / 2
    marks = [
        _text(_LEFT, 18, title, "start", bold=True),
        _text(_LEFT + _inner()[0] / 2, _HEIGHT - 8, x_label, "middle"),
        f'<g transform="rotate(-90 16 {middle})">{_text(16, middle, y_label, "middle")}</g>',
    ]
    for tick in _ticks(y_max):
        y = _y(tick, y_max)
        ends = f'x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}"'
        marks.append(f'<line {ends} stroke="{_GREY}" opacity="0.4"/>')
        marks.append(_text(_LEFT - 8, y + 4, _number(tick), "end"))
    return marks


def _legend(names: Sequence[str]) -> list[str]:
    marks, x = [], float(_LEFT)
    for number, name in enumerate(names):
        marks.append(f'<rect x="{x:.1f}" y="28" width="12" height="12" fill="{_COLOURS[number]}"/>')
        marks.append(_text(x + 17, 39, name, "start"))
        x += 28 + 6.9 * len(name)
    return marks


def _svg(title: str, body: Sequence[str]) -> str:
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'font-family="sans-serif" font-size="13" fill="{_GREY}">'
    )
    return "\n".join([head, f"<title>{escape(title)}</title>", *body, "</svg>", ""])


def _text(x: float, y: float, words: str, anchor: str, *, bold: bool = False) -> str:
    weight = ' font-weight="bold"' if bold else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{weight}>{escape(words)}</text>'


def _ticks(limit: float) -> list[float]:
    """Four to ten round numbers from 0 to the limit."""
    stride = next(
        unit * factor
        for unit in (10.0**power for power in range(-3, 7))
        for factor in (1, 2, 5)
        if limit / (unit * factor) <= 8
    )
    return [stride * number for number in range(int(limit / stride + 1e-9) + 1)]


def _number(value: float) -> str:
    return f"{value:.3g}" if value < 1000 else f"{value:,.0f}"


def _inner() -> tuple[float, float]:
    return _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM


def _x(value: float, limit: float) -> float:
    return _LEFT + _inner()[0] * value / limit


def _y(value: float, limit: float) -> float:
    return _HEIGHT - _BOTTOM - _inner()[1] * value / limit
