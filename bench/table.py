"""Collect the figures of a run and format them as a Markdown table."""

from collections import defaultdict
from dataclasses import dataclass
from statistics import median

NAMES = {"sqlite": "SQLite", "postgres": "Postgres"}


@dataclass(frozen=True)
class Figure:
    """A row of the table. `digits` is the number of decimal places."""

    label: str
    less_is_better: bool = False
    digits: int = 0


class Table:
    """The values of each figure by database and server: numbers, or a reason as text."""

    def __init__(self):
        self._values = defaultdict(list)
        self._figures = {}

    def add(self, figure, database, server, value):
        """Add the value of one round, and print it."""
        self._figures[figure] = None
        self._values[figure, database, server].append(value)
        text = value if isinstance(value, str) else f"{value:,.{figure.digits}f}"
        print(f"{NAMES[database]}, {server}, {figure.label}: {text}", flush=True)

    def markdown(self, databases, servers):
        """Return the table: medians, and the first server's ratio to the best other one."""
        head = ["median of the rounds"]
        for database in databases:
            head += [f"{NAMES[database]}: {servers[0]}", *servers[1:], "× the best peer"]
        lines = [head, ["---"] + ["---:"] * (len(head) - 1)]
        for figure in self._figures:
            cells = [figure.label]
            for database in databases:
                values = [self._values[figure, database, server] for server in servers]
                cells += [_format(figure, each) for each in values] + [_ratio(figure, *values)]
            lines.append(cells)
        return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _numbers(values):
    """Return the numbers, or an empty list unless most rounds have one."""
    numbers = [value for value in values if not isinstance(value, str)]
    return numbers if 2 * len(numbers) > len(values) else []


def _format(figure, values):
    numbers = _numbers(values)
    if not numbers:
        return "; ".join(dict.fromkeys(value for value in values if isinstance(value, str))) or "–"
    text = f"{median(numbers):,.{figure.digits}f}"
    # Show the range if the rounds differ by more than a quarter.
    if max(numbers) - min(numbers) > abs(median(numbers)) / 4:
        text += f" ({min(numbers):,.{figure.digits}f} to {max(numbers):,.{figure.digits}f})"
    return text


def _ratio(figure, ours, *peers):
    medians = [median(numbers) for peer in peers if (numbers := _numbers(peer))]
    if not medians or not _numbers(ours):
        return "only ours" if any(peers) and _numbers(ours) else "–"
    better, worse = median(ours), max(medians)
    if figure.less_is_better:
        better, worse = min(medians), median(ours)
    return f"{better / worse:.1f}" if worse > 0 else "–"
