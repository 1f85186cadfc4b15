"""The figures as they come in, and the table that they make."""

import sys
from collections import defaultdict
from dataclasses import dataclass
from statistics import median

MORE, LESS, NEITHER = "more is better", "less is better", "not compared"
NAMES = {"sqlite": "SQLite", "postgres": "Postgres"}


@dataclass(frozen=True)
class Figure:
    """A row of the table. `digits` is how many there are after the point."""

    label: str
    better: str = MORE
    digits: int = 0


class Table:
    """What was measured: numbers, several rounds of each; words; or why there is nothing."""

    def __init__(self):
        self._found = defaultdict(list)
        self._figures = {}

    def add(self, figure, database, subject, value):
        """Take in the value of one round."""
        self._figures[figure] = None
        self._found[figure, database, subject].append(value)
        print(f"{database} {subject}: {figure.label}: {value}", file=sys.stderr, flush=True)

    def middle(self, figure, database, subject):
        """Return the median of a figure, or None if it was not measured."""
        values = self._found[figure, database, subject]
        return None if not values or isinstance(values[0], str) else median(values)

    def markdown(self, databases, subjects):
        """Return the table: a column for each subject, and how many times better ours is."""
        head = ["median of the rounds"]
        for database in databases:
            head += [f"{NAMES[database]}: {subjects[0]}"]
            for other in subjects[1:]:
                head += [other, f"× {other}"]
        lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
        for figure in self._figures:
            cells = [figure.label]
            for database in databases:
                cells += self._cells(figure, database, subjects)
            lines.append(cells)
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)

    def _cells(self, figure, database, subjects):
        ours, *others = ([*self._found[figure, database, subject]] for subject in subjects)
        cells = [_told(figure, ours)]
        for other in others:
            cells += [_told(figure, other), _times(figure, ours, other)]
        return cells


def _told(figure, values):
    numbers = [value for value in values if not isinstance(value, str)]
    if len(numbers) < len(values):
        return "; ".join(dict.fromkeys(map(str, values)))
    if not numbers:
        return ""
    middle, spread = median(numbers), max(numbers) - min(numbers)
    told = f"{middle:,.{figure.digits}f}"
    # A figure that did not repeat shall not look like one that did.
    if spread > abs(middle) / 4:
        told += f" ({min(numbers):,.{figure.digits}f} to {max(numbers):,.{figure.digits}f})"
    return told


def _times(figure, ours, other):
    if figure.better == NEITHER or not ours or not other:
        return ""
    if any(isinstance(value, str) for value in ours + other):
        return ""
    above, below = (ours, other) if figure.better == MORE else (other, ours)
    if min(median(above), median(below)) <= 0:
        return ""
    return f"{median(above) / median(below):.1f}"
