"""Drives rollcall with jambonz-sdk, and prints what came of it as one line of JSON."""

import asyncio
import json
import os
from json import JSONDecodeError

from jambonz import AsyncJambonzClient, JambonzClient
from jambonz.exceptions import JambonzAPIError, JambonzAuthError, JambonzNotFoundError
from pydantic import ValidationError

NOBODY = "c0000000-0000-4000-8000-ffffffffffff"
UPDATES = [
    {"call_hook": "http://example.com/next"},
    {"call_hook": "http://example.com/a", "child_call_hook": "http://example.com/b"},
    {"call_status": "completed"},
    {"call_status": "no-answer"},
    {"listen_status": "silence"},
    {"transcribe_status": "pause"},
    {"mute_status": "mute"},
    {"conf_mute_status": "unmute"},
    {"conf_hold_status": "hold", "waitHook": "http://example.com/wait"},
    {"whisper": {"verb": "say", "text": "hällo"}},
    {"sip_request": {"method": "INFO", "content_type": "text/plain", "content": "x"}},
    {"record": {"action": "pauseCallRecording"}},
    {"dtmf": {"digit": "1"}},
    {"tag": {"vip": True}},
]
CALL = {
    "to": {"type": "phone", "number": "15083084808"},
    "call_hook": "http://example.com/app",
    "call_status_hook": "http://example.com/status",
    "speech_synthesis_vendor": "google",
    "speech_synthesis_language": "en-US",
    "speech_synthesis_voice": "en-US-Standard-C",
    "speech_recognizer_vendor": "google",
    "speech_recognizer_language": "en-US",
}


def fails(kind, call, status=None):
    """The call is to fail so."""
    try:
        call()
    except kind as error:
        assert status is None or error.status_code == status, error
    else:
        raise AssertionError(f"no {kind.__name__}")


def sids(calls):
    return [str(call.call_sid) for call in calls]


def lists(client):
    every = client.calls.list()
    filters = [{}]
    for name, key in [
        ("direction", "direction"),
        ("from", "from_"),
        ("to", "to"),
        ("callStatus", "call_status"),
    ]:
        values = dict.fromkeys(getattr(call, key) for call in every)
        filters += [{name: getattr(value, "value", value)} for value in values]
    return every, [[asked, sids(client.calls.list(**asked))] for asked in filters]


def update(client, every):
    done = []
    for kind in ["/s202", "/s200"]:
        sid = next(str(call.call_sid) for call in every if call.service_url.endswith(kind))
        for body in UPDATES:
            client.calls.update(sid, **body)
            done.append([sid, kind, body])
    # The client reads a body where 204 has none.
    sid = next(str(call.call_sid) for call in every if call.service_url.endswith("/s204"))
    fails(JSONDecodeError, lambda: client.calls.update(sid, **UPDATES[0]))
    done.append([sid, "/s204", UPDATES[0]])
    fails(JambonzNotFoundError, lambda: client.calls.update(NOBODY, **UPDATES[0]), 404)
    fails(JambonzAPIError, lambda: client.calls.update(sid), 400)
    return done


async def asynchronously(asked):
    async with AsyncJambonzClient() as client:
        return sids(await client.calls.list(**asked))


def main():
    other, other_key = os.environ["OTHER_ACCOUNT_SID"], os.environ["OTHER_API_KEY"]
    # The account, the token and the URL are in the environment.
    with JambonzClient() as client:
        every, seen = lists(client)
        for asked, expected in seen:
            assert asyncio.run(asynchronously(asked)) == expected
        for call in every:
            assert client.calls.get(str(call.call_sid)) == call
        fails(JambonzNotFoundError, lambda: client.calls.get(NOBODY), 404)
        updates = update(client, every)
        created = client.calls.create(from_="15551230000", **CALL).sid
        fails(JambonzAPIError, lambda: client.calls.create(from_="1", to=CALL["to"]), 400)
        deleted = str(every[-1].call_sid)
        client.calls.delete(deleted)
        fails(JambonzNotFoundError, lambda: client.calls.get(deleted), 404)
        fails(JambonzNotFoundError, lambda: client.calls.delete(deleted), 404)
    with JambonzClient(api_key="wrong") as client:
        fails(JambonzAuthError, client.calls.list, 401)
    with JambonzClient(account_sid=other) as client:
        fails(JambonzAuthError, client.calls.list, 403)
    with JambonzClient(account_sid=other, api_key=other_key) as client:
        # The client does not know the status early-media, which the other account has.
        fails(ValidationError, client.calls.list)
        calls = client.calls.list(callStatus="ringing")
    answer = {
        "lists": seen,
        "updates": updates,
        "creates": [[{"from": "15551230000", **CALL}, created]],
        "deleted": deleted,
        "others": [call.call_status.value for call in calls],
    }
    print(json.dumps(answer))


main()
