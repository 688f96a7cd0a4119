"""Draw how the cost of a night grows with its frames, as SVG."""

WIDTH, HEIGHT, MARGIN = 380, 260, 50  # of a panel, in pixels
COLOURS = ("#1f6f9f", "#b3541e", "#3a7d44", "#7b4a9e", "#8a6d00", "#555555")


def growth_svg(series: dict[str, list[tuple[int, float, float]]]) -> str:
    """Return two panels: CPU seconds, and MB of the largest process, against frames.

    ``series`` has frames, seconds and MB of each run, by the name of the line.
    """
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH}" height="{HEIGHT + 30}" '
        'font-family="sans-serif" font-size="11">',
        f'<rect width="{2 * WIDTH}" height="{HEIGHT + 30}" fill="white"/>',
    ]
    for number, title in enumerate(("CPU s", "largest process, MB")):
        points = {
            name: [(run[0], run[1 + number]) for run in runs] for name, runs in series.items()
        }
        parts.append(panel(title, points, number * WIDTH))
    for number, name in enumerate(series):
        x, colour = MARGIN + 118 * number, COLOURS[number % len(COLOURS)]
        parts.append(f'<rect x="{x}" y="{HEIGHT + 8}" width="12" height="12" fill="{colour}"/>')
        parts.append(f'<text x="{x + 18}" y="{HEIGHT + 18}">{name}</text>')
    return "\n".join([*parts, "</svg>\n"])


def panel(title: str, series: dict[str, list[tuple[int, float]]], left: int) -> str:
    """Return one panel with axes from zero."""
    most_x = max((x for points in series.values() for x, _ in points), default=1)
    most_y = max((y for points in series.values() for _, y in points), default=1)
    right, bottom = left + WIDTH - 15, HEIGHT - MARGIN + 15

    def place(x: float, y: float) -> str:
        across = left + MARGIN + x / most_x * (WIDTH - MARGIN - 25)
        return f"{across:.1f},{bottom - y / most_y * (bottom - 35):.1f}"

    parts = [
        f'<path d="M{left + MARGIN},30V{bottom}H{right}" fill="none" stroke="#555"/>',
        f'<text x="{left + MARGIN}" y="20">{title}</text>',
        f'<text x="{right}" y="{bottom + 28}" text-anchor="end">frames</text>',
    ]
    for share in (0.5, 1.0):
        across, up = place(share * most_x, share * most_y).split(",")
        parts.append(
            f'<text x="{across}" y="{bottom + 14}" text-anchor="middle">{share * most_x:.0f}</text>'
            f'<text x="{left + MARGIN - 5}" y="{up}" text-anchor="end">{share * most_y:.3g}</text>'
        )
    for number, points in enumerate(series.values()):
        colour = COLOURS[number % len(COLOURS)]
        line = " ".join(place(x, y) for x, y in sorted(points))
        parts.append(f'<polyline points="{line}" fill="none" stroke="{colour}" stroke-width="2"/>')
        for x, y in points:
            across, up = place(x, y).split(",")
            parts.append(f'<circle cx="{across}" cy="{up}" r="3" fill="{colour}"/>')
    return "\n".join(parts)
