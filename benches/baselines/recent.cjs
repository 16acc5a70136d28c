// jambonz's own way of its recent calls, without its checks of who asks: what the SBC does at the end of a
// call, and jambonz-api-server for a page. INFLUX_PORT says where InfluxDB is.
//
//   node recent.cjs fill FILE    takes calls that have ended, one JSON object a line
//   node recent.cjs serve PORT   GET /v1/Accounts/SID/RecentCalls?page&count&days&start&end&direction&…

'use strict';
const http = require('node:http');
const fs = require('node:fs');
const readline = require('node:readline');
const quiet = {info() {}, debug() {}, error: console.error};
const {writeCdrs, queryCdrs} =
  require('@jambonz/time-series')(quiet, {host: '127.0.0.1', port: process.env.INFLUX_PORT});

// Records that are written at a time.
const BATCH = 5000;

function record(call) {
  const at = (name) => (call[name] ? Date.parse(call[name]) : 0);
  const answered = call.call_status === 'completed';
  return {
    service_provider_sid: '2708b1b3-2736-40ea-b502-c53d8396247f', account_sid: call.account_sid,
    direction: call.direction, host: '10.0.0.5:5060', trunk: call.originating_sip_trunk_name, answered,
    attempted_at: at('attempted_at'), answered_at: at('answered_at'), terminated_at: at('terminated_at'),
    call_sid: call.call_sid, application_sid: call.application_sid, from: call.from, to: call.to,
    sip_callid: call.call_id, sip_status: call.sip_status, duration: call.duration || 0,
    termination_reason: answered ? 'caller hungup' : 'failed', remote_host: '203.0.113.9',
    trace_id: call.trace_id
  };
}

async function fill(file) {
  let waiting = [];
  const write = async() => {
    if (waiting.length) await writeCdrs(waiting);
    waiting = [];
  };
  for await (const line of readline.createInterface({input: fs.createReadStream(file)})) {
    waiting.push(record(JSON.parse(line)));
    if (waiting.length === BATCH) await write();
  }
  await write();
}

function serve(port) {
  http.createServer(async(req, res) => {
    const url = new URL(req.url, 'http://localhost');
    const {page, count, trunk, direction, days, answered, start, end, filter} =
      Object.fromEntries(url.searchParams);
    const asked = {
      account_sid: url.pathname.split('/')[3], page, page_size: count, trunk, direction, answered, days, filter,
      start: days ? undefined : start, end: days ? undefined : end
    };
    try {
      const body = JSON.stringify(await queryCdrs(asked));
      res.writeHead(200, {'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body)});
      res.end(body);
    } catch (err) {
      const body = JSON.stringify({msg: err.message});
      res.writeHead(500, {'Content-Type': 'application/json', 'Content-Length': Buffer.byteLength(body)});
      res.end(body);
    }
  }).listen(port, '127.0.0.1');
}

const [word, ...rest] = process.argv.slice(2);
({serve, fill})[word](...rest);
