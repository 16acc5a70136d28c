// Statistics: calls by status over time, answered ratio, durations, peaks, and who calls whom most.

import { html, useEffect, useLayoutEffect, useMemo, useRef } from '../html.js';
import { json, page, paths } from '../api.js';
import { HBars, Legend, Lines, StackedBars } from '../charts.js';
import { countryName } from '../countries.js';
import { csv, save } from '../csv.js';
import { NoCalls } from '../empty.js';
import { PERIODS, intervals, period } from '../period.js';
import { STATUSES, statusName } from '../status.js';
import { dayAndMinute, duration, fromInput, iso, minute, number, shortDay, toInput, zoneParam } from '../time.js';
import { address } from '../url.js';
import { Button, Choice, Empty, ErrorNote, Icon, Waiting, useLoad, useNow } from '../ui.js';

/** Filters that the page has from its URL and gives on to the calls. */
const FILTERS = ['direction', 'trunk', 'callStatus', 'application_sid', 'from', 'to', 'to_prefix', 'from_prefix', 'answered'];
/** Those that have a control of their own. */
const CONTROLLED = ['direction', 'trunk'];
const TOP = 10;

// From the bottom up: what went well carries the rest.
const STACK = ['completed', 'in-progress', 'early-media', 'alerting', 'ringing', 'trying', 'queued', 'no-answer', 'busy',
  'failed', 'stale'];

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
    const written = new URLSearchParams({ ...filters, start: iso(start), end: iso(end), ...more });
    return `${base.stats}?${written}`;
  };
  const main = query({ interval, group: 'status', time_zone: zoneParam(zone) });
  const before = query({ group: 'status' }, time.before);
  // A time that goes on is asked for again each minute.
  const round = time.until < time.end ? now : 0;
  const figures = useLoad((signal) => json(main, { signal }).then(arrived), [main, round]);
  const earlier = useLoad((signal) => json(before, { signal }), [before]);
  const isSame = figures.value?.asked === main;
  const value = figures.value;

  const calls = (more = {}, { start, end } = time) => address('history', {
    ...filters, start: iso(start), end: iso(end), ...more,
  });

  return html`<div class="page statistics">
    <header class="page-head">
      <h1>Statistics</h1>
      <${Controls} ...${{ session, url, set, zone, time, interval, may, view, base, filters, query }} />
    </header>
    <${Chips} filters=${filters} set=${set} />
    ${figures.error && html`<${ErrorNote} error=${figures.error} again=${figures.again} />`}
    ${!value && figures.loading && html`<${Waiting} label="Counting" />`}
    ${value && html`<div class=${figures.loading && round === 0 ? 'is-stale' : ''} aria-busy=${figures.loading ? 'true' : 'false'}>
      ${value.calls === 0 && value.peak === 0 ? html`<${Nothing} ...${{ session, account, base, filters, set, zone }} />` : html`
        <${Tiles} value=${value} earlier=${earlier.value} time=${time} zone=${zone} measure=${measure} set=${set} />
        <${Figures} ...${{ value, measure, view, interval: value.interval, zone, time, calls }} />`}
    </div>`}
    ${value && value.calls > 0 && isSame && html`<${Tops} ...${{ url, set, query, calls, time, zone, session }} />`}
  </div>`;

  function arrived(answer) {
    performance.mark('figures-arrived');
    return { ...answer, asked: main, interval };
  }
}

