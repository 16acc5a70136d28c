// Statistics: calls by status over time, answered ratio, durations, peaks, and who calls whom most.

import { html, useMemo } from '../html.js';
import { json, page, paths } from '../api.js';
import { NoCalls } from '../empty.js';
import { intervals, period } from '../period.js';
import { Chips, Controls } from '../statistics/controls.js';
import { Figures } from '../statistics/figures.js';
import { MEASURES } from '../statistics/measures.js';
import { Tiles } from '../statistics/tiles.js';
import { Tops } from '../statistics/tops.js';
import { dayAndMinute, iso, zoneParam } from '../time.js';
import { address } from '../url.js';
import { Button, Empty, ErrorNote, Waiting, useLoad, useNow } from '../ui.js';

/** Filters that the page has from its URL and gives on to the calls. */
const FILTERS = ['direction', 'trunk', 'callStatus', 'application_sid', 'from', 'to', 'to_prefix', 'from_prefix', 'answered'];

export function Statistics({ session, url, navigate, zone, account }) {
  const now = useNow(60_000);
  const base = paths(session, account);
  const given = url.params.toString();
  const time = useMemo(() => period(url.params, zone, new Date(now)), [given, zone, now]);
  const may = intervals(time);
  const asked = url.params.get('interval');
  const interval = (asked === 'hour' || asked === 'day') && may[asked] ? asked : may.usual;
  const filters = Object.fromEntries(FILTERS.map((key) => [key, url.params.get(key)]).filter(([, value]) => value));
  const measure = MEASURES[url.params.get('measure')] ? url.params.get('measure') : 'calls';
  const view = url.params.get('view') === 'table' ? 'table' : 'chart';
  const set = (params) => navigate(params);

  const query = (more, { start, end } = time) => {
    const asked = Object.entries({ ...filters, start: iso(start), end: iso(end), ...more });
    return `${base.stats}?${new URLSearchParams(asked.filter(([, value]) => value !== ''))}`;
  };
  const main = query({ interval, group: 'status', time_zone: zoneParam(zone) });
  const before = query({ group: 'status' }, time.before);
  // A time that goes on is asked for again each minute.
  const round = time.until < time.end ? now : 0;
  const figures = useLoad((signal) => json(main, { signal }).then(arrived), [main], round);
  const earlier = useLoad((signal) => json(before, { signal }), [before]);
  const value = figures.value;

  const calls = (more = {}, { start, end } = time) => address('history', {
    ...filters, start: iso(start), end: iso(end), ...more,
  });

  return html`<div class="page statistics">
    <header class="page-head">
      <h1>Statistics</h1>
      <${Controls} ...${{ set, zone, time, interval, may, view, filters, query }} />
    </header>
    <${Chips} filters=${filters} set=${set} />
    ${figures.error && html`<${ErrorNote} error=${figures.error} again=${figures.again} />`}
    ${!value && figures.loading && html`<${Waiting} label="Counting" />`}
    ${value && html`<div class=${value.asked === main ? '' : 'is-stale'} aria-busy=${figures.loading ? 'true' : 'false'}>
      ${value.calls === 0 && value.peak === 0 ? html`<${Nothing} ...${{ session, account, base, filters, set, zone }} />` : html`
        <${Tiles} value=${value} earlier=${earlier.value} time=${time} zone=${zone} measure=${measure} set=${set} />
        <${Figures} ...${{ value, measure, view, interval: value.interval, zone, time: value.time, calls }} />`}
    </div>`}
    ${value && value.calls > 0 && html`<${Tops} ...${{
      url, set, query, calls, time, session, begin: value.asked === main, round: Math.floor(value.round / 300_000),
    }} />`}
  </div>`;

  function arrived(answer) {
    performance.mark('figures-arrived');
    return { ...answer, asked: main, interval, time, round };
  }
}

/** There is nothing in the time: why, and what to do. */
function Nothing({ session, account, base, filters, set, zone }) {
  const newest = useLoad((signal) => page(`${base.calls}?limit=1`, { signal }), [base.calls]);
  const call = newest.value?.rows[0];
  if (newest.error) return html`<${ErrorNote} error=${newest.error} again=${newest.again} />`;
  if (!newest.value) return html`<${Waiting} />`;
  if (!call) return html`<${NoCalls} session=${session} account=${account} />`;
  const at = call.attempted_at && new Date(call.attempted_at);
  const clear = () => set(Object.fromEntries(Object.keys(filters).map((key) => [key, ''])));
  const week = () => {
    const end = new Date(Math.ceil((at.getTime() + 1) / 3_600_000) * 3_600_000);
    set({ range: '', start: iso(new Date(end.getTime() - 7 * 86_400_000)), end: iso(end), interval: '' });
  };
  return html`<${Empty} title="No calls in this time" icon="statistics">
    ${Object.keys(filters).length > 0 && html`<p>Perhaps the filters leave none.</p>
      <p><${Button} onClick=${clear}>Show all calls<//></p>`}
    ${at && html`<p>The newest call is of ${dayAndMinute(at, zone)}.</p>
      <p><${Button} onClick=${week}>Show the week before it<//></p>`}
  <//>`;
}
