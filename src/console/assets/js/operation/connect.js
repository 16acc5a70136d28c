// How the calls of jambonz get here, with what is configured, and whether they do.

import { html } from '../html.js';
import { TestEvent, webhookUrl } from '../empty.js';
import { Text } from '../text.js';
import { ago, full, now, number } from '../time.js';
import { address } from '../url.js';
import { Copy, Icon, Note } from '../ui.js';
import { Said } from './said.js';

/** Why events are refused, and what is to be done in this page; `doctor` has the rest. */
const CAUSES = {
  two_accounts: 'Two valid credentials name different accounts.',
  other_account: 'Events of an account that is not the sender\'s.',
  signature_wrong: 'The signature does not verify: is the webhook secret the one that jambonz shows?',
  wrong_password: 'The password is wrong: is it the one of the webhook in jambonz?',
  signature_time: 'The signature\'s time is more than 5 minutes off: are both clocks right?',
  not_registered: 'The account is not registered: add it under Accounts.',
  unknown_user: 'No account has this user: enter it under Accounts.',
  unknown_token: 'The token is unknown, has ended or was revoked.',
  role: 'The role of the token does not bring events.',
  no_secret: 'Signed, but the account has no webhook secret: enter it under Accounts.',
  no_account: 'Signed, but the first event names no account.',
  no_credentials: 'Neither signed nor with a user or a token.',
  method: 'The webhook in jambonz has another method than POST.',
  unavailable: 'The server could not take them; jambonz sends them again if its URL says so.',
};

export function Connect({ operation, accounts, session, zone }) {
  const { connect = {}, events = {} } = operation;
  const url = connect.webhook_url ?? webhookUrl();
  const lines = (connect.lines ?? []).filter((line) => line.text !== url);
  const ready = accounts.filter((one) => one.hook_user || one.has_webhook_secret);
  return html`<${Arrival} events=${events} accounts=${accounts} demo=${session.demo} zone=${zone} />
    <section class="card" aria-label="Point jambonz here">
      <header><h2>Point jambonz here</h2></header>
      <ol class="steps">
        <li><h3>Register the account</h3>
          ${ready.length > 0 ? html`<p>${number(ready.length)} ${ready.length === 1 ? 'account is' : 'accounts are'} <a href=${address('operation', { part: 'accounts' })}>registered</a> and may send.</p>`
            : html`<p><a href=${address('operation', { part: 'accounts' })}>Add an account</a> with the webhook secret that the jambonz
              portal shows for it, or with a user and a password of your choice.</p>`}
        </li>
        <li><h3>Set the call status webhook</h3>
          <p>In the portal: Applications, the application, <b>call status webhook</b>, method POST.</p>
          <${Paste} text=${url} />
          <p class="hint">What follows <code>#</code> makes jambonz try again when something fails on the way.</p>
          ${ready.some((one) => one.hook_user) && html`<p>With the user of the account and its password:</p>
            <ul class="users">${ready.filter((one) => one.hook_user).map((one) => html`<li key=${one.account_sid}>
              <span><${Text} value=${one.name || one.account_sid} /></span><${Paste} text=${one.hook_user} /></li>`)}</ul>`}
        </li>
        ${lines.length > 0 && html`<li><h3>What else may be needed</h3>
          ${lines.map((line) => html`<div class="line" key=${line.text}><p><${Said} text=${line.title} />:</p><${Paste} text=${line.text} /></div>`)}</li>`}
        <li><h3>Try it</h3><p>A test call takes the way of a webhook and is marked as a test. It needs nothing of jambonz.</p>
          ${accounts.length > 0 ? html`<${TestEvent} accounts=${accounts} />`
            : html`<p class="muted">For this an account must be registered.</p>`}
        </li>
      </ol>
    </section>`;
}

// How long ago an event came that says that others do.
const RECENT = 900_000;

function Paste({ text }) {
  return html`<div class="paste"><code>${text}</code><${Copy} text=${text} label="Copy" /></div>`;
}

function Arrival({ events, accounts, demo, zone }) {
  const refused = Object.entries(events.refused ?? {}).filter(([, n]) => n > 0);
  const silent = accounts.filter((one) => !one.last_event_at);
  const arrive = now() - Date.parse(events.last_at ?? '') < RECENT;
  return html`<section class="arrival" aria-label="Whether events arrive">
    ${demo && silent.length === accounts.length ? html`<${Note}>No webhook has arrived since the server started: what you see are sample calls.<//>`
      : events.last_at ? html`<${Note} kind=${arrive ? 'good' : 'info'}>${arrive ? 'Events arrive: the last one came' : 'The last event came'} <b title=${full(events.last_at, zone)}>${ago(events.last_at)}</b>.
        ${silent.length > 0 && silent.length < accounts.length && ` Nothing came yet of ${silent.map((one) => one.name || one.account_sid).slice(0, 5).join(', ')}.`}<//>`
      : html`<${Note}>No event has arrived yet.<//>`}
    ${refused.length > 0 && html`<${Note} kind="warn"><p><b>Events were refused</b> since the server started:</p>
      <ul class="refused">${refused.map(([reason, n]) => html`<li key=${reason}><b>${number(n)}</b> ${reason.replaceAll('_', ' ')}${CAUSES[reason] && `: ${CAUSES[reason]}`}</li>`)}</ul>
      <p><code>rollcall doctor</code> has the command for each cause.</p><//>`}
  </section>`;
}

/** Refused events of an account in few words. */
export function Refused({ refused }) {
  const all = Object.entries(refused ?? {}).filter(([, n]) => n > 0);
  if (all.length === 0) return html`<span class="muted">none</span>`;
  const sum = all.reduce((total, [, n]) => total + n, 0);
  return html`<span class="level warning" title=${all.map(([reason, n]) => `${reason}: ${n}`).join(', ')}><${Icon} name="alert" />${number(sum)}
    <small>${all.map(([reason]) => reason.replaceAll('_', ' ')).join(', ')}</small></span>`;
}