function Controls({ url, set, zone, time, interval, may, view, query, filters }) {
  // Trunks of the time that is shown, whichever of them is chosen.
  const { trunk: _, ...others } = filters;
  const trunksQuery = query({ group: 'trunk', top: 100 }).replace(/([?&])trunk=[^&]*&?/, '$1');
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
  return html`<div class="controls" data-filters=${Object.keys(others).length}>
    <label class="control">Time
      <select class="select" value=${time.key} onChange=${(event) => choose(event.target.value)}>
        ${PERIODS.map(([key, name]) => html`<option key=${key} value=${key} selected=${key === time.key}>${name}</option>`)}
        <option value="own" selected=${time.key === 'own'}>From, to…</option>
      </select>
    </label>
    ${time.key === 'own' && html`
      <label class="control">From <input class="input" type="datetime-local" step="900" value=${toInput(time.start, zone)}
        max=${toInput(time.end, zone)} onChange=${(event) => bound('start', event.target.value)} /></label>
      <label class="control">To <input class="input" type="datetime-local" step="900" value=${toInput(time.end, zone)}
        min=${toInput(time.start, zone)} onChange=${(event) => bound('end', event.target.value)} /></label>`}
    <label class="control">Direction
      <select class="select" value=${filters.direction ?? ''} onChange=${(event) => set({ direction: event.target.value })}>
        <option value="">Both</option>
        <option value="inbound" selected=${filters.direction === 'inbound'}>Inbound</option>
        <option value="outbound" selected=${filters.direction === 'outbound'}>Outbound</option>
      </select>
    </label>
    ${names.length > 0 && html`<label class="control">Trunk
      <select class="select" value=${filters.trunk ?? ''} onChange=${(event) => set({ trunk: event.target.value })}>
        <option value="">All</option>
        ${names.map((name) => html`<option key=${name} value=${name} selected=${name === filters.trunk}>${name}</option>`)}
      </select>
    </label>`}
    <span class="spring"></span>
    <${Choice} label="Interval" value=${interval} onChange=${(key) => set({ interval: key === may.usual ? '' : key })}
      options=${[['hour', 'Hours'], ['day', 'Days']].filter(([key]) => may[key] || key === interval)} />
    <${Choice} label="Shown as" value=${view} onChange=${(key) => set({ view: key === 'chart' ? '' : key })}
      options=${[['chart', 'Chart'], ['table', 'Table']]} />
  </div>`;
}

/** Filters that came by a link, each with a button that takes it away. */
function Chips({ filters, set }) {
  const shown = Object.entries(filters).filter(([key]) => !CONTROLLED.includes(key));
  return shown.length > 0 && html`<ul class="chips" aria-label="Filters">${shown.map(([key, text]) => html`<li key=${key}>
    <button type="button" class="chip" onClick=${() => set({ [key]: '' })} aria-label=${`Remove the filter ${key} ${text}`}>
      ${key} <b><bdi>${text}</bdi></b> <${Icon} name="close" />
    </button></li>`)}</ul>`;
}

const ratio = (part, all) => (all ? part / all : null);
const percent = (value) => (value === null || value === undefined ? '–'
  : value.toLocaleString(undefined, { style: 'percent', minimumFractionDigits: 1, maximumFractionDigits: 1 }));
const wholePercent = (value) => value.toLocaleString(undefined, { style: 'percent' });
const minutesOf = ({ seconds }) => Math.round(seconds / 6) / 10;
/** Seconds of a call that was answered and has ended, on average. */
const mean = (figures) => {
  const completed = (figures.groups ?? []).find(({ status }) => status === 'completed');
  return completed ? ratio(completed.seconds, completed.calls) : null;
};
const short = (value) => (value < 1000 ? number(Math.round(value))
  : value.toLocaleString(undefined, { notation: 'compact', maximumFractionDigits: 1 }));

/** What is measured: of an answer of CallStats grouped by status, as a whole or of an hour or day. */
const MEASURES = {
  calls: {
    name: 'Calls', of: ({ calls }) => calls, text: number, change: relative,
    about: 'Each counts once, in the hour in which it was first heard of.',
  },
  answered: {
    name: 'Answered', of: ({ answered, calls }) => ratio(answered, calls), text: percent, tickFormat: wholePercent, most: 1,
    change: (now, then) => points(now, then), about: 'Answered calls of all calls (ASR).',
  },
  mean: {
    name: 'Mean duration', of: mean, text: (value) => (value === null || value === undefined ? '–' : duration(Math.round(value))),
    change: relative, about: 'Of calls that were answered and have ended (ACD).',
  },
  minutes: {
    name: 'Minutes', of: minutesOf, text: (value) => number(value), tile: (value) => number(Math.round(value)), change: relative,
    about: 'The durations of all calls together.',
  },
  peak: {
    name: 'At the same time', of: ({ peak }) => peak, text: number, change: relative,
    about: 'The most calls that were up at once, answered or not.',
  },
};

