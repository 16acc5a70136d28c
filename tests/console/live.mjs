// Live: what is active now, as it changes, and what may be done to it.

import assert from 'node:assert/strict';
import http from 'node:http';
import { A1, A2, event, sid, until } from './harness.mjs';

// The feature server of the calls: it accepts what it is told, and remembers it.
const told = [];
const feature = http.createServer((request, answer) => {
  let body = '';
  request.on('data', (part) => {
    body += part;
  });
  request.on('end', () => {
    told.push({ path: request.url, body: JSON.parse(body || '{}') });
    answer.writeHead(202, { 'content-type': 'application/json' }).end('{}');
  });
});
await new Promise((resolve) => feature.listen(0, '127.0.0.1', resolve));
feature.unref();
const FEATURE = `http://127.0.0.1:${feature.address().port}`;

export const args = ['--feature-servers-urls', FEATURE];

let next = 0;
/** An active call, and what changes it. */
function call(more = {}) {
  next += 1;
  const n = next;
  const own = { service_url: FEATURE, from: `+1555${String(n).padStart(7, '0')}`, ...more };
  return { sid: sid(n), from: own.from, event: (status, rest = {}) => event(n, status, { ...own, ...rest }) };
}

const row = (page, one) => page.locator(`.live-calls [data-sid="${one.sid}"]`);
const order = (page) => page.evaluate(() => [...document.querySelectorAll('.live-calls [data-sid]')].map((line) => line.dataset.sid));
const away = (page) => page.mouse.move(5, 5);

async function nothingYet(t) {
  const page = await t.signedIn({ token: t.server.token('--account', A2) });
  await page.getByText('No calls yet').waitFor();
  await page.getByText('/v1/hooks/call-status').first().waitFor();
  await t.axe(page);
}

async function changes(t) {
  const first = call();
  await t.events([first.event('trying')]);
  const page = await t.signedIn();
  await away(page);
  await row(page, first).getByText('Trying').waitFor();
  await page.locator('.feed.open').waitFor();
  // A new one comes by itself, above; a B leg comes below its A leg.
  const second = call();
  await t.events([second.event('ringing')]);
  await row(page, second).getByText('Ringing').waitFor();
  const leg = call({ parent_call_sid: first.sid, direction: 'outbound' });
  await t.events([first.event('in-progress'), leg.event('trying')]);
  await row(page, leg).waitFor();
  await row(page, first).getByText('In progress').waitFor();
  assert.deepEqual(await order(page), [second.sid, first.sid, leg.sid]);
  const count = (status) => page.locator('.live-count', { hasText: status }).locator('b').textContent();
  assert.deepEqual([await count('Ringing'), await count('In progress'), await count('Trying')], ['1', '1', '1']);
  assert.equal(await page.locator('.live-all b').textContent(), '3');
  // The duration goes on.
  const lasted = () => row(page, first).locator('td').nth(1).textContent();
  const before = await lasted();
  await until(async () => (await lasted()) !== before, 'the duration');
  // One that ends stays for a while, in its place, and counts no longer.
  await t.events([second.event('busy', { sip_status: 486 })]);
  await row(page, second).getByText('Busy').waitFor();
  assert.ok((await row(page, second).getAttribute('class')).includes('ended'));
  assert.equal(await page.locator('.live-all b').textContent(), '2');
  assert.deepEqual(await order(page), [second.sid, first.sid, leg.sid]);
  // One that begins and ends between two looks is seen, too.
  const short = call();
  await t.events([short.event('trying'), short.event('failed', { sip_status: 503 })]);
  await row(page, short).getByText('Failed').waitFor();
  // A deleted one is gone.
  await t.api(`/v1/Accounts/${A1}/Calls/${short.sid}`, { method: 'DELETE' });
  await row(page, short).waitFor({ state: 'detached' });
  await page.reload();
  await page.getByRole('img', { name: /Calls of the last hour: 3, at most [123] in a minute/ }).waitFor();
  // A minute later it fades, and is gone: the clock of the page is put forward.
  const later = await t.page();
  await later.clock.install();
  await signInOn(t, later);
  await later.clock.runFor(2000);
  const third = call();
  await t.events([third.event('ringing')]);
  await until(async () => {
    await later.clock.runFor(300);
    return row(later, third).isVisible();
  }, 'the third call');
  await t.events([third.event('no-answer')]);
  await until(async () => {
    await later.clock.runFor(300);
    return row(later, third).getByText('No answer').isVisible();
  }, 'its end');
  await later.clock.runFor(50_000);
  assert.equal(await row(later, third).count(), 1);
  await later.clock.runFor(13_000);
  await until(async () => {
    await later.clock.runFor(300);
    return (await row(later, third).count()) === 0;
  }, 'that it is gone');
}

