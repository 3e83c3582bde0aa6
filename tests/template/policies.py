"""An evaluation of the statements that the roles of template.yaml have, by the rules of the IAM User Guide.

AWS documents `dynamodb:EnclosingOperation` in a transaction ("Using IAM with DynamoDB transactions"), and no value of
`dynamodb:LeadingKeys`. `READINGS` are the values that it may have there.
"""

import fnmatch

LEADING_KEYS, ENCLOSING = "dynamodb:LeadingKeys", "dynamodb:EnclosingOperation"

# The leading keys with which IAM evaluates the action `verb` on `key`, one of the `items` (verb, key) of a transaction.
READINGS = {
    "the key of the item": lambda items, verb, key: [key],
    "the keys of the verb": lambda items, verb, key: [k for v, k in items if v == verb],
    "the keys of the transaction": lambda items, verb, key: [k for _, k in items],
    "no key": lambda items, verb, key: [],
}

# "Multivalued context keys": without a value, ForAllValues holds and ForAnyValue does not.
SETS = {"ForAllValues": all, "ForAnyValue": any}
COMPARISONS = {"StringEquals": str.__eq__, "StringLike": fnmatch.fnmatchcase}


def holds(condition, context):
    """The value of a statement's `Condition` for a request whose keys have the values `context` (name → list)."""
    for operator, keys in condition.items():
        for name, wanted in keys.items():
            values = context.get(name, [])
            if operator == "Null":
                assert wanted in ("true", "false"), wanted
                if (not values) != (wanted == "true"):
                    return False
                continue
            kind, comparison = operator.split(":")
            matches = COMPARISONS[comparison]
            if not SETS[kind](any(matches(value, pattern) for pattern in wanted) for value in values):
                return False
    return True


def allows(statements, resource, verb, keys=(), operation=None):
    """Whether the statements allow the action `verb` on items of a table, alone or within another operation."""
    context = {LEADING_KEYS: list(keys), ENCLOSING: [operation] if operation else []}
    assert all(statement["Effect"] == "Allow" for statement in statements)
    return any(
        statement["Resource"] == resource
        and verb in statement["Action"]
        and holds(statement.get("Condition", {}), context)
        for statement in statements
    )
