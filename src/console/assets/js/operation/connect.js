// How the calls of jambonz get here, with what is configured, and whether they do.

import { html } from '../html.js';
import { TestEvent, webhookUrl } from '../empty.js';
import { Text } from '../text.js';
import { ago, full, number } from '../time.js';
import { address } from '../url.js';
import { Copy, Icon, Note } from '../ui.js';

/** What is to be done where events are refused. */
const REASONS = {
  unauthenticated: 'Neither the signature nor the user and the password is right.',
  credentials: 'The user or the password is wrong.',
  signature: 'The signature fits no webhook secret of the account.',
  unregistered: 'The account is not registered here.',
  body: 'What was sent is no event of a call.',
};

export function Connect({ operation, accounts, zone }) {
  const { connect = {}, events = {} } = operation;
  const url = connect.webhook_url ?? webhookUrl();
  const lines = (connect.lines ?? []).map((line) => (typeof line === 'string' ? { text: line } : line));
  const ready = accounts.filter((one) => one.hook_user || one.has_webhook_secret);
  return html`<${Arrival} events=${events} accounts=${accounts} zone=${zone} />
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
        ${connect.private_ca && html`<li><h3>Let jambonz trust the certificate</h3>
          <p>It is of rollcall's own authority. On each feature server, set <code>NODE_EXTRA_CA_CERTS</code> to a file with what this prints:</p>
          <${Paste} text="rollcall cert show --ca" /></li>`}
        ${lines.length > 0 && html`<li><h3>Or by one command</h3>
          ${lines.map((line) => html`<div key=${line.text}>${line.title && html`<p>${line.title}</p>`}<${Paste} text=${line.text} /></div>`)}</li>`}
        <li><h3>Try it</h3><p>A test call takes the way of a webhook and is marked as a test. It needs nothing of jambonz.</p>
          ${accounts.length > 0 ? html`<${TestEvent} accounts=${accounts} />`
            : html`<p class="muted">For this an account must be registered.</p>`}
        </li>
      </ol>
    </section>`;
}

function Paste({ text }) {
  return html`<div class="paste"><code>${text}</code><${Copy} text=${text} label="Copy" /></div>`;
}

function Arrival({ events, accounts, zone }) {
  const refused = Object.entries(events.refused ?? {}).filter(([, n]) => n > 0);
  const silent = accounts.filter((one) => !one.last_event_at);
  return html`<section class="arrival" aria-label="Whether events arrive">
    ${events.last_at ? html`<${Note} kind="good">Events arrive: the last one came <b title=${full(events.last_at, zone)}>${ago(events.last_at)}</b>.
        ${silent.length > 0 && silent.length < accounts.length && ` Nothing came yet of ${silent.map((one) => one.name || one.account_sid).slice(0, 5).join(', ')}.`}<//>`
      : html`<${Note}>No event has arrived yet.<//>`}
    ${refused.length > 0 && html`<${Note} kind="warn"><p><b>Events were refused</b> since the server started:</p>
      <ul class="refused">${refused.map(([reason, n]) => html`<li key=${reason}><b>${number(n)}</b> ${reason.replaceAll('_', ' ')}${REASONS[reason] && `: ${REASONS[reason]}`}</li>`)}</ul>
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
