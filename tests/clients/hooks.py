"""Leads schemathesis to calls that are there, teaches it to write NDJSON, and writes down how often
each operation was answered with each status."""

import atexit
import json
import os
from collections import Counter, defaultdict
from uuid import UUID

import schemathesis

ACCOUNT = "9351f46a-678c-43f5-b8a6-d4eb58d131af"
# Those that tests/it/clients/schema.rs posts.
CALLS = 1000

answers = defaultdict(Counter)


def number(sid):
    """What a sid is as a number; None where it is not a sid at all."""
    try:
        return UUID(sid).int if len(sid) == 36 else None
    except (AttributeError, TypeError, ValueError):
        return None


@schemathesis.hook
def before_call(ctx, case, kwargs):
    sids = case.path_parameters or {}
    account, call = number(sids.get("AccountSid")), number(sids.get("CallSid"))
    if account is not None and account % 8:
        sids["AccountSid"] = ACCOUNT
    if call is not None and call % 8:
        sids["CallSid"] = f"c0000000-0000-4000-8000-{call % CALLS:012x}"
    # Calls of new events are to be run by a server that there is: an update of others is 500 or 502.
    if case.path == "/v1/hooks/call-status":
        for event in case.body if isinstance(case.body, list) else [case.body]:
            if isinstance(event, dict):
                event.pop("serviceUrl", None)
                event["service_url"] = os.environ["SERVICE_URL"]


@schemathesis.serializer("application/x-ndjson")
def ndjson(ctx, value):
    text = value if isinstance(value, str) else json.dumps(value)
    return text.encode("utf-8", "replace")


@schemathesis.hook
def after_call(ctx, case, response):
    answers[case.operation.label][response.status_code] += 1


@atexit.register
def write_down():
    with open("answers.json", "w") as file:
        json.dump(answers, file)
