// Operation: what an admin does in the page is done, and shown once where it is secret.

import assert from 'node:assert/strict';
import path from 'node:path';
import { event, until } from './harness.mjs';

const ACCOUNT = 'e0000000-0000-4000-8000-000000000031';
const HOSTILE = '<b onclick=alert(1)>"&';

const named = (n) => `page ${process.pid} ${n} ${Math.random().toString(36).slice(2, 8)}`;

async function part(t, page, name) {
  await page.goto(`${t.url}/console/operation${name ? `?part=${name}` : ''}`);
  await page.locator('.as-of').waitFor();
}

async function register(t, sid, ...more) {
  await t.rollcall('account', 'set', sid, ...more);
}

async function makeToken(page, { name, of = 'All accounts (admin)', role, own }) {
  await page.getByRole('button', { name: 'Make a token' }).click();
  const dialog = page.getByRole('dialog');
  await dialog.getByLabel('Name').fill(name);
  await dialog.getByLabel('Of', { exact: true }).selectOption({ label: of });
  await dialog.getByLabel('Role').selectOption(role);
  await dialog.getByLabel('Your own token once more').fill(own);
  await dialog.getByRole('button', { name: 'Make it' }).click();
  return dialog;
}

async function aTokenIsMadeShownOnceAndItsSessionEndsWithIt(t) {
  const page = await t.signedIn({});
  await part(t, page, 'tokens');
  const name = named('auditor');
  // Not without one's own token.
  const dialog = await makeToken(page, { name, role: 'read', own: 'rc_not-mine' });
  await dialog.getByRole('alert').getByText('This is neither your own token nor another admin token of the role full.').waitFor();
  assert.equal(await dialog.getByLabel('Name').inputValue(), name, 'the form stays as it was');
  await dialog.getByLabel('Your own token once more').fill(t.admin);
  await dialog.getByRole('button', { name: 'Make it' }).click();
  const token = await dialog.locator('.paste.token code').textContent();
  assert.ok(token.length > 20, token);
  await t.axe(page);
  await dialog.getByRole('button', { name: 'Done' }).click();
  const row = page.getByRole('row', { name });
  await row.waitFor();
  assert.match(await row.textContent(), /read/);
  assert.equal((await page.content()).includes(token), false, 'it is shown once');
  await page.reload();
  await row.waitFor();
  assert.equal((await page.content()).includes(token), false, 'it is shown once');

  // It may read, and no more.
  assert.equal((await t.api('/v1/Calls?limit=1', { token })).status, 200);
  const other = await t.signedIn({ token });
  await other.goto(`${t.url}/console/history`);
  await other.getByRole('link', { name: 'Statistics' }).waitFor();
  assert.equal(await other.getByRole('link', { name: 'Operation' }).count(), 0);
  assert.equal(await other.evaluate(async () => (await fetch('/console/api/tokens')).status), 403);
  await other.goto(`${t.url}/console/operation`);
  await other.getByRole('heading', { name: 'Operation is for admins' }).waitFor();

  // Revoked, after one question: it and its session end.
  await row.getByRole('button', { name: 'Revoke' }).click();
  const question = page.getByRole('dialog');
  await question.getByRole('button', { name: 'Cancel' }).click();
  assert.equal((await t.api('/v1/Calls?limit=1', { token })).status, 200);
  await row.getByRole('button', { name: 'Revoke' }).click();
  await question.getByRole('button', { name: 'Revoke', exact: true }).click();
  await row.waitFor({ state: 'detached' });
  assert.equal((await t.api('/v1/Calls?limit=1', { token })).status, 401);
  assert.equal(await other.evaluate(async () => (await fetch('/v1/Calls?limit=1')).status), 401);
  await other.reload();
  await other.locator('.sign-in').waitFor();
}

