// The figures of each hour or day: a chart, a table, a file.

import { html, useLayoutEffect, useMemo, useRef } from '../html.js';
import { Legend, Lines, StackedBars } from '../charts.js';
import { csv, save } from '../csv.js';
import { STATUSES, statusName } from '../status.js';
import { dayAndMinute, minute, number, shortDay } from '../time.js';
import { Button } from '../ui.js';
import { MEASURES, mean, minutesOf, percent, ratio } from './measures.js';

// From the bottom up: what went well carries the rest.
const STACK = ['completed', 'in-progress', 'early-media', 'alerting', 'ringing', 'trying', 'queued', 'no-answer', 'busy',
  'failed', 'stale'];

export function Figures({ value, measure, view, interval, zone, time, calls }) {
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
  const download = () => save(`rollcall-${interval}s-${value.buckets[0]?.start.slice(0, 10)}.csv`, csv(rowsOf(value, statuses)));
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
  const head = [...statuses, 'calls', 'answered', 'answered_ratio', 'mean_seconds', 'minutes', 'peak'];
  return [['start', 'end', ...head], ...value.buckets.map((bucket) => [bucket.start, bucket.end, ...cells(bucket)])];
}

function rounded(value, digits) {
  return value === null ? null : Number(value.toFixed(digits));
}

function Table({ value, statuses, buckets, calls }) {
  const cells = (of, values, href) => html`
    ${statuses.map((key) => html`<td key=${key} class="number">${values(key)
      ? html`<a href=${href(key)}>${number(values(key))}</a>` : number(0)}</td>`)}
    <td class="number strong">${number(of.calls)}</td><td class="number">${number(of.answered)}</td>
    <td class="number">${percent(ratio(of.answered, of.calls))}</td><td class="number">${MEASURES.mean.text(mean(of))}</td>
    <td class="number">${MEASURES.minutes.text(minutesOf(of))}</td><td class="number">${number(of.peak)}</td>`;
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
