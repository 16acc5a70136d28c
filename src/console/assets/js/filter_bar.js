// The filters of History as buttons: each in a panel of its own, and what is set as chips.

import { html, useEffect, useState } from './html.js';
import { json, may, paths, words } from './api.js';
import { list } from './url.js';
import { active, filtersFor, values } from './filters.js';
import { range } from './range.js';
import { RangePicker } from './range_picker.js';
import { STATUSES, StatusIcon, statusName } from './status.js';
import { iso, now, number } from './time.js';
import { Text } from './text.js';
import { Button, Field, Icon, Popover } from './ui.js';

/** Time, status, and a button for all other filters. */
export function FilterBar({ url, navigate, zone, session, account }) {
  return html`<div class="filter-bar">
    <${RangePicker} ...${{ url, navigate, zone }} />
    <${StatusFilter} ...${{ url, navigate }} />
    <${Popover} label="More filters" icon="plus" text="Filter">
      ${(close) => html`<${Chooser} ...${{ close, url, navigate, zone, session, account }} />`}
    <//>
  </div>`;
}

function StatusFilter({ url, navigate }) {
  const stale = url.params.get('stale') === 'true';
  const chosen = stale ? ['stale'] : list(url.params, 'callStatus');
  const toggle = (status) => {
    // A stale call has no status: it is either of them.
    if (status === 'stale') navigate({ stale: stale ? null : 'true', callStatus: null });
    else {
      const next = chosen.includes(status) ? chosen.filter((one) => one !== status) : [...chosen.filter((one) => one !== 'stale'), status];
      navigate({ callStatus: STATUSES.filter((one) => next.includes(one)), stale: null });
    }
  };
  const text = chosen.length === 0 ? 'Status' : chosen.length < 3 ? chosen.map(statusName).join(', ') : `${chosen.length} statuses`;
  return html`<${Popover} label="Status" text=${text} active=${chosen.length > 0}>
    ${() => html`<div class="menu">
      <div class="checks">
        ${STATUSES.map((status) => html`<label class="check" key=${status}>
          <input type="checkbox" checked=${chosen.includes(status)} onChange=${() => toggle(status)} /><${StatusIcon} status=${status} />${statusName(status)}
        </label>`)}
      </div>
      ${chosen.length > 0 && html`<button type="button" class="menu-item muted" onClick=${() => navigate({ callStatus: null, stale: null })}>Any status</button>`}
    </div>`}
  <//>`;
}

function Chooser(props) {
  const [chosen, choose] = useState();
  if (chosen) return html`<${Editor} key=${chosen.key} filter=${chosen} ...${props} />`;
  return html`<div class="menu">
    ${filtersFor(props.session).filter((filter) => filter.kind !== 'status').map(
      (filter) => html`<button key=${filter.key} type="button" class="menu-item" onClick=${() => choose(filter)}>
        ${filter.name}${props.url.params.get(filter.key) && html`<span class="end"><${Icon} name="check" /></span>`}
      </button>`,
    )}
  </div>`;
}

/** What sets one filter. */
function Editor({ filter, close, url, navigate, zone, session, account }) {
  const [text, setText] = useState(url.params.get(filter.key) ?? '');
  const known = useKnown(filter, url, zone, session, account);
  const set = (value) => {
    close();
    navigate({ [filter.key]: value.trim() || null });
  };
  if (filter.kind === 'one') {
    return html`<div class="menu">
      <p class="label menu-note">${filter.name}</p>
      ${filter.options.map(([value, name]) => html`<button key=${value} type="button" class="menu-item" onClick=${() => set(value)}>${name}${text === value && html`<span class="end"><${Icon} name="check" /></span>`}</button>`)}
      ${text && html`<button type="button" class="menu-item muted" onClick=${() => set('')}>Any</button>`}
    </div>`;
  }
  const fits = (known.values ?? []).filter((one) => one.value.toLowerCase().includes(text.trim().toLowerCase()));
  return html`<form class="menu editor" onSubmit=${(event) => { event.preventDefault(); set(text); }}>
    <${Field} label=${filter.name} hint=${filter.hint}>
      ${(about) => html`<input class="input" ...${about} ref=${focused} type=${filter.kind === 'seconds' ? 'number' : 'text'} min="0" value=${text} placeholder=${filter.place ?? ''} autocomplete="off" autocapitalize="off" spellcheck=${false} onInput=${(event) => setText(event.target.value)} />`}
    <//>
    ${known.error && html`<p class="hint">${words(known.error)}</p>`}
    ${fits.length > 0 && html`<div class="menu-list known">
      ${fits.slice(0, 12).map((one) => html`<button key=${one.value} type="button" class="menu-item" onClick=${() => set(one.value)}><span class="clip"><${Text} value=${one.value} most=${80} /></span><span class="end muted">${number(one.calls)}</span></button>`)}
    </div>`}
    <div class="dialog-end">
      ${url.params.get(filter.key) && html`<${Button} small kind="quiet" onClick=${() => set('')}>Remove<//>`}
      <${Button} small kind="primary" type="submit">Apply<//>
    </div>
  </form>`;
}

// The first thing in a panel that is typed into.
function focused(element) {
  element?.focus({ preventScroll: true });
}

/** The values of a filter with the most calls: of the time range, or of the last 30 days. */
function useKnown(filter, url, zone, session, account) {
  const [state, setState] = useState({});
  useEffect(() => {
    if (!filter.group || !may(session, 'read')) return undefined;
    const abort = new AbortController();
    const bounds = range(url.params, zone);
    const asked = new URLSearchParams({ group: filter.group, top: '50', start: bounds.start ?? iso(new Date(now() - 30 * 86_400_000)) });
    if (bounds.end) asked.set('end', bounds.end);
    json(`${paths(session, account).stats}?${asked}`, { signal: abort.signal }).then(
      (answer) => setState({ values: answer.groups.filter((one) => one[filter.group]).map((one) => ({ value: one[filter.group], calls: one.calls })) }),
      (error) => !abort.signal.aborted && setState({ error }),
    );
    return () => abort.abort();
  }, []);
  return state;
}

/** The filters that are set, each with what changes and what removes it. */
export function Chips({ url, navigate, ...props }) {
  const set = active(url.params).filter((filter) => filter.key !== 'callStatus' && !(filter.key === 'stale' && url.params.get('stale') === 'true'));
  if (!set.length) return null;
  return html`<ul class="filter-chips" aria-label="Filters">
    ${set.map((filter) => html`<li key=${filter.key} class="filter-chip">
      <span class="filter-chip-name">${filter.name}</span>
      <b class="clip"><${Text} value=${filter.show(values(url.params, filter))} most=${60} /></b>
      <button type="button" class="filter-chip-close" aria-label=${`Remove the filter ${filter.name}`} onClick=${() => navigate({ [filter.key]: null })}><${Icon} name="close" /></button>
    </li>`)}
  </ul>`;
}
