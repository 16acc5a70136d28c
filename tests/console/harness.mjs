// A running rollcall and a browser that looks at it, for the tests of the console's pages.
//
// The environment names the binary (ROLLCALL), a directory for data (DATA), the browser (CHROMIUM) and
// where `tests/console/setup` has put its packages (MODULES). ASSETS names a directory whose files are
// shown in place of those of the binary, to work on pages without building it.

import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import https from 'node:https';
import { createRequire } from 'node:module';
import net from 'node:net';
import path from 'node:path';

const require = createRequire(path.join(process.env.MODULES, 'package.json'));
const { chromium } = require('playwright-core');
const AXE = fs.readFileSync(require.resolve('axe-core/axe.min.js'), 'utf8');

export const A1 = '9351f46a-678c-43f5-b8a6-d4eb58d131af';
export const A2 = 'b1a7f3a2-0c55-4f6e-9c1d-7a9e2f4d8e10';

/** The sid of call number `n`. */
export const sid = (n) => `c0000000-0000-4000-8000-${String(n).padStart(12, '0')}`;

/** An event of call `n` of the first account. */
export const event = (n, status, more = {}) => ({
  account_sid: A1,
  call_sid: sid(n),
  direction: 'inbound',
  from: '+15551230001',
  to: '+18005550100',
  call_id: `cid-${n}@10.0.0.9`,
  service_url: 'http://10.0.0.5:3000',
  call_status: status,
  ...more,
});

/** A server on a port of its own, which it keeps when it is started again. */
export class Server {
  static async up(args = []) {
    const server = new Server();
    server.data = fs.mkdtempSync(path.join(process.env.DATA, 'console-'));
    server.args = args;
    server.port = await freePort();
    await server.start();
    server.admin = fs.readFileSync(path.join(server.data, 'admin.token'), 'utf8').trim();
    return server;
  }

  get url() {
    return `https://localhost:${this.port}`;
  }

  start() {
    const flags = ['serve', '--listen', `127.0.0.1:${this.port}`, '--data-dir', this.data, ...this.args];
    this.child = spawn(process.env.ROLLCALL, flags, { stdio: ['ignore', 'pipe', 'pipe'] });
    this.said = '';
    return new Promise((resolve, reject) => {
      const take = (part) => {
        this.said += part;
        if (this.said.includes('listening on https://')) resolve();
      };
      this.child.stdout.on('data', take);
      this.child.stderr.on('data', take);
      this.child.on('exit', (code) => reject(new Error(`rollcall has ended (${code}): ${this.said}`)));
    });
  }

  /** Ends it in the middle of everything. */
  kill() {
    const child = this.child;
    return new Promise((resolve) => {
      child.removeAllListeners('exit');
      child.on('exit', resolve);
      child.kill('SIGKILL');
    });
  }

