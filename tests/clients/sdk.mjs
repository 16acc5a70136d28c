// Drives rollcall with @jambonz/sdk, and prints what came of it as one line of JSON.

import assert from 'node:assert/strict';
import { JambonzClient } from '@jambonz/sdk/client';

const env = process.env;
const baseUrl = env.JAMBONZ_BASE_URL;
const accountSid = env.JAMBONZ_ACCOUNT_SID;
const client = new JambonzClient({ baseUrl, accountSid, apiKey: env.JAMBONZ_API_KEY });
const nobody = 'c0000000-0000-4000-8000-ffffffffffff';

const say = { verb: 'say', text: 'You have 30 seconds remaining on this call.' };
const refer = { type: 'blind', target: { type: 'phone', number: '15083084808' } };

// Each way of updating that the client has, and the body that it makes of it.
const UPDATES = [
  [(sid) => client.calls.redirect(sid, 'http://example.com/next'),
    { call_hook: 'http://example.com/next' }],
  [(sid) => client.calls.whisper(sid, say), { whisper: say }],
  [(sid) => client.calls.mute(sid, 'mute'), { mute_status: 'mute' }],
  [(sid) => client.calls.mute(sid, 'unmute'), { mute_status: 'unmute' }],
  [(sid) => client.calls.updateAgent(sid, { text: 'the caller is a member' }),
    { agent_update: { text: 'the caller is a member' } }],
  [(sid) => client.calls.transfer(sid, refer), { transfer: refer }],
  [(sid) => client.calls.noiseIsolation(sid, 'disable'), { noise_isolation_status: 'disable' }],
  [(sid) => client.calls.noiseIsolation(sid, 'enable', { vendor: 'krisp', level: 0, model: 'm' }),
    {
      noise_isolation_status: 'enable',
      noise_isolation_vendor: 'krisp',
      noise_isolation_level: 0,
      noise_isolation_model: 'm',
    }],
  ...[
    { call_hook: 'http://example.com/a', child_call_hook: 'http://example.com/b' },
    { child_call_hook: { url: 'http://example.com/child', method: 'POST' } },
    { call_status: 'completed' },
    { call_status: 'no-answer' },
    { dub: { verb: 'dub', action: 'addTrack', track: 'a' } },
    { conf_mute_status: 'mute' },
    { conf_hold_status: 'hold' },
    { listen_status: 'silence' },
    { transcribe_status: 'pause' },
    { llm_status: 'move-to-conference', conference: 'room' },
    { room_say: { text: 'hällo', replace: true } },
    { room_play: { url: 'http://example.com/beep.mp3' } },
    { sip_request: { method: 'INFO', content_type: 'text/plain', content: 'x' } },
    { record: { action: 'startCallRecording', siprecServerURL: 'sip:10.0.0.9' } },
    { record: { action: 'stopCallRecording' } },
    { conferenceParticipantAction: { action: 'coach', tag: 'agent' } },
    { dtmf: { digit: '1', duration: 250 } },
    { tag: { vip: true } },
    { media_path: 'partial-media' },
  ].map((body) => [(sid) => client.calls.update(sid, body), body]),
];

const CALL = {
  from: '15551230000',
  to: { type: 'sip', sipUri: 'sip:bob@example.com' },
  call_hook: { url: 'wss://example.com/app', method: 'GET' },
  call_status_hook: 'https://example.com/status',
  headers: { 'X-Room': 'hällo' },
  tag: { order: 7 },
  timeout: 30,
  speech_synthesis_vendor: 'google',
  speech_synthesis_language: 'en-US',
  speech_synthesis_voice: 'en-US-Standard-C',
  speech_recognizer_vendor: 'google',
  speech_recognizer_language: 'en-US',
};

const all = await client.calls.list();
const filters = [{}];
for (const [name, key] of Object.entries(
  { direction: 'direction', from: 'from', to: 'to', callStatus: 'call_status' })) {
  const values = new Set(all.map((call) => call[key]));
  filters.push(...[...values].map((value) => ({ [name]: value })));
}
const [{ direction, from, to, call_status }] = all;
filters.push({ direction, from, to, callStatus: call_status }, { from: 'nobody' });
const lists = [];
for (const filter of filters) {
  const calls = await client.calls.list(filter);
  lists.push([filter, calls.map((call) => call.call_sid)]);
}
for (const call of all) {
  assert.deepEqual(await client.calls.get(call.call_sid), call);
}
await assert.rejects(client.calls.get(nobody), /GET .* failed: 404 Not Found: \{"msg":/);
await assert.rejects(client.calls.list({ callStatus: 'bogus' }), /failed: 400 .*callStatus/);
const count = await client.calls.count();

const updates = [];
for (const kind of ['/s202', '/s200', '/s204']) {
  const { call_sid } = all.find((call) => call.service_url.endsWith(kind));
  for (const [update, body] of UPDATES) {
    assert.equal(await update(call_sid), undefined);
    updates.push([call_sid, kind, body]);
  }
}
await assert.rejects(client.calls.mute(nobody, 'mute'), /PUT .* failed: 404/);
await assert.rejects(client.calls.update(all[0].call_sid, {}), /failed: 400 .*no valid options/);

const created = await client.calls.create(CALL);
await assert.rejects(client.calls.create({ to: CALL.to }), /POST .* failed: 400 .*missing from/);

const deleted = all.at(-1).call_sid;
await client.calls.delete(deleted);
await assert.rejects(client.calls.get(deleted), /failed: 404/);
await assert.rejects(client.calls.delete(deleted), /DELETE .* failed: 404/);

const apiKey = env.JAMBONZ_API_KEY;
const stranger = new JambonzClient({ baseUrl, accountSid, apiKey: 'wrong' });
await assert.rejects(stranger.calls.list(), /failed: 401 Unauthorized: \{"msg":"Unauthorized"\}/);
const elsewhere = new JambonzClient({ baseUrl, accountSid: env.OTHER_ACCOUNT_SID, apiKey });
await assert.rejects(elsewhere.calls.list(), /failed: 403/);

const other = new JambonzClient(
  { baseUrl, accountSid: env.OTHER_ACCOUNT_SID, apiKey: env.OTHER_API_KEY });
const others = (await other.calls.list()).map((call) => call.call_status);
console.log(
  JSON.stringify({ lists, count, updates, creates: [[CALL, created]], deleted, others }));
