// What the statistics are of: time, interval and filters, all in the URL.

import { html } from '../html.js';
import { json } from '../api.js';
import { filterOf } from '../filters.js';
import { PERIODS } from '../period.js';
import { Text, visible } from '../text.js';
import { fromInput, iso, toInput } from '../time.js';
import { Choice, Icon, useLoad } from '../ui.js';

/** Filters that have a control of their own. */
const CONTROLLED = ['direction', 'trunk'];

export function Controls({ set, zone, time, interval, may, view, query, filters }) {
  // Trunks of the time that is shown, whichever of them is chosen.
  const trunksQuery = query({ group: 'trunk', top: 100, trunk: '' });
  const trunks = useLoad((signal) => json(trunksQuery, { signal }), [trunksQuery]);
  const names = (trunks.value?.groups ?? []).map(({ trunk }) => trunk).filter(Boolean);
  if (filters.trunk && !names.includes(filters.trunk)) names.unshift(filters.trunk);
  const choose = (key) => {
    if (key === 'own') set({ range: '', start: iso(time.start), end: iso(time.end) });
    else set({ range: key, start: '', end: '', interval: '' });
  };
  const bound = (key, text) => {
    const at = fromInput(text, zone);
    if (at) set({ [key]: at, interval: '' });
  };
  return html`<div class="settings">
    <label class="setting">Time
      <select class="select" value=${time.key} onChange=${(event) => choose(event.target.value)}>
        ${PERIODS.map(([key, name]) => html`<option key=${key} value=${key} selected=${key === time.key}>${name}</option>`)}
        <option value="own" selected=${time.key === 'own'}>From, to…</option>
      </select>
    </label>
    ${time.key === 'own' && html`
      <label class="setting">From <input class="input" type="datetime-local" step="900" value=${toInput(time.start, zone)}
        max=${toInput(time.end, zone)} onChange=${(event) => bound('start', event.target.value)} /></label>
      <label class="setting">To <input class="input" type="datetime-local" step="900" value=${toInput(time.end, zone)}
        min=${toInput(time.start, zone)} onChange=${(event) => bound('end', event.target.value)} /></label>`}
    <label class="setting">Direction
      <select class="select" value=${filters.direction ?? ''} onChange=${(event) => set({ direction: event.target.value })}>
        <option value="">Both</option>
        <option value="inbound" selected=${filters.direction === 'inbound'}>Inbound</option>
        <option value="outbound" selected=${filters.direction === 'outbound'}>Outbound</option>
      </select>
    </label>
    ${names.length > 0 && html`<label class="setting">Trunk
      <select class="select" value=${filters.trunk ?? ''} onChange=${(event) => set({ trunk: event.target.value })}>
        <option value="">All</option>
        ${names.map((name) => html`<option key=${name} value=${name} selected=${name === filters.trunk}>${visible(name)}</option>`)}
      </select>
    </label>`}
    <span class="spring"></span>
    <${Choice} label="Interval" value=${interval} onChange=${(key) => set({ interval: key === may.usual ? '' : key })}
      options=${[['hour', 'Hours'], ['day', 'Days']].filter(([key]) => may[key] || key === interval)} />
    <${Choice} label="Shown as" value=${view} onChange=${(key) => set({ view: key === 'chart' ? '' : key })}
      options=${[['chart', 'Chart'], ['table', 'Table']]} />
  </div>`;
}

const nameOf = (key) => filterOf(key)?.name ?? key;

/** Filters that came by a link, each with a button that takes it away. */
export function Chips({ filters, set }) {
  const shown = Object.entries(filters).filter(([key]) => !CONTROLLED.includes(key));
  return shown.length > 0 && html`<ul class="filters" aria-label="Filters">${shown.map(([key, text]) => html`<li key=${key}>
    <button type="button" class="filter" onClick=${() => set({ [key]: '' })} aria-label=${`Remove the filter ${nameOf(key)} ${text}`}>
      ${nameOf(key)} <b><${Text} value=${text} /></b> <${Icon} name="close" />
    </button></li>`)}</ul>`;
}
