// Operation, for admins: whether all is well, how jambonz gets here, accounts, tokens, and who did what.

import { html, useEffect, useState } from '../html.js';
import { json, may, words } from '../api.js';
import { Accounts } from '../operation/accounts.js';
import { Audit, auditOf } from '../operation/audit.js';
import { Connect } from '../operation/connect.js';
import { Overview } from '../operation/overview.js';
import { Tokens } from '../operation/tokens.js';
import { clock, now } from '../time.js';
import { address } from '../url.js';
import { Empty, ErrorNote, Waiting, useLoad, useNow } from '../ui.js';

/** How often what is shown is asked for again, in milliseconds. */
const EVERY = 10_000;

const get = (path) => (signal) => json(`/console/api/${path}`, { signal });
const [operation, accounts, tokens] = ['operation', 'accounts', 'tokens'].map(get);

/** Key, name, what is asked for, and what shows it. */
const PARTS = [
  ['overview', 'Overview', { operation }, Overview],
  ['connect', 'Connect', { operation, accounts }, Connect],
  ['accounts', 'Accounts', { accounts }, Accounts],
  ['tokens', 'Tokens', { tokens, accounts }, Tokens],
  ['audit', 'Audit log', { audit: auditOf, tokens }, Audit],
];

export function Operation({ session, url, navigate, zone }) {
  const [part, name, asked, Part] = PARTS.find(([key]) => key === url.params.get('part')) ?? PARTS[0];
  if (!may(session, 'operate')) {
    return html`<div class="page operation"><${Empty} title="Operation is for admins" icon="operation">
      <p>It needs an admin token with the role full.</p><//></div>`;
  }
  return html`<div class="page operation">
    <header class="page-head"><h1>Operation</h1></header>
    <nav class="tabs" aria-label="Parts of this page">${PARTS.map(([key, text]) => html`<a key=${key}
      href=${address('operation', { part: key === 'overview' ? '' : key })} aria-current=${key === part ? 'page' : undefined}>${text}</a>`)}</nav>
    <${Loaded} key=${part} ...${{ asked, name, Part, session, url, navigate, zone }} />
  </div>`;
}

/** A part with what it shows, asked for again and again while the page is seen. */
function Loaded({ asked, name, Part, ...rest }) {
  const tick = useNow(EVERY);
  const only = rest.url.params.get('only');
  const load = (signal) => Promise.all(Object.entries(asked).map(async ([key, ask]) => [key, await ask(signal, only)])).then(Object.fromEntries);
  const { value, error, again } = useLoad(load, [only], tick);
  const [at, setAt] = useState();
  useEffect(() => value && setAt(now()), [value]);
  if (!value) return error ? html`<${ErrorNote} error=${error} again=${again} />` : html`<${Waiting} />`;
  return html`<section aria-label=${name}>
    <${Part} ...${rest} ...${value} again=${again} />
    <p class="as-of">${error ? `Not renewed since ${clock(at, rest.zone)}: ${words(error)}` : html`As of ${clock(at, rest.zone)}, renewed by itself.`}</p>
  </section>`;
}
