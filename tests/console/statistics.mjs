// Statistics: what the page shows is what the API says.

import assert from 'node:assert/strict';
import { until } from './harness.mjs';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

const ACCOUNT = 'e0000000-0000-4000-8000-000000000021';
// The clocks of Berlin go back in the second of these nights.
const RANGE = 'start=2026-10-23T22:00:00Z&end=2026-10-26T23:00:00Z';
const STATUSES = ['completed', 'no-answer', 'busy', 'failed'];
const HOSTILE = '<img src=x onerror=alert(1)>"\'\u202Egnirts';

/** Calls of three days that are over, so that no figure changes meanwhile. */
function calls() {
  const made = [];
  for (let n = 0; n < 400; n += 1) {
    const at = Date.parse('2026-10-23T22:00:00Z') + ((n * 7919) % 4380) * 60_000;
    const status = STATUSES[n % 7 < 4 ? 0 : (n % 3) + 1];
    const time = (seconds) => new Date(at + seconds * 1000).toISOString();
    const call = {
      account_sid: ACCOUNT, call_id: `cid-${n}@192.0.2.1`, call_sid: `e0000000-0000-4000-8000-${String(n).padStart(12, '0')}`,
      call_status: status, direction: n % 3 ? 'inbound' : 'outbound', from: n % 5 ? `+4930${100_000 + (n % 40)}` : 'alice',
      to: [`+1555${1_000_000 + (n % 9)}`, `+44207${100_000 + (n % 4)}`, 'sip:carol@example.org'][n % 3],
      service_url: 'http://192.0.2.1:3000', sip_status: { completed: 200, 'no-answer': 480, busy: 486, failed: 503 }[status],
      attempted_at: time(0), terminated_at: time(status === 'completed' ? 20 + (n % 90) : 10), duration: status === 'completed' ? 10 + (n % 90) : 0,
    };
    if (status === 'completed') call.answered_at = time(10);
    if (n % 4) call.originating_sip_trunk_name = ['BT', 'Twilio, Inc.', HOSTILE][n % 3];
    if (n % 2) call.application_sid = `a0000000-0000-4000-8000-00000000000${n % 3}`;
    made.push(JSON.stringify(call));
  }
  return `${made.join('\n')}\n`;
}

async function prepared(t) {
  const dir = mkdtempSync(path.join(tmpdir(), 'rollcall-statistics-'));
  try {
    writeFileSync(path.join(dir, 'calls.ndjson'), calls());
    await t.rollcall('import', path.join(dir, 'calls.ndjson'));
  } finally {
    rmSync(dir, { recursive: true });
  }
  return { timezone: 'Europe/Berlin', locale: 'en-GB' };
}

const stats = async (t, query) => (await t.api(`/v1/Accounts/${ACCOUNT}/CallStats?${query}`)).json;
const at = (more = '') => `/console/statistics?account=${ACCOUNT}&${RANGE}${more}`;
const cells = (page, rows) => page.locator(rows).evaluateAll((all) => all.map((row) => [...row.children].map((cell) => cell.textContent.trim())));
// What is invisible is shown by its code point.
const visible = (text) => text.replace('\u202e', '⟨U+202E⟩');
const plain = (text) => Number(text.replaceAll(',', ''));
const historyTotal = async (t, address) => {
  const query = new URL(address, t.url).searchParams;
  const account = query.get('account');
  query.delete('account');
  const answer = await t.api(`/v1/Accounts/${account}/CallStats?group=direction&${query}`);
  return answer.json.calls;
};

