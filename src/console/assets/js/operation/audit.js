// The audit log: what admins did, and requests with wrong credentials.

import { html } from '../html.js';
import { json, words } from '../api.js';
import { Text } from '../text.js';
import { full } from '../time.js';
import { Copy, Icon, Note } from '../ui.js';

const KNOWN = ['at', 'who', 'what', 'object', 'outcome', 'peer', 'action', 'address'];
/** What keeps a log that can be read here. */
const CONFIGURATION = '[log]\naudit = "/var/lib/rollcall/audit.log"\naudit_reads = true   # who reads calls, too';
const OUTCOMES = { done: 'check', failed: 'alert', refused: 'close' };

/** The newest entries, and `missing` with why where there are none to be read. */
export async function auditOf(signal, only) {
  try {
    return { entries: await json(`/console/api/audit?limit=1000${only === 'changes' ? '&reads=false' : ''}`, { signal }) };
  } catch (error) {
    if (error.status !== 404) throw error;
    return { entries: [], missing: words(error) };
  }
}

export function Audit({ audit, tokens, url, navigate, zone }) {
  const { missing } = audit;
  const entries = missing ? [] : named(audit.entries, tokens);
  if (missing) return html`<${Note}><p>${missing}</p><p>In the configuration:</p><div class="paste"><code>${CONFIGURATION}</code><${Copy} text=${CONFIGURATION} /></div><//>`;
  const part = (url.params.get('find') ?? '').trim().toLowerCase();
  const outcome = url.params.get('outcome') ?? '';
  const only = url.params.get('only') ?? '';
  const shown = entries.filter((entry) => (!outcome || entry.outcome === outcome) && (!only || isRead(entry) === (only === 'reads')) && (!part || textOf(entry).includes(part)));
  return html`<div class="part-head">
      <label class="setting find"><span class="sr">Find in the log</span><input class="input" type="search" placeholder="Find in the log" value=${url.params.get('find') ?? ''}
        onInput=${(event) => navigate({ find: event.target.value }, { replace: true })} /></label>
      <label class="setting">What <select class="select" onChange=${(event) => navigate({ only: event.target.value })}>
        ${[['', 'All'], ['changes', 'Changes'], ['reads', 'Reads']].map(([key, name]) => html`<option key=${key} value=${key} selected=${key === only}>${name}</option>`)}
      </select></label>
      <label class="setting">Outcome <select class="select" onChange=${(event) => navigate({ outcome: event.target.value })}>
        <option value="">All</option>
        ${Object.keys(OUTCOMES).map((key) => html`<option key=${key} value=${key} selected=${key === outcome}>${key}</option>`)}
      </select></label>
      <span class="spring"></span>
      <p class="muted" role="status">${shown.length} of the newest ${entries.length}</p>
    </div>
    ${shown.length === 0 ? html`<p class="muted">${entries.length === 0 ? 'Nothing is in the log yet.' : 'None of the newest entries is so.'}</p>` : html`<div class="card scroll"><table class="table stack">
      <thead><tr><th scope="col">Time</th><th scope="col">Who</th><th scope="col">What</th><th scope="col">To what</th><th scope="col">Outcome</th><th scope="col">From</th></tr></thead>
      <tbody>${shown.map((entry, n) => html`<tr key=${`${entry.at} ${n}`}>
        <td class="nowrap">${full(entry.at, zone)}</td>
        <td data-name="Who" class="nowrap"><${Text} value=${entry.who} /></td>
        <td data-name="What" class="nowrap">${entry.what ?? entry.action}</td>
        <td data-name="To what" class="object">${entry.object && html`<${Text} value=${entry.object} />`}${rest(entry)}</td>
        <td data-name="Outcome"><span class=${`level ${entry.outcome === 'done' ? '' : 'warning'}`}><${Icon} name=${OUTCOMES[entry.outcome] ?? 'info'} />${entry.outcome ?? ''}</span></td>
        <td data-name="From" class="mono">${entry.address ?? entry.peer ?? ''}</td>
      </tr>`)}</tbody></table></div>`}`;
}

/** The entries with the names of tokens beside their ids. */
function named(entries, tokens) {
  const names = new Map(tokens.filter(({ name }) => name).map(({ id, name }) => [id, name]));
  const withName = (text) => typeof text === 'string' ? text.replace(/\btoken ([0-9a-f]{12})\b/, (all, id) => (names.has(id) ? `${all} “${names.get(id)}”` : all)) : text;
  return entries.map((entry) => ({ ...entry, who: withName(entry.who), object: withName(entry.object) }));
}

const isRead = ({ action }) => /^(read|.* list)$/.test(action);

function textOf(entry) {
  return Object.values(entry).join(' ').toLowerCase();
}

function rest(entry) {
  const more = Object.entries(entry).filter(([key, value]) => !KNOWN.includes(key) && value !== null && value !== undefined);
  return more.length > 0 && html`<small class="below">${more.map(([key, value]) => `${key.replaceAll('_', ' ')} ${typeof value === 'object' ? JSON.stringify(value) : value}`).join(', ')}</small>`;
}
