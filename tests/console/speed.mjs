// How long the pages take on a store of many calls: `CALLS=1000000 node run.mjs speed.mjs`. Prints the
// median and the slowest of ROUNDS; asserts nothing of times.

import fs from 'node:fs';
import path from 'node:path';
import { A1, sid } from './harness.mjs';

const CALLS = Number(process.env.CALLS ?? 20_000);
const ROUNDS = Number(process.env.ROUNDS ?? 15);
const STATUSES = ['completed', 'completed', 'completed', 'completed', 'busy', 'no-answer', 'failed'];
const SIP = { completed: 200, busy: 486, 'no-answer': 487, failed: 503 };
const TRUNKS = ['Twilio', 'Telnyx EU', 'BT', 'Colt'];
const DAY = 86_400_000;

// Numbers that look drawn, and are the same in each run.
let state = 1;
const draw = (most) => {
  state = (state * 48_271) % 2_147_483_647;
  return state % most;
};

/** A month of calls, as lines for an import. */
function calls(file) {
  const out = fs.openSync(file, 'w');
  const now = Date.now();
  let part = [];
  for (let n = 0; n < CALLS; n += 1) {
    const begun = now - 660_000 - Math.floor((n * 30 * DAY) / CALLS);
    const status = STATUSES[draw(STATUSES.length)];
    const lasted = status === 'completed' ? draw(600) : 0;
    const outbound = draw(3) === 0;
    const [far, own] = [`+1${2_000_000_000 + draw(7_000_000) * 1000 + draw(1000)}`, `+1800555${String(draw(200)).padStart(4, '0')}`];
    part.push(JSON.stringify({
      account_sid: A1,
      call_sid: sid(n),
      call_id: `${n.toString(36)}-${draw(1_000_000)}@10.0.0.9`,
      call_status: status,
      direction: outbound ? 'outbound' : 'inbound',
      from: outbound ? own : far,
      to: outbound ? far : own,
      service_url: 'http://10.0.0.5:3000',
      sip_status: SIP[status],
      originating_sip_trunk_name: TRUNKS[draw(TRUNKS.length)],
      duration: lasted,
      attempted_at: new Date(begun).toISOString(),
      ...(status === 'completed' ? { answered_at: new Date(begun + 4000).toISOString() } : {}),
      terminated_at: new Date(begun + 4000 + lasted * 1000).toISOString(),
    }));
    if (part.length === 10_000 || n === CALLS - 1) {
      fs.writeSync(out, `${part.join('\n')}\n`);
      part = [];
    }
  }
  fs.closeSync(out);
}

export async function before(server) {
  const file = path.join(process.env.DATA, 'calls.ndjson');
  calls(file);
  const begun = Date.now();
  server.rollcall('import', file);
  console.log(`        ${CALLS} calls imported in ${((Date.now() - begun) / 1000).toFixed(1)} s`);
  fs.rmSync(file);
  // What is old is counted by the store once, in its idle time.
  const idle = Date.now();
  for (let quick = 0; quick < 3 && Date.now() - idle < 300_000;) {
    const asked = performance.now();
    await server.api(`/v1/Accounts/${A1}/CallStats?interval=day&group=status&start=${new Date(Date.now() - 30 * DAY).toISOString()}`);
    quick = performance.now() - asked < 60 ? quick + 1 : 0;
    await new Promise((resolve) => setTimeout(resolve, 1000));
  }
  console.log(`        counted for statistics after ${((Date.now() - idle) / 1000).toFixed(0)} s more`);
}

const shown = [];

async function timed(name, most, once) {
  const times = [];
  for (let round = 0; round < ROUNDS; round += 1) times.push(await once(round));
  times.sort((a, b) => a - b);
  const [median, slowest] = [times[Math.floor(times.length / 2)], times.at(-1)];
  shown.push(`        ${name.padEnd(52)} ${median.toFixed(0).padStart(6)} ms, slowest ${slowest.toFixed(0)} (asked ${most})`);
  console.log(shown.at(-1));
}

/** From the beginning of a page to its first frame with `selector`. */
const opened = (page, address, selector) => page.goto(address, { waitUntil: 'commit' }).then(() => page.evaluate((what) => new Promise((resolve) => {
  const look = () => (document.querySelector(what) ? requestAnimationFrame(() => resolve(performance.now())) : requestAnimationFrame(look));
  look();
}), selector));

/** From a click on a link to `address` to the frame in which the page shows what it is of. */
const followed = (page, address, wanted) => page.evaluate(([to, what]) => new Promise((resolve) => {
  const link = document.createElement('a');
  link.href = to;
  document.getElementById('page').append(link);
  const begun = performance.now();
  link.click();
  link.remove();
  const look = () => {
    const { selector, gone, text } = what;
    const found = document.querySelector(selector);
    const is = found && (!gone || !document.querySelector(gone)) && (!text || found.textContent.includes(text));
    if (is) requestAnimationFrame(() => resolve(performance.now() - begun));
    else requestAnimationFrame(look);
  };
  requestAnimationFrame(look);
}), [address, wanted]);