async function tableAndFileAreTheApis(t) {
  const page = await t.signedIn(await prepared(t));
  await page.goto(t.url + at('&view=table&interval=hour'));
  await page.locator('.data tfoot').waitFor();
  const said = await stats(t, `${RANGE}&interval=hour&group=status&time_zone=Europe/Berlin`);
  // A day of 25 hours is among them.
  assert.equal(said.buckets.length, 73);
  const head = await page.locator('.data thead th').allTextContents();
  assert.deepEqual(head, ['Time', 'Completed', 'No answer', 'Busy', 'Failed', 'Calls', 'Answered', 'Ratio', 'Mean', 'Minutes', 'Peak']);
  const count = (of, status) => of.groups.find((group) => group.status === status)?.calls ?? 0;
  const counts = (of) => [...STATUSES.map((status) => count(of, status)), of.calls, of.answered];
  const rows = await cells(page, '.data tbody tr');
  assert.deepEqual(rows.map((row) => row.slice(1, 7).map(plain)), said.buckets.map(counts));
  assert.deepEqual(rows.map((row) => plain(row[10])), said.buckets.map(({ peak }) => peak));
  const [all] = await cells(page, '.data tfoot tr');
  assert.deepEqual(all.slice(1, 7).map(plain), counts(said));
  assert.equal(all[7], `${((said.answered / said.calls) * 100).toFixed(1)}%`);
  const twice = rows.filter((row) => row[0].startsWith('Sun 25 Oct, 02:00'));
  assert.equal(twice.length, 2, 'the hour that comes twice');

  const [download] = await Promise.all([page.waitForEvent('download'), page.getByRole('button', { name: 'CSV', exact: true }).click()]);
  const lines = readFileSync(await download.path(), 'utf8').split('\r\n');
  assert.equal(lines[0], 'start,end,completed,no-answer,busy,failed,calls,answered,answered_ratio,mean_seconds,minutes,peak');
  assert.equal(lines.length, 73 + 2);
  said.buckets.forEach((bucket, n) => {
    const line = lines[n + 1].split(',');
    assert.deepEqual(line.slice(0, 2), [bucket.start, bucket.end]);
    assert.deepEqual(line.slice(2, 8).map(Number), counts(bucket));
    assert.equal(Number(line[11]), bucket.peak);
  });
}

async function tilesCompareWithTheTimeBefore(t) {
  const page = await t.signedIn(await prepared(t));
  // Two days, and the two before.
  await page.goto(`${t.url}/console/statistics?account=${ACCOUNT}&start=2026-10-25T23:00:00Z&end=2026-10-26T23:00:00Z`);
  const now = await stats(t, 'start=2026-10-25T23:00:00Z&end=2026-10-26T23:00:00Z&group=status');
  const then = await stats(t, 'start=2026-10-24T22:00:00Z&end=2026-10-25T23:00:00Z&group=status');
  const tile = page.locator('.tile', { hasText: 'Calls' });
  await page.locator('.tile-then', { hasText: `from ${then.calls}` }).waitFor();
  assert.equal(plain(await tile.locator('.tile-value').textContent()), now.calls);
  const way = now.calls > then.calls ? 'up by' : 'down by';
  assert.match(await tile.locator('.tile-change').textContent(), new RegExp(way));
  await page.locator('.tile', { hasText: 'Answered' }).getByText(`${now.answered} of ${now.calls}`, { exact: true }).waitFor();
  // Beside next to nothing, percent say nothing.
  const change = (...of) => page.evaluate(async (figures) => {
    const main = document.querySelector('script[src$="main.js"]').src;
    return (await import(main.replace('main.js', 'statistics/measures.js'))).MEASURES.calls.change(...figures);
  }, of);
  assert.deepEqual([await change(3651, 2), await change(19, 2)], [['up', '1,826 times'], ['up', '850%']]);
}