  /** What a command of rollcall prints about this server. */
  rollcall(...args) {
    return execFileSync(process.env.ROLLCALL, [...args, '--data-dir', this.data], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  }

  /** A new token: its secret. */
  token(...args) {
    return this.rollcall('token', 'create', ...args).trim().split('\n').at(-1);
  }

  /** `{status, headers, text, json}` of a request with a token, that of the admin by default. */
  api(target, { method = 'GET', body, token = this.admin, headers = {} } = {}) {
    const sent = body === undefined || typeof body === 'string' ? body : JSON.stringify(body);
    const options = {
      method,
      host: '127.0.0.1',
      port: this.port,
      path: target,
      rejectUnauthorized: false,
      headers: { authorization: `Bearer ${token}`, ...(sent ? { 'content-type': 'application/json' } : {}), ...headers },
    };
    return new Promise((resolve, reject) => {
      const request = https.request(options, (answer) => {
        let text = '';
        answer.setEncoding('utf8');
        answer.on('data', (part) => {
          text += part;
        });
        answer.on('end', () => resolve({ status: answer.statusCode, headers: answer.headers, text, get json() { return JSON.parse(text); } }));
        answer.on('error', reject);
      });
      request.on('error', reject);
      request.end(sent);
    });
  }

  /** Sends events of calls, in their order, as many at a time as a request may have; or a text as it is. */
  async events(list) {
    const parts = [];
    if (typeof list === 'string') parts.push(list);
    else for (let n = 0; n < list.length; n += 2000) parts.push(list.slice(n, n + 2000));
    for (const body of parts) {
      const answer = await this.api('/v1/hooks/call-status', { method: 'POST', body });
      assert.equal(answer.status, 204, answer.text);
    }
  }
}

function freePort() {
  return new Promise((resolve) => {
    const server = net.createServer();
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

export function launch() {
  return chromium.launch({ executablePath: process.env.CHROMIUM, args: ['--no-sandbox', '--disable-dev-shm-usage'] });
}

/** What a test is given: a browser, a server, and what it needs of both. */
export class Session {
  constructor(browser, server) {
    this.browser = browser;
    this.server = server;
    this.contexts = [];
    // What no page may do, whatever the test looks at.
    this.wrong = [];
  }

  get url() {
    return this.server.url;
  }

  get admin() {
    return this.server.admin;
  }

  api(...args) {
    return this.server.api(...args);
  }

  rollcall(...args) {
    return this.server.rollcall(...args);
  }

  events(list) {
    return this.server.events(list);
  }

  /** A page of a new browser profile, where nobody is signed in. */
  async page({ viewport = { width: 1280, height: 800 }, colorScheme = 'light', timezone = 'Europe/Berlin', ...more } = {}) {
    const context = await this.browser.newContext({ viewport, colorScheme, timezoneId: timezone, locale: 'en-GB', ignoreHTTPSErrors: true, ...more });
    this.contexts.push(context);
    context.setDefaultTimeout(60_000);
    await context.addInitScript(() => {
      document.addEventListener('securitypolicyviolation', (violation) => {
        console.error(`CSP: ${violation.violatedDirective} ${violation.blockedURI}`);
      });
    });
    if (process.env.ASSETS) await context.route(/\/console\/(?!api\/)/, fromDirectory);
    const page = await context.newPage();
    page.on('pageerror', (error) => this.wrong.push(`error: ${error.stack}`));
    page.on('console', (message) => {
      if (/CSP|Content Security Policy/.test(message.text())) this.wrong.push(message.text());
    });
    page.on('dialog', (dialog) => {
      this.wrong.push(`dialog: ${dialog.message()}`);
      dialog.dismiss();
    });
    page.on('request', (request) => {
      const asked = new URL(request.url());
      if (!['blob:', 'data:'].includes(asked.protocol) && asked.origin !== this.url) this.wrong.push(`request: ${request.url()}`);
    });
    return page;
  }

  /** A page at `at`, signed in with a token. */
  async signedIn({ token = this.admin, at = '/console/', ...options } = {}) {
    const page = await this.page(options);
    const answer = await page.context().request.post(`${this.url}/console/api/session`, {
      headers: { origin: this.url, 'sec-fetch-site': 'same-origin' },
      data: { token },
    });
    assert.equal(answer.status(), 200, await answer.text());
    await page.goto(this.url + at);
    await page.locator('#page').waitFor();
    return page;
  }

  /** Fails where axe finds something serious. */
  async axe(page) {
    // Evaluated by the browser's debugger, which the page's policy does not stop.
    await page.evaluate(`${AXE};undefined`);
    const { violations } = await page.evaluate(() => window.axe.run(document, { resultTypes: ['violations'] }));
    const serious = violations.filter((one) => ['serious', 'critical'].includes(one.impact));
    const words = serious.map((one) => `${one.id}: ${one.help}\n${one.nodes.slice(0, 4).map((node) => `    ${node.html.slice(0, 300)}\n    ${node.failureSummary.replaceAll('\n', ' ')}`).join('\n')}`);
    assert.equal(serious.length, 0, `${page.url()}\n${words.join('\n')}`);
  }

  async close() {
    for (const context of this.contexts) await context.close();
    this.contexts = [];
  }
}

const TYPES = { '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };

async function fromDirectory(route) {
  const asked = new URL(route.request().url()).pathname;
  if (asked.startsWith('/console/assets/')) {
    const file = path.join(process.env.ASSETS, asked.split('/').slice(4).join('/'));
    await route.fulfill({ body: fs.readFileSync(file), contentType: TYPES[path.extname(file)] });
    return;
  }
  const page = fs.readFileSync(path.join(process.env.ASSETS, 'index.html'), 'utf8').replaceAll('{{ assets }}', '/console/assets/dev');
  const answer = await route.fetch();
  await route.fulfill({ response: answer, body: page });
}

/** Waits until `look` gives something that is not false, without a fixed time. */
export async function until(look, what) {
  const end = Date.now() + 60_000;
  for (;;) {
    const found = await look();
    if (found) return found;
    if (Date.now() > end) throw new Error(`in vain: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 30));
  }
}
