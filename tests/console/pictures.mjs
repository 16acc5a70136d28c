// Makes the pictures of README from the sample calls of `rollcall serve --demo`: History, and a call.
//
//   tests/console/pictures DIRECTORY

import path from 'node:path';
import { launch, Server, Session } from './harness.mjs';

const [, , directory] = process.argv;
const server = await Server.up(['--demo']);
const browser = await launch();
const session = new Session(browser, server);
const look = { viewport: { width: 1180, height: 640 }, timezone: 'UTC' };

// A font as most systems have one, where it is installed.
const font = (on) => on.evaluate(() => document.documentElement.style.setProperty('--font', 'Inter, system-ui, sans-serif'));

const page = await session.signedIn({ ...look, at: '/console/history?range=7d' });
await page.getByText(/calls found$/).waitFor();
await font(page);
await page.mouse.move(5, 5);
await page.screenshot({ path: path.join(directory, 'console-history.png') });

// An answered call with B legs.
const calls = (await server.api('/v1/Calls?answered=true&callStatus=completed&limit=3000')).json;
const legs = new Map();
for (const call of calls) {
  if (call.parent_call_sid) legs.set(call.parent_call_sid, (legs.get(call.parent_call_sid) ?? 0) + 1);
}
const parents = calls.filter((call) => legs.has(call.call_sid)).sort((a, b) => legs.get(b.call_sid) - legs.get(a.call_sid));
const shown = parents.find((call) => call.duration > 60 && call.duration < 300) ?? parents[0] ?? calls.find((call) => call.duration > 0);
await page.goto(`${server.url}/console/calls/${shown.account_sid}/${shown.call_sid}`);
await page.getByText('All fields').waitFor();
await font(page);
await page.screenshot({ path: path.join(directory, 'console-call.png') });

await session.close();
await browser.close();
await server.kill();