async function signInOn(t, page) {
  await page.goto(`${t.url}/console/sign-in`);
  await page.getByLabel('Token', { exact: true }).fill(t.admin);
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByRole('navigation', { name: 'Pages' }).waitFor();
}

async function longest(t) {
  const [long, short] = [call(), call()];
  const at = (minutes) => new Date(Date.now() - minutes * 60_000).toISOString();
  await t.events([long.event('in-progress', { at: at(90) }), short.event('in-progress', { at: at(1) })]);
  const page = await t.signedIn();
  await page.getByRole('link', { name: /^longest 1:3\d:\d\d$/ }).click();
  await page.waitForURL(`**/${long.sid}`);
  await t.events([long.event('completed', { duration: 5400 })]);
  await page.goBack();
  await page.getByRole('link', { name: /^longest \d+:\d\d$/ }).waitFor();
}

async function wrongClock(t) {
  const one = call();
  await t.events([one.event('in-progress')]);
  for (const hours of [5, -5]) {
    const page = await t.page();
    await page.addInitScript((by) => {
      const Real = Date;
      window.Date = class extends Real {
        constructor(...given) {
          super(...(given.length ? given : [Real.now() + by]));
        }

        static now() {
          return Real.now() + by;
        }
      };
    }, hours * 3_600_000);
    await signInOn(t, page);
    await away(page);
    assert.match(await row(page, one).locator('.num').textContent(), /^\d:\d\d$/, 'for how long it lasts');
    await page.getByRole('img', { name: /^Calls of the last hour: [1-9]/ }).waitFor();
    await page.goto(`${t.url}/console/history?range=1h`);
    await page.locator('.calls [data-row]').first().waitFor();
    await page.goto(`${t.url}/console/statistics?range=24h`);
    await page.locator('.tiles').waitFor();
  }
}

async function goneBeforeDrawn(t) {
  const page = await t.page();
  await page.clock.install();
  // The list is drawn long after a call has been dropped.
  await page.addInitScript(() => {
    const later = window.setTimeout;
    window.setTimeout = (then, ms, ...more) => later(then, ms === 200 ? 3000 : ms, ...more);
  });
  await signInOn(t, page);
  const one = call();
  const step = async (look, what) => until(async () => {
    await page.clock.runFor(1000);
    return look();
  }, what);
  await t.events([one.event('ringing')]);
  await step(() => row(page, one).isVisible(), 'the call');
  await t.events([one.event('failed')]);
  await step(() => row(page, one).getByText('Failed').isVisible(), 'its end');
  await page.clock.runFor(60_000);
  await step(async () => (await row(page, one).count()) === 0, 'that it is gone');
  assert.equal(await page.getByText('This page has failed').count(), 0);
}

async function holdsStill(t) {
  const [a, b] = [call(), call()];
  await t.events([a.event('in-progress'), b.event('in-progress')]);
  const page = await t.signedIn();
  await page.locator('.feed.open').waitFor();
  await row(page, b).waitFor();
  await row(page, a).hover();
  const before = await order(page);
  const c = call();
  await t.events([c.event('ringing'), b.event('completed', { duration: 3 })]);
  await page.getByText('One more call waits until the pointer leaves the list').waitFor();
  // What is known changes in its place; nothing moves.
  await row(page, b).getByText('Completed').waitFor();
  assert.deepEqual(await order(page), before);
  await away(page);
  await row(page, c).waitFor();
  assert.equal((await order(page))[0], c.sid);
}

/** A page whose clock goes on only while `step` waits for something. */
async function withClock(t) {
  const page = await t.page();
  await page.clock.install();
  await signInOn(t, page);
  const step = (look, what) => until(async () => {
    await page.clock.runFor(300);
    return look();
  }, what);
  return { page, step };
}

async function endedStand(t) {
  const [a, b, c] = [call(), call(), call()];
  const { page, step } = await withClock(t);
  for (const one of [a, b, c]) await t.events([one.event('in-progress')]);
  await step(() => row(page, c).isVisible(), 'the calls');
  const before = await order(page);
  await row(page, a).hover();
  await t.events([b.event('completed', { duration: 3 })]);
  await step(() => row(page, b).getByText('Completed').isVisible(), 'its end');
  // The pointer goes on over the list for longer than an ended call stays.
  for (let n = 0; n < 14; n += 1) {
    const box = await row(page, a).boundingBox();
    await page.mouse.move(box.x + 200 + n, box.y + 10);
    await page.clock.runFor(5000);
  }
  assert.deepEqual(await order(page), before);
  await away(page);
  await step(async () => (await row(page, b).count()) === 0, 'that it is gone');
  await t.events([a.event('completed'), c.event('completed')]);
}

