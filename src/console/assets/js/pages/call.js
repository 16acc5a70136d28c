// One call: its life as a picture, all legs of its family, every event, every field.

import { html, useEffect, useMemo, useRef, useState } from '../html.js';
import { callPath, json, paths, send } from '../api.js';
import { address, callAddress } from '../url.js';
import { CallControl } from '../control.js';
import { Ladder } from '../ladder.js';
import { follow } from '../feed.js';
import { members, pretty } from '../raw.js';
import { ordered, story } from '../story.js';
import { sipMeaning } from '../sip.js';
import { isFinal, Direction, Status, StatusIcon, statusMeaning, statusName, statusOf } from '../status.js';
import { full, millis, number, span } from '../time.js';
import { None, Text, visible } from '../text.js';
import { accountName } from '../account.js';
import { Choice, Copy, Empty, ErrorNote, Icon, Note, useKeys, useLoad, useNow, Waiting } from '../ui.js';

// Legs of a family that are shown, and events that a call keeps.
const LEGS = 40;
const EVENTS_KEPT = 32;

/** The call, its family and all their events. */
async function load(account, sid, signal) {
  const get = (one) => json(one, { signal });
  const answer = await send(callPath(account, sid), { signal });
  const text = await answer.text();
  const call = JSON.parse(text);
  // Up to the first leg, and from there down.
  let first = call;
  for (let i = 0; i < 8 && first.parent_call_sid && first.parent_call_sid !== first.call_sid; i += 1) {
    try {
      first = await get(callPath(account, first.parent_call_sid));
    } catch (error) {
      if (error.status === 404 || error.status === 400) break;
      throw error;
    }
  }
  const legs = [first];
  let parents = [first.call_sid];
  let more = false;
  const list = `${callPath(account, '').replace(/\/$/, '')}`;
  while (parents.length && legs.length < LEGS) {
    const children = await get(`${list}?parent_call_sid=${parents.slice(0, 100).join(',')}&order=asc&limit=${LEGS}`);
    const news = children.filter((one) => !legs.some((leg) => leg.call_sid === one.call_sid));
    more ||= legs.length + news.length > LEGS || children.length === LEGS;
    legs.push(...news.slice(0, LEGS - legs.length));
    parents = news.map((one) => one.call_sid);
  }
  if (!legs.some((leg) => leg.call_sid === call.call_sid)) legs.push(call);
  const events = await Promise.all(
    legs.map((leg) => get(`${callPath(account, leg.call_sid)}/events`).catch((error) => {
      // Deleted in between.
      if (error.status === 404) return [];
      throw error;
    })),
  );
  return { call, text, more, legs: legs.map((leg, i) => ({ call: leg.call_sid === call.call_sid ? call : leg, events: events[i] })) };
}

