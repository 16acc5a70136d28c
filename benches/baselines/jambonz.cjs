// jambonz's own way of a call, without its checks of who asks: what jambonz-api-server does for a
// list, and jambonz-feature-server for a change of status. JAMBONES_REDIS_PORT says where Redis is.
//
//   node jambonz.cjs fill FILE                 takes calls, one JSON object a line
//   node jambonz.cjs serve PORT                GET /v1/Accounts/SID/Calls?direction&from&to&callStatus
//   node jambonz.cjs events SECONDS IN_FLIGHT  prints what was durably updated

'use strict';
const http = require('node:http');
const fs = require('node:fs');
const readline = require('node:readline');
const quiet = {info() {}, debug() {}, error: console.error};
const {client, updateCallStatus, listCalls} =
  require('@jambonz/realtimedb-helpers')({host: '127.0.0.1', port: process.env.JAMBONES_REDIS_PORT}, quiet);

const camel = (key) => key.replace(/_([a-z])/g, (_, letter) => letter.toUpperCase());
const snake = (key) => key.replace(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
const renamed = (object, rename) =>
  Object.fromEntries(Object.entries(object).map(([key, value]) => [rename(key), value]));

// As coerceNumbers of jambonz-api-server: Redis knows texts alone.
function numbers(call) {
  if (call.duration) call.duration = parseInt(call.duration);
  if (call.sip_status) call.sip_status = parseInt(call.sip_status);
  return call;
}

function serve(port) {
  http.createServer(async(req, res) => {
    const url = new URL(req.url, 'http://localhost');
    const accountSid = url.pathname.split('/')[3];
    const {direction, from, to, callStatus} = Object.fromEntries(url.searchParams);
    const calls = await listCalls({accountSid, direction, from, to, callStatus});
    const body = JSON.stringify(calls.map((call) => numbers(renamed(call, snake))));
    res.writeHead(200, {'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body)});
    res.end(body);
  }).listen(port, '127.0.0.1');
}

// A call is listed from its first event, 100 Trying.
async function fill(file) {
  let waiting = [];
  for await (const line of readline.createInterface({input: fs.createReadStream(file)})) {
    const call = renamed(JSON.parse(line), camel);
    const first = {...call, callStatus: 'trying', sipStatus: 100};
    waiting.push(updateCallStatus(first, call.serviceUrl).then(() => updateCallStatus(call, call.serviceUrl)));
    if (waiting.length === 64) waiting = void await Promise.all(waiting) || [];
  }
  await Promise.all(waiting);
  client.disconnect();
}

const STEPS = [['trying', 100, 'Trying'], ['ringing', 180, 'Ringing'], ['in-progress', 200, 'OK'], ['completed', 200, 'OK']];

// The events of benches/harness/calls.rs, as the feature server hands them over.
function event(row, n, [callStatus, sipStatus, sipReason]) {
  const info = {
    callSid: `e${row.toString(16).padStart(7, '0')}-0000-4000-8000-${n.toString(16).padStart(12, '0')}`,
    direction: 'inbound', from: `+1555${String(n % 5000).padStart(7, '0')}`, to: '+15559999999',
    callId: `live-${n}@10.0.0.9`, sbcCallid: `sbc-${n}@10.0.0.9`, sipStatus, sipReason, callStatus,
    accountSid: 'a0000000-0000-4000-8000-000000000000', traceId: n.toString(16).padStart(32, '0'),
    applicationSid: '7087fe50-8acb-4f3b-b820-97b573723aab', fsSipAddress: '10.0.0.5:5060',
    originatingSipIp: '198.51.100.4', originatingSipTrunkName: 'Twilio'
  };
  return callStatus === 'completed' ? {...info, callTerminationBy: 'caller', duration: 45} : info;
}

async function events(seconds, inFlight) {
  const begun = process.hrtime.bigint();
  const since = () => Number(process.hrtime.bigint() - begun) / 1e9;
  const times = [];
  await Promise.all(Array.from({length: inFlight}, async(_, row) => {
    for (let n = 0; ; n++) {
      for (const step of STEPS) {
        const sent = since();
        if (sent > seconds) return;
        if (!await updateCallStatus(event(row, n, step), 'http://10.0.0.5:3000')) process.exit(1);
        times.push(since() - sent);
      }
    }
  }));
  const took = since();
  times.sort((a, b) => a - b);
  const at = (part) => times[Math.floor(times.length * part)] * 1000;
  console.log(JSON.stringify({events: times.length, seconds: took, p50: at(0.5), p99: at(0.99), p999: at(0.999)}));
  client.disconnect();
}

const [word, ...rest] = process.argv.slice(2);
({serve, fill, events: (seconds, inFlight) => events(Number(seconds), Number(inFlight))})[word](...rest);
