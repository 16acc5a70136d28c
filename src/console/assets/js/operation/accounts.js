// Accounts: names, how their webhooks authenticate, and how long their calls are kept.

import { html, useState } from '../html.js';
import { json, words } from '../api.js';
import { Refused } from './connect.js';
import { Text } from '../text.js';
import { ago, full } from '../time.js';
import { address } from '../url.js';
import { Button, Dialog, Empty, ErrorNote, Field, Icon, toast } from '../ui.js';

export function Accounts({ accounts, again, zone }) {
  const [edited, setEdited] = useState(null);
  const [removed, setRemoved] = useState(null);
  const close = () => {
    setEdited(null);
    setRemoved(null);
  };
  const done = (text) => {
    close();
    toast(text, 'good');
    again();
  };
  return html`<div class="part-head"><p class="muted">What is registered here may send webhooks. Calls of other accounts are refused.</p>
      <${Button} kind="primary" icon="plus" onClick=${() => setEdited({})}>Add an account<//></div>
    ${accounts.length === 0 ? html`<${Empty} title="No account is registered" icon="phone">
      <p>Add the first one with its sid, which the jambonz portal shows, and its webhook secret.</p><//>`
    : html`<div class="card scroll"><table class="table stack">
      <thead><tr><th scope="col">Account</th><th scope="col">Webhooks</th><th scope="col">Kept</th>
        <th scope="col">Last event</th><th scope="col">Refused</th><th scope="col"><span class="sr">Actions</span></th></tr></thead>
      <tbody>${accounts.map((one) => html`<tr key=${one.account_sid}>
        <th scope="row"><a href=${address('history', { account: one.account_sid })}><${Text} value=${one.name || 'Without a name'} /></a>
          <small class="below mono">${one.account_sid}</small>
          ${one.registered === false && html`<small class="below level warning"><${Icon} name="alert" />not registered</small>`}
          ${one.service_provider_sid && html`<small class="below">of provider <span class="mono">${one.service_provider_sid}</span></small>`}</th>
        <td data-name="Webhooks"><${Ways} account=${one} /></td>
        <td data-name="Kept">${kept(one.keep)}</td>
        <td data-name="Last event">${one.last_event_at ? html`<span title=${full(one.last_event_at, zone)}>${ago(one.last_event_at)}</span>` : html`<span class="muted">none yet</span>`}</td>
        <td data-name="Refused"><${Refused} refused=${one.refused} /></td>
        <td class="actions"><${Button} small onClick=${() => setEdited(one)}>${one.registered === false ? 'Register' : 'Change'}<//>
          ${one.registered !== false && html`<${Button} small kind="quiet" icon="trash" label=${`Remove ${one.name || one.account_sid}`} onClick=${() => setRemoved(one)} />`}</td>
      </tr>`)}</tbody></table></div>`}
    ${edited && html`<${Edit} account=${edited} close=${close} done=${done} />`}
    ${removed && html`<${Remove} account=${removed} close=${close} done=${done} />`}`;
}

function kept(keep) {
  if (!keep || keep === 'default') return html`<span class="muted">as configured</span>`;
  return keep;
}

function Ways({ account }) {
  const ways = [];
  if (account.has_webhook_secret) ways.push('signed with its secret');
  if (account.hook_user) ways.push(html`user <code>${account.hook_user}</code>${account.has_hook_password ? ' with a password' : ', no password yet'}`);
  if (ways.length === 0) return html`<span class="level warning"><${Icon} name="alert" />none: events are refused</span>`;
  return html`<ul>${ways.map((way, n) => html`<li key=${n}>${way}</li>`)}</ul>`;
}

const SID = /^[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}$/i;

const NAMES = { name: 'name', hook_user: 'user', service_provider_sid: 'service provider sid' };

/** Adds an account or changes one. What is left as it is is not sent. */
function Edit({ account, close, done }) {
  const isNew = !account.account_sid || account.registered === false;
  const [value, setValue] = useState({
    sid: account.account_sid ?? '', name: account.name ?? '', hook_user: account.hook_user ?? '', hook_password: '', webhook_secret: '',
    keep: account.keep ?? '', service_provider_sid: account.service_provider_sid ?? '',
  });
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const field = (key, label, more = {}) => html`<${Field} label=${label} hint=${more.hint}>${(of) => html`<input class="input" type="text" autocomplete="off"
    spellcheck=${false} ...${of} ...${more.input} value=${value[key]} onInput=${(event) => setValue({ ...value, [key]: event.target.value })} />`}<//>`;
  const save = async (event) => {
    event.preventDefault();
    const sid = value.sid.trim().toLowerCase();
    if (!SID.test(sid)) {
      setError(new Error(`"${value.sid}" is no account sid: expected a UUID, such as 9351f46a-678c-43f5-b8a6-d4eb58d131af`));
      return;
    }
    const body = {};
    for (const key of ['name', 'hook_user', 'hook_password', 'webhook_secret', 'keep', 'service_provider_sid']) {
      const given = value[key].trim();
      const before = account[key] ?? '';
      if (given !== '' && given !== before) body[key] = given;
      else if (given === '' && before !== '') {
        if (key === 'keep') body.keep = 'default';
        else {
          setError(new Error(`The ${NAMES[key]} “${before}” cannot be left out: give another one`));
          return;
        }
      }
    }
    setBusy(true);
    setError(null);
    try {
      await json(`/console/api/accounts/${sid}`, { method: 'PUT', body });
      done(isNew ? 'The account is registered.' : 'The account is changed.');
    } catch (problem) {
      setError(problem);
      setBusy(false);
    }
  };
  const secret = (isSet) => (isSet ? 'One is set, and is not shown. Leave this empty to keep it.' : undefined);
  return html`<${Dialog} title=${isNew ? 'Add an account' : `Change ${account.name || account.account_sid}`} close=${close}>
    <form onSubmit=${save} autocomplete="off">
      ${isNew && field('sid', 'Account sid', { hint: 'The portal of jambonz shows it under Account.', input: { required: true, placeholder: '9351f46a-678c-…' } })}
      ${field('name', 'Name')}
      <fieldset><legend>How its webhooks authenticate: one of the two is enough</legend>
        ${field('webhook_secret', 'Webhook secret', { hint: secret(account.has_webhook_secret) ?? 'The portal shows it under Account. jambonz signs each webhook with it.', input: { type: 'password', autocomplete: 'new-password' } })}
        ${field('hook_user', 'User')}
        ${field('hook_password', 'Password', { hint: secret(account.has_hook_password), input: { type: 'password', autocomplete: 'new-password' } })}
      </fieldset>
      ${field('keep', 'Keep calls for', { hint: '90days, 1year, forever, or default for what the configuration says.' })}
      ${field('service_provider_sid', 'Service provider sid', { hint: 'Whose tokens see this account, too. May be empty.' })}
      ${error && html`<${ErrorNote} error=${error} />`}
      <div class="dialog-end"><${Button} onClick=${close}>Cancel<//><button type="submit" class="button primary" disabled=${busy}>${isNew ? 'Add' : 'Change'}</button></div>
    </form>
  <//>`;
}

function Remove({ account, close, done }) {
  const [error, setError] = useState(null);
  const remove = async () => {
    try {
      await json(`/console/api/accounts/${account.account_sid}`, { method: 'DELETE' });
      done('The account is removed.');
    } catch (problem) {
      setError(problem);
    }
  };
  return html`<${Dialog} title=${`Remove ${account.name || account.account_sid}?`} close=${close}>
    <p>Its settings and its tokens go, at once, and its webhooks are refused from then on. Its calls stay.</p>
    ${error && html`<p role="alert" class="level failed">${words(error)}</p>`}
    <div class="dialog-end"><${Button} onClick=${close}>Cancel<//><${Button} kind="danger" onClick=${remove}>Remove<//></div>
  <//>`;
}