async function aBarSaysItsNumbersAndLeadsToItsCalls(t) {
  const page = await t.signedIn(await prepared(t));
  await page.goto(t.url + at('&interval=day'));
  await page.locator('.chart svg path.st-completed').waitFor();
  const said = await stats(t, `${RANGE}&interval=day&group=status&time_zone=Europe/Berlin`);
  const bar = page.locator('.chart-bar');
  const sentence = (bucket, name) => `${name}: ${['failed', 'busy', 'no-answer', 'completed']
    .map((status) => [{ failed: 'Failed', busy: 'Busy', 'no-answer': 'No answer', completed: 'Completed' }[status], bucket.groups.find((group) => group.status === status)?.calls])
    .filter(([, calls]) => calls).map(([text, calls]) => `${text} ${calls}`).join(', ')}, Total ${bucket.calls}`;
  await page.locator('.choice label', { hasText: 'Table' }).locator('input').focus();
  await page.keyboard.press('Tab');
  await page.getByRole('button', { name: 'CSV', exact: true }).focus();
  await page.keyboard.press('Tab');
  assert.equal(await bar.getAttribute('aria-label'), sentence(said.buckets[2], 'Mon 26 Oct'));
  await page.keyboard.press('ArrowLeft');
  assert.equal(await bar.getAttribute('aria-label'), sentence(said.buckets[1], 'Sun 25 Oct'));
  assert.equal(await page.locator('.chart [aria-live]').textContent(), sentence(said.buckets[1], 'Sun 25 Oct'));
  assert.equal(await historyTotal(t, await bar.getAttribute('href')), said.buckets[1].calls);
  // Down one part of the bar: that of failed calls.
  await page.keyboard.press('ArrowDown');
  const failed = said.buckets[1].groups.find(({ status }) => status === 'failed').calls;
  assert.equal(await bar.getAttribute('aria-label'), `Sun 25 Oct: Failed ${failed}`);
  assert.equal(await historyTotal(t, await bar.getAttribute('href')), failed);
  const [y, m, d] = ['start', 'end', 'callStatus'];
  await page.keyboard.press('Enter');
  await page.waitForURL(/\/console\/history\?/);
  const query = new URL(page.url()).searchParams;
  assert.deepEqual([y, m, d].map((key) => query.get(key)), ['2026-10-24T22:00:00Z', '2026-10-25T23:00:00Z', 'failed']);

  // The same by pointer.
  await page.goBack();
  await page.locator('.chart svg path.st-completed').waitFor();
  const box = await page.locator('.chart').boundingBox();
  await page.mouse.move(box.x + box.width / 2, box.y + box.height - 30);
  const tip = page.locator('.chart-tip');
  assert.equal(await tip.locator('strong').textContent(), 'Sun 25 Oct');
  assert.equal(await tip.locator('tr.on').textContent(), `Completed${said.buckets[1].groups.find(({ status }) => status === 'completed').calls}`);
  await page.mouse.click(box.x + box.width / 2, box.y + box.height - 30);
  await page.waitForURL(/callStatus=completed/);
}

async function rankingsAreTheApis(t) {
  const page = await t.signedIn(await prepared(t));
  await page.goto(t.url + at());
  for (const [title, group] of [['Most called', 'to'], ['Most calls from', 'from'], ['Destinations', 'to_country'], ['Trunks', 'trunk'], ['Applications', 'application']]) {
    const card = page.getByRole('region', { name: title, exact: true });
    await card.locator('.hbars').waitFor();
    const said = await stats(t, `${RANGE}&group=${group}&top=10`);
    const rows = await card.locator('tbody tr').evaluateAll((all) => all.map((row) => [
      (row.querySelector('bdi') ?? row.querySelector('th')).textContent, row.querySelector('td').textContent, row.querySelector('a')?.getAttribute('href'), row.querySelector('a')?.title,
    ]));
    const named = said.groups.map((of) => [of[group], of.calls]);
    assert.deepEqual(rows.slice(0, named.length).map(([, calls]) => plain(calls)), named.map(([, calls]) => calls), title);
    for (const [n, [name, calls]] of named.entries()) {
      if (!name) continue;
      // There is no room for a sid: it keeps its begin and its end.
      assert.equal(rows[n][0], group === 'application' ? `${name.slice(0, 6)}…${name.slice(-6)}` : visible(name));
      assert.equal(rows[n][3], visible(name));
      assert.equal(await historyTotal(t, rows[n][2]), calls, `${title}: ${name}`);
    }
    if (said.other) assert.equal(plain(rows.at(-1)[1]), said.other.calls);
  }
  // Hostile names are texts.
  assert.equal(await page.locator('main img').count(), 0);
  await page.locator('.tops select').selectOption('failed');
  const failed = await stats(t, `${RANGE}&group=to&top=10&callStatus=failed`);
  const called = page.getByRole('region', { name: 'Most called', exact: true });
  await called.getByRole('columnheader', { name: 'Share' }).waitFor();
  const shares = failed.groups.map(({ to, calls }) => [to, String(calls), `${((calls / failed.calls) * 100).toFixed(1)}%`]);
  await page.waitForFunction(([all, wanted]) => JSON.stringify([...all.querySelectorAll('tbody tr')]
    .map((row) => [row.querySelector('bdi').textContent, ...[...row.querySelectorAll('td')].map((cell) => cell.textContent)])) === wanted,
  [await called.elementHandle(), JSON.stringify(shares)]);
}

