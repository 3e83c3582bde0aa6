"""The state of a CloudWatch alarm, as the user guide of CloudWatch documents its evaluation.

The chapters are "Alarm evaluation" (windows, M of N, several days), "Configuring how CloudWatch alarms treat missing
data" and "Using math expressions" (missing operands, FILL, IF). A metric is a dict of minutes, each with the values
that were sent in it.
"""

import ast
import math
import operator

DAY = 24 * 60
# The limit of the account that SERVICE_QUOTA returns.
QUOTA = 1000

COMPARED = {
    "GreaterThanThreshold": operator.gt,
    "GreaterThanOrEqualToThreshold": operator.ge,
    "LessThanThreshold": operator.lt,
    "LessThanOrEqualToThreshold": operator.le,
}


def statistic(name, values):
    """The value of a period; None if nothing was sent in it."""
    if not values:
        return None
    if name in ("Sum", "Maximum"):
        return {"Sum": sum, "Maximum": max}[name](values)
    assert name.startswith("p"), f"{name} is not simulated: add it here"
    return sorted(values)[math.ceil(float(name[1:]) / 100 * len(values)) - 1]


# --- Metric math ------------------------------------------------------------------------------------------------------
# A time series is a list with a value or None for each period, and a scalar is a number.


def each(function, *operands):
    """Applies an operator. A missing value is 0 beside one that exists; a division by zero drops the data point."""
    if not any(isinstance(o, list) for o in operands):
        return function(*operands)
    length = max(len(o) for o in operands if isinstance(o, list))
    result = []
    for i in range(length):
        given = [o[i] if isinstance(o, list) else o for o in operands]
        exists = any(v is not None for o, v in zip(operands, given, strict=True) if isinstance(o, list))
        try:
            result.append(float(function(*(0 if v is None else v for v in given))) if exists else None)
        except ZeroDivisionError:
            result.append(None)
    return result


def fill(series, filler):
    return [filler if value is None else value for value in series]


def if_(condition, then, otherwise):
    def at(operand, i):
        return operand[i] if isinstance(operand, list) else operand

    result = []
    for i, decided in enumerate(condition):
        if decided is None:
            result.append(None)
        elif decided:
            result.append(at(then, i) or 0)
        else:
            result.append(at(otherwise, i))
    return result


FUNCTIONS = {"FILL": fill, "IF": if_, "SERVICE_QUOTA": lambda series: [QUOTA] * len(series)}
OPERATORS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
}


def math_expression(text, series):
    """The value of an expression, whose syntax is a part of Python's."""

    def value(node):
        match node:
            case ast.Constant():
                return node.value
            case ast.Name():
                return series[node.id]
            case ast.BinOp():
                return each(OPERATORS[type(node.op)], value(node.left), value(node.right))
            case ast.Compare(ops=[op], comparators=[right]):
                return each(OPERATORS[type(op)], value(node.left), value(right))
            case ast.Call(func=ast.Name()):
                return FUNCTIONS[node.func.id](*map(value, node.args))
        raise ValueError(f"{ast.dump(node)} is not simulated: add it to alarms.py")

    return value(ast.parse(text, mode="eval").body)


# --- The alarm --------------------------------------------------------------------------------------------------------


def is_alarm(points, *, breaches, to_alarm, evaluated, missing_breaches):
    """Whether the state is ALARM after these data points of the evaluation range, oldest first."""
    existing = [breaches(point) for point in points if point is not None][-evaluated:]
    filled = [missing_breaches] * (evaluated - len(existing))
    return sum(existing + filled) >= to_alarm


def metrics_of(alarm):
    """The metrics of an alarm by their ids: `Metrics`, or the one that the alarm itself names."""
    if "Metrics" not in alarm:
        return {alarm["MetricName"]: (alarm, alarm.get("Statistic") or alarm["ExtendedStatistic"], alarm["Period"])}
    stats = {m["Id"]: m["MetricStat"] for m in alarm["Metrics"] if "MetricStat" in m}
    return {name: (stat["Metric"], stat["Stat"], stat["Period"]) for name, stat in stats.items()}


def in_alarm(alarm, series, now, late=0):
    """Whether the alarm is in ALARM at the end of the minute before `now`.

    `series` has the metrics by their ids. Values of the last `late` minutes have not arrived.
    """
    metrics = metrics_of(alarm)
    (period,) = {seconds // 60 for _, _, seconds in metrics.values()}
    evaluated = alarm["EvaluationPeriods"]
    # CloudWatch retrieves more data points than it evaluates; in the examples of the guide, two more.
    ends = [now - period * i for i in reversed(range(evaluated + 2))]

    def points(name):
        sent = {minute: values for minute, values in series.get(name, {}).items() if minute < now - late}
        windows = [[v for m, values in sent.items() if end - period <= m < end for v in values] for end in ends]
        return [statistic(metrics[name][1], window) for window in windows]

    found = {name: points(name) for name in metrics}
    expressions = [m["Expression"] for m in alarm.get("Metrics", []) if "Expression" in m]
    (result,) = [math_expression(text, found) for text in expressions] or found.values()
    return is_alarm(
        result,
        breaches=lambda point: COMPARED[alarm["ComparisonOperator"]](point, alarm["Threshold"]),
        to_alarm=alarm.get("DatapointsToAlarm", evaluated),
        evaluated=evaluated,
        missing_breaches=alarm["TreatMissingData"] == "breaching",
    )


def is_raised(alarm, series, first, last):
    """Whether the alarm is in ALARM at any of its evaluations between two minutes: hourly if it looks at days."""
    (period,) = {seconds // 60 for _, _, seconds in metrics_of(alarm).values()}
    step = 60 if period * alarm["EvaluationPeriods"] > DAY else 1
    return any(in_alarm(alarm, series, now) for now in range(first, last + 1, step))
