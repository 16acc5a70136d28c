// The pages as an operator uses them: sign-in, search, filters, long lists, a call, export.

import assert from 'node:assert/strict';
import fs from 'node:fs';
import { A1, A2, event, sid, until } from './harness.mjs';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const begun = Math.floor(Date.now() / MINUTE) * MINUTE;
const at = (ms) => new Date(begun + ms).toISOString();

const HOSTILE = '<script>window.hacked = 1</script><img src=x onerror="window.hacked = 2">';
const TURNED = '\u202egnp.exe\u202c \u05e9\u05dc\u05d5\u05dd';
const FAMILY = 20_001;

/** A family of calls: late and repeated events, a gap of 40 seconds, three B legs. */
function family() {
  const leg = (n, more) => (status, sip_status, seconds, rest = {}) =>
    event(n, status, { sip_status, at: at(-20 * MINUTE + seconds * 1000), application_sid: '7087fe50-8acb-4f3b-b820-97b573723aab', ...more, ...rest });
  const a = leg(FAMILY, { originating_sip_trunk_name: 'Twilio' });
  const b = (n, to) => leg(FAMILY + n, { parent_call_sid: sid(FAMILY), direction: 'outbound', to });
  const [b1, b2, b3] = [b(1, '+493022610'), b(2, 'sip:carol@example.org'), b(3, '+442079460950')];
  return [
    a('trying', 100, 0), a('ringing', 180, 1), a('ringing', 180, 2), a('in-progress', 200, 6),
    b1('trying', 100, 9), b1('ringing', 180, 10), b1('no-answer', 487, 50),
    b2('trying', 100, 52), b2('busy', 486, 53),
    b3('trying', 100, 55), b3('early-media', 183, 56), b3('in-progress', 200, 60), b3('completed', 200, 184, { duration: 124 }),
    a('completed', 200, 185, { duration: 179, sip_reason: 'OK', call_termination_by: 'caller' }), a('ringing', 180, 187),
  ];
}

export async function before(server) {
  server.rollcall('account', 'set', A1, '--name', 'Acme Telephony');
  server.rollcall('account', 'set', A2, '--name', 'Other');
  await server.events(family());
  // Ten thousand calls of a week, one a minute, every eighth of them busy.
  const calls = Array.from({ length: 10_000 }, (_, n) => event(n, n % 8 === 0 ? 'busy' : 'completed', {
    at: at(-2 * HOUR - n * MINUTE),
    sip_status: n % 8 === 0 ? 486 : 200,
    duration: n % 8 === 0 ? 0 : n % 600,
    from: `+1555${String(n).padStart(7, '0')}`,
    originating_sip_trunk_name: n % 3 === 0 ? 'Twilio' : 'BT',
  }));
  await server.events(calls);
  const strange = { from: HOSTILE, to: TURNED, sip_reason: HOSTILE, originating_sip_trunk_name: HOSTILE, application_sid: HOSTILE };
  await server.events([
    event(20_100, 'completed', { ...strange, call_id: HOSTILE, caller_name: HOSTILE, customer_data: { text: HOSTILE, long: 'x'.repeat(5000) }, [HOSTILE]: 1, at: at(-2 * MINUTE) }),
    // Names that every object of JavaScript has.
    event(20_103, 'completed', { constructor: 'its own', toString: { a: 1 }, call_termination_by: 'constructor', from: '+15557654322', at: at(-6 * MINUTE) }),
    event(20_101, 'failed', { from: 'y'.repeat(900), to: `sip:${'z'.repeat(800)}@example.org`, note: 'w'.repeat(10_000), big: '', at: at(-3 * MINUTE) }),
    event(20_200, 'completed', { account_sid: A2, from: '+4989123456', at: at(-5 * MINUTE) }),
  ]);
  // A number that JSON.parse would change.
  const exact = JSON.stringify(event(20_102, 'completed', { at: at(-4 * MINUTE), from: '+15557654321', exact: 'N' }));
  await server.events(exact.replace('"N"', '12345678901234567'));
}

const search = (page) => page.getByRole('searchbox', { name: 'Search calls' });
const rows = (page) => page.locator('.calls [data-row]');

/** The numbers in the column of the callers. */
const callers = (page) => page.evaluate(() => [...document.querySelectorAll('.calls [data-row]')].map((row) => row.children[3].textContent));

const settled = (page) => until(async () => (await page.locator('.calls:not(.old)').count()) + (await page.locator('.empty').count()), 'rows');