async function everyLegIsShown(t) {
  // Two that say to be the B leg of each other, and a chain of a dozen.
  const [a, b] = [call(), call()];
  const pair = [a.event('in-progress', { parent_call_sid: b.sid }), b.event('in-progress', { parent_call_sid: a.sid })];
  const chain = Array.from({ length: 12 }, () => call());
  const legs = chain.map((one, n) => one.event('ringing', n ? { parent_call_sid: chain[n - 1].sid } : {}));
  await t.events([...pair, ...legs]);
  const page = await t.signedIn();
  for (const one of [a, b, ...chain]) await row(page, one).waitFor();
  const sids = await order(page);
  assert.deepEqual(sids.filter((one) => chain.some((leg) => leg.sid === one)), chain.map((leg) => leg.sid));
  assert.equal(String(sids.length), await page.locator('.live-all b').textContent());
  await t.events([a, b, ...chain].map((one) => one.event('failed')));
}

async function keysFromTheRow(t) {
  const three = [call(), call(), call()];
  await t.events(three.map((one) => one.event('in-progress')));
  const page = await t.signedIn();
  await row(page, three[1]).getByRole('button', { name: 'More for this call' }).focus();
  const sids = await order(page);
  const focused = () => page.evaluate(() => document.activeElement.closest('[data-sid]')?.dataset.sid);
  await page.keyboard.press('j');
  assert.equal(await focused(), sids[sids.indexOf(three[1].sid) + 1]);
  await page.keyboard.press('k');
  assert.equal(await focused(), three[1].sid);
  await t.events(three.map((one) => one.event('completed')));
}

