// The audit log: what admins did, and requests with wrong credentials.

import { html } from '../html.js';
import { Text } from '../text.js';
import { full } from '../time.js';
import { Icon, Note } from '../ui.js';

const KNOWN = ['at', 'who', 'what', 'object', 'outcome', 'peer'];
const OUTCOMES = { done: 'check', failed: 'alert', refused: 'close' };

export function Audit({ audit, url, navigate, zone }) {
  const entries = Array.isArray(audit) ? audit : audit.entries ?? [];
  const part = (url.params.get('find') ?? '').trim().toLowerCase();
  const outcome = url.params.get('outcome') ?? '';
  const shown = entries.filter((entry) => (!outcome || entry.outcome === outcome) && (!part || textOf(entry).includes(part)));
  return html`<div class="part-head">
      <label class="control find"><span class="sr">Find in the log</span><input class="input" type="search" placeholder="Find in the log" value=${url.params.get('find') ?? ''}
        onInput=${(event) => navigate({ find: event.target.value }, { replace: true })} /></label>
      <label class="control">Outcome <select class="select" onChange=${(event) => navigate({ outcome: event.target.value })}>
        <option value="">All</option>
        ${Object.keys(OUTCOMES).map((key) => html`<option key=${key} value=${key} selected=${key === outcome}>${key}</option>`)}
      </select></label>
      <span class="spring"></span>
      <p class="muted" role="status">${shown.length} of the newest ${entries.length}</p>
    </div>
    ${audit.advice && html`<${Note}>${audit.advice}<//>`}
    ${shown.length === 0 ? html`<p class="muted">${entries.length === 0 ? 'Nothing is in the log yet.' : 'None of the newest entries is so.'}</p>` : html`<div class="card scroll"><table class="table stack">
      <thead><tr><th scope="col">Time</th><th scope="col">Who</th><th scope="col">What</th><th scope="col">To what</th><th scope="col">Outcome</th><th scope="col">From</th></tr></thead>
      <tbody>${shown.map((entry, n) => html`<tr key=${`${entry.at} ${n}`}>
        <td class="nowrap">${full(entry.at, zone)}</td>
        <td data-name="Who"><${Text} value=${entry.who} /></td>
        <td data-name="What">${entry.what ?? entry.action}</td>
        <td data-name="To what" class="object"><${Text} value=${entry.object ?? ''} />${rest(entry)}</td>
        <td data-name="Outcome"><span class=${`level ${entry.outcome === 'done' ? '' : 'warning'}`}><${Icon} name=${OUTCOMES[entry.outcome] ?? 'info'} />${entry.outcome ?? ''}</span></td>
        <td data-name="From" class="mono">${entry.peer ?? ''}</td>
      </tr>`)}</tbody></table></div>`}`;
}

function textOf(entry) {
  return Object.values(entry).join(' ').toLowerCase();
}

function rest(entry) {
  const more = Object.entries(entry).filter(([key, value]) => !KNOWN.includes(key) && value !== null && value !== undefined);
  return more.length > 0 && html`<small class="below">${more.map(([key, value]) => `${key.replaceAll('_', ' ')} ${typeof value === 'object' ? JSON.stringify(value) : value}`).join(', ')}</small>`;
}