async function signIn(t) {
  const page = await t.page();
  await page.goto(`${t.url}/console/history?callStatus=busy`);
  await page.getByLabel('Token', { exact: true }).fill('rc_wrong');
  await page.getByLabel('Token', { exact: true }).press('Enter');
  await page.getByText('This token is not known here').waitFor();
  await page.getByLabel('Token', { exact: true }).fill(t.admin);
  await page.getByRole('button', { name: 'Sign in' }).click();
  // Where it was meant to go.
  await rows(page).first().waitFor();
  assert.match(page.url(), /\/console\/history\?callStatus=busy$/);
  const kept = await page.evaluate(() => JSON.stringify({ ...localStorage, ...sessionStorage, cookie: document.cookie }));
  assert.ok(!kept.includes(t.admin) && !kept.includes('__Host'), kept);
  await page.getByRole('button', { name: 'You and this page' }).click();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
  await page.reload();
  await page.getByRole('heading', { name: 'Sign in' }).waitFor();
}

async function sessionOver(t) {
  const token = t.server.token('--admin', '--name', 'short');
  const page = await t.signedIn({ token, at: '/console/history?direction=inbound&trunk=Twilio' });
  // Nothing more is asked by itself.
  await page.getByText(/calls found$/).waitFor();
  const id = t.server.rollcall('token', 'list').split('\n').find((line) => line.includes('short')).trim().split(/\s+/)[0];
  t.server.rollcall('token', 'revoke', id);
  await search(page).fill('555000');
  await page.getByText('Your session is over').waitFor();
  await page.getByLabel('Token', { exact: true }).fill(t.admin);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await rows(page).first().waitFor();
  assert.match(page.url(), /direction=inbound&trunk=Twilio&q=555000$/);
}

async function typing(t) {
  const page = await t.signedIn({ at: '/console/history' });
  await rows(page).first().waitFor();
  await search(page).pressSequentially('+1 (555) 000-77', { delay: 15 });
  await until(async () => (await callers(page)).every((number) => number.startsWith('+155500077')), 'only what was sought');
  assert.equal(await page.locator('mark').first().textContent(), '155500077');
  await page.getByText('100 calls found').waitFor();
  assert.equal(new URL(page.url()).searchParams.get('q'), '+1 (555) 000-77');
  // Nothing is asked for two digits.
  await search(page).fill('55');
  await page.getByText('at least 3 letters or digits').waitFor();
  // A sid and a Call-ID are found as wholes.
  for (const [q, n] of [[sid(42), 1], ['cid-4321@10.0.0.9', 1]]) {
    await search(page).fill(q);
    await page.getByText(n === 1 ? '1 call found' : `${n} calls found`).waitFor();
  }
}

async function olderAnswers(t) {
  const page = await t.signedIn({ at: '/console/history' });
  await rows(page).first().waitFor();
  // The first answer comes long after the second.
  let release;
  const held = new Promise((resolve) => {
    release = resolve;
  });
  let reached;
  const asked = new Promise((resolve) => {
    reached = resolve;
  });
  await page.route(/Calls\?q=0009&/, async (route) => {
    reached();
    await held;
    await route.continue().catch(() => {});
  });
  await search(page).fill('0009');
  await asked;
  const given_up = page.waitForEvent('requestfailed', (request) => request.url().includes('q=0009&'));
  await search(page).fill('00091');
  await until(async () => (await callers(page)).every((number) => number.includes('00091')), 'the newer answer');
  await given_up;
  release();
  await page.getByText(/found$/).waitFor();
  assert.ok((await callers(page)).every((number) => number.includes('00091')));
}

