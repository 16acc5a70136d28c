// Chooses a time range: a preset, or one's own.

import { html, useState } from './html.js';
import { PRESETS, range } from './range.js';
import { rangeWords } from './filters.js';
import { fromInput, toInput, zoneName } from './time.js';
import { Button, Icon, Popover } from './ui.js';

/** `all`: whether it may be any time. Changes `range`, `start` and `end` of the URL. */
export function RangePicker({ url, navigate, zone, all = true, fallback }) {
  const now = range(url.params, zone);
  const key = now.key === 'all' && fallback ? fallback : now.key;
  const words = now.key === 'all' && fallback ? PRESETS.find(([preset]) => preset === fallback)[1] : rangeWords(url.params, zone);
  const choose = (close, params) => {
    close();
    navigate({ range: null, start: null, end: null, ...params });
  };
  return html`<${Popover} label="Time" icon="zone" text=${words} active=${key !== 'all' && !fallback}>
    ${(close) => html`<div class="menu range">
      <div class="menu-list">
        ${all && html`<${Item} on=${key === 'all'} onClick=${() => choose(close, {})}>Any time<//>`}
        ${PRESETS.map(([preset, name]) => html`<${Item} key=${preset} on=${key === preset} onClick=${() => choose(close, { range: preset })}>${name}<//>`)}
      </div>
      <${Own} start=${now.start} end=${now.end} zone=${zone} choose=${(params) => choose(close, params)} />
    </div>`}
  <//>`;
}

function Item({ on, onClick, children }) {
  return html`<button type="button" class="menu-item" aria-current=${on ? 'true' : undefined} onClick=${onClick}>${children}${on && html`<span class="end"><${Icon} name="check" /></span>`}</button>`;
}

function Own({ start, end, zone, choose }) {
  const [from, setFrom] = useState(toInput(start, zone));
  const [to, setTo] = useState(toInput(end, zone));
  const wrong = from && to && from >= to;
  const submit = (event) => {
    event.preventDefault();
    if (!wrong) choose({ start: fromInput(from, zone), end: fromInput(to, zone) });
  };
  return html`<form class="own-range" onSubmit=${submit}>
    <label>From <input class="input" type="datetime-local" value=${from} onInput=${(event) => setFrom(event.target.value)} /></label>
    <label>To <input class="input" type="datetime-local" value=${to} onInput=${(event) => setTo(event.target.value)} /></label>
    <p class="hint">${wrong ? 'The end is before the beginning.' : `On the clock of ${zoneName(zone)}; the end is left out.`}</p>
    <${Button} type="submit" small disabled=${wrong || (!from && !to)}>Apply<//>
  </form>`;
}