export function Call({ session, url, navigate, zone }) {
  const [account, sid] = url.parts;
  const { value, error, loading, again } = useLoad((signal) => load(account, sid, signal), [account, sid]);
  const shown = value && value.call.call_sid.toLowerCase() === sid?.toLowerCase() ? value : undefined;
  const active = shown?.legs.some((leg) => !isFinal(leg.call.call_status) && !leg.call.stale) ?? false;
  const now = useNow(active ? 1000 : 60_000);
  useFamilyFeed(session, account, shown, active, again);

  useKeys({ u: () => (window.history.state?.inside ? window.history.back() : navigate(address('history'))) });

  if (!sid || (error && !shown)) {
    return html`<div class="page">
      ${!sid || error.status === 404 || error.status === 400
        ? html`<${Empty} icon="search" title="No such call"><p>It has been deleted, or has expired, or it belongs to an account that you do not see.</p><p class="mono small"><${Text} value=${sid ?? ''} /></p><p><a href=${address('history')}>To the history</a></p><//>`
        : html`<${ErrorNote} error=${error} again=${again} />`}
    </div>`;
  }
  if (!shown) return html`<div class="page"><${Waiting} label="Reading the call" /></div>`;
  return html`<${Family} ...${{ session, url, navigate, zone, shown, now, error, again, loading }} />`;
}

/** Asks again when the feed tells something of the family, as long as a leg is active. */
function useFamilyFeed(session, account, shown, active, again) {
  const sids = useRef(new Set());
  sids.current = new Set(shown?.legs.map((leg) => leg.call.call_sid) ?? []);
  useEffect(() => {
    if (!active) return undefined;
    let timer;
    const soon = () => {
      clearTimeout(timer);
      timer = setTimeout(again, 150);
    };
    const stop = follow(paths(session, account).changes, {
      open: soon,
      change: ({ call }) => {
        if (sids.current.has(call.call_sid) || sids.current.has(call.parent_call_sid)) soon();
      },
    });
    return () => {
      clearTimeout(timer);
      stop();
    };
  }, [active, account]);
}

function Family({ session, url, navigate, zone, shown, now, error, again }) {
  const { call, text, more } = shown;
  const linear = url.params.get('scale') === 'true';
  const legs = useMemo(() => {
    const tree = ordered(shown.legs.map((leg) => leg.call));
    return tree.map((leg) => ({ ...leg, story: story(leg.call, shown.legs.find((one) => one.call === leg.call).events, now) }));
  }, [shown, now]);
  const own = legs.find((leg) => leg.call === call);
  const status = statusOf(call);
  return html`<div class="page call">
    <div class="call-head">
      <a class="back no-print" href=${address('history')} onClick=${(event) => {
        if (event.button === 0 && !event.metaKey && !event.ctrlKey && !event.shiftKey && window.history.state?.inside) {
          event.preventDefault();
          window.history.back();
        }
      }}><${Icon} name="back" />Back</a>
      <h1><span class="party"><${Text} value=${call.from} most=${80} /></span> <span class="arrow" aria-label="to" role="img">→</span> <span class="party"><${Text} value=${call.to} most=${80} /></span></h1>
      <div class="call-under">
        <${Status} status=${status} />
        <${Direction} direction=${call.direction} />
        ${call.parent_call_sid && html`<span class="badge" title="Dialled by another call">B leg</span>`}
        <span class="muted clip">${accountName(session, call.account_sid)}</span>
        <span class="end no-print">
          <${CallControl} session=${session} call=${call} />
          <${Copy} text=${call.call_sid} label="Copy the call sid" kind="" small=${false}>Sid<//>
          <${Copy} text=${() => window.location.origin + callAddress(call)} label="Copy a link to this page" kind="" small=${false}>Link<//>
        </span>
      </div>
    </div>
    ${error && html`<${ErrorNote} error=${error} again=${again} />`}
    <p class="outcome">${outcome(call, own.story)}</p>
    <${Facts} call=${call} story=${own.story} zone=${zone} now=${now} />
    <${Remarks} call=${call} own=${own} session=${session} />

    <section class="card" aria-labelledby="life">
      <header><h2 id="life">${legs.length > 1 ? `${legs.length} legs` : 'Its life'}</h2>
        <div class="no-print"><${Choice} label="Scale" value=${linear} options=${[[false, 'Readable'], [true, 'True to scale']]} onChange=${(next) => navigate({ scale: next ? 'true' : null }, { replace: true })} /></div>
      </header>
      <div class="card-body"><${Ladder} ...${{ legs, sid: call.call_sid, linear, zone, now }} /></div>
      ${more && html`<p class="card-foot muted">There are more legs: the first ${LEGS} are shown. <a href=${address('history', { parent_call_sid: legs[0].call.call_sid })}>All its B legs</a></p>`}
    </section>

    <${Events} legs=${legs} call=${call} zone=${zone} />

    <div class="call-two">
      <${Fields} call=${call} text=${text} zone=${zone} session=${session} />
      <${Json} text=${text} />
    </div>
  </div>`;
}

/** Why the call ended, or where it is, in one sentence. */
function outcome(call, told) {
  const { sip_status: code, sip_reason: reason } = call;
  const said = `${code}${typeof reason === 'string' && reason ? ` ${visible(reason).slice(0, 80)}` : ''}`;
  const meaning = sipMeaning(code);
  const talk = call.duration ?? undefined;
  const waited = call.answered_at && call.attempted_at ? (Date.parse(call.answered_at) - Date.parse(call.attempted_at)) / 1000 || undefined : undefined;
  const whole = told.final && told.start !== undefined ? (told.final.at - told.start) / 1000 : undefined;
  const cdr = typeof call.termination_reason === 'string' && call.termination_reason ? ` The CDR says: ${visible(call.termination_reason).slice(0, 80)}.` : '';
  const by = { __proto__: null, caller: 'the caller', callee: 'the called party' }[call.call_termination_by];
  if (call.stale) return `Nobody knows how it ended: no event came for a long time. It was last ${statusName(call.call_status).toLowerCase()}.`;
  switch (call.call_status) {
    case 'completed':
      return `${by ? `${by.charAt(0).toUpperCase()}${by.slice(1)} hung up` : 'It was completed'}${talk === undefined ? '' : ` after ${span(talk)}`}${waited === undefined ? '' : `; it had been answered within ${span(waited)}`}.${cdr}`;
    case 'busy':
      return `The called party was busy${whole === undefined ? '' : ` after ${span(whole)}`}: SIP ${said}.${cdr}`;
    case 'no-answer':
      return `Nobody answered${whole === undefined ? '' : ` for ${span(whole)}`}: SIP ${said}${meaning ? `, ${meaning}` : ''}.${cdr}`;
    case 'failed':
      return `It failed${whole === undefined ? '' : ` after ${span(whole)}`}: SIP ${said}${meaning ? `, ${meaning}` : ''}.${cdr}`;
    case 'in-progress':
      return `It is going on${waited === undefined ? '' : `; it was answered within ${span(waited)}`}.`;
    default:
      return `It is going on: ${statusMeaning(call.call_status).charAt(0).toLowerCase()}${statusMeaning(call.call_status).slice(1)}.`;
  }
}

function Facts({ call, story: told, zone, now }) {
  const between = (a, b) => (a && b ? (Date.parse(b) - Date.parse(a)) / 1000 : undefined);
  const active = told.end === undefined && !call.stale;
  const talk = call.duration ?? (active && call.answered_at ? (now - Date.parse(call.answered_at)) / 1000 : undefined);
  const facts = [
    ['Began', call.attempted_at ? html`${full(call.attempted_at, zone)}` : undefined],
    ['Until the answer', call.answered_at ? span(between(call.attempted_at, call.answered_at) ?? 0) : 'not answered'],
    [call.duration === undefined && active ? 'Talk so far' : 'Duration', talk === undefined ? undefined : span(Math.floor(Math.max(0, talk)))],
    ['Ended', call.terminated_at ? html`${full(call.terminated_at, zone)}` : active ? 'not yet' : undefined],
    ['Trunk', html`<${Text} value=${call.originating_sip_trunk_name ?? call.trunk} most=${60} />`],
  ];
  return html`<dl class="call-facts">
    ${facts.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value ?? html`<${None} />`}</dd></div>`)}
  </dl>`;
}

