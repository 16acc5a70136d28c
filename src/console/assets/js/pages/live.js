// Live: the calls that are active now. Nothing moves under the pointer: as long as it is over the list,
// what is new waits.

import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from '../html.js';
import { json, may, page as askPage, paths } from '../api.js';
import { address, callAddress, list } from '../url.js';
import { ActiveCalls, lastsSince, STAYS } from '../active.js';
import { CallControl } from '../control.js';
import { begun, CallLink } from '../columns.js';
import { lettersAndDigits } from '../filters.js';
import { follow } from '../feed.js';
import { Sparkline } from '../charts.js';
import { NoCalls } from '../empty.js';
import { accountName } from '../account.js';
import { clock, duration, full, iso, now as present, number } from '../time.js';
import { ACTIVE, Direction, FINAL, Status, StatusIcon, statusMeaning, statusName, statusOf } from '../status.js';
import { part, shortSid, Text } from '../text.js';
import { useNarrow, useWindow } from '../window.js';
import { Empty, ErrorNote, Icon, useKeys, useLoad, useNow, Waiting } from '../ui.js';

const MOST = 1000;
// How often changes are drawn, and how long a pointer that does not move counts.
const DRAW_EVERY = 200;
const POINTER_RESTS = 8_000;
const HOUR_EVERY = 15_000;
const COUNT_EVERY = 5_000;
// After what time a list that could not be had is asked for again.
const AGAIN_AFTER = 5_000;

export function Live({ session, url, navigate, zone, account }) {
  const asked = paths(session, account);
  const live = useActive(asked);
  const chosen = list(url.params, 'callStatus');
  const q = url.params.get('q') ?? '';
  const fits = useMemo(() => {
    const sought = lettersAndDigits(q) ? q : '';
    return (call) => (!chosen.length || chosen.includes(call.call_status)) && (!sought || part(call.from ?? '', sought) || part(call.to ?? '', sought));
  }, [chosen.join(), q]);

  return html`<div class="page live">
    <h1 class="sr">Live</h1>
    <${Head} ...${{ live, asked, url, navigate, chosen, session }} />
    ${live.error && html`<${ErrorNote} error=${live.error} again=${live.again} />`}
    ${live.calls === undefined && !live.error && html`<${Waiting} label="Reading the active calls" />`}
    ${live.calls && html`<${List} ...${{ live, fits, filtered: chosen.length > 0 || q !== '', session, navigate, zone, account, asked, find: q, url }} />`}
  </div>`;
}

/** The active calls: `{calls, version, state, more, error, again}`. */
function useActive(asked) {
  const [state, setState] = useState({ version: 0, feed: 'opening' });
  const [round, setRound] = useState(0);
  useEffect(() => {
    let calls;
    let waiting = [];
    let timer;
    // The list that was asked for last, until it is here. What the feed tells meanwhile waits for it.
    let reading;
    let retry;
    setState((before) => ({ version: before.version + 1, feed: 'opening' }));
    const draw = () => {
      timer = undefined;
      if (!calls || reading) return;
      const now = Date.now();
      for (const change of waiting) calls.change(change, now);
      waiting = [];
      setState((before) => ({ ...before, calls, version: before.version + 1 }));
    };
    const soon = () => {
      timer ??= setTimeout(draw, DRAW_EVERY);
    };
    const read = async () => {
      clearTimeout(retry);
      reading?.abort();
      const own = new AbortController();
      reading = own;
      try {
        const answer = await askPage(`${asked.calls}?callStatus=${ACTIVE.join(',')}&stale=false&limit=${MOST}`, { signal: own.signal });
        if (own.signal.aborted) return;
        reading = undefined;
        calls ??= new ActiveCalls();
        calls.reset(answer.rows, Date.now());
        // What the feed has told meanwhile is as new or newer.
        setState((before) => ({ ...before, more: answer.cursor !== undefined, error: undefined, feed: 'open' }));
        draw();
      } catch (error) {
        if (own.signal.aborted) return;
        reading = undefined;
        setState((before) => ({ ...before, error }));
        soon();
        // What may be better in a while.
        if (error.status === 0 || error.status === 429 || error.status >= 500) retry = setTimeout(read, Math.max(AGAIN_AFTER, 1000 * (error.retryAfter ?? 0)));
      }
    };
    const stop = follow(asked.changes, {
      open: read,
      change: (change) => {
        waiting.push(change);
        soon();
      },
      gone: () => setState((before) => ({ ...before, feed: 'opening' })),
      closed: () => setState((before) => ({ ...before, feed: 'lost' })),
      back: () => setState((before) => ({ ...before, feed: 'open' })),
      failed: (status, message) => setState((before) => ({ ...before, error: new Error(message) })),
    });
    const sweeper = setInterval(() => calls?.sweep(Date.now()) && soon(), 1000);
    return () => {
      reading?.abort();
      stop();
      clearTimeout(timer);
      clearTimeout(retry);
      clearInterval(sweeper);
    };
  }, [asked.calls, round]);
  return { ...state, again: () => setRound((n) => n + 1) };
}