async function filters(t) {
  const page = await t.signedIn({ at: '/console/history' });
  await rows(page).first().waitFor();
  await page.getByRole('button', { name: 'Status', exact: true }).click();
  // Its words do as well as its box, and the panel stays open.
  await page.locator('.panel').getByText('Busy', { exact: true }).click();
  await page.locator('.panel').getByText('Failed', { exact: true }).click();
  await page.waitForURL(/callStatus=busy,failed/);
  await page.locator('.panel').getByText('Failed', { exact: true }).click();
  assert.equal(await page.getByRole('checkbox', { name: 'Busy' }).isChecked(), true);
  await page.keyboard.press('Escape');
  await page.getByText('1,251 calls found').waitFor();
  await page.getByRole('button', { name: 'More filters' }).click();
  await page.getByRole('button', { name: 'Trunk', exact: true }).click();
  // What there is, with the number of calls.
  await page.locator('.known').getByText('Twilio').click();
  await page.getByText('417 calls found').waitFor();
  await page.getByRole('button', { name: /^Time/ }).click();
  // All of the panel is there, without scrolling.
  const panel = page.locator('.panel:has(.range)');
  assert.ok(await panel.evaluate((element) => element.scrollHeight <= element.clientHeight && element.getBoundingClientRect().bottom <= window.innerHeight));
  await page.getByRole('button', { name: 'Last 7 days' }).click();
  await page.waitForURL(/range=7d/);
  const address = new URL(page.url());
  assert.equal(`${address.searchParams.get('callStatus')} ${address.searchParams.get('trunk')} ${address.searchParams.get('range')}`, 'busy Twilio 7d');
  // The URL is the whole state.
  await settled(page);
  const shown = await callers(page);
  await page.reload();
  await settled(page);
  assert.deepEqual(await callers(page), shown);
  await page.goBack();
  await page.getByText('417 calls found').waitFor();
  await page.getByRole('button', { name: 'Remove the filter Trunk' }).click();
  await page.getByText('1,251 calls found').waitFor();
  // The pages of a range that moves with the clock are those of one list.
  await page.goto(`${t.url}/console/history?range=24h&trunk=BT`);
  await page.getByText(/calls found$/).waitFor();
  const found = Number((await page.locator('.history-count p').textContent()).replace(/\D/g, ''));
  assert.ok(found > 700);
  await until(async () => {
    await page.evaluate(() => window.scrollTo(0, document.body.scrollHeight));
    return (await page.getByText('These are all.').count()) === 1;
  }, 'the end of the day');
  // The last rows are drawn once the window is there.
  await page.evaluate(() => window.scrollTo(0, document.body.scrollHeight));
  const last = () => page.evaluate(() => Number([...document.querySelectorAll('[data-row]')].at(-1).dataset.row) + 1);
  await until(async () => (await last()) === found, `row ${found}`);
  await page.goto(`${t.url}/console/history?callStatus=busy&direction=outbound&trunk=None`);
  await page.getByText('No call fits').waitFor();
  // It has the number at another time.
  await page.goto(`${t.url}/console/history?q=5550000001&callStatus=busy`);
  await page.getByText('With these filters, nothing has 5550000001 in a number.').waitFor();
  await page.getByRole('button', { name: 'Show all calls' }).click();
  await rows(page).first().waitFor();
  assert.match(page.url(), /\/console\/history$/);
}

/** Scrolls to a place, and waits until the rows that are drawn are those of it. */
function scrolled(page, top) {
  return page.evaluate((to) => new Promise((resolve) => {
    window.scrollTo(0, to);
    requestAnimationFrame(() => requestAnimationFrame(resolve));
  }), top);
}

async function tenThousand(t) {
  const page = await t.signedIn({ at: `/console/history?account=${A1}` });
  await page.getByText('10,008 calls').waitFor();
  let most = 0;
  await until(async () => {
    await page.evaluate(() => window.scrollTo(0, document.body.scrollHeight));
    const drawn = await callers(page);
    most = Math.max(most, drawn.length);
    return drawn.at(-1) === '+15550009999';
  }, 'the end of the list');
  await page.getByText('These are all.').waitFor();
  assert.ok(most < 150, `${most} rows at a time`);
  // Each once, in order.
  const expected = (await t.api(`/v1/Accounts/${A1}/Calls`)).json.map((call) => call.call_sid);
  const seen = new Map();
  const height = await page.evaluate(() => window.innerHeight);
  const end = await page.evaluate(() => document.body.scrollHeight);
  for (let top = end; top > end - 20 * height; top -= height) {
    await scrolled(page, top);
    const here = await page.evaluate(() => [...document.querySelectorAll('.calls [data-row]')].map((row) => [Number(row.dataset.row), new URL(row.querySelector('a').href).pathname.split('/').at(-1)]));
    for (const [n, call] of here) {
      assert.ok(!seen.has(n) || seen.get(n) === call);
      seen.set(n, call);
    }
  }
  assert.ok(seen.size > 400, `${seen.size} rows`);
  for (const [n, call] of seen) assert.equal(call, expected[n], `row ${n}`);
  // Back from a call, the list is where it was.
  await scrolled(page, 60_000);
  const link = page.locator('.calls [data-row] .row-link').nth(30);
  await link.scrollIntoViewIfNeeded();
  const where = await page.evaluate(() => window.scrollY);
  await link.click();
  await page.getByText('All fields').waitFor();
  await page.goBack();
  await rows(page).first().waitFor();
  await until(async () => Math.abs((await page.evaluate(() => window.scrollY)) - where) < 50, 'the place in the list');
}

