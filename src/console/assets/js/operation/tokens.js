// Tokens: made with one's own token once more, shown once, and revoked at once.

import { html, useState } from '../html.js';
import { json } from '../api.js';
import { Text } from '../text.js';
import { ago, dayAndMinute, full, now } from '../time.js';
import { Button, Copy, Dialog, ErrorNote, Field, Icon, Note, toast } from '../ui.js';

const ROLES = [
  ['read', 'Lists, single calls and counts'],
  ['read-masked', 'The same, with the middle digits of numbers masked'],
  ['export', 'Lists, and nothing else'],
  ['full', 'Everything that the API offers in its scope'],
  ['ingest', 'Sends status events, and nothing else'],
  ['metrics', 'Scrapes of figures, and nothing else'],
];

const DAY = 86_400;
const ENDS = [['30 days', 30 * DAY], ['90 days', 90 * DAY], ['1 year', 365 * DAY], ['1 day', DAY], ['never', 0]];

export function Tokens({ tokens, accounts, session, again, zone }) {
  const [making, setMaking] = useState(false);
  const [revoked, setRevoked] = useState(null);
  const isOwn = (token) => token.current === true || token.id === session.token_id;
  const sorted = [...tokens].sort((a, b) => (b.created_at ?? '').localeCompare(a.created_at ?? ''));
  return html`<div class="part-head"><p class="muted">A token may do what its role says, from anywhere.</p>
      <${Button} kind="primary" icon="plus" onClick=${() => setMaking(true)}>Make a token<//></div>
    <div class="card scroll"><table class="table stack">
      <thead><tr><th scope="col">Token</th><th scope="col">Of</th><th scope="col">Role</th><th scope="col">Last used</th><th scope="col">Made</th>
        <th scope="col">Ends</th><th scope="col"><span class="sr">Actions</span></th></tr></thead>
      <tbody>${sorted.map((token) => html`<tr key=${token.id}>
        <th scope="row"><${Text} value=${token.name || 'Without a name'} />${isOwn(token) && html` <span class="tag">yours</span>`}<small class="below mono">${token.id}</small></th>
        <td data-name="Of"><${Scope} token=${token} accounts=${accounts} /></td>
        <td data-name="Role"><span title=${ROLES.find(([role]) => role === token.role)?.[1]}>${token.role}</span></td>
        <td data-name="Last used">${token.last_used_at ? html`<span title=${full(token.last_used_at, zone)}>${ago(token.last_used_at)}</span>` : html`<span class="muted">never</span>`}</td>
        <td data-name="Made">${dayAndMinute(token.created_at, zone)}</td>
        <td data-name="Ends"><${Ends} token=${token} zone=${zone} /></td>
        <td class="actions"><${Button} small onClick=${() => setRevoked(token)} aria-label=${`Revoke ${token.name || token.id}`}>Revoke<//></td>
      </tr>`)}</tbody></table></div>
    ${making && html`<${Make} accounts=${accounts} made=${again} close=${() => setMaking(false)} zone=${zone} />`}
    ${revoked && html`<${Revoke} token=${revoked} own=${isOwn(revoked)} done=${again} close=${() => setRevoked(null)} />`}`;
}

function Scope({ token, accounts }) {
  if (token.account_sid) {
    const name = accounts.find((one) => one.account_sid === token.account_sid)?.name;
    return html`<${Text} value=${name || 'an account'} /><small class="below mono">${token.account_sid}</small>`;
  }
  if (token.service_provider_sid) return html`a service provider<small class="below mono">${token.service_provider_sid}</small>`;
  return 'all accounts';
}

function Ends({ token, zone }) {
  if (!token.expires_at) return html`<span class="muted">never</span>`;
  const over = new Date(token.expires_at) < now();
  return html`<span class=${over ? 'level warning' : ''} title=${full(token.expires_at, zone)}>${over && html`<${Icon} name="alert" />`}${over ? 'ended ' : ''}${ago(token.expires_at)}</span>`;
}

