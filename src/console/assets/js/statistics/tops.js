// Who calls whom most, by which trunks and applications.

import { html } from '../html.js';
import { json } from '../api.js';
import { HBars } from '../charts.js';
import { countryName } from '../countries.js';
import { csv, save } from '../csv.js';
import { shortSid } from '../text.js';
import { iso, number } from '../time.js';
import { Button, ErrorNote, Note, Waiting, useLoad } from '../ui.js';
import { percent, ratio, short } from './measures.js';

/** How many of each are shown. */
const TOP = 10;

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
  { group: 'trunk', head: 'Trunk', title: 'Trunks', link: (trunk) => trunk && { trunk }, unknown: 'no trunk', empty: 'empty name' },
  {
    group: 'application', head: 'Application', title: 'Applications', unknown: 'no application', empty: 'empty sid',
    link: (application_sid) => application_sid && { application_sid },
  },
];

/**
 * The rankings. Some of them read every call, so that they begin with `begin`: once the figures are
 * drawn, which they then do not delay.
 */
export function Tops({ url, set, query, calls, time, session, begin, round }) {
  const rank = RANKS.find(([key]) => key === url.params.get('rank')) ?? RANKS[0];
  const tops = TOPS.map((top) => {
    const asked = query({ ...rank[2], group: top.group, top: TOP });
    return { ...top, ...useLoad(begin ? (signal) => json(asked, { signal }) : undefined, [asked], round) };
  });
  const many = tops.filter(({ error }) => isTooMany(error));
  return html`<section class="tops" aria-label="Rankings">
    <header><h2>Most of</h2>
      <label class="setting"><span class="sr">Ranked are</span><select class="select" value=${rank[0]} onChange=${(event) => set({ rank: event.target.value })}>
        ${RANKS.map(([key, name]) => html`<option key=${key} value=${key} selected=${key === rank[0]}>${name}</option>`)}
      </select></label>
    </header>
    ${many.length > 0 && html`<${TooMany} names=${many.map(({ title }) => title)} time=${time} set=${set} />`}
    <div class="top-grid">${tops.filter((top) => !many.includes(top)).map((top) => html`<${Top} key=${top.group} ...${{ ...top, calls, rank, time, session }} />`)}</div>
  </section>`;
}

/** Whether the server has found more different numbers than it holds at a time. */
function isTooMany(error) {
  return error?.status === 400 && /more than \d+ groups/.test(error.message);
}

/** What cannot be ranked, and the next shorter time. */
function TooMany({ names, time, set }) {
  const hours = (time.end - time.start) / 3_600_000;
  const [length, words] = [[720, '30 days'], [168, '7 days'], [24, '24 hours'], [1, 'hour']].find(([shorter]) => shorter < hours - 2) ?? [];
  const goesOn = time.until < time.end && length >= 24;
  const key = { 720: '30d', 168: '7d', 24: '24h' }[length];
  const shorten = () => set(goesOn ? { range: key, start: '', end: '', interval: '' }
    : { range: '', start: iso(new Date(time.end - length * 3_600_000)), end: iso(time.end), interval: '' });
  return html`<${Note} kind="warn">${names.map((name) => `“${name}”`).join(' and ')} cannot be shown: there are too many different ones in this time to
    rank them.${length ? html` A shorter time has fewer. <button type="button" class="link" onClick=${shorten}>Show the last ${words}${goesOn ? '' : ' of it'}</button>` : ' With a filter there are fewer.'}<//>`;
}

function Top({ group, head, title, link, note, unknown, empty = unknown, calls, rank, time, session, value, error, loading, again }) {
  // A masked number finds no calls.
  const isMasked = session.role === 'read-masked' && (group === 'from' || group === 'to');
  const [rankKey, , filter] = rank;
  const rows = (value?.groups ?? []).filter((row) => row.calls > 0).map((row) => {
    const name = row[group];
    const to = name === '' || isMasked ? null : link(name);
    return {
      key: String(name), name: name === '' ? empty : shortSid(name ?? unknown), title: name, note: note?.(name), values: row, href: to ? calls({ ...filter, ...to }) : undefined,
    };
  });
  const largest = rows.reduce((most, row) => Math.max(most, row.values.calls), 0);
  if (value?.other?.calls) {
    const many = value.other.groups;
    rows.push({ key: '…', rest: `${number(many)} ${many === 1 ? 'other' : 'others'}`, values: value.other });
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