async function keyboard(t) {
  const page = await t.signedIn({ at: '/console/live' });
  await page.keyboard.press('?');
  await page.getByRole('dialog', { name: 'Keys' }).waitFor();
  await page.keyboard.press('Escape');
  await page.keyboard.press('g');
  await page.keyboard.press('h');
  await rows(page).first().waitFor();
  await page.keyboard.press('/');
  await page.keyboard.type('7654321');
  await page.getByText('1 call found').waitFor();
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: /\+15557654321/ }).waitFor();
  await page.keyboard.press('u');
  await rows(page).first().waitFor();
  await page.keyboard.press('z');
  await page.waitForURL(/zone=utc/);
  await page.keyboard.press('t');
  assert.equal(await page.evaluate(() => document.documentElement.dataset.theme), 'dark');
  // A choice that has the focus takes no letters.
  await page.goto(`${t.url}/console/statistics`);
  await page.locator('.choice').getByText('Table', { exact: true }).click();
  await page.keyboard.press('g');
  await page.keyboard.press('h');
  await page.waitForURL('**/console/history*');
  // Down a list by letters.
  await page.goto(`${t.url}/console/history?trunk=Twilio`);
  await rows(page).first().waitFor();
  for (let n = 0; n < 40; n += 1) await page.keyboard.press('j');
  await until(async () => (await page.evaluate(() => document.activeElement.closest('[data-row]')?.dataset.row)) === '39', 'the fortieth row');
}

async function oneCall(t) {
  const page = await t.signedIn({ at: `/console/calls/${A1}/${sid(FAMILY)}` });
  await page.getByRole('heading', { name: '4 legs' }).waitFor();
  await page.getByText('The caller hung up after 2 min 59 s; it had been answered within 6 s.').waitFor();
  const picture = page.locator('.ladder');
  for (const leg of ['A', 'B1', 'B2', 'B3']) await picture.getByText(leg, { exact: true }).waitFor();
  await picture.locator('text', { hasText: 'no event for 40 s' }).waitFor();
  await picture.getByText('late').waitFor();
  await picture.getByText('again').waitFor();
  // B legs stand below, and are not left of their beginning.
  const tops = await page.evaluate(() => [...document.querySelectorAll('.lane-label')].map((label) => label.getBoundingClientRect().top));
  assert.deepEqual(tops, [...tops].sort((a, b) => a - b));
  const marks = await page.locator('.events .badge').allTextContents();
  assert.deepEqual(marks.sort(), ['again', 'late']);
  assert.equal(await page.locator('.events tbody tr').count(), 15);
  // To scale, three minutes of talk take nearly all of the width.
  const share = () => page.evaluate(() => {
    const wide = [...document.querySelectorAll('.lane')][0].querySelectorAll('.span.st-in-progress rect')[0].getBoundingClientRect().width;
    return wide / document.querySelector('.ladder-picture').getBoundingClientRect().width;
  });
  const readable = await share();
  await page.getByText('True to scale').click();
  await page.waitForURL(/scale=true/);
  assert.ok((await share()) > readable);
  // A leg leads to its own page, and a field to the calls that share it.
  await picture.getByRole('link', { name: 'sip:carol@example.org' }).click();
  await page.getByText('The called party was busy after 1 s: SIP 486.').waitFor();
  await page.locator('.fields').getByRole('link', { name: '7087fe50-8acb-4f3b-b820-97b573723aab' }).click();
  await page.getByText('4 calls found').waitFor();
  // What it shows as JSON is what the API says, digit by digit.
  await page.goto(`${t.url}/console/calls/${A1}/${sid(20_102)}`);
  const shown = await page.locator('.json pre').textContent();
  const said = (await t.api(`/v1/Accounts/${A1}/Calls/${sid(20_102)}`)).text;
  assert.equal(shown.replace(/\s/g, ''), said.replace(/\s/g, ''));
  assert.ok(shown.includes('"exact": 12345678901234567'));
  await page.goto(`${t.url}/console/calls/${A1}/${sid(777_777)}`);
  await page.getByText('No such call').waitFor();
}

async function download(page, name) {
  await page.getByRole('button', { name: 'Export' }).click();
  const started = page.waitForEvent('download');
  await page.getByRole('link', { name, exact: true }).click();
  const file = await started;
  return { name: file.suggestedFilename(), text: fs.readFileSync(await file.path(), 'utf8') };
}

async function exports(t) {
  const page = await t.signedIn({ at: `/console/history?callStatus=busy&trunk=Twilio&account=${A1}` });
  await page.getByText('417 calls found').waitFor();
  const path = `/v1/Accounts/${A1}/Calls?callStatus=busy&trunk=Twilio`;
  const csv = await download(page, 'CSV');
  assert.match(csv.name, /\.csv$/);
  assert.equal(csv.text, (await t.api(path, { headers: { accept: 'text/csv' } })).text);
  const ndjson = await download(page, 'NDJSON');
  assert.match(ndjson.name, /\.ndjson$/);
  const lines = ndjson.text.trim().split('\n').map((line) => JSON.parse(line));
  assert.deepEqual(lines, (await t.api(path)).json);
  await page.getByRole('button', { name: 'Export' }).click();
  await page.context().grantPermissions(['clipboard-read', 'clipboard-write']);
  await page.getByRole('button', { name: 'Copy as curl' }).click();
  const curl = await page.evaluate(() => navigator.clipboard.readText());
  assert.equal(curl, `curl -H "Authorization: Bearer $TOKEN" '${t.url}${path}'`);
}