function Make({ accounts, made, close, zone }) {
  const [value, setValue] = useState({
    name: '', scope: accounts.length ? 'account' : 'admin', account_sid: accounts[0]?.account_sid ?? '', service_provider_sid: '', role: 'read',
    expires_in_seconds: 90 * DAY, own_token: '',
  });
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const [token, setToken] = useState(null);
  const put = (key) => (event) => setValue({ ...value, [key]: event.target.value });
  const roles = ROLES.filter(([role]) => role !== 'metrics' || value.scope === 'admin');
  const make = async (event) => {
    event.preventDefault();
    const body = { name: value.name.trim(), scope: value.scope, role: value.role, own_token: value.own_token.trim() };
    if (value.scope === 'account') body.account_sid = value.account_sid.trim();
    if (value.scope === 'service_provider') body.service_provider_sid = value.service_provider_sid.trim();
    if (Number(value.expires_in_seconds) > 0) body.expires_in_seconds = Number(value.expires_in_seconds);
    setBusy(true);
    setError(null);
    try {
      setToken(await json('/console/api/tokens', { method: 'POST', body }));
      setValue({ ...value, own_token: '' });
      made();
    } catch (problem) {
      setError(problem);
    }
    setBusy(false);
  };
  const isNotOwn = error?.status === 403 && error.message.startsWith('own_token');
  if (token) return html`<${Made} token=${token} close=${close} zone=${zone} />`;
  return html`<${Dialog} title="Make a token" close=${close}>
    <form onSubmit=${make} autocomplete="off">
      <${Field} label="Name" hint="Who or what uses it.">${(of) => html`<input class="input" type="text" ...${of} required maxlength="100" value=${value.name}
        onInput=${put('name')} placeholder="auditor" />`}<//>
      <${Field} label="Of">${(of) => html`<select class="select" ...${of} onChange=${put('scope')}>
        <option value="account" selected=${value.scope === 'account'}>One account</option>
        <option value="service_provider" selected=${value.scope === 'service_provider'}>The accounts of a service provider</option>
        <option value="admin" selected=${value.scope === 'admin'}>All accounts (admin)</option></select>`}<//>
      ${value.scope === 'account' && html`<${Field} label="Account">${(of) => (accounts.length > 0
        ? html`<select class="select" ...${of} onChange=${put('account_sid')}>${accounts.map((one) => html`<option key=${one.account_sid} value=${one.account_sid}
            selected=${one.account_sid === value.account_sid}>${one.name ? `${one.name} (${one.account_sid.slice(0, 8)}…)` : one.account_sid}</option>`)}</select>`
        : html`<input class="input" type="text" ...${of} required value=${value.account_sid} onInput=${put('account_sid')} placeholder="9351f46a-678c-…" />`)}<//>`}
      ${value.scope === 'service_provider' && html`<${Field} label="Service provider sid">${(of) => html`<input class="input" type="text" ...${of} required
        value=${value.service_provider_sid} onInput=${put('service_provider_sid')} placeholder="2708b1b3-2736-…" />`}<//>`}
      <${Field} label="Role" hint=${ROLES.find(([role]) => role === value.role)[1]}>${(of) => html`<select class="select" ...${of} onChange=${put('role')}>
        ${roles.map(([role]) => html`<option key=${role} value=${role} selected=${role === value.role}>${role}</option>`)}</select>`}<//>
      <${Field} label="Ends in">${(of) => html`<select class="select" ...${of} onChange=${put('expires_in_seconds')}>
        ${ENDS.map(([text, seconds]) => html`<option key=${seconds} value=${seconds} selected=${seconds === Number(value.expires_in_seconds)}>${text}</option>`)}</select>`}<//>
      <${Field} label="Your own token once more" error=${isNotOwn && 'This is neither your own token nor another admin token of the role full.'} hint="So an open page alone makes no tokens. If you signed in by a link: any other admin token, such as that in admin.token of the data directory.">${(of) => html`<input class="input"
        type="password" autocomplete="off" ...${of} required value=${value.own_token} onInput=${put('own_token')} />`}<//>
      ${error && !isNotOwn && html`<${ErrorNote} error=${error} />`}
      <div class="dialog-end"><${Button} onClick=${close}>Cancel<//><button type="submit" class="button primary" disabled=${busy}>Make it</button></div>
    </form>
  <//>`;
}

function Made({ token, close, zone }) {
  return html`<${Dialog} title="The token is made" close=${close}>
    <${Note} kind="warn">Copy it now: it is shown this once.<//>
    <div class="paste token"><code>${token.token}</code><${Copy} text=${token.token} label="Copy the token" kind="primary">Copy<//></div>
    <p class="muted">${token.name || 'It'} has the role ${token.role}${token.expires_at ? ` and ends ${full(token.expires_at, zone)}` : ' and does not end'}.</p>
    <div class="dialog-end"><${Button} kind="primary" onClick=${close}>Done<//></div>
  <//>`;
}

function Revoke({ token, own, done, close }) {
  const [error, setError] = useState(null);
  const [busy, setBusy] = useState(false);
  const revoke = async () => {
    setBusy(true);
    try {
      await json(`/console/api/tokens/${encodeURIComponent(token.id)}`, { method: 'DELETE' });
      toast('The token is revoked.', 'good');
      close();
      done();
    } catch (problem) {
      setError(problem);
      setBusy(false);
    }
  };
  return html`<${Dialog} title=${`Revoke ${token.name || token.id}?`} close=${close}>
    <p>It stops working at once, and who has signed in with it is signed out. This cannot be undone.</p>
    ${own && html`<${Note} kind="warn">This is the token with which you signed in: you are signed out, too.<//>`}
    ${error && html`<${ErrorNote} error=${error} />`}
    <div class="dialog-end"><${Button} onClick=${close}>Cancel<//><${Button} kind="danger" onClick=${revoke} disabled=${busy}>Revoke<//></div>
  <//>`;
}