async function anAccountIsRegisteredAndItsSecretsAreNotShown(t) {
  const page = await t.signedIn({});
  await part(t, page, 'accounts');
  await page.getByRole('button', { name: 'Add an account' }).click();
  const dialog = page.getByRole('dialog');
  const [password, secret] = ['hook-password-4711', 'wh_secret_0815'];
  await dialog.getByLabel('Account sid').fill('no-uuid');
  await dialog.getByRole('button', { name: 'Add', exact: true }).click();
  await dialog.getByRole('alert').filter({ hasText: 'no-uuid' }).waitFor();
  await dialog.getByLabel('Account sid').fill(ACCOUNT);
  await dialog.getByLabel('Name').fill(HOSTILE);
  await dialog.getByLabel('User', { exact: true }).fill('operation-page');
  await dialog.getByLabel('Password').fill(password);
  await dialog.getByLabel('Webhook secret').fill(secret);
  await dialog.getByLabel('Keep calls for').fill('90days');
  await dialog.getByRole('button', { name: 'Add', exact: true }).click();
  const row = page.getByRole('row', { name: ACCOUNT });
  await row.filter({ hasText: HOSTILE }).waitFor();
  const text = await row.textContent();
  for (const part of [HOSTILE, 'operation-page', '90days', 'signed with its secret']) assert.ok(text.includes(part), text);
  const listed = JSON.parse(await t.rollcall('account', 'list', '--json')).find((one) => one.account_sid === ACCOUNT);
  assert.deepEqual([listed.name, listed.hook_user, listed.webhook_secret], [HOSTILE, 'operation-page', true]);

  // Changed: the secrets stay as they are, and are not in the form.
  await row.getByRole('button', { name: 'Change' }).click();
  assert.equal(await dialog.getByLabel('Password').inputValue(), '');
  assert.equal(await dialog.getByLabel('Webhook secret').inputValue(), '');
  await dialog.getByLabel('Name').fill('Operation');
  await dialog.getByRole('button', { name: 'Change', exact: true }).click();
  await row.filter({ hasText: 'Operation' }).waitFor();
  // What an account must keep is said, and an emptied time is that of the configuration.
  await row.getByRole('button', { name: 'Change' }).click();
  await dialog.getByLabel('User', { exact: true }).fill(' ');
  await dialog.getByRole('button', { name: 'Change', exact: true }).click();
  await dialog.getByRole('alert').getByText('The user “operation-page” cannot be left out').waitFor();
  await dialog.getByLabel('User', { exact: true }).fill('operation-page');
  await dialog.getByLabel('Keep calls for').fill('');
  await dialog.getByRole('button', { name: 'Change', exact: true }).click();
  await row.filter({ hasText: 'as configured' }).waitFor();
  const answer = await page.evaluate(async () => (await fetch('/console/api/accounts')).text());
  for (const hidden of [password, secret]) {
    assert.equal(answer.includes(hidden), false);
    assert.equal((await page.content()).includes(hidden), false);
  }
  const event = { account_sid: ACCOUNT, call_sid: 'e0000000-0000-4000-8000-0000000003ff', call_status: 'ringing', direction: 'inbound', from: '1', to: '2' };
  const basic = Buffer.from(`operation-page:${password}`).toString('base64');
  assert.equal((await t.api('/v1/hooks/call-status', { method: 'POST', body: event, headers: { authorization: `Basic ${basic}` } })).status, 204);

  // Removed, after one question.
  await row.getByRole('button', { name: 'Remove' }).click();
  await dialog.getByRole('button', { name: 'Remove', exact: true }).click();
  // Its event came, so that it is listed still, as one that may send no more.
  await row.filter({ hasText: 'not registered' }).waitFor();
  assert.equal((await t.api('/v1/hooks/call-status', { method: 'POST', body: event, headers: { authorization: `Basic ${basic}` } })).status, 401);
}

async function aTestCallArrives(t) {
  await register(t, ACCOUNT, '--name', 'Operation');
  const page = await t.signedIn({});
  await part(t, page, 'connect');
  assert.match(await page.locator('.steps .paste code').first().textContent(), /\/v1\/hooks\/call-status/);
  const select = page.getByLabel('Account of the test call');
  if (await select.count()) await select.selectOption(ACCOUNT);
  await page.getByRole('button', { name: 'Send a test call' }).click();
  await page.getByRole('link', { name: 'Show it' }).click();
  await page.waitForURL(new RegExp(`/console/calls/${ACCOUNT}/`));
  const [, sid] = /calls\/[^/]+\/([^/?]+)/.exec(page.url());
  assert.equal((await t.api(`/v1/Accounts/${ACCOUNT}/Calls/${sid}`)).status, 200);
}

async function theOverviewIsWhatTheServerSays(t) {
  const page = await t.signedIn({});
  await part(t, page);
  const said = await page.evaluate(async () => (await fetch('/console/api/operation')).json());
  const fact = (name) => page.locator('.status-fact', { hasText: name }).locator('dd').textContent();
  assert.match(await fact('Release'), new RegExp(said.status.version.replaceAll('.', '\\.')));
  const levels = said.checks.map(({ ok }) => ok);
  assert.ok(levels.length > 3, JSON.stringify(said.checks));
  const bad = levels.filter((level) => level !== 'ok').length;
  assert.ok(await page.locator('.checks-card > .checklist > li').count() >= bad);
  if (bad < levels.length) {
    await page.locator('.fine summary').click();
    assert.equal(await page.locator('.fine li').count(), levels.length - bad);
  }
  const { total_bytes: total, free_bytes: free } = said.disk;
  const used = await page.getByRole('region', { name: 'Disk' }).locator('header span').textContent();
  const [, percent] = used.match(/^(\d+)% of [\d.,]+ [GT]B used$/) ?? assert.fail(used);
  assert.ok(Math.abs(percent - (100 * (total - free)) / total) < 3, used);
  for (const { names } of said.certificates) {
    if (names.length) await page.locator('td.names', { hasText: names.join(', ') }).first().waitFor();
  }
}