async function columns(t) {
  const page = await t.signedIn({ at: '/console/history' });
  await rows(page).first().waitFor();
  await page.getByRole('button', { name: 'Columns' }).click();
  await page.getByRole('checkbox', { name: 'Call sid' }).check();
  await page.getByRole('checkbox', { name: 'Trunk' }).uncheck();
  await page.keyboard.press('Escape');
  const heads = () => page.locator('.calls thead th').allTextContents();
  assert.ok((await heads()).includes('Call sid') && !(await heads()).includes('Trunk'));
  assert.match(page.url(), /columns=.*call_sid/);
  await page.goto(`${t.url}/console/history`);
  await rows(page).first().waitFor();
  assert.ok((await heads()).includes('Call sid'));
}

async function sideBySide(t) {
  const [one, other] = [t.server.token('--account', A1, '--name', 'one'), t.server.token('--account', A2, '--role', 'read', '--name', 'other')];
  const [left, right] = [await t.signedIn({ token: one, at: '/console/history' }), await t.signedIn({ token: other, at: '/console/history' })];
  await left.getByText('10,008 calls').waitFor();
  await right.getByText('1 call', { exact: true }).waitFor();
  assert.deepEqual(await callers(right), ['+4989123456']);
  // Neither by another address.
  await right.goto(`${t.url}/console/history?account=${A1}`);
  await right.getByText('1 call', { exact: true }).waitFor();
  await right.goto(`${t.url}/console/calls/${A1}/${sid(FAMILY)}`);
  await right.locator('.note.bad, .empty').first().waitFor();
  assert.ok(!(await right.content()).includes('+442079460950'));
  // What a token may not do is not shown.
  for (const page of [left, right]) assert.equal(await page.getByRole('link', { name: 'Operation' }).count(), 0);
  assert.equal(await right.getByRole('button', { name: 'Account' }).count(), 0);
}

async function masked(t) {
  const page = await t.signedIn({ token: t.server.token('--account', A1, '--role', 'read-masked'), at: '/console/history?callStatus=completed' });
  await rows(page).first().waitFor();
  assert.ok((await callers(page)).filter((number) => /^\+\d/.test(number)).every((number) => /^\+\d+\*\*\*\d+$/.test(number)));
  // What would be refused is not offered, and what is typed is answered.
  await page.getByRole('button', { name: 'More filters' }).click();
  await page.getByRole('button', { name: 'Number', exact: true }).waitFor();
  assert.equal(await page.getByRole('button', { name: 'Number has' }).count(), 0);
  await page.keyboard.press('Escape');
  await search(page).fill('5551230001');
  await page.locator('.note.bad', { hasText: 'read-masked' }).waitFor();
  await page.goto(`${t.url}/console/calls/${A1}/${sid(FAMILY)}`);
  await page.getByText('All fields').waitFor();
  const text = await page.content();
  for (const number of ['5551230001', '493022610', '442079460950']) assert.ok(!text.includes(number), number);
}

async function hostile(t) {
  const page = await t.signedIn({ at: '/console/history' });
  const all = ['time', 'status', 'direction', 'from', 'to', 'originating_sip_trunk_name', 'application_sid', 'caller_name', 'sip_reason', 'call_id', 'account'].join(',');
  for (const path of [`/console/history?columns=${all}`, `/console/history?trunk=${encodeURIComponent(HOSTILE)}`, `/console/history?q=${encodeURIComponent(HOSTILE)}`, `/console/calls/${A1}/${sid(20_100)}`, `/console/calls/${A1}/${sid(20_101)}`]) {
    await page.goto(t.url + path);
    await page.locator('#page .calls [data-row], #page .card, #page .empty').first().waitFor();
    assert.equal(await page.evaluate(() => window.hacked), undefined, path);
    assert.equal(await page.locator('#app img').count(), 0);
    // Nothing is wider than the window.
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.ok(wide <= 0, `${path} is ${wide} px too wide`);
  }
  await page.goto(`${t.url}/console/calls/${A1}/${sid(20_100)}`);
  // What is invisible is said, and turns nothing round.
  await page.getByRole('heading', { name: /⟨U\+202E⟩gnp\.exe⟨U\+202C⟩/ }).waitFor();
  // So is what joins letters, but where there are some, and what looks like a blank.
  const module = await page.evaluate(() => document.querySelector('script[type=module]').src.replace('main.js', 'text.js'));
  const seen = (text) => page.evaluate(async ([address, one]) => (await import(address)).visible(one), [module, text]);
  for (const same of ['👩‍👩‍👧', '🏳️‍🌈', '1️⃣', 'می‌خواهم', '葛\u{e0100}']) assert.equal(await seen(same), same);
  for (const [text, shown] of [
    ['+1555\u200d1234', '+1555⟨U+200D⟩1234'], ['a\u200cb', 'a⟨U+200C⟩b'], ['\u3164', '⟨U+3164⟩'], ['a\u115f\uffa0', 'a⟨U+115F⟩⟨U+FFA0⟩'],
    ['a\ufe0fb', 'a⟨U+FE0F⟩b'], ['x\u034fy', 'x⟨U+034F⟩y'],
  ]) assert.equal(await seen(text), shown);
  await page.setViewportSize({ width: 390, height: 844 });
  for (const path of ['/console/history', `/console/calls/${A1}/${sid(20_100)}`, `/console/calls/${A1}/${sid(20_101)}`]) {
    await page.goto(t.url + path);
    await page.locator('#page .calls [data-row], #page .card').first().waitFor();
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.ok(wide <= 0, `${path} is ${wide} px too wide on a telephone`);
  }
}