const isRanking = (request) => new URL(request.url()).searchParams.get('top') === '10';

async function rankingsWaitForTheFiguresAndAreCancelled(t) {
  const page = await t.signedIn(await prepared(t));
  const asked = [];
  const ended = [];
  page.on('request', (request) => isRanking(request) && asked.push(request));
  page.on('requestfailed', (request) => isRanking(request) && ended.push(request));
  // Held are the figures, or the rankings, until they are let go.
  let holds = 'figures';
  let held = [];
  await page.route((url) => url.pathname.endsWith(`${ACCOUNT}/CallStats`), (route) => {
    const query = new URL(route.request().url()).searchParams;
    const is = query.has('interval') ? 'figures' : query.get('top') === '10' ? 'rankings' : '';
    if (is === holds) held.push(route);
    else route.continue().catch(() => {});
  });
  const letGo = () => {
    for (const route of held) route.continue().catch(() => {});
    held = [];
  };
  await page.goto(t.url + at());
  await until(() => held.length > 0, 'that the figures are asked for');
  const frames = () => page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 50)))));
  await frames();
  assert.equal(asked.length, 0, 'rankings before the figures');
  letGo();
  await page.locator('.tops .hbars').nth(4).waitFor();
  assert.equal(asked.length, 5);
  // The same where another time, or another filter, is chosen.
  const direction = page.locator('.setting', { hasText: 'Direction' }).locator('select');
  await direction.selectOption('inbound');
  await until(() => held.length > 0, 'that the new figures are asked for');
  await frames();
  assert.equal(asked.length, 5, 'rankings before the new figures');
  holds = 'rankings';
  letGo();
  await until(() => asked.length === 10, 'the new rankings');
  // What nobody waits for any more is cancelled: by another filter, and by another page.
  await direction.selectOption('outbound');
  await until(() => ended.length === 5 && asked.length === 15, 'that the rankings of inbound calls are cancelled');
  await page.getByRole('link', { name: 'History', exact: true }).click();
  await until(() => ended.length === 10, 'that the rankings of outbound calls are cancelled');
}

/** What the server still counts for clients that have gone. */
async function theServerStopsWhereNobodyWaits(t) {
  const dir = mkdtempSync(path.join(tmpdir(), 'rollcall-statistics-'));
  const account = 'e0000000-0000-4000-8000-000000000022';
  const lines = [];
  for (let n = 0; n < 20_000; n += 1) {
    const begun = new Date(Date.parse('2026-09-01T00:00:00Z') + n * 60_000).toISOString();
    lines.push(JSON.stringify({
      account_sid: account, call_sid: `e1000000-0000-4000-8000-${String(n).padStart(12, '0')}`, call_status: 'completed', direction: 'inbound',
      from: `+49301${n}`, to: '+18005550100', attempted_at: begun, terminated_at: begun, duration: 0,
    }));
  }
  try {
    writeFileSync(path.join(dir, 'calls.ndjson'), `${lines.join('\n')}\n`);
    t.rollcall('import', path.join(dir, 'calls.ndjson'));
  } finally {
    rmSync(dir, { recursive: true });
  }
  const read = async () => Number(/^rollcall_rows_read_total(?:\{[^}]*\})? (\S+)$/m.exec((await t.api('/metrics')).text)[1]);
  const address = (n) => `/v1/Accounts/${account}/CallStats?group=from&top=10&start=2026-09-01T00:00:${String(n).padStart(2, '0')}Z`;
  const steady = async () => {
    let before = -1;
    await until(async () => {
      const now = await read();
      const same = now === before;
      before = now;
      await new Promise((resolve) => setTimeout(resolve, 400));
      return same;
    }, 'that nothing is read');
    return before;
  };
  const page = await t.signedIn();
  await page.goto(`${t.url}/console/operation`);
  const begun = await steady();
  assert.equal((await t.api(address(0))).json.calls, 20_000);
  const one = (await steady()) - begun;
  assert.ok(one >= 20_000, `${one} rows of one question`);
  const from = await steady();
  await page.evaluate((paths) => {
    window.leave = new AbortController();
    for (const asked of paths) fetch(asked, { signal: window.leave.signal }).catch(() => {});
  }, Array.from({ length: 30 }, (_, n) => address(n + 1)));
  await until(async () => (await read()) > from, 'that the server counts');
  await page.evaluate(() => window.leave.abort());
  const rows = (await steady()) - from;
  assert.ok(rows < one * 20, `${rows} rows of 30 questions that nobody waits for, ${one} each`);
}