function Head({ live, asked, url, navigate, chosen, session }) {
  const counts = useCounts(live, asked, session);
  const all = Object.values(counts).reduce((sum, n) => sum + n, 0);
  const toggle = (status) => navigate({ callStatus: chosen.includes(status) ? chosen.filter((one) => one !== status) : ACTIVE.filter((one) => one === status || chosen.includes(one)) }, { replace: true });
  return html`<div class="live-head">
    <div class="live-now">
      <div class="live-all"><b>${live.calls ? number(all) : ' '}</b><span>${all === 1 ? 'active call' : 'active calls'}</span>${live.calls && !live.more && html`<${Longest} calls=${live.calls} session=${session} />`}</div>
      <div class="live-counts" role="group" aria-label="Active calls by status">
        ${ACTIVE.map((status) => html`<button key=${status} type="button" class="live-count ${counts[status] ? '' : 'zero'}" aria-pressed=${chosen.includes(status) ? 'true' : 'false'} title=${statusMeaning(status)} onClick=${() => toggle(status)}>
          <${StatusIcon} status=${status} /><span>${statusName(status)}</span><b>${live.calls ? number(counts[status] ?? 0) : ''}</b>
        </button>`)}
      </div>
    </div>
    ${may(session, 'read') && html`<${LastHour} stats=${asked.stats} />`}
    <div class="live-tools no-print">
      <form class="search" role="search" onSubmit=${(event) => event.preventDefault()}>
        <span class="search-icon"><${Icon} name="search" /></span>
        <input class="input" type="search" aria-label="Active calls with this in a number" placeholder="Part of a number" value=${url.params.get('q') ?? ''} autocomplete="off" spellcheck=${false}
          onInput=${(event) => navigate({ q: event.target.value || null }, { replace: true })} />
        <span class="search-note"><kbd class="slash" aria-hidden="true">/</kbd></span>
      </form>
      <span class="feed ${live.feed}" role="status">${{ open: 'Up to date', lost: 'Connecting again…', opening: 'Connecting…' }[live.feed]}</span>
    </div>
  </div>`;
}

/** How long the longest active call lasts, and the way to it. */
function Longest({ calls, session }) {
  const now = useNow(1000);
  const call = calls.longest();
  const text = call && `longest ${duration((now - lastsSince(call)) / 1000)}`;
  return call && (may(session, 'read') ? html`<a href=${callAddress(call)}>${text}</a>` : html`<span>${text}</span>`);
}