async function accessible(t) {
  for (const options of [{}, { colorScheme: 'dark' }, { viewport: { width: 390, height: 844 } }]) {
    const page = await t.page(options);
    await page.goto(`${t.url}/console/sign-in`);
    await page.getByLabel('Token', { exact: true }).waitFor();
    await t.axe(page);
    await page.getByLabel('Token', { exact: true }).fill(t.admin);
    await page.getByRole('button', { name: 'Sign in' }).click();
    await page.getByRole('navigation', { name: 'Pages' }).waitFor();
    // Few rows: each is as the others.
    await page.goto(`${t.url}/console/history?q=5551230001`);
    await rows(page).first().waitFor();
    await t.axe(page);
    await page.goto(`${t.url}/console/calls/${A1}/${sid(FAMILY)}`);
    await page.getByText('All fields').waitFor();
    await t.axe(page);
  }
  // What opens over the pages, and what is empty.
  const page = await t.signedIn({ at: '/console/history?q=5551230001' });
  await rows(page).first().waitFor();
  await page.getByRole('button', { name: 'More filters' }).click();
  await page.getByRole('button', { name: 'Trunk', exact: true }).click();
  await t.axe(page);
  await page.keyboard.press('Escape');
  await page.keyboard.press('?');
  await page.getByRole('dialog').waitFor();
  await t.axe(page);
  await page.goto(`${t.url}/console/history?trunk=None`);
  await page.getByText('No call fits').waitFor();
  await t.axe(page);
}

async function printed(t) {
  const page = await t.signedIn({ at: '/console/history?trunk=Twilio' });
  await rows(page).first().waitFor();
  await page.emulateMedia({ media: 'print' });
  for (const [name, locator] of [['navigation', '.top'], ['search', '.history-bar']]) assert.equal(await page.locator(locator).isVisible(), false, name);
  // All that was read, without the gaps of what is not drawn.
  await until(async () => (await rows(page).count()) >= 100, 'all rows');
  assert.equal(await page.locator('.calls .space').count(), 0);
  // Pictures are no wider than paper while they are printed, and as wide as before afterwards.
  await page.emulateMedia({ media: null });
  for (const [address, picture] of [[`/console/calls/${A1}/${sid(FAMILY)}`, '.ladder-picture'], ['/console/statistics', '.figures .chart svg']]) {
    await page.goto(t.url + address);
    const width = () => page.locator(picture).evaluate((one) => one.width.baseVal.value);
    const before = await width();
    assert.ok(before > 718, `${address}: ${before}`);
    await page.evaluate((selector) => window.addEventListener('beforeprint', () => queueMicrotask(() => {
      window.printed = document.querySelector(selector).width.baseVal.value;
    })), picture);
    await page.pdf();
    const printed = await page.evaluate(() => window.printed);
    assert.ok(printed > 300 && printed <= 718, `${address} is printed ${printed} px wide`);
    await until(async () => (await width()) === before, 'that it is as wide as before');
  }
}