function relative(now, then) {
  if (!then) return now ? ['up', 'none before'] : ['same', 'none before'];
  const change = now / then - 1;
  const text = Math.abs(change).toLocaleString(undefined, { style: 'percent', maximumFractionDigits: Math.abs(change) < 0.1 ? 1 : 0 });
  return Math.abs(change) < 0.0005 ? ['same', 'as before'] : [change > 0 ? 'up' : 'down', text];
}

function points(now, then) {
  if (then === null || then === undefined || now === null) return ['same', 'none before'];
  const change = Math.round((now - then) * 1000) / 10;
  return change === 0 ? ['same', 'as before'] : [change > 0 ? 'up' : 'down', `${number(Math.abs(change))} ${Math.abs(change) === 1 ? 'point' : 'points'}`];
}

function Tiles({ value, earlier, time, zone, measure, set }) {
  const when = `${dayAndMinute(time.before.start, zone)} to ${dayAndMinute(time.before.end, zone)}`;
  return html`<ul class="tiles" aria-label="Figures of the whole time">
    ${Object.entries(MEASURES).map(([key, { name, of, text, tile = text, change, about }]) => {
      const now = of(value);
      const then = earlier && of(earlier);
      const [way, by] = earlier ? change(now, then) : ['same', ''];
      const said = way === 'up' ? 'up' : way === 'down' ? 'down' : '';
      return html`<li key=${key}><button type="button" class="tile" aria-pressed=${key === measure ? 'true' : 'false'}
          title=${about} onClick=${() => set({ measure: key === 'calls' ? '' : key })}>
        <span class="tile-name">${name}</span>
        <span class="tile-value">${tile(now)}</span>
        <span class="tile-change" title=${earlier ? `${tile(then)} from ${when}` : ''}>
          ${said && html`<${Icon} name=${way} /><span class="sr">${said} by</span>`} ${by}
          ${earlier && by !== 'none before' && html`<span class="tile-then"> ${by === 'as before' ? '' : 'from '}${by === 'as before' ? '' : tile(then)}</span>`}
        </span>
      </button></li>`;
    })}
  </ul>
  <p class="compared">Compared with ${when}.</p>`;
}

function Figures({ value, measure, view, interval, zone, time, calls }) {
  const statuses = STACK.filter((status) => (value.groups ?? []).some((group) => group.status === status));
  const buckets = useMemo(() => value.buckets.map((bucket) => shown(bucket, interval, zone, time, calls)), [value, interval, zone]);
  const of = MEASURES[measure];
  const drawn = useRef();
  useLayoutEffect(() => {
    if (drawn.current === value) return;
    drawn.current = value;
    performance.mark('figures-drawn');
  });
  const label = `${of.name} by ${interval}, ${dayAndMinute(time.start, zone)} to ${dayAndMinute(time.end, zone)}: `
    + `${of.text(of.value ?? of.of(value))} in all. The same numbers are in the table.`;
  const frame = { label, interval, zone, height: 260, tickFormat: of.tickFormat };
  const download = () => save(`rollcall-${interval}s-${iso(time.start).slice(0, 10)}.csv`, csv(rowsOf(value, statuses)));
  return html`<section class="figures" aria-label=${`${of.name} by ${interval}`}>
    <header>
      <h2>${view === 'table' ? 'All figures' : of.name} by ${interval}</h2>
      <span class="spring"></span>
      <${Button} small icon="download" onClick=${download}>CSV<//>
    </header>
    ${view === 'chart' && measure === 'calls' && html`<${Legend} series=${statuses.map((key) => ({
      key, label: statusName(key), text: number(value.groups.find(({ status }) => status === key).calls),
    }))} />`}
    ${view === 'table' ? html`<${Table} ...${{ value, statuses, buckets, calls }} />`
      : measure === 'calls' ? html`<${StackedBars} ...${frame} buckets=${buckets} format=${number}
          series=${statuses.map((key) => ({ key, label: statusName(key) }))} />`
      : measure === 'minutes' || measure === 'peak' ? html`<${StackedBars} ...${frame} buckets=${buckets} format=${of.text}
          totals=${false} series=${[{ key: measure, label: of.name }]} />`
      : html`<${Lines} ...${frame} buckets=${buckets} format=${of.text} most=${of.most} whole=${false}
          series=${[{ key: measure, label: of.name }]} />`}
  </section>`;
}