async function onlyOne(t) {
  const one = call({ account_sid: A2 });
  const page = await t.signedIn({ token: t.server.token('--account', A2) });
  await page.locator('.feed.open').waitFor();
  await t.events([one.event('in-progress')]);
  await row(page, one).getByRole('button', { name: 'Hang up' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Hang up' }).click();
  await page.getByText('The feature server hangs up.').waitFor();
  told.pop();
  const columns = await page.locator('.live-calls col').count();
  await t.events([one.event('completed', { duration: 9 })]);
  await page.getByText('The call has ended: Completed.').waitFor();
  assert.equal(await page.locator('.live-calls col').count(), columns, 'the columns stay');
}

async function control(t) {
  const one = call();
  await t.events([one.event('in-progress')]);
  const page = await t.signedIn();
  await row(page, one).waitFor();
  await row(page, one).getByRole('button', { name: 'More for this call' }).click();
  await page.getByRole('button', { name: 'Mute', exact: true }).click();
  await page.getByText('The call is muted: the feature server has accepted it (202).').waitFor();
  assert.deepEqual(told.pop().body, { mute_status: 'mute' });
  await row(page, one).getByRole('button', { name: 'Hang up' }).click();
  await page.getByRole('dialog', { name: 'Hang up this call?' }).waitFor();
  await page.getByRole('button', { name: 'Keep it' }).click();
  assert.equal(told.length, 0);
  await row(page, one).getByRole('button', { name: 'Hang up' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Hang up' }).click();
  await page.getByText('The feature server hangs up.').waitFor();
  assert.deepEqual(told.pop().body, { call_status: 'completed' });
  await t.events([one.event('completed', { duration: 9 })]);
  await page.getByText('The call has ended: Completed.').waitFor();
  assert.equal(await row(page, one).getByRole('button', { name: 'Hang up' }).count(), 0);
  // What cannot be done is said, with names as they are written.
  const elsewhere = call({ service_url: 'http://192.0.2.7:3000' });
  await t.events([elsewhere.event('ringing')]);
  await row(page, elsewhere).getByRole('button', { name: 'Hang up' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Hang up' }).click();
  await page.getByText(/^Not done\. service_url "http:\/\/192\.0\.2\.7:3000" is not/).waitFor();
  await page.keyboard.press('Escape');
  await t.events([elsewhere.event('failed')]);
  // The call's own page can do it, too; one who may only read is shown none of it.
  const other = call();
  await t.events([other.event('ringing')]);
  await page.goto(`${t.url}/console/calls/${A1}/${other.sid}`);
  await page.getByRole('button', { name: 'Hang up' }).click();
  await page.getByRole('dialog').getByRole('button', { name: 'Hang up' }).click();
  await page.getByText('The feature server hangs up.').waitFor();
  assert.deepEqual(told.pop().body, { call_status: 'no-answer' });
  await t.events([other.event('no-answer', { sip_status: 487 })]);
  await page.getByText(/^Nobody answered/).waitFor();
  const auditor = await t.signedIn({ token: t.server.token('--account', A1, '--role', 'read') });
  await auditor.locator('.live-calls [data-sid]').first().waitFor();
  assert.equal(await auditor.getByRole('button', { name: 'Hang up' }).count(), 0);
  assert.equal(await auditor.getByRole('link', { name: 'Operation' }).count(), 0);
}

async function accessible(t) {
  const [a, b] = [call(), call()];
  await t.events([a.event('in-progress'), b.event('ringing', { parent_call_sid: a.sid }), call().event('busy')]);
  for (const options of [{}, { colorScheme: 'dark' }, { viewport: { width: 390, height: 844 } }]) {
    const page = await t.signedIn(options);
    await row(page, b).waitFor();
    // Colours are those of the end of an animation.
    await page.emulateMedia({ reducedMotion: 'reduce' });
    await t.axe(page);
    const wide = await page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
    assert.ok(wide <= 0, `${wide} px too wide`);
  }
}

async function hostile(t) {
  const evil = '<script>window.hacked = 1</script><img src=x onerror="window.hacked = 2">';
  const one = call({ from: evil, to: '\u202egnp.exe', originating_sip_trunk_name: 'x'.repeat(900) });
  await t.events([one.event('in-progress')]);
  const page = await t.signedIn();
  await row(page, one).getByText('⟨U+202E⟩gnp.exe').waitFor();
  assert.equal(await page.evaluate(() => window.hacked), undefined);
  assert.equal(await page.locator('#app img').count(), 0);
  await t.events([one.event('completed')]);
}

async function provider(t) {
  const SP = '2708b1b3-2736-40ea-b502-c53d8396247f';
  for (const [account, name] of [[A1, 'One'], [A2, 'Two']]) t.rollcall('account', 'set', account, '--name', name, '--service-provider', SP);
  const [a, b] = [call(), call({ account_sid: A2 })];
  const page = await t.signedIn({ token: t.server.token('--service-provider', SP) });
  await page.locator('.feed.open').waitFor();
  await away(page);
  await t.events([a.event('ringing'), b.event('in-progress')]);
  await row(page, a).waitFor();
  await row(page, b).getByText('Two').waitFor();
  await page.getByRole('button', { name: /^Account/ }).click();
  await page.getByRole('button', { name: `Two ${A2}` }).click();
  await row(page, a).waitFor({ state: 'detached' });
  await row(page, b).waitFor();
  assert.equal(new URL(page.url()).searchParams.get('account'), A2);
  await t.events([b.event('completed')]);
  await row(page, b).getByText('Completed').waitFor();
}

async function unseen(t) {
  const [a, b] = [call(), call()];
  await t.events([a.event('in-progress')]);
  const page = await t.page();
  await page.clock.install();
  await signInOn(t, page);
  await until(async () => {
    await page.clock.runFor(300);
    return row(page, a).isVisible();
  }, 'the call');
  const see = (hidden) => page.evaluate((is) => {
    Object.defineProperty(document, 'hidden', { value: is, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  }, hidden);
  // It gives its connection back, and is up to date when it is looked at again.
  const ended = page.waitForEvent('requestfailed', (request) => request.url().includes('/changes'));
  await see(true);
  await page.clock.runFor(31_000);
  await ended;
  await t.events([b.event('ringing'), a.event('completed')]);
  await see(false);
  await until(async () => {
    await page.clock.runFor(300);
    return (await row(page, b).isVisible()) && (await row(page, a).count()) === 0;
  }, 'what is active now');
  await t.events([b.event('busy')]);
  await until(async () => {
    await page.clock.runFor(300);
    return row(page, b).getByText('Busy').isVisible();
  }, 'that the feed goes on');
}

async function listBehindTheFeed(t) {
  const [a, b] = [call(), call()];
  await t.events([a.event('in-progress')]);
  const witness = await t.signedIn();
  const { page, step } = await withClock(t);
  await step(() => row(page, a).isVisible(), 'the call');
  const see = (hidden) => page.evaluate((is) => {
    Object.defineProperty(document, 'hidden', { value: is, configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));
  }, hidden);
  await see(true);
  await page.clock.runFor(31_000);
  // Looked at again, the page asks for the list, and the answer takes long.
  let asked;
  let arrive;
  const isAsked = new Promise((resolve) => {
    asked = resolve;
  });
  const held = new Promise((resolve) => {
    arrive = resolve;
  });
  await page.route('**/v1/Calls?*limit=1000', async (route) => {
    const { pathname, search } = new URL(route.request().url());
    const { status, text: body } = await t.api(pathname + search);
    asked();
    await held;
    await route.fulfill({ status, body, contentType: 'application/json' });
  });
  await see(false);
  await isAsked;
  await t.events([b.event('ringing'), a.event('completed', { duration: 5 })]);
  await row(witness, b).waitFor();
  for (let n = 0; n < 10; n += 1) {
    await page.clock.runFor(300);
    await row(witness, a).getByText('Completed').waitFor();
  }
  arrive();
  await step(async () => (await row(page, b).isVisible()) && (await row(page, a).getByText('In progress').count()) === 0, 'what the feed has told');
  await t.events([b.event('busy')]);
}

async function listOnceMore(t) {
  const one = call();
  await t.events([one.event('in-progress')]);
  for (const way of ['away', 503]) {
    const page = await t.signedIn({ at: '/console/history' });
    await page.route('**/v1/Calls?*limit=1000', (route) => (way === 'away' ? route.abort() : route.fulfill({ status: way, body: '{"msg":"not now"}' })), { times: 1 });
    await page.getByRole('link', { name: 'Live', exact: true }).click();
    await page.getByRole('alert').first().waitFor();
    await row(page, one).waitFor();
    assert.equal(await page.locator('.note.bad').count(), 0);
  }
  await t.events([one.event('completed')]);
}

async function killedAndBack(t) {
  const [a, b] = [call(), call()];
  await t.events([a.event('in-progress')]);
  const page = await t.signedIn();
  await away(page);
  await row(page, a).waitFor();
  await page.locator('.feed.open').waitFor();
  await t.server.kill();
  await page.getByText('The connection to the server is lost.').waitFor();
  // What was there is still shown.
  await row(page, a).waitFor();
  await t.server.start();
  await t.events([b.event('ringing'), a.event('completed', { duration: 5 })]);
  await row(page, b).waitFor();
  await row(page, a).getByText('Completed').waitFor();
  await page.getByText('The connection to the server is lost.').waitFor({ state: 'detached' });
  await page.locator('.feed.open').waitFor();
}

async function countsOfMany(t) {
  const account = 'e0000000-0000-4000-8000-000000000031';
  await t.events(Array.from({ length: 1001 }, () => call({ account_sid: account }).event('ringing')));
  const page = await t.page();
  await page.clock.install();
  let asked = 0;
  let answer;
  const held = new Promise((resolve) => {
    answer = resolve;
  });
  await page.route(/CallStats\?callStatus=/, async (route) => {
    asked += 1;
    await held;
    await route.continue().catch(() => {});
  });
  await page.goto(`${t.url}/console/sign-in`);
  await page.getByLabel('Token', { exact: true }).fill(t.server.token('--account', account));
  await page.getByRole('button', { name: 'Sign in' }).click();
  const step = async (look, what) => until(async () => {
    await page.clock.runFor(300);
    return look();
  }, what);
  // The server counts what are too many to be listed: one answer after the other, so that none is replaced by an older one.
  await step(() => asked === 1, 'the question');
  await page.clock.runFor(12_000);
  assert.equal(asked, 1);
  answer();
  await step(async () => (await page.locator('.live-all b').textContent()) === '1,001', 'the count');
  await step(() => asked > 1, 'the next question');
}

export const tests = [
  ['where there is nothing yet, the page says how calls get there', nothingYet],
  ['calls come, change, end and fade', changes],
  ['a call that is gone before the list is drawn breaks nothing', goneBeforeDrawn],
  ['the longest call is named', longest],
  ['a viewer whose clock is hours off sees the same', wrongClock],
  ['nothing moves under the pointer', holdsStill],
  ['a call that has ended stands under the pointer', endedStand],
  ['every leg is shown, whatever it says of its parent', everyLegIsShown],
  ['keys go on from the row that has the focus', keysFromTheRow],
  ['the end of the only call is said', onlyOne],
  ['hanging up asks once and says what became of it', control],
  ['live calls are accessible', accessible],
  ['what comes from live calls is text', hostile],
  ['a service provider sees its accounts together, or one', provider],
  ['a page that nobody sees holds no connection', unseen],
  ['an older list never replaces what the feed has told', listBehindTheFeed],
  ['a list that could not be had is asked for once more', listOnceMore],
  ['the server is killed and is back', killedAndBack],
  ['counts of many calls come one after the other', countsOfMany],
];