async function tooManyToRankIsSaidOnceWithAWayOut(t) {
  const page = await t.signedIn(await prepared(t));
  // As the server says it of more than it holds at a time.
  const words = 'more than 192841 groups; expected fewer words, a narrower search, or a shorter time (start, end)';
  const source = readFileSync(new URL('../../src/http/stats.rs', import.meta.url), 'utf8').replace(/\\\s+/g, '');
  assert.ok(source.includes(words.replace('192841', '{groups}')));
  await page.route((url) => ['from', 'to'].includes(url.searchParams.get('group')), (route) => {
    const { searchParams } = new URL(route.request().url());
    if (searchParams.get('start') > '2026-10-25T22') return route.continue();
    return route.fulfill({ status: 400, json: { msg: `group "${searchParams.get('group')}": ${words}` } });
  });
  await page.goto(t.url + at());
  const note = page.locator('.tops .note');
  await note.filter({ hasText: '“Most called” and “Most calls from” cannot be shown: there are too many different ones' }).waitFor();
  assert.equal(await note.count(), 1);
  assert.equal(await page.getByText(/groups|narrower/).count(), 0);
  await page.locator('.tops .hbars').nth(2).waitFor();
  await t.axe(page);
  await note.getByRole('button', { name: 'Show the last 24 hours of it' }).click();
  await until(() => new URL(page.url()).searchParams.get('start') === '2026-10-25T23:00:00Z', 'the last day');
  await page.locator('.tops .hbars').nth(4).waitFor();
  assert.equal(await note.count(), 0);
  // A time that goes on becomes a shorter one that goes on.
  await page.unrouteAll();
  await page.route((url) => url.searchParams.get('group') === 'from', (route) => route.fulfill({ status: 400, json: { msg: `group "from": ${words}` } }));
  await t.events([{
    account_sid: ACCOUNT, call_sid: 'e2000000-0000-4000-8000-000000000001', direction: 'inbound', from: '+15551230001', to: '+18005550100',
    call_id: 'cid-now@192.0.2.1', call_status: 'busy', sip_status: 486,
  }]);
  await page.goto(`${t.url}/console/statistics?account=${ACCOUNT}&range=30d`);
  await page.getByRole('button', { name: 'Show the last 7 days' }).click();
  await page.waitForURL(/range=7d/);
  await page.getByRole('button', { name: 'Show the last 24 hours' }).click();
  await page.waitForURL(/range=24h/);
}