/** A bucket as the charts take it. */
function shown(bucket, interval, zone, time, calls) {
  const [start, end] = [new Date(bucket.start), new Date(bucket.end)];
  const name = interval === 'day' ? shortDay(start, zone) : `${shortDay(start, zone)}, ${minute(start, zone)}–${minute(end, zone)}`;
  const values = {};
  for (const { status, calls: count } of bucket.groups ?? []) values[status] = count;
  for (const key of ['answered', 'mean', 'minutes', 'peak']) values[key] = MEASURES[key].of(bucket);
  const span = { start: new Date(Math.max(start, time.start)), end: new Date(Math.min(end, time.end)) };
  return { start, end, name, values, href: (key) => calls(ofStatus(key), span) };
}

function ofStatus(key) {
  if (key === 'stale') return { stale: 'true', callStatus: '' };
  return STATUSES.includes(key) ? { callStatus: key } : {};
}

/** The table, as rows of cells, the names of its columns first. */
function rowsOf(value, statuses) {
  const cells = (of) => [
    ...statuses.map((key) => (of.groups ?? []).find(({ status }) => status === key)?.calls ?? 0),
    of.calls, of.answered, rounded(ratio(of.answered, of.calls), 4), rounded(mean(of), 1), minutesOf(of), of.peak,
  ];
  const head = [...statuses.map((key) => key.replace('-', '_')), 'calls', 'answered', 'answered_ratio', 'mean_seconds', 'minutes', 'peak'];
  return [['start', 'end', ...head], ...value.buckets.map((bucket) => [bucket.start, bucket.end, ...cells(bucket)])];
}

function rounded(value, digits) {
  return value === null ? null : Number(value.toFixed(digits));
}

function Table({ value, statuses, buckets, calls }) {
  const cells = (of, values, href) => html`
    ${statuses.map((key) => html`<td key=${key} class="number">${values(key)
      ? html`<a href=${href(key)}>${number(values(key))}</a>` : '0'}</td>`)}
    <td class="number strong">${number(of.calls)}</td><td class="number">${number(of.answered)}</td>
    <td class="number">${percent(ratio(of.answered, of.calls))}</td><td class="number">${MEASURES.mean.text(mean(of))}</td>
    <td class="number">${number(minutesOf(of))}</td><td class="number">${number(of.peak)}</td>`;
  const all = (key) => value.groups.find(({ status }) => status === key)?.calls;
  return html`<div class="scroll-x" tabindex="0" role="region" aria-label="All figures"><table class="data">
    <thead><tr><th scope="col">Time</th>${statuses.map((key) => html`<th scope="col" class="number" key=${key}>${statusName(key)}</th>`)}
      <th scope="col" class="number">Calls</th><th scope="col" class="number">Answered</th><th scope="col" class="number">Ratio</th>
      <th scope="col" class="number">Mean</th><th scope="col" class="number">Minutes</th><th scope="col" class="number">Peak</th></tr></thead>
    <tbody>${value.buckets.map((bucket, n) => html`<tr key=${bucket.start}>
      <th scope="row"><a href=${buckets[n].href()}>${buckets[n].name}</a></th>
      ${cells(bucket, (key) => buckets[n].values[key], buckets[n].href)}</tr>`)}</tbody>
    <tfoot><tr><th scope="row">All</th>${cells(value, all, (key) => calls(ofStatus(key)))}</tr></tfoot>
  </table></div>`;
}

/** What the calls are that are ranked. */
const RANKS = [
  ['', 'all calls', {}],
  ['answered', 'answered calls', { answered: 'true' }],
  ['unanswered', 'calls not answered', { answered: 'false' }],
  ['failed', 'failed calls', { callStatus: 'failed' }],
  ['busy', 'busy calls', { callStatus: 'busy' }],
  ['no-answer', 'calls nobody answered', { callStatus: 'no-answer' }],
];