async function aSlowAnswerIsAwaited(t) {
  const page = await t.signedIn({});
  await page.clock.install();
  let asked = 0;
  let answer;
  const held = new Promise((resolve) => {
    answer = resolve;
  });
  await page.route('**/console/api/operation', async (route) => {
    asked += 1;
    await held;
    await route.continue().catch(() => {});
  });
  await page.goto(`${t.url}/console/operation`);
  await until(async () => {
    await page.clock.runFor(100);
    return asked === 1;
  }, 'the question');
  // The page renews itself each ten seconds, and waits for what takes longer.
  await page.clock.runFor(35_000);
  assert.equal(asked, 1);
  answer();
  await until(async () => {
    await page.clock.runFor(100);
    return page.locator('.status-fact').first().isVisible();
  }, 'the answer');
  await page.clock.runFor(11_000);
  await until(() => asked === 2, 'the next question');
}

/** What `status` says of a node among three, of which one is behind and one reads another log. */
const CLUSTER = {
  cluster: 'pbx', node: 'node1', epoch: '00000000000000000000000000000001', state: 'live', why: null, without_quorum: 'keep', first_node: true,
  server: 'nats1', leader: 'nats1', applied: 1200, last: 1200, first: 1, log_bytes: 700000, lag: { messages: 0, seconds: 0 },
  kept: { count: 2, bytes: 900, oldest_at: '2026-11-29T10:00:00.000Z' }, clock_skew_seconds: 0.01,
  servers: [
    { name: 'nats1', version: '2.15.1', sync_always: true, current: null, behind: 0, deleted: 0, offline: false, trouble: null },
    { name: 'nats2', version: '2.15.1', sync_always: true, current: true, behind: 0, deleted: 7, offline: false, trouble: null },
    { name: 'nats3', version: null, sync_always: null, current: false, behind: 40, deleted: null, offline: true, trouble: null },
    { name: 'nats4', version: '2.15.1', sync_always: true, current: false, behind: 3, deleted: 0, offline: false, trouble: 'it has not answered' },
  ],
  nodes: [
    { node: 'node2', applied: 1150, kept: 0, same_log: true, heard: true, seen_seconds: 0.4 },
    { node: 'node<3>', applied: 1200, kept: 5, same_log: false, heard: true, seen_seconds: 75 },
    { node: 'node4', applied: 900, kept: 0, same_log: true, heard: true, seen_seconds: 40 },
    { node: 'node5', applied: 0, kept: 0, same_log: false, heard: false, seen_seconds: 12 },
    { node: 'node6', applied: 0, kept: 0, same_log: false, heard: false, seen_seconds: 42 },
  ],
  unheard_monitors: [], problems: [],
};

async function nodesOfAClusterAreShown(t) {
  const page = await t.signedIn({});
  await part(t, page);
  assert.equal(await page.getByRole('region', { name: 'Nodes' }).count(), 0, 'a server by itself has none');
  await page.route('**/console/api/operation', async (route) => {
    const said = await (await route.fetch()).json();
    await route.fulfill({ json: { ...said, status: { ...said.status, cluster: CLUSTER } } });
  });
  await page.reload();
  const rows = async (name) => {
    const region = page.getByRole('region', { name, exact: true });
    await region.waitFor();
    return region.locator('tbody tr').evaluateAll((found) => found.map((row) => [...row.cells].map((cell) => cell.innerText.replace(/\s+/g, ' ').trim())));
  };
  assert.deepEqual(await rows('Nodes'), [
    ['node1 this one', 'up with the log', '2', 'now'],
    ['node2', '50 messages behind', '0', '0.4 s ago'],
    ['node<3>', 'reads another log', '5', '1 min 15 s ago'],
    ['node4', 'silent', '0', '40 s ago'],
    ['node5', 'not heard yet', '', 'not for 12 s'],
    ['node6', 'silent', '', 'not for 42 s'],
  ]);
  assert.deepEqual(await rows('Servers of the log'), [
    ['nats1', 'leads', '2.15.1'], ['nats2', 'has lost 7 messages', '2.15.1'], ['nats3', 'away', 'not known'],
    ['nats4', '3 messages behind it has not answered', '2.15.1'],
  ]);
  await t.axe(page);
  await page.setViewportSize({ width: 390, height: 844 });
  assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 390, 'nothing is wider than a telephone');
}

