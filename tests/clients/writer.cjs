// Writes calls into Redis with jambonz's own package, and prints the sid and the status of each state
// that Redis has taken, one a line.
//
//   node writer.cjs FIRST CALLS RATE GAP
//
// CALLS calls from number FIRST, RATE of them begun a second, GAP milliseconds between the states of one.
'use strict';

const quiet = { info() {}, debug() {}, error() {} };
const { client, updateCallStatus } = require('@jambonz/realtimedb-helpers')(
  { host: '127.0.0.1', port: process.env.REDIS_PORT, maxRetriesPerRequest: null }, quiet);

const [first, calls, rate, gap] = process.argv.slice(2).map(Number);
const account = '9351f46a-678c-43f5-b8a6-d4eb58d131af';
const service = 'http://10.0.0.5:3000';
const hex = (n) => n.toString(16).padStart(12, '0');
const sid = (n) => `c0000000-0000-4000-8000-${hex(n)}`;
const pause = (ms) => new Promise((resolve) => setTimeout(resolve, ms));

const TRYING = { callStatus: 'trying', sipStatus: 100, sipReason: 'Trying' };
const RINGING = { callStatus: 'ringing', sipStatus: 180, sipReason: 'Ringing' };
const EARLY = { callStatus: 'early-media', sipStatus: 183, sipReason: 'Session Progress' };
const UP = { callStatus: 'in-progress', sipStatus: 200, sipReason: 'OK' };
const WAYS = [
  [TRYING, RINGING, UP, { ...UP, callStatus: 'completed', duration: 43, callTerminationBy: 'caller' }],
  [TRYING, EARLY, UP, { ...UP, callStatus: 'completed', duration: 7 }],
  [TRYING, RINGING, EARLY, { callStatus: 'busy', sipStatus: 486, sipReason: 'Busy Here' }],
  [TRYING, EARLY, RINGING, { callStatus: 'no-answer', sipStatus: 487, sipReason: 'Request Terminated' }],
];

// An A leg, or the B leg that it dials, which is written with other keys.
function leg(n) {
  const common = {
    callSid: sid(n), accountSid: account, applicationSid: '7087fe50-8acb-4f3b-b820-97b573723aab',
    callId: `writer-${n}@10.0.0.9`, from: `+1555${String(n).padStart(7, '0')}`, to: '+15559999999',
    traceId: n.toString(16).padStart(32, '0'), customerData: { kept: false }, callerName: n % 4 ? 'ä' : '',
  };
  return n % 2
    ? { ...common, direction: 'outbound', parentCallSid: sid(n - 1), hasRecording: false,
        localSipAddress: '10.0.0.5:5060' }
    : { ...common, direction: 'inbound', sbcCallid: `sbc-${n}@10.0.0.9`, fsSipAddress: '10.0.0.5:5060',
        originatingSipIp: '198.51.100.4', originatingSipTrunkName: 'Twilio' };
}

async function call(n) {
  const info = leg(n);
  for (const state of WAYS[Math.floor(n / 2) % WAYS.length]) {
    if (await updateCallStatus({ ...info, ...state }, service)) {
      process.stdout.write(`${info.callSid} ${state.callStatus}\n`);
    }
    await pause(gap);
  }
}

(async() => {
  const running = [];
  for (let n = first; n < first + calls; n++) {
    running.push(call(n));
    await pause(1000 / rate);
  }
  await Promise.all(running);
  client.disconnect();
})();