async function anOlderAnswerNeverReplacesANewerOne(t) {
  const page = await t.signedIn(await prepared(t));
  let release;
  const held = new Promise((resolve) => { release = resolve; });
  await page.goto(t.url + at());
  await page.locator('.tile-value').first().waitFor();
  await page.route((url) => url.pathname.endsWith('/CallStats') && url.searchParams.get('direction') === 'inbound' && url.searchParams.has('interval'), async (route) => {
    await held;
    await route.continue().catch(() => {});
  });
  const direction = page.locator('.setting', { hasText: 'Direction' }).locator('select');
  await direction.selectOption('inbound');
  await page.locator('[aria-busy=true]').first().waitFor();
  await direction.selectOption('outbound');
  const outbound = (await stats(t, `${RANGE}&group=status&direction=outbound`)).calls;
  const calls = page.locator('.tile-value').first();
  await page.waitForFunction((n) => document.querySelector('.tile-value').textContent === n, String(outbound));
  release();
  await page.locator('.tops .hbars').first().waitFor();
  assert.equal(await calls.textContent(), String(outbound));
}

async function aLostConnectionIsMended(t) {
  const page = await t.signedIn(await prepared(t));
  await page.goto(t.url + at());
  await page.locator('.tile-value').first().waitFor();
  await page.context().setOffline(true);
  await page.locator('.setting', { hasText: 'Direction' }).locator('select').selectOption('outbound');
  await page.locator('.lost').waitFor();
  await page.context().setOffline(false);
  await page.locator('.lost').waitFor({ state: 'detached' });
  const outbound = (await stats(t, `${RANGE}&group=status&direction=outbound`)).calls;
  await page.waitForFunction((n) => document.querySelector('.tile-value').textContent === n, String(outbound));
  await page.locator('.note.bad').first().waitFor({ state: 'detached' });
}

async function otherScriptsKeepTheirPlaces(t) {
  const page = await t.signedIn({ ...await prepared(t), locale: 'ar-EG' });
  await page.goto(t.url + at('&view=table'));
  const value = page.locator('.tile', { hasText: 'Answered' }).locator('.tile-value');
  await value.waitFor();
  // The ratio stands before "so many of so many", and the part before the whole.
  const places = await value.evaluate((element) => {
    const left = (node, from, to) => {
      const part = document.createRange();
      part.setStart(node, from);
      part.setEnd(node, to);
      return part.getBoundingClientRect().left;
    };
    const note = element.querySelector('small').firstChild;
    const of = note.data.indexOf(' of ');
    return [left(element.firstChild, 0, element.firstChild.length), left(note, 0, of), left(note, of, of + 4), left(note, of + 4, note.length)];
  });
  assert.deepEqual(places, [...places].sort((a, b) => a - b));
  const numbers = await cells(page, '.data tbody tr');
  assert.equal(numbers.flatMap((row) => row.slice(1, 6)).join('').match(/[0-9]/), null, 'digits of one script');
  // No mark of that is shown as if it were one of a call.
  await page.goto(`${t.url}/console/calls/${ACCOUNT}/e0000000-0000-4000-8000-000000000001`);
  await page.getByText('All fields').waitFor();
  assert.equal(await page.getByText('⟨U+2068⟩').count(), 0);
}