async function theAuditLogIsFiltered(t) {
  const page = await t.signedIn({});
  const name = named('audited');
  await t.rollcall('token', 'create', '--role', 'read', '--admin', '--name', name);
  await part(t, page, 'audit');
  const rows = page.locator('.operation tbody tr');
  const all = await rows.count();
  await page.getByPlaceholder('Find in the log').fill('token create');
  await page.waitForFunction((n) => document.querySelectorAll('.operation tbody tr').length <= n, all);
  for (const text of await rows.allTextContents()) assert.match(text, /token create/);
  await page.waitForURL(/find=token/);
  // Whose token it was is said by its name.
  await rows.filter({ hasText: `“${name}”` }).waitFor();

  // Who has read hides none of the changes.
  const reader = t.server.token('--role', 'read', '--admin', '--name', named('reader'));
  for (let n = 0; n < 1100; n += 50) {
    const answers = await Promise.all(Array.from({ length: 50 }, () => t.api('/v1/CallCount', { token: reader })));
    assert.ok(answers.every(({ status }) => status === 200));
  }
  await page.goto(`${t.url}/console/operation?part=audit&find=${encodeURIComponent(name)}`);
  await page.getByText('None of the newest entries is so.').waitFor();
  await page.getByLabel('What').selectOption('Changes');
  await rows.filter({ hasText: `“${name}”` }).waitFor();
  await page.getByLabel('What').selectOption('Reads');
  await page.getByPlaceholder('Find in the log').fill('');
  await rows.first().waitFor();
  for (const text of await page.locator('.operation td[data-name="What"]').allTextContents()) assert.match(text, /^read$| list$/);
}

async function sampleCallsAreNoWebhooks(t) {
  const page = await t.signedIn({});
  // As with `serve --demo`, before anything has come.
  const asked = (route) => route.fetch({ headers: { ...route.request().headers(), 'sec-fetch-site': 'same-origin' } });
  await page.route('**/console/api/session', async (route) => {
    const answer = await asked(route);
    await route.fulfill({ response: answer, json: { ...await answer.json(), demo: true } });
  });
  await page.route('**/console/api/accounts', async (route) => {
    const answer = await asked(route);
    await route.fulfill({ response: answer, json: (await answer.json()).map((one) => ({ ...one, last_event_at: null })) });
  });
  await part(t, page, 'connect');
  await page.getByText('No webhook has arrived since the server started').waitFor();
  assert.equal(await page.getByText('Events arrive').count(), 0);
  await page.unroute('**/console/api/session');
  await page.unroute('**/console/api/accounts');
  await t.events([event(1, 'completed')]);
  await part(t, page, 'connect');
  await page.getByText('Events arrive').waitFor();
  // One of two hours ago says nothing of the present.
  await page.route('**/console/api/operation', async (route) => {
    const answer = await asked(route);
    const said = await answer.json();
    await route.fulfill({ response: answer, json: { ...said, events: { ...said.events, last_at: new Date(Date.now() - 7_200_000).toISOString() } } });
  });
  await part(t, page, 'connect');
  await page.getByText('The last event came 2 h ago').waitFor();
  assert.equal(await page.getByText('Events arrive').count(), 0);
}

async function operationIsAccessible(t) {
  for (const colorScheme of ['light', 'dark']) {
    const page = await t.signedIn({ colorScheme });
    for (const name of colorScheme === 'light' ? ['', 'connect', 'accounts', 'tokens', 'audit'] : ['', 'connect']) {
      await part(t, page, name);
      await t.axe(page);
      await page.setViewportSize({ width: 390, height: 844 });
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth), 390, `${name}: nothing is wider than a telephone`);
      await page.setViewportSize({ width: 1280, height: 900 });
    }
    await part(t, page, 'tokens');
    await page.getByRole('button', { name: 'Make a token' }).click();
    await t.axe(page);
    await page.keyboard.press('Escape');
    await page.getByRole('dialog').waitFor({ state: 'detached' });
  }
}

/** The server keeps an audit log that can be read. */
export const args = ['--log-audit', path.join(process.env.DATA, `audit-${process.pid}.log`), '--log-audit-reads'];

export const tests = [
  ['a token is made, shown once, and its session ends with it', aTokenIsMadeShownOnceAndItsSessionEndsWithIt],
  ['an account is registered and its secrets are not shown', anAccountIsRegisteredAndItsSecretsAreNotShown],
  ['a test call arrives', aTestCallArrives],
  ['the overview is what the server says', theOverviewIsWhatTheServerSays],
  ['a slow answer is awaited', aSlowAnswerIsAwaited],
  ['nodes of a cluster are shown', nodesOfAClusterAreShown],
  ['the audit log is filtered', theAuditLogIsFiltered],
  ['sample calls are no webhooks', sampleCallsAreNoWebhooks],
  ['operation is accessible and fits a telephone', operationIsAccessible],
];
