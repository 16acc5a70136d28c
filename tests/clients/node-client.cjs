// Drives rollcall with @jambonz/node-client, and prints what came of it as one line of JSON.
'use strict';

const assert = require('node:assert/strict');
const jambonz = require('@jambonz/node-client');

const env = process.env;
const baseUrl = env.JAMBONZ_BASE_URL;
const account = env.JAMBONZ_ACCOUNT_SID;
const client = jambonz(account, env.JAMBONZ_API_KEY, { baseUrl });
const nobody = 'c0000000-0000-4000-8000-ffffffffffff';

const UPDATES = [
  { call_hook: 'http://example.com/next' },
  { call_hook: { url: 'wss://example.com/next', method: 'POST' } },
  { child_call_hook: 'http://example.com/child' },
  { call_hook: 'http://example.com/a', child_call_hook: 'http://example.com/b' },
  { call_status: 'completed' },
  { call_status: 'no-answer' },
  { listen_status: 'pause' },
  { listen_status: 'silence' },
  { listen_status: 'resume' },
  { mute_status: 'mute' },
  { mute_status: 'unmute' },
  { conf_mute_status: 'mute' },
  { conf_mute_status: 'unmute' },
  { conf_hold_status: 'hold', waitHook: 'http://example.com/wait' },
  { conf_hold_status: 'unhold' },
  { whisper: { verb: 'say', text: 'You have 30 seconds remaining on this call.' } },
  { whisper: { verb: 'play', url: 'http://example.com/beep.mp3' }, mute_status: 'mute' },
  { sip_request: { method: 'INFO', content_type: 'text/plain', content: 'hällo' } },
  { dub: { verb: 'dub', action: 'addTrack', track: 'a' } },
];

// The client itself refuses what jambonz takes, where there is nothing else beside it.
const REFUSED = [
  { record: { action: 'pauseCallRecording' } },
  { dtmf: { digit: '1' } },
  { tag: { vip: true } },
  { media_path: 'no-media' },
];

const CALL = {
  from: '16172223333',
  to: { type: 'phone', number: '15083084808' },
  call_hook: 'http://example.com/myapp-webhook',
  call_status_hook: 'http://example.com/call-status',
  speech_synthesis_vendor: 'google',
  speech_synthesis_language: 'en-US',
  speech_synthesis_voice: 'en-US-Standard-C',
  speech_recognizer_vendor: 'google',
  speech_recognizer_language: 'en-US',
};

async function main() {
  const all = await client.calls.list();
  const lists = [[{}, all.map((call) => call.call_sid)]];
  // The client has no filters: it ignores the argument.
  assert.deepEqual(await client.calls.list({ direction: 'inbound' }), all);
  for (const call of all) {
    assert.deepEqual(await client.calls.retrieve(call.call_sid), call);
  }
  await assert.rejects(client.calls.retrieve(nobody), /sid .* not found/);

  const updates = [];
  for (const kind of ['/s202', '/s200', '/s204']) {
    const { call_sid } = all.find((call) => call.service_url.endsWith(kind));
    for (const body of UPDATES) {
      await client.calls.update(call_sid, body);
      updates.push([call_sid, kind, body]);
    }
  }
  for (const body of REFUSED) {
    await assert.rejects(client.calls.update(all[0].call_sid, body), /invalid request/);
  }
  await assert.rejects(
    client.calls.update(nobody, { mute_status: 'mute' }), { statusCode: 404 });

  const created = await client.calls.create(CALL);
  // The example of the client's README: jambonz wants the speech settings too.
  const { from, to, call_hook, call_status_hook } = CALL;
  await assert.rejects(
    client.calls.create({ from, to, call_hook, call_status_hook }), { statusCode: 400 });

  const deleted = all.at(-1).call_sid;
  await client.calls.delete(deleted);
  await assert.rejects(client.calls.retrieve(deleted), /sid .* not found/);
  await assert.rejects(client.calls.delete(deleted), { statusCode: 404 });
  assert.equal((await client.calls.list()).length, all.length - 1);

  const stranger = jambonz(account, 'wrong', { baseUrl });
  await assert.rejects(stranger.calls.list(), { statusCode: 401 });
  const elsewhere = jambonz(env.OTHER_ACCOUNT_SID, env.JAMBONZ_API_KEY, { baseUrl });
  await assert.rejects(elsewhere.calls.list(), { statusCode: 403 });

  const other = jambonz(env.OTHER_ACCOUNT_SID, env.OTHER_API_KEY, { baseUrl });
  const others = (await other.calls.list()).map((call) => call.call_status);
  console.log(JSON.stringify({ lists, updates, creates: [[CALL, created]], deleted, others }));
}

main();
