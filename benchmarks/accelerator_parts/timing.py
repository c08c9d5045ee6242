"""What the parts share: rows of two programs timed in pairs, and rows that one failure does not lose."""

import importlib
import statistics
import time

import paired


def optional(name):
    """Returns a module, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def seconds(call, rounds, most=2.0):
    """Times a call `rounds` times, and returns the median with bounds of a 95 % interval for it."""
    call()
    taken, begun = [], time.perf_counter()
    while len(taken) < 3 or (len(taken) < rounds and time.perf_counter() - begun < most):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    taken.sort()
    n = len(taken)
    away = round(0.98 * n**0.5)
    low, high = max(0, (n - 1) // 2 - away), min(n - 1, n // 2 + away)
    return statistics.median(taken), (taken[low], taken[high]), n


def alone(call, rounds):
    """Returns the cells of a row for one program."""
    median, bounds, n = seconds(call, rounds)
    return {"us": round(1e6 * median, 1), "us_95%": [round(1e6 * x, 1) for x in bounds], "rounds": n}


def against(ours, theirs, baseline, rounds):
    """Returns the cells of a row for two programs; a ratio above 1 says that ours is faster."""
    found = paired.compare(ours, theirs, rounds, at_least=2e-3, most_calls=50)
    us, baseline_us = found.pop("us")
    return {"us": us, "baseline_us": baseline_us, "baseline": baseline, **found, "rounds": rounds}


def rows(cases, done):
    """Yields a row for each key and function of cells; one that fails has its error in its row.

    Before each, `{"running": key}` is yielded, so that the record knows what a crash came from.
    """
    for key, cells in cases:
        if key in done:
            continue
        yield {"running": key}
        begun = time.perf_counter()
        try:
            row = cells()
        except Exception as error:
            row = {"error": f"{type(error).__name__}: {str(error).strip()[:300]}"}
        yield {"key": key, **row, "took_s": round(time.perf_counter() - begun, 1)}