function Remarks({ call, own, session }) {
  const late = own.story.events.filter((event) => event.mark === 'late').length;
  const again = own.story.events.filter((event) => event.mark === 'again').length;
  const marks = [late && `${late} ${late === 1 ? 'event' : 'events'} came after further states and changed nothing of the status`, again && `${again} ${again === 1 ? 'event repeats' : 'events repeat'} a state`].filter(Boolean);
  return html`
    ${call.stale && html`<${Note} kind="warn"><b>Stale.</b> No event came for the time after which rollcall gives a call up (<code>stale_after</code>). It keeps its last status, counts as active no longer, and a late event still completes it.<//>`}
    ${call.time_unknown && html`<${Note} kind="warn"><b>Time unknown.</b> The call was imported without any time. It stands in lists at the time of its import.<//>`}
    ${call.dropped && html`<${Note} kind="warn"><b>Not all was kept.</b> Values that are too large, or keys beyond 64, were left out: ${call.dropped.map((name, i) => html`${i > 0 && ', '}<code><${Text} value=${name} most=${80} /></code>`)}.<//>`}
    ${session.role === 'read-masked' && html`<${Note}>Your token sees numbers without their middle digits.<//>`}
    ${marks.length > 0 && html`<${Note}>${marks.join('; ')}.<//>`}
    ${own.story.events.length >= EVENTS_KEPT && html`<${Note}>A call keeps its last ${EVENTS_KEPT} events: earlier ones are not shown.<//>`}
  `;
}

const SOURCES = { webhook: 'webhook', import: 'import', sweep: 'rollcall itself', mirror: 'Redis', cdr: 'CDR' };

function Events({ legs, call, zone }) {
  const first = Math.min(...legs.map((leg) => leg.story.start ?? Infinity));
  const all = legs.flatMap((leg) => leg.story.events.map((event) => ({ ...event, leg })));
  all.sort((a, b) => (a.ms ?? Infinity) - (b.ms ?? Infinity));
  const many = legs.length > 1;
  return html`<section class="card" aria-labelledby="events">
    <header><h2 id="events">${all.length === 1 ? '1 event' : `${all.length} events`}</h2></header>
    <div class="scroll" tabindex="0" role="region" aria-labelledby="events">
      <table class="table events">
        <thead><tr><th scope="col">Time</th><th scope="col" class="num">Since the start</th>${many && html`<th scope="col">Leg</th>`}<th scope="col">Status</th><th scope="col" class="num">SIP</th><th scope="col">Source</th><th scope="col">What still stands of it</th></tr></thead>
        <tbody>
          ${all.map((event, i) => html`<tr key=${i} class=${many && event.leg.call === call ? 'own' : ''}>
            <td>${event.ms === undefined ? html`<span class="muted">unknown</span>` : html`<time datetime=${event.at} title=${full(event.at, zone)}>${millis(event.at, zone)}</time>`}</td>
            <td class="num muted">${event.ms === undefined || first === Infinity ? '' : event.ms === first ? '0 s' : `+${span((event.ms - first) / 1000)}`}</td>
            ${many && html`<td><span class="leg">${event.leg.name}</span></td>`}
            <td><span class="event-status">${event.call_status ? html`<${Status} status=${event.call_status} />` : event.source === 'sweep' ? html`<span class="status st-stale"><${StatusIcon} status="stale" /><span class="st-name">Given up as stale</span></span>` : html`<span class="muted">no status</span>`}
              ${event.mark === 'late' && html`<span class="badge warn" title="By its time, further states were known before">late</span>`}
              ${event.mark === 'again' && html`<span class="badge" title="The same state once more">again</span>`}</span></td>
            <td class="num" title=${sipMeaning(event.sip_status) ?? ''}>${event.sip_status}</td>
            <td class="muted">${SOURCES[event.source] ?? event.source}</td>
            <td class="changed mono small">${event.changed.length ? event.changed.map((name, n) => html`${n > 0 && ', '}<${Text} value=${name} most=${60} />`) : html`<span class="muted">nothing</span>`}</td>
          </tr>`)}
          ${all.length === 0 && html`<tr><td colspan="7" class="muted">No event of it is kept: it was imported.</td></tr>`}
        </tbody>
      </table>
    </div>
  </section>`;
}

// Fields that lead to the calls that share them. Any name may be that of a field: `constructor` is no link.
const LINKS = {
  __proto__: null,
  from: ['number', 'Calls from or to it'],
  to: ['number', 'Calls from or to it'],
  originating_sip_trunk_name: ['trunk', 'Calls by this trunk'],
  trunk: ['trunk', 'Calls by this trunk'],
  application_sid: ['application_sid', 'Calls of this application'],
  call_id: ['call_id', 'Calls with this Call-ID'],
  sbc_callid: ['sbc_callid', 'Calls with this Call-ID'],
  trace_id: ['trace_id', 'Calls of this trace'],
  sip_status: ['sip_status', 'Calls with this SIP status'],
  call_termination_by: ['termination', 'Calls that were ended so'],
  direction: ['direction', 'Calls of this direction'],
};

function Fields({ call, text, zone, session }) {
  const fields = members(text);
  return html`<section class="card" aria-labelledby="fields">
    <header><h2 id="fields">All fields</h2></header>
    <dl class="fields">
      ${fields.map(([key, raw]) => html`<div key=${key}><dt><${Text} value=${key} most=${128} /></dt><dd><${Value} ...${{ name: key, raw, call, zone, session }} /></dd></div>`)}
    </dl>
  </section>`;
}

function Value({ name, raw, call, zone, session }) {
  const string = raw.startsWith('"');
  const value = string ? JSON.parse(raw) : raw;
  const nested = /^[[{]/.test(raw);
  const shown = nested ? pretty(raw) : value;
  const [key, title] = LINKS[name] ?? [];
  let href;
  if (name === 'parent_call_sid' && string) href = callAddress({ account_sid: call.account_sid, call_sid: value });
  else if (name === 'account_sid' && session.scope !== 'account') href = address('history', { account: value });
  else if (name === 'call_status') href = address('history', call.stale ? { stale: 'true' } : { callStatus: value });
  else if (key === 'number' && session.role === 'read-masked') href = undefined;
  else if (key && value !== '' && !nested && value.length < 500) href = address('history', { [key]: value });
  const at = string && /_at$/.test(name) && !Number.isNaN(Date.parse(value));
  return html`<span class="value">
    ${nested ? html`<${Long} text=${shown} block />` : href ? html`<a href=${href} title=${title ?? ''}><${Long} text=${value} /></a>` : value === '' ? html`<span class="muted">empty</span>` : html`<${Long} text=${value} />`}
    ${at && html`<span class="muted"> ${full(value, zone)}</span>`}
    ${name === 'sip_status' && sipMeaning(Number(raw)) && html`<span class="muted"> ${sipMeaning(Number(raw))}</span>`}
    ${value !== '' && html`<${Copy} text=${nested ? raw : value} label=${`Copy ${visible(name).slice(0, 60)}`} />`}
  </span>`;
}

/** A text that may be long: its beginning, and all of it on request. */
function Long({ text, block = false }) {
  const [all, setAll] = useState(false);
  const whole = visible(text, block);
  const most = block ? 2000 : 300;
  const shown = all || whole.length <= most ? whole : `${whole.slice(0, most)}…`;
  const rest = whole.length > most && html` <button type="button" class="link small no-print" onClick=${(event) => { event.preventDefault(); setAll(!all); }}>${all ? 'Less' : `All ${number(whole.length)} characters`}</button>`;
  return block ? html`<pre><bdi>${shown}</bdi></pre>${rest}` : html`<bdi>${shown}</bdi>${rest}`;
}

function Json({ text }) {
  const shown = useMemo(() => pretty(text), [text]);
  return html`<section class="card json" aria-labelledby="json">
    <header><h2 id="json">JSON</h2><${Copy} text=${text} label="Copy the JSON" kind="">Copy<//></header>
    <pre tabindex="0" role="region" aria-labelledby="json"><bdi>${visible(shown, true).slice(0, 200_000)}</bdi></pre>
  </section>`;
}