const TOPS = [
  { group: 'to', head: 'To', title: 'Most called', link: (to) => ({ to }), unknown: 'no number' },
  { group: 'from', head: 'From', title: 'Most calls from', link: (from) => ({ from }), unknown: 'no number' },
  {
    group: 'to_country', head: 'Country code', title: 'Destinations', link: (to_prefix) => to_prefix && { to_prefix },
    note: (code) => code && countryName(code), unknown: 'no country code',
  },
  { group: 'trunk', head: 'Trunk', title: 'Trunks', link: (trunk) => trunk && { trunk }, unknown: 'no trunk' },
  {
    group: 'application', head: 'Application', title: 'Applications', unknown: 'no application',
    link: (application_sid) => application_sid && { application_sid },
  },
];

function Tops({ url, set, query, calls, time, zone }) {
  const rank = RANKS.find(([key]) => key === url.params.get('rank')) ?? RANKS[0];
  return html`<section class="tops" aria-label="Rankings">
    <header><h2>Most of</h2>
      <label class="control"><span class="sr">Ranked are</span><select class="select" value=${rank[0]} onChange=${(event) => set({ rank: event.target.value })}>
        ${RANKS.map(([key, name]) => html`<option key=${key} value=${key} selected=${key === rank[0]}>${name}</option>`)}
      </select></label>
    </header>
    <div class="top-grid">${TOPS.map((top) => html`<${Top} key=${top.group} ...${{ ...top, query, calls, rank, time, zone }} />`)}</div>
  </section>`;
}

function Top({ group, head, title, link, note, unknown, query, calls, rank, time }) {
  const [rankKey, , filter] = rank;
  const asked = query({ ...filter, group, top: TOP });
  const { value, error, loading, again } = useLoad((signal) => json(asked, { signal }), [asked]);
  const rows = (value?.groups ?? []).filter((row) => row.calls > 0).map((row) => {
    const name = row[group];
    const to = name === '' ? null : link(name);
    return {
      key: String(name), name: name || unknown, note: note?.(name), values: row, href: to ? calls({ ...filter, ...to }) : undefined,
    };
  });
  const largest = rows.reduce((most, row) => Math.max(most, row.values.calls), 0);
  if (value?.other?.calls) {
    const many = value.other.groups;
    rows.push({ key: '…', name: `${number(many)} ${many === 1 ? 'other' : 'others'}`, values: value.other });
  }
  const all = rankKey === '';
  const columns = [
    { label: 'Calls', text: ({ calls: count }) => number(count) },
    !all && { label: 'Share', text: ({ calls: count }) => percent(ratio(count, value.calls)), title: `Of ${rank[1]}` },
    all && { label: 'Answered', text: (of) => percent(ratio(of.answered, of.calls)), title: 'Answered calls of all (ASR)' },
    (all || rankKey === 'answered') && { label: 'Minutes', text: (of) => short(of.seconds / 60), wide: true },
  ].filter(Boolean);
  const download = () => save(`rollcall-${group}-${iso(time.start).slice(0, 10)}.csv`, csv([
    [group, 'calls', 'answered', 'seconds', 'peak'],
    ...[...value.groups, ...(value.other ? [{ ...value.other, [group]: 'others' }] : [])]
      .map((of) => [of[group], of.calls, of.answered, of.seconds, of.peak]),
  ]));
  return html`<section class="top-list" aria-busy=${loading ? 'true' : 'false'} aria-label=${title}>
    <header><h3>${title}</h3>${value && html`<${Button} small kind="quiet" icon="download" label=${`${title} as CSV`} onClick=${download} />`}</header>
    ${error && html`<${ErrorNote} error=${error} again=${again} />`}
    ${!value && loading && html`<${Waiting} label="Counting" />`}
    ${value && rows.length === 0 && html`<p class="none">None.</p>`}
    ${rows.length > 0 && html`<${HBars} label=${`${title}: ${rank[1]}`} head=${head} rows=${rows} columns=${columns}
      size=${(of) => (of === value.other ? 0 : of.calls)} largest=${largest} />`}
  </section>`;
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