async function filesRunNothing(t) {
  const page = await t.signedIn(await prepared(t));
  const module = await page.evaluate(() => document.querySelector('script[type=module]').src.replace('main.js', 'csv.js'));
  const file = (value) => page.evaluate(async ([address, one]) => (await import(address)).csv([[one]]), [module, value]);
  for (const text of ['=1', '+1+1', '-1', '@a', '\t=1', ' =1', '＝1', '＋1', '－1', '＠a', '\u200b=1', "'a", '\0=1']) assert.ok(/^"?'/.test(await file(text)), JSON.stringify(text));
  assert.equal(await file('\n=1'), '"\'\n=1"\r\n');
  for (const text of ['+15551234567', 'BT', 'a-b', '', -1.5, 0]) assert.equal(await file(text), `${text}\r\n`);
}

async function periodsAreWholeDaysOfTheZone(t) {
  const page = await t.signedIn(await prepared(t));
  const module = await page.evaluate(() => document.querySelector('script[type=module]').src.replace('main.js', 'period.js'));
  const of = (query, zone, now) => page.evaluate(async ([address, text, clock, time]) => {
    const { period, intervals } = await import(address);
    const found = period(new URLSearchParams(text), clock, new Date(time));
    const shown = (range) => [range.start, range.end].map((edge) => edge.toISOString().slice(0, 16));
    return [...shown(found), ...shown(found.before), intervals(found).usual];
  }, [module, query, zone, now]);
  const noon = '2026-10-26T11:30:20Z';
  for (const [query, zone, wanted] of [
    ['range=today', 'local', ['2026-10-25T23:00', '2026-10-26T23:00', '2026-10-24T22:00', '2026-10-25T11:30', 'hour']],
    ['range=yesterday', 'local', ['2026-10-24T22:00', '2026-10-25T23:00', '2026-10-23T22:00', '2026-10-24T22:00', 'hour']],
    ['range=7d', 'local', ['2026-10-19T22:00', '2026-10-26T23:00', '2026-10-12T22:00', '2026-10-19T10:30', 'hour']],
    ['range=last-week', 'utc', ['2026-10-19T00:00', '2026-10-26T00:00', '2026-10-12T00:00', '2026-10-19T00:00', 'hour']],
    ['range=30d', 'utc', ['2026-09-27T00:00', '2026-10-27T00:00', '2026-08-28T00:00', '2026-09-26T11:30', 'day']],
    ['range=24h', 'utc', ['2026-10-25T12:00', '2026-10-26T12:00', '2026-10-24T12:00', '2026-10-25T11:30', 'hour']],
    ['range=month', 'local', ['2026-09-30T22:00', '2026-10-31T23:00', '2026-08-31T22:00', '2026-09-26T10:30', 'day']],
    ['range=month', 'utc', ['2026-10-01T00:00', '2026-11-01T00:00', '2026-09-01T00:00', '2026-09-26T11:30', 'day']],
    ['range=last-month', 'utc', ['2026-09-01T00:00', '2026-10-01T00:00', '2026-08-01T00:00', '2026-09-01T00:00', 'day']],
    ['start=2026-10-24T22:00:00Z&end=2026-10-25T23:00:00Z', 'local', ['2026-10-24T22:00', '2026-10-25T23:00', '2026-10-23T22:00', '2026-10-24T22:00', 'hour']],
    ['start=2026-10-25T10:15:00Z&end=2026-10-25T12:00:00Z', 'utc', ['2026-10-25T10:15', '2026-10-25T12:00', '2026-10-25T08:30', '2026-10-25T10:15', 'hour']],
    ['range=junk&start=junk', 'utc', ['2026-10-20T00:00', '2026-10-27T00:00', '2026-10-13T00:00', '2026-10-19T11:30', 'hour']],
  ]) assert.deepEqual(await of(query, zone, noon), wanted, `${query} ${zone}`);
}

async function historyHasTheSameTimes(t) {
  const page = await t.signedIn(await prepared(t));
  await page.goto(t.url + at());
  const times = page.locator('.setting', { hasText: 'Time' }).locator('select');
  await times.waitFor();
  const named = await times.locator('option').allTextContents();
  // Noon of a Monday, by the clock of Berlin.
  await page.clock.setFixedTime('2026-10-26T11:00:00Z');
  await page.goto(`${t.url}/console/history?account=${ACCOUNT}`);
  await page.getByRole('button', { name: 'Time: Any time' }).click();
  const offered = await page.locator('.range .menu-item').allTextContents();
  assert.deepEqual(offered, ['Any time', 'Last hour', ...named.filter((name) => name !== 'From, to…')]);
  const module = await page.evaluate(() => document.querySelector('script[type=module]').src.replace('main.js', 'range.js'));
  const of = (key, zone) => page.evaluate(async ([address, name, clock]) => {
    const { start, end } = (await import(address)).range(new URLSearchParams({ range: name }), clock, new Date('2026-10-26T11:00:00Z'));
    return [start, end].map((edge) => edge && new Date(edge).toISOString().slice(0, 16));
  }, [module, key, zone]);
  for (const [key, zone, wanted] of [
    ['1h', 'local', ['2026-10-26T10:00', undefined]],
    ['24h', 'utc', ['2026-10-25T11:00', undefined]],
    ['today', 'local', ['2026-10-25T23:00', undefined]],
    ['yesterday', 'local', ['2026-10-24T22:00', '2026-10-25T23:00']],
    ['7d', 'utc', ['2026-10-20T00:00', undefined]],
    ['last-week', 'local', ['2026-10-18T22:00', '2026-10-25T23:00']],
    ['last-week', 'utc', ['2026-10-19T00:00', '2026-10-26T00:00']],
    ['90d', 'utc', ['2026-07-29T00:00', undefined]],
    ['month', 'local', ['2026-09-30T22:00', undefined]],
    ['last-month', 'utc', ['2026-09-01T00:00', '2026-10-01T00:00']],
  ]) assert.deepEqual(await of(key, zone), wanted, `${key} ${zone}`);
  await page.locator('.range').getByRole('button', { name: 'Last week' }).click();
  await page.waitForURL(/range=last-week/);
  await page.getByRole('button', { name: 'Time: Last week' }).waitFor();
}

async function whereThereIsNothingThePageSaysWhatToDo(t) {
  const page = await t.signedIn(await prepared(t));
  await page.goto(`${t.url}/console/statistics?account=${ACCOUNT}&start=2020-01-01T00:00:00Z&end=2020-01-02T00:00:00Z`);
  await page.getByRole('button', { name: 'Show the week before it' }).click();
  await page.locator('.chart svg path').first().waitFor();
  await page.goto(`${t.url}/console/statistics?account=e0000000-0000-4000-8000-0000000000ff`);
  await page.getByRole('heading', { name: 'No calls yet' }).waitFor();
  assert.match(await page.locator('.paste code').textContent(), /^https:\/\/.*\/v1\/hooks\/call-status/);
  // What the API refuses is said in its words.
  await page.goto(t.url + at('&direction=sideways'));
  await page.locator('.note.bad').first().filter({ hasText: 'sideways' }).waitFor();
}

async function isAccessibleAndPrints(t) {
  for (const colorScheme of ['light', 'dark']) {
    const page = await t.signedIn({ ...await prepared(t), colorScheme });
    for (const more of colorScheme === 'light' ? ['', '&view=table', '&measure=answered'] : ['']) {
      await page.goto(t.url + at(more));
      await page.locator('.tops .hbars').nth(4).waitFor();
      await t.axe(page);
    }
    await page.setViewportSize({ width: 390, height: 844 });
    // Once the charts have seen how wide they are.
    await until(async () => (await page.evaluate(() => document.documentElement.scrollWidth)) === 390, 'that nothing is wider than a telephone');
    await page.emulateMedia({ media: 'print' });
    assert.equal(await page.locator('.settings').isVisible(), false);
    assert.equal(await page.locator('.figures').isVisible(), true);
  }
}

export const tests = [
  ['the table and its file are what the API says', tableAndFileAreTheApis],
  ['tiles compare with the time before', tilesCompareWithTheTimeBefore],
  ['a bar says its numbers and leads to its calls', aBarSaysItsNumbersAndLeadsToItsCalls],
  ['rankings are what the API says', rankingsAreTheApis],
  ['rankings wait for the figures, and are cancelled where nobody waits', rankingsWaitForTheFiguresAndAreCancelled],
  ['the server stops counting where nobody waits', theServerStopsWhereNobodyWaits],
  ['too many to rank is said once, with a way out', tooManyToRankIsSaidOnceWithAWayOut],
  ['an older answer never replaces a newer one', anOlderAnswerNeverReplacesANewerOne],
  ['a lost connection is mended, and what was asked for is shown', aLostConnectionIsMended],
  ['numbers of other scripts keep their places', otherScriptsKeepTheirPlaces],
  ['a file runs nothing in a spreadsheet', filesRunNothing],
  ['periods are whole days of the zone', periodsAreWholeDaysOfTheZone],
  ['History has the same times', historyHasTheSameTimes],
  ['where there is nothing the page says what to do', whereThereIsNothingThePageSaysWhatToDo],
  ['statistics are accessible, fit a telephone and print', isAccessibleAndPrints],
];
