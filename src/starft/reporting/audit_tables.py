"""Numbers of ``audit.json`` and ``slices.json`` as tables of a terminal and of a page."""

from collections.abc import Mapping
from typing import Any

from starft.reporting.table import Table, percent, points

CLASSES = 4
"""Classes that a cell names."""


def attributes_table(told: Mapping[str, Any], most: int | None = None) -> Table:
    """Return the attributes, the strongest association with the label first.

    Args:
        told: What audit.json says.
        most: Rows at most; None for all.
    """
    rows = []
    for place, item in enumerate(told["attributes"][:most], 1):
        more = f" (+ {len(item['phrases']) - 1} that mean the same)" if len(item["phrases"]) > 1 else ""
        classes = ", ".join(item["classes"][:CLASSES]) + (", ..." if len(item["classes"]) > CLASSES else "")
        numbers = (f"{item['bits']:.3f}", f"{item['chance']:.3f}", f"{item['p_any']:.3f}", f"{item['images']:,}")
        rows.append((f"{place}", f"{item['name']}{more}", *numbers, classes if item["shortcut"] else ""))
    if len(told["attributes"]) > len(rows):
        rows.append(("", f"... and {len(told['attributes']) - len(rows)} more in audit.json", "", "", "", "", ""))
    return Table(("", "attribute", "bits", "chance", "p", "images", "goes with"), rows, align="rlrrrrl")


def slices_table(told: Mapping[str, Any], most: int | None = None) -> Table:
    """Return the slices.

    Args:
        told: What slices.json says.
        most: Rows at most; None for all.
    """
    compared = any(item["difference"] is not None for item in told["slices"])
    more = ("second model %", "difference") if compared else ()
    rows = []
    for item in told["slices"][:most]:
        low, high = item["interval"]
        cells = [item["words"], f"{item['size']:,}", percent(item["error"]), f"{percent(low)} to {percent(high)}"]
        cells += [percent(item["class_error"]), f"{item['q_value']:.2g}"]
        if (difference := item["difference"]) is not None:
            low, high = difference["interval"]
            change = f"{points(difference['value'])} ({points(low)} to {points(high)})"
            cells += [percent(item["second_error"]), change]
        rows.append(cells)
    headings = ("error slice", "images", "error %", "95 %", "of its classes %", "q", *more)
    return Table(headings, rows, title="slices of held-out images with more errors than their classes")


def groups_table(told: Mapping[str, Any]) -> Table:
    """Return the worst group of each set.

    Args:
        told: What slices.json says.
    """
    rows = []
    for name, item in told["inferred_groups"].items():
        worst, (low, high) = item["worst"], item["worst_interval"]
        by = f"{item['checked']} checked" if item["checked"] else "bounds"
        cells = (percent(worst["accuracy"]), percent(worst["corrected"]), f"{percent(low)} to {percent(high)}", by)
        rows.append((name, worst["name"], f"{worst['images']:,}", *cells))
    headings = ("set", "worst group (inferred)", "images", "accuracy %", "corrected %", "95 %", "by")
    return Table(
        headings, rows, title="accuracy of inferred groups: classes with and without their shortcut", align="llrrrrl"
    )