/** A call with long names and texts of all directions. */
async function longTexts(t) {
  const right = '\u05e9\u05dc\u05d5\u05dd '.repeat(8);
  t.server.token('--account', A2, '--role', 'read', '--name', 'x'.repeat(80));
  t.rollcall('account', 'set', A2, '--name', `Other ${right}${'n'.repeat(40)}`);
  try {
    await t.events([event(20_300, 'failed', {
      account_sid: A2, from: right, to: 'z'.repeat(200), sip_reason: right, originating_sip_trunk_name: right, note: 'w'.repeat(10_000), at: at(-6 * MINUTE),
    })]);
    for (const width of [1280, 640, 390]) {
      const page = await t.signedIn({ viewport: { width, height: 800 } });
      for (const [address, seen] of [[`/console/calls/${A2}/${sid(20_300)}`, '.fields'], ['/console/operation?part=tokens', '.table'], ['/console/operation?part=accounts', '.table']]) {
        await page.goto(t.url + address);
        await page.locator(seen).waitFor();
        const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
        assert.ok(wide <= 0, `${address} at ${width} is ${wide} px too wide`);
        const name = page.locator('dt', { hasText: 'originating_sip_trunk_name' });
        if (seen === '.fields') assert.ok((await name.boundingBox()).height < 30, 'the name of a field is in one line');
      }
    }
  } finally {
    t.rollcall('account', 'set', A2, '--name', 'Other');
  }
}

async function doubled(t) {
  // 200 %: half as many pixels of the page.
  const page = await t.signedIn({ viewport: { width: 640, height: 400 }, deviceScaleFactor: 2, at: '/console/history?trunk=Twilio' });
  await rows(page).first().waitFor();
  for (const path of ['/console/history?trunk=Twilio', `/console/calls/${A1}/${sid(FAMILY)}`, '/console/live']) {
    await page.goto(t.url + path);
    await page.locator('#page .calls [data-row], #page .card, #page .empty').first().waitFor();
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.ok(wide <= 0, `${path} is ${wide} px too wide`);
  }
}

async function anotherAccount(t) {
  const page = await t.signedIn({ at: '/console/history?callStatus=completed' });
  await rows(page).first().waitFor();
  let answer;
  const held = new Promise((resolve) => {
    answer = resolve;
  });
  await page.route(`**/v1/Accounts/${A2}/Calls?*`, async (route) => {
    await held;
    await route.continue();
  });
  await page.getByRole('button', { name: 'Account: All accounts' }).click();
  await page.getByRole('button', { name: 'Other' }).click();
  await page.getByText('Reading calls').waitFor();
  assert.equal(await rows(page).count(), 0, 'calls of all accounts are not shown as those of one');
  answer();
  await rows(page).first().waitFor();
  assert.deepEqual(await callers(page), ['+4989123456']);
}

async function anotherToken(t) {
  const page = await t.signedIn({ at: '/console/history?trunk=BT' });
  await rows(page).first().locator('.row-link').click();
  await page.getByText('All fields').waitFor();
  assert.match(await page.locator('h1').textContent(), /\+1555\d{7}/);
  // Somebody else signs in in another tab: this one shows what that token may see, and so does "back".
  const answer = await page.context().request.post(`${t.url}/console/api/session`, {
    headers: { origin: t.url, 'sec-fetch-site': 'same-origin' },
    data: { token: t.server.token('--admin', '--role', 'read-masked') },
  });
  assert.equal(answer.status(), 200);
  await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
  await page.locator('h1', { hasText: /\+1555\*\*\*\d\d/ }).waitFor();
  await page.route('**/v1/Calls?*', () => {});
  await page.goBack();
  await page.getByText('Reading calls').waitFor();
  assert.equal(await rows(page).count(), 0, 'what the other token has read is gone');
}

async function onlyLists(t) {
  const page = await t.signedIn({ token: t.server.token('--account', A1, '--role', 'export'), at: '/console/history?trunk=BT' });
  let refused = 0;
  page.on('response', (response) => {
    refused += response.status() === 403 ? 1 : 0;
  });
  await rows(page).first().waitFor();
  // What leads to more than a list is not there, and nothing is asked for in vain.
  assert.equal(await page.locator('.calls a').count(), 0);
  await rows(page).first().click();
  await page.getByRole('button', { name: 'More filters' }).click();
  await page.getByRole('button', { name: 'Application', exact: true }).click();
  await page.getByRole('button', { name: 'Apply' }).waitFor();
  assert.match(page.url(), /\/history/);
  await page.keyboard.press('Escape');
  await page.keyboard.press('j');
  await page.keyboard.press('j');
  await page.locator('[data-row="1"] .row-link:focus').waitFor();
  await page.getByRole('link', { name: 'Live', exact: true }).click();
  await page.locator('.feed.open').waitFor();
  for (const address of ['/console/statistics', `/console/calls/${A1}/${sid(FAMILY)}`]) {
    await page.goto(t.url + address);
    await page.getByRole('heading', { name: 'This page is for tokens that may read' }).waitFor();
  }
  assert.equal(refused, 0);
}