/** Active calls by status: of those here, or, where these are not all, as the server counts them. */
function useCounts(live, asked, session) {
  const [counted, setCounted] = useState();
  useEffect(() => {
    if (!live.more || !may(session, 'read')) {
      setCounted(undefined);
      return undefined;
    }
    const abort = new AbortController();
    let timer;
    // One after the other: an older answer never replaces a newer one.
    const ask = () =>
      json(`${asked.stats}?callStatus=${ACTIVE.join(',')}&stale=false`, { signal: abort.signal })
        .then(
          ({ inbound, outbound }) => setCounted(Object.fromEntries(ACTIVE.map((status) => [status, inbound[status] + outbound[status]]))),
          () => {},
        )
        .then(() => {
          if (!abort.signal.aborted) timer = setTimeout(ask, COUNT_EVERY);
        });
    ask();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [live.more, asked.stats]);
  return counted ?? live.calls?.counts() ?? {};
}

/** The calls of the last hour, minute by minute, and how they ended. */
function LastHour({ stats }) {
  const [round, setRound] = useState(0);
  useEffect(() => {
    const timer = setInterval(() => !document.hidden && setRound((n) => n + 1), HOUR_EVERY);
    return () => clearInterval(timer);
  }, []);
  const { value, error } = useLoad((signal) => {
    const start = Math.floor(present() / 60_000) * 60_000 - 59 * 60_000;
    return json(`${stats}?interval=minute&group=status&start=${iso(start)}&end=${iso(start + 3_600_000)}`, { signal }).then((answer) => ({ start, ...answer }));
  }, [stats], round);
  if (error && !value) return null;
  const values = new Array(60).fill(0);
  for (const bucket of value?.buckets ?? []) {
    const n = Math.round((Date.parse(bucket.start) - value.start) / 60_000);
    if (n >= 0 && n < 60) values[n] = bucket.calls;
  }
  const of = (status) => value?.groups?.find((group) => group.status === status)?.calls ?? 0;
  const most = Math.max(0, ...values);
  const label = value ? `Calls of the last hour: ${number(value.calls)}, at most ${number(most)} in a minute` : 'Calls of the last hour';
  return html`<div class="last-hour">
    <div><span class="label">Last hour</span> <b>${value ? number(value.calls) : ''}</b></div>
    <${Sparkline} values=${values} label=${label} width=${168} height=${34} />
    <ul>
      ${FINAL.map((status) => html`<li key=${status}><a href=${address('history', { range: '1h', callStatus: status })} title=${`${statusName(status)} in the last hour`}><${StatusIcon} status=${status} /><span class="sr">${statusName(status)}</span>${value ? number(of(status)) : ''}</a></li>`)}
    </ul>
  </div>`;
}

/** Whether the list must stand still: the pointer is over it, or the keyboard is in it. */
function useHold(body) {
  const [held, setHeld] = useState(false);
  useEffect(() => {
    let last = 0;
    let timer;
    const look = () => {
      clearTimeout(timer);
      const element = body.current;
      const keyboard = element?.contains(document.activeElement) && (document.activeElement.matches(':focus-visible') || element.querySelector('[aria-expanded="true"], dialog[open]'));
      const left = last + POINTER_RESTS - Date.now();
      setHeld(Boolean(keyboard) || left > 0);
      if (left > 0) timer = setTimeout(look, left);
    };
    const moved = (event) => {
      const over = body.current?.contains(event.target);
      if (over) last = Date.now();
      else if (last) last = 0;
      else return;
      look();
    };
    document.addEventListener('pointermove', moved, { passive: true });
    document.addEventListener('focusin', look);
    document.addEventListener('focusout', look);
    return () => {
      clearTimeout(timer);
      document.removeEventListener('pointermove', moved);
      document.removeEventListener('focusin', look);
      document.removeEventListener('focusout', look);
    };
  }, []);
  return held;
}

function List({ live, fits, filtered, session, navigate, zone, account, asked, find }) {
  const body = useRef();
  const narrow = useNarrow();
  const held = useHold(body);
  const now = useNow(1000);
  const kept = useRef([]);
  const wanted = useMemo(() => live.calls.order(fits), [live.version, fits]);
  // What is new waits while the list stands still; what it shows goes on in its rows.
  const before = kept.current;
  // A call may be gone before the list is drawn anew.
  const rows = (held ? before : wanted).filter(({ sid }) => live.calls.get(sid));
  const waiting = held ? wanted.filter(({ sid }) => !before.some((row) => row.sid === sid)).length : 0;
  kept.current = rows;
  useEffect(() => live.calls.stand(held ? rows.map(({ sid }) => sid) : []));
  const rem = narrow ? 4.25 : 2.25;
  const [from, to, height] = useWindow(body, rows.length, rem);
  useSlide(body, rows, height);

  const focus = (step) => () => {
    const links = [...body.current?.querySelectorAll('.row-link') ?? []];
    const at = links.findIndex((link) => link.closest('tr').contains(document.activeElement));
    const next = links[at < 0 ? 0 : at + step];
    if (next) {
      next.focus();
      next.scrollIntoView({ block: 'nearest' });
    }
  };
  const arrow = (step) => () => (body.current?.contains(document.activeElement) ? focus(step)() : false);
  useKeys({ j: focus(1), k: focus(-1), ArrowDown: arrow(1), ArrowUp: arrow(-1) });

  if (!rows.length) return html`<${Nobody} ...${{ session, account, asked, filtered, navigate }} />`;
  const accounts = session.scope !== 'account' && !account && (session.accounts?.length ?? 2) > 1;
  const controls = may(session, 'control');
  const first = Math.min(from, rows.length);
  const last = Math.min(to, rows.length);
  const open = (event, call) => {
    if (event.target.closest('a, button, dialog, .popover') || event.button !== 0 || !window.getSelection().isCollapsed || !may(session, 'read')) return;
    navigate(callAddress(call));
  };
  const span = narrow ? 1 : 7 + (accounts ? 1 : 0) + (controls ? 1 : 0);
  return html`
    <div class="live-waiting" role="status">${waiting > 0 ? `${waiting === 1 ? 'One more call waits' : `${number(waiting)} more calls wait`} until the pointer leaves the list` : live.more ? `The newest ${number(MOST)} active calls` : ''}</div>
    <table class="calls live-calls ${narrow ? 'narrow' : ''}" aria-label="Active calls" aria-rowcount=${rows.length + 1}>
      ${!narrow && html`<colgroup>
        ${[9, 5.5, 7.5, 12, 12, 9, ...(accounts ? [10] : []), 6, ...(controls ? [5.5] : [])].map((width, i) => html`<col key=${i} style=${{ width: `${width}rem` }} />`)}
      </colgroup>`}
      <thead class=${narrow ? 'sr' : ''}><tr aria-rowindex="1">${narrow ? html`<th scope="col">Call</th>` : html`<th scope="col">Status</th><th scope="col" class="num">For</th><th scope="col">Direction</th><th scope="col">From</th><th scope="col">To</th><th scope="col">Trunk</th>${accounts && html`<th scope="col">Account</th>`}<th scope="col">Began</th>${controls && html`<th scope="col"><span class="sr">What can be done</span></th>`}`}</tr></thead>
      <tbody ref=${body}>
        ${first > 0 && html`<tr key="before" class="space" aria-hidden="true"><td colspan=${span} style=${{ height: `${first * height}px` }}></td></tr>`}
        ${rows.slice(first, last).map(({ sid, depth }, i) => {
          const { call, since, ended } = live.calls.get(sid);
          const state = ended ? (Date.now() - ended > STAYS && !held ? 'ended fading' : 'ended') : Date.now() - since < 2500 ? 'new' : '';
          const row = { call, ended, depth, now, zone, session, find, accounts, controls };
          return html`<tr key=${sid} data-sid=${sid} class=${state} aria-rowindex=${first + i + 2} onClick=${(event) => open(event, call)}>${narrow ? html`<td><${Card} ...${row} /></td>` : html`<${Cells} ...${row} />`}</tr>`;
        })}
        ${last < rows.length && html`<tr key="after" class="space" aria-hidden="true"><td colspan=${span} style=${{ height: `${(rows.length - last) * height}px` }}></td></tr>`}
      </tbody>
    </table>`;
}

/** Since when a call talks, or rings, in words and in seconds. */
function lasted(call, ended, now) {
  const since = lastsSince(call);
  if (ended) return { text: call.duration === undefined ? '' : duration(call.duration), title: 'Its duration' };
  if (Number.isNaN(since)) return { text: '', title: '' };
  return { text: duration((now - since) / 1000), title: call.answered_at ? 'Since the answer' : 'Since it began' };
}

function Cells({ call, ended, depth, now, zone, session, find, accounts, controls }) {
  const { text, title } = lasted(call, ended, now);
  return html`
    <td class="depth-${Math.min(depth, 3)}">${depth > 0 && html`<span class="leg-below" title="B leg of the call above"><span class="sr">B leg, </span></span>`}<${CallLink} call=${call} session=${session}><${Status} status=${statusOf(call)} /><//></td>
    <td class="num" title=${title}>${text}</td>
    <td><${Direction} direction=${call.direction} /></td>
    <td><${Text} value=${call.from} find=${find} most=${120} /></td>
    <td><${Text} value=${call.to} find=${find} most=${120} /></td>
    <td><${Text} value=${call.originating_sip_trunk_name ?? call.trunk} most=${120} /></td>
    ${accounts && html`<td><span title=${call.account_sid}><${Text} value=${shortSid(accountName(session, call.account_sid))} /></span></td>`}
    <td>${begun(call) && html`<time datetime=${begun(call)} title=${full(begun(call), zone)}>${clock(begun(call), zone)}</time>`}</td>
    ${controls && html`<td class="acts"><${CallControl} session=${session} call=${call} small /></td>`}`;
}

function Card({ call, ended, depth, now, zone, session, find }) {
  const { text } = lasted(call, ended, now);
  return html`<div class="call-card depth-${Math.min(depth, 3)}">
    <div class="line"><${CallLink} call=${call} session=${session}><${Status} status=${statusOf(call)} /><//><span>${text}</span></div>
    <div class="line numbers"><${Direction} direction=${call.direction} short /><span class="clip"><${Text} value=${call.from} find=${find} most=${60} /></span><span class="muted" aria-label="to" role="img">→</span><span class="clip"><${Text} value=${call.to} find=${find} most=${60} /></span></div>
    <div class="line muted small"><span class="clip">${depth > 0 ? 'B leg' : call.originating_sip_trunk_name === undefined ? clock(begun(call), zone) : html`<${Text} value=${call.originating_sip_trunk_name} most=${60} />`}</span><${CallControl} session=${session} call=${call} small /></div>
  </div>`;
}

/** Rows that have another place slide there, and nothing jumps. */
function useSlide(body, rows, height) {
  const places = useRef(new Map());
  useLayoutEffect(() => {
    const before = places.current;
    places.current = new Map(rows.map(({ sid }, i) => [sid, i]));
    if (!body.current || before.size === 0 || window.matchMedia('(prefers-reduced-motion: reduce)').matches) return;
    for (const row of body.current.querySelectorAll('[data-sid]')) {
      const was = before.get(row.dataset.sid);
      const is = places.current.get(row.dataset.sid);
      if (was === undefined) row.animate([{ opacity: 0, transform: 'translateY(-10px)' }, { opacity: 1, transform: 'none' }], { duration: 260, easing: 'ease-out' });
      else if (was !== is) row.animate([{ transform: `translateY(${(was - is) * height}px)` }, { transform: 'none' }], { duration: 220, easing: 'ease-out' });
    }
  }, [rows]);
}

function Nobody({ session, account, asked, filtered, navigate }) {
  const { value } = useLoad((signal) => askPage(`${asked.calls}?limit=1`, { signal }), [asked.calls]);
  if (filtered) {
    return html`<${Empty} icon="search" title="No active call fits"><p><button type="button" class="link" onClick=${() => navigate({ callStatus: null, q: null })}>Show all active calls</button></p><//>`;
  }
  if (value?.rows.length === 0) return html`<${NoCalls} session=${session} account=${account} />`;
  return html`<${Empty} icon="phone" title="No call is active">
    <p>New calls appear here by themselves. What was is in the <a href=${address('history')}>history</a>.</p>
  <//>`;
}
