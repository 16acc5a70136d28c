// Runs the tests of one file: `node run.mjs FILE`. Prints each with its time; exits 1 if one fails.

import fs from 'node:fs';
import path from 'node:path';
import { pathToFileURL } from 'node:url';
import { launch, Server, Session } from './harness.mjs';

const [, , file, only] = process.argv;
const { tests, args = [], before } = await import(pathToFileURL(path.resolve(file)));
const server = await Server.up(args);
const browser = await launch();
let failed = 0;
try {
  if (before) await before(server);
  for (const [name, test] of tests) {
    if (only && !name.includes(only)) continue;
    const session = new Session(browser, server);
    const begun = Date.now();
    try {
      await test(session);
      if (session.wrong.length) throw new Error(session.wrong.join('\n'));
      console.log(`ok      ${name} (${Date.now() - begun} ms)`);
    } catch (error) {
      failed += 1;
      console.log(`failed  ${name}\n${error.stack}\n${session.wrong.join('\n')}`);
      if (process.env.PICTURES) {
        fs.mkdirSync(process.env.PICTURES, { recursive: true });
        let n = 0;
        for (const context of session.contexts) {
          for (const page of context.pages()) {
            await page.screenshot({ path: path.join(process.env.PICTURES, `${name.replace(/\W+/g, '-')}-${(n += 1)}.png`) }).catch(() => {});
          }
        }
      }
    }
    await session.close();
  }
} finally {
  await browser.close();
  await server.kill();
}
process.exitCode = failed ? 1 : 0;