async function otherTokenUnseen(t) {
  const page = await t.signedIn({ at: '/console/history?trunk=BT' });
  await rows(page).first().waitFor();
  // Somebody else signs in in another window, while this one is looked at.
  const answer = await page.context().request.post(`${t.url}/console/api/session`, {
    headers: { origin: t.url, 'sec-fetch-site': 'same-origin' },
    data: { token: t.server.token('--account', A2) },
  });
  assert.equal(answer.status(), 200);
  await page.keyboard.press('r');
  await page.getByRole('link', { name: 'Operation' }).waitFor({ state: 'detached' });
  await page.getByText('No call fits').waitFor();
  assert.equal(await page.locator('.note.bad').count(), 0);
  await page.getByRole('link', { name: 'Live', exact: true }).click();
  await page.locator('.feed.open').waitFor();
}

async function signedOutMeanwhile(t) {
  const page = await t.signedIn({ at: '/console/history' });
  await rows(page).first().waitFor();
  const body = await page.evaluate(async () => (await fetch('/console/api/session')).text());
  let asked;
  let answer;
  const isAsked = new Promise((resolve) => {
    asked = resolve;
  });
  const held = new Promise((resolve) => {
    answer = resolve;
  });
  await page.route('**/console/api/session', async (route) => {
    if (route.request().method() !== 'GET') return route.continue();
    asked();
    await held;
    return route.fulfill({ body, contentType: 'application/json' });
  });
  // The page asks whose session it is, and before it is told somebody signs out.
  await page.evaluate(() => document.dispatchEvent(new Event('visibilitychange')));
  await isAsked;
  await page.getByRole('button', { name: 'You and this page' }).click();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.locator('.sign-in').waitFor();
  await page.evaluate(() => {
    new MutationObserver(() => {
      window.isBack ||= document.querySelector('nav') !== null;
    }).observe(document.body, { childList: true, subtree: true });
  });
  const told = page.waitForResponse((response) => response.url().endsWith('/console/api/session'));
  answer();
  await (await told).finished();
  await page.evaluate(() => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done))));
  assert.equal(await page.evaluate(() => window.isBack), undefined, 'what was asked before counts no longer');
}

async function openAllDay(t) {
  const page = await t.signedIn();
  await page.clock.install();
  // A page that has nothing else to ask for.
  await page.goto(`${t.url}/console/calls/${A1}/${sid(FAMILY)}`);
  await page.getByText('All fields').waitFor();
  let asked = 0;
  await page.route('**/console/api/session', async (route) => {
    asked += 1;
    if (asked < 3) await route.continue();
    else await route.fulfill({ status: 401, body: '{"msg":"unauthorized"}', contentType: 'application/json' });
  });
  for (let n = 1; n < 3; n += 1) {
    await page.clock.runFor(601_000);
    await until(() => asked === n, 'the use of the session');
  }
  // A session that has ended meanwhile is told as one.
  await page.clock.runFor(601_000);
  await page.getByText('Your session is over').waitFor();
}

async function namesOfObjects(t) {
  const page = await t.signedIn({ at: `/console/calls/${A1}/${sid(20_103)}` });
  await page.getByText('All fields').waitFor();
  await page.locator('.fields dd', { hasText: 'its own' }).waitFor();
  await page.getByText('It was completed', { exact: false }).first().waitFor();
  await page.goto(`${t.url}/console/statistics?measure=constructor`);
  await page.locator('.tiles').waitFor();
  await page.goto(`${t.url}/console/history?callStatus=constructor`);
  await page.getByRole('alert').waitFor();
  assert.equal(await page.getByText('native code').count(), 0);
}

export const tests = [
  ['a token signs in, a wrong one is told, and signing out ends it', signIn],
  ['a session that is over leads back to the same address', sessionOver],
  ['results come while typing', typing],
  ['an older answer never replaces a newer one', olderAnswers],
  ['filters are in the address, and the address is the whole state', filters],
  ['ten thousand calls scroll, each once and in order', tenThousand],
  ['the keyboard alone is enough', keyboard],
  ['a call is one picture with all its legs', oneCall],
  ['what is exported is what the API answers', exports],
  ['columns are kept', columns],
  ['two accounts side by side see their own', sideBySide],
  ['a token that sees numbers masked is shown none', masked],
  ['calls of one account are not shown as those of another', anotherAccount],
  ['what a token has read is not shown to the next one', anotherToken],
  ['who signs in in another window is told apart at the next answer', otherTokenUnseen],
  ['an older answer signs nobody in', signedOutMeanwhile],
  ['a token for lists is shown lists', onlyLists],
  ['an open page uses its session', openAllDay],
  ['what comes from calls is text', hostile],
  ['fields may be named as those of every object', namesOfObjects],
  ['pages are accessible', accessible],
  ['print is a clean sheet', printed],
  ['pages fit at twice their size', doubled],
  ['long names and texts fit', longTexts],
];