const ROWS = { selector: '.calls [data-row]', gone: '.calls.old' };

async function history(t) {
  const page = await t.signedIn({ at: '/console/history' });
  await page.locator('.calls [data-row]').first().waitFor();
  await timed('History, from the address to the first rows', 300, () => opened(page, `${t.url}/console/history`, ROWS.selector));
  await timed('History, from another page to the first rows', 300, async () => {
    await followed(page, '/console/operation', { selector: '.as-of' });
    return followed(page, '/console/history', ROWS);
  });
  const filters = {
    'a status': (n) => `callStatus=${['busy', 'failed', 'completed', 'no-answer'][n % 4]}`,
    'a direction and a status': (n) => `direction=${n % 2 ? 'inbound' : 'outbound'}&callStatus=failed`,
    'a trunk': (n) => `trunk=${encodeURIComponent(TRUNKS[n % 4])}`,
    'a day': (n) => `start=${new Date(Date.now() - (n + 2) * DAY).toISOString()}&end=${new Date(Date.now() - (n + 1) * DAY).toISOString()}`,
    'a duration of at least': (n) => `duration_min=${300 + n}`,
    'a SIP status class': (n) => `sip_status=${['4xx', '5xx'][n % 2]}`,
  };
  for (const [name, query] of Object.entries(filters)) {
    await timed(`filter to rows: ${name}`, 150, async (n) => {
      await followed(page, '/console/history?q=nothinghasthis', { selector: '.empty', gone: '.calls' });
      return followed(page, `/console/history?${query(n)}`, ROWS);
    });
  }
  const searches = {
    'a whole number': (number) => number,
    'six digits of a number': (number) => number.slice(4, 10),
    'four digits of a number': (number) => number.slice(5, 9),
    'three digits of a number': (number) => number.slice(6, 9),
  };
  const numbers = (await t.api(`/v1/Accounts/${A1}/Calls?limit=50&direction=inbound`)).json.map((call) => call.from);
  for (const [name, text] of Object.entries(searches)) {
    await timed(`search to rows: ${name}`, 150, async (n) => {
      await followed(page, '/console/history?q=nothinghasthis', { selector: '.empty', gone: '.calls' });
      return followed(page, `/console/history?q=${encodeURIComponent(text(numbers[n]))}`, ROWS);
    });
  }
  await timed('typing four digits, from the last key to the rows', 270, async (n) => {
    await followed(page, '/console/history?q=nothinghasthis', { selector: '.empty', gone: '.calls' });
    const text = numbers[n].slice(5, 9);
    await page.locator('input[type=search]').fill('');
    await page.locator('.calls [data-row]').first().waitFor();
    await page.locator('input[type=search]').pressSequentially(text, { delay: 30 });
    return page.evaluate((typed) => new Promise((resolve) => {
      const begun = performance.now();
      const look = () => (location.search.includes(`q=${typed}`) && document.querySelector('.calls [data-row]') && !document.querySelector('.calls.old') && !document.querySelector('.search-note .dots') ? requestAnimationFrame(() => resolve(performance.now() - begun)) : requestAnimationFrame(look));
      look();
    }), text);
  });
}

async function statistics(t) {
  const page = await t.signedIn({ at: '/console/statistics' });
  const drawn = { selector: '.figures .chart svg' };
  await page.locator(drawn.selector).first().waitFor();
  for (const [range, name] of [['24h', 'last 24 hours'], ['7d', 'last 7 days'], ['30d', 'last 30 days']]) {
    await timed(`Statistics: ${name}`, 200, async () => {
      await followed(page, '/console/operation', { selector: '.as-of' });
      return followed(page, `/console/statistics?range=${range}`, drawn);
    });
    await timed(`Statistics: ${name}, with all rankings`, '-', async () => {
      await followed(page, '/console/operation', { selector: '.as-of' });
      return followed(page, `/console/statistics?range=${range}`, { ...drawn, gone: '.waiting, .tops [aria-busy=true]' });
    });
  }
}

async function counts(t) {
  const key = `/v1/Accounts/${A1}/Calls?limit=1&count=true`;
  for (const [name, query] of [['all', ''], ['of a status', '&callStatus=failed'], ['that have 123', '&q=123'], ['that have 2345', '&q=2345'], ['of at least 300 s', '&duration_min=300'], ['of a trunk', '&trunk=BT']]) {
    const begun = performance.now();
    const { headers } = await t.api(key + query);
    console.log(`        calls ${name}: ${headers['x-total-count'] ?? ''} counted in ${(performance.now() - begun).toFixed(0)} ms`);
  }
}

async function live(t) {
  const page = await t.signedIn();
  await page.locator('.live-calls, .empty').first().waitFor();
  await timed('Live, from the address to its counts', 300, () => opened(page, `${t.url}/console/`, '.live-all b'));
}

export const tests = [['History', history], ['Statistics', statistics], ['counts', counts], ['Live', live]];
