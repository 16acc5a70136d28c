// Writes CDRs with the influx client of npm, as jambonz's own package uses it: the database is asked for
// and made, then each call is a point with its tags and fields.
//
//   node cdrs.cjs MODULE PORT FIRST CALLS [CA]
//
// MODULE is the client: influx or influx-5-9. CALLS calls from number FIRST. With the file CA over HTTPS.
'use strict';

const { readFileSync } = require('node:fs');
const [name, port, first, calls, ca] = process.argv.slice(2);
const Influx = require(name);
const https = ca && { protocol: 'https', options: { ca: readFileSync(ca) } };
const account = '9351f46a-678c-43f5-b8a6-d4eb58d131af';
const begin = 1795849200123;
const { STRING, INTEGER } = Influx.FieldType;

const client = new Influx.InfluxDB({
  host: '127.0.0.1', port: Number(port), ...https, username: 'rc-user', password: 'rc-pass', database: 'cdrs',
  schema: [{
    measurement: 'cdrs',
    fields: {
      call_sid: STRING, application_sid: STRING, from: STRING, to: STRING, sip_callid: STRING,
      sip_status: INTEGER, duration: INTEGER, terminated_at: INTEGER, termination_reason: STRING,
      remote_host: STRING, answered_at: INTEGER,
    },
    tags: ['service_provider_sid', 'account_sid', 'host', 'trunk', 'direction', 'answered'],
  }],
});

async function main() {
  const names = await client.getDatabaseNames();
  if (!names.includes('cdrs')) throw new Error(`no database: ${names}`);
  await client.createDatabase('cdrs');
  const points = [];
  for (let n = Number(first); n < Number(first) + Number(calls); n++) {
    const at = begin + n * 10;
    points.push({
      measurement: 'cdrs',
      timestamp: new Date(at),
      tags: {
        direction: 'inbound', host: '198.51.100.7:5060', trunk: 'Carrier, "A" = 1', account_sid: account,
        service_provider_sid: undefined, answered: true,
      },
      fields: {
        call_sid: `c0000000-0000-4000-8000-${n.toString(16).padStart(12, '0')}`,
        from: `+1555${n}`, to: 'a "quoted", text\\', sip_callid: `node-${n}`, sip_status: 200, duration: 4,
        answered_at: at + 1000, terminated_at: at + 5000, termination_reason: 'caller hungup',
        remote_host: '203.0.113.9',
      },
    });
  }
  await client.writePoints(points);
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
