// History: every call that was, newest first. The URL holds the search, the filters and the columns.

import { html, useCallback, useEffect, useLayoutEffect, useRef, useState } from '../html.js';
import { may, onState, page as askPage, paths, words } from '../api.js';
import { callAddress, list } from '../url.js';
import { active, cleared, lettersAndDigits, query, search, withQuery } from '../filters.js';
import { FilterBar, Chips } from '../filter_bar.js';
import { begun, CallLink, COLUMNS, defaultColumns, When } from '../columns.js';
import { preference, prefer } from '../store.js';
import { duration, number, zoneParam } from '../time.js';
import { Direction, Status, statusOf } from '../status.js';
import { Text } from '../text.js';
import { useNarrow, useWindow } from '../window.js';
import { NoCalls } from '../empty.js';
import { Button, Copy, Empty, ErrorNote, Icon, Popover, useKeys, Waiting } from '../ui.js';

// The first page comes at once; who scrolls is given more at a time.
const PAGE = 100;
const MORE = 400;
const COUNT_EVERY = 20_000;
// A search is counted once nobody types any more: it looks at many calls.
const COUNT_AFTER = 500;
// Columns of so many rem are shown without scrolling, however narrow they get.
const WIDE = 96;

// For how long what was read is shown again, in milliseconds.
const KEPT = 600_000;

// What was on the page when it was left, so that "back" finds it again.
let left;

export function History({ session, url, navigate, zone, account }) {
  const calls = paths(session, account).calls;
  const filters = query(url.params, zone);
  const key = withQuery(calls, filters);
  // A preset such as "last hour" moves with each look, and is the same question.
  const question = [session.token_id, calls, search(url.params), url.params.get('range'), zone, ...active(url.params).map((one) => url.params.get(one.key)), url.params.get('start'), url.params.get('end')].join('\n');
  const rows = useRows(question, key, url);
  const total = useCount(question, key, rows, search(url.params) !== '');
  const columns = useColumns(url, navigate, session, account);
  const filtered = active(url.params).length > 0 || search(url.params) !== '' || url.params.has('range') || url.params.has('start') || url.params.has('end');

  useKeys({ r: rows.again });

  return html`<div class="page history">
    <h1 class="sr">History</h1>
    <div class="history-bar no-print">
      <${SearchBox} session=${session} url=${url} navigate=${navigate} loading=${rows.loading} />
      <${FilterBar} ...${{ url, navigate, zone, session, account }} />
      <div class="end">
        <${ColumnChooser} columns=${columns} />
        <${Export} ...${{ calls, filters, session, zone, total: total.value }} />
      </div>
    </div>
    <${Chips} ...${{ url, navigate, zone }} />
    <div class="history-count">
      <p role="status">${total.value === undefined ? (rows.list ? ' ' : '') : `${number(total.value)} ${total.value === 1 ? 'call' : 'calls'}${filtered ? ' found' : ''}`}</p>
      ${(filtered || url.params.has('q')) && html`<button type="button" class="link no-print" onClick=${() => navigate(cleared())}>Clear all filters</button>`}
      ${total.news > 0 && html`<button type="button" class="link no-print" onClick=${rows.again}>${total.news === 1 ? 'A new call' : `${number(total.news)} new calls`}: show</button>`}
    </div>
    ${rows.error && html`<${ErrorNote} error=${rows.error} again=${rows.again} />`}
    ${!rows.list && !rows.error && html`<${Waiting} label="Reading calls" />`}
    ${rows.list?.length === 0 && !rows.loading && !rows.error && html`<${Nothing} ...${{ filtered, url, navigate, session, account }} />`}
    ${rows.list?.length > 0 && html`<${Table} ...${{ rows, columns: columns.shown, total: total.value, zone, session, navigate, find: search(url.params) }} />`}
  </div>`;
}

/** The rows so far: `{list, loading, error, more, again}`. */
function useRows(question, key, url) {
  const [state, setState] = useState(() => {
    const kept = left?.question === question && url.back && Date.now() - left.at < KEPT ? left : undefined;
    return kept ? { list: kept.list, cursor: kept.cursor, key: kept.key, question, loading: false, scroll: kept.scroll } : { loading: true, question };
  });
  const [round, setRound] = useState(0);
  const latest = useRef(state);
  latest.current = state;
  const reading = useRef();

  useEffect(() => {
    // What was left is here already.
    if (round === 0 && latest.current.question === question && !latest.current.loading) return undefined;
    reading.current?.abort();
    const abort = new AbortController();
    reading.current = abort;
    setState((before) => ({ ...before, loading: true }));
    askPage(first(key), { signal: abort.signal }).then(
      (answer) => {
        if (abort.signal.aborted) return;
        setState({ list: answer.rows, cursor: answer.cursor, key, question, loading: false, round });
        if (latest.current.question !== question && window.scrollY > 0) window.scrollTo(0, 0);
      },
      (error) => !abort.signal.aborted && setState((before) => ({ ...before, loading: false, question, error, list: before.question === question ? before.list : undefined })),
    );
    return () => abort.abort();
  }, [question, round]);

  useLayoutEffect(() => {
    // Once the page is left, the window stands elsewhere already.
    let scroll = window.scrollY;
    const scrolled = () => {
      scroll = window.scrollY;
    };
    window.addEventListener('scroll', scrolled, { passive: true });
    return () => {
      window.removeEventListener('scroll', scrolled);
      reading.current?.abort();
      const { list, cursor, key: ofList, question: asked, loading, error } = latest.current;
      if (list && !loading && !error) left = { list, cursor, key: ofList, question: asked, scroll, at: Date.now() };
    };
  }, []);

  const more = useCallback(() => {
    // The next page is one of the same list: a range such as "last hour" has moved on since.
    const { cursor, key: ofList, loading, more: already, moreError, question: asked } = latest.current;
    if (!cursor || loading || already || moreError) return;
    const abort = new AbortController();
    reading.current = abort;
    setState((before) => ({ ...before, more: true }));
    askPage(`${first(ofList, MORE)}&cursor=${encodeURIComponent(cursor)}`, { signal: abort.signal }).then(
      (answer) => {
        if (abort.signal.aborted) return;
        setState((before) => (before.question === asked && before.cursor === cursor ? { ...before, list: [...before.list, ...answer.rows], cursor: answer.cursor, more: false } : before));
      },
      (error) => !abort.signal.aborted && setState((before) => ({ ...before, more: false, moreError: error })),
    );
  }, []);
  const again = useCallback(() => setRound((n) => n + 1), []);
  // What could not be reached is asked for once it can.
  useEffect(() => onState((state) => {
    if (state !== 'back') return;
    if (latest.current.error) again();
    setState((before) => (before.moreError ? { ...before, moreError: undefined } : before));
  }), []);
  const retryMore = useCallback(() => {
    setState((before) => ({ ...before, moreError: undefined }));
  }, []);
  return { ...state, readMore: more, again, retryMore };
}

const first = (key, limit = PAGE) => `${key}${key.includes('?') ? '&' : '?'}limit=${limit}`;

/** The number of calls that the filters find, and how many came since. */
function useCount(question, key, rows, searched) {
  const [count, setCount] = useState({});
  useEffect(() => {
    if (rows.loading || rows.question !== question || rows.error) return undefined;
    const abort = new AbortController();
    let timer;
    let base;
    let wait = COUNT_EVERY;
    const ask = async () => {
      try {
        if (!document.hidden || base === undefined) {
          const begun = performance.now();
          const answer = await askPage(`${key}${key.includes('?') ? '&' : '?'}limit=1&count=true`, { signal: abort.signal });
          base ??= answer.total;
          setCount({ question, value: base, news: Math.max(0, answer.total - base) });
          // What takes the server long is not asked often.
          wait = Math.max(COUNT_EVERY, 30 * (performance.now() - begun));
        }
      } catch {
        // The rows say what is wrong.
      }
      if (!abort.signal.aborted) timer = setTimeout(ask, wait);
    };
    // All of them are here.
    if (rows.list && !rows.cursor && !rows.more && base === undefined) base = rows.list.length;
    if (base !== undefined) {
      setCount({ question, value: base, news: 0 });
      timer = setTimeout(ask, COUNT_EVERY);
    } else if (searched) timer = setTimeout(ask, COUNT_AFTER);
    else ask();
    return () => {
      abort.abort();
      clearTimeout(timer);
    };
  }, [question, rows.loading, rows.round]);
  return count.question === question ? count : { news: 0 };
}

function SearchBox({ session, url, navigate, loading }) {
  const said = url.params.get('q') ?? '';
  const [text, setText] = useState(said);
  const timer = useRef();
  const sent = useRef(said);
  // Back and forward change the box, too.
  useEffect(() => {
    if (said !== sent.current) {
      sent.current = said;
      setText(said);
    }
  }, [said]);
  useEffect(() => () => clearTimeout(timer.current), []);
  const search = (value) => {
    clearTimeout(timer.current);
    sent.current = value.trim();
    navigate({ q: value.trim() || null }, { replace: true });
  };
  const typed = (value) => {
    setText(value);
    clearTimeout(timer.current);
    timer.current = setTimeout(() => search(value), 120);
  };
  const short = text.trim() !== '' && lettersAndDigits(text) < 3;
  return html`<form class="search" role="search" onSubmit=${(event) => { event.preventDefault(); search(text); }}>
    <span class="search-icon"><${Icon} name="search" /></span>
    <input class="input" type="search" value=${text} aria-label="Search calls" aria-describedby=${short ? 'search-hint' : undefined}
      placeholder=${session.role === 'read-masked' ? 'Call sid' : 'Number, call sid or Call-ID'} autocomplete="off" autocapitalize="off" spellcheck=${false}
      onInput=${(event) => typed(event.target.value)}
      onKeyDown=${(event) => {
        if (event.key === 'Escape' && text) {
          event.preventDefault();
          typed('');
        } else if (event.key === 'ArrowDown') {
          event.preventDefault();
          document.querySelector('.calls .row-link')?.focus();
        }
      }} />
    <span class="search-note">${short ? html`<span id="search-hint">at least 3 letters or digits</span>` : loading && text ? html`<span class="dots" aria-hidden="true"><i /><i /><i /></span>` : html`<kbd class="slash" aria-hidden="true">/</kbd>`}</span>
  </form>`;
}

/** The columns: from the URL, else as chosen last. */
function useColumns(url, navigate, session, account) {
  const own = defaultColumns(session, account);
  const said = list(url.params, 'columns');
  const kept = (preference('columns') ?? '').split(',').filter(Boolean);
  const keys = said.length ? said : kept.length ? kept : own;
  const shown = COLUMNS.filter((column) => column.key === 'time' || keys.includes(column.key));
  const choose = (next) => {
    const same = next.length === own.length && next.every((one) => own.includes(one));
    prefer('columns', same ? undefined : next.join(','));
    navigate({ columns: same ? null : next }, { replace: true });
  };
  return { shown, choose, own };
}

function ColumnChooser({ columns }) {
  const on = (key) => columns.shown.some((column) => column.key === key);
  const toggle = (key) => {
    const next = COLUMNS.map((column) => column.key).filter((one) => (one === key ? !on(one) : on(one)));
    if (next.length) columns.choose(next);
  };
  return html`<${Popover} label="Columns" icon="columns" kind="quiet" end class="wide-only">
    ${() => html`<div class="menu">
      <div class="checks">
        ${COLUMNS.filter((column) => column.key !== 'time').map((column) => html`<label class="check" key=${column.key}>
          <input type="checkbox" checked=${on(column.key)} onChange=${() => toggle(column.key)} />${column.name}
        </label>`)}
      </div>
      <button type="button" class="menu-item muted" onClick=${() => columns.choose(columns.own)}>As at first</button>
    </div>`}
  <//>`;
}

function Export({ calls, filters, session, zone, total }) {
  if (!may(session, 'export')) return null;
  const as = (extra) => withQuery(calls, new URLSearchParams([...filters, ...Object.entries(extra)]));
  const curl = () => `curl -H "Authorization: Bearer $TOKEN" '${window.location.origin}${withQuery(calls, filters).replaceAll("'", '%27')}'`;
  return html`<${Popover} label="Export" icon="download" text="Export" end>
    ${(close) => html`<div class="menu">
      <p class="hint menu-note">${total === undefined ? 'All calls that are found' : total === 1 ? 'The one call that is found' : `All ${number(total)} calls that are found`}, with all their fields. Times are ISO.</p>
      <a class="menu-item" href=${as({ format: 'csv' })} download onClick=${() => close(false)}><${Icon} name="download" />CSV</a>
      <a class="menu-item" href=${as({ format: 'csv', spreadsheet: 'true', time_zone: zoneParam(zone) })} download onClick=${() => close(false)}><${Icon} name="download" /><span class="two">CSV for a spreadsheet<small>Times of ${zoneParam(zone)}</small></span></a>
      <a class="menu-item" href=${as({ format: 'ndjson' })} download onClick=${() => close(false)}><${Icon} name="download" />NDJSON</a>
      <${Copy} text=${curl} label="Copy as curl" small=${false}>Copy as curl<//>
    </div>`}
  <//>`;
}

function Nothing({ filtered, url, navigate, session, account }) {
  if (!filtered) return html`<${NoCalls} session=${session} account=${account} />`;
  const q = search(url.params);
  const others = active(url.params);
  const isTimed = ['range', 'start', 'end'].some((key) => url.params.has(key));
  return html`<${Empty} icon="search" title="No call fits">
    ${q && html`<p>${others.length > 0 || isTimed ? 'With these filters, nothing' : 'Nothing'} has <b><bdi>${q}</bdi></b> in a number. The search finds a part of a number or SIP user of at least 3 letters or digits, and whole call sids and Call-IDs. Leave out a leading <code>00</code> or <code>+</code>.</p>`}
    ${!q && html`<p>No call has all of these filters.</p>`}
    <div class="empty-buttons">
      ${others.map((filter) => html`<${Button} key=${filter.key} small onClick=${() => navigate({ [filter.key]: null })}>Without “${filter.name}”<//>`)}
      ${isTimed && html`<${Button} small onClick=${() => navigate({ range: null, start: null, end: null })}>Of any time<//>`}
      <${Button} small kind="primary" onClick=${() => navigate(cleared())}>Show all calls<//>
    </div>
  <//>`;
}

function Table({ rows, columns, total, zone, session, navigate, find }) {
  const body = useRef();
  const narrow = useNarrow();
  const [from, to, height] = useWindow(body, rows.list.length, narrow ? 4.25 : 2.25);
  const [at, setAt] = useState(0);
  // Keys may come faster than rows are drawn.
  const place = useRef(0);
  const focus = useRef(false);
  const printing = usePrinting();

  // Back on the page: where it was left.
  useLayoutEffect(() => {
    if (rows.scroll) window.scrollTo(0, rows.scroll);
  }, []);
  useEffect(() => {
    if (to > rows.list.length - 100) rows.readMore();
  }, [to, rows.list.length, rows.moreError, rows.cursor]);
  const choose = (row) => {
    place.current = row;
    setAt(row);
  };
  useEffect(() => choose(0), [rows.question]);

  // The row may have to be drawn first.
  const tryFocus = () => {
    const link = focus.current && body.current?.querySelector(`[data-row="${place.current}"] .row-link`);
    if (!link) return;
    link.focus({ preventScroll: true });
    focus.current = false;
  };
  const move = (next) => {
    const there = Math.min(Math.max(next, 0), rows.list.length - 1);
    focus.current = true;
    choose(there);
    const top = body.current.getBoundingClientRect().top + window.scrollY + there * height;
    const bar = 100;
    if (top < window.scrollY + bar) window.scrollTo(0, top - bar);
    else if (top + height > window.scrollY + window.innerHeight - 60) window.scrollTo(0, top + height - window.innerHeight + 60);
    tryFocus();
  };
  useEffect(tryFocus, [at, from, to]);
  const here = () => focus.current || body.current?.contains(document.activeElement);
  const next = (step) => () => move(here() ? place.current + step : place.current);
  const arrows = (step) => () => (here() ? move(place.current + step) : false);
  useKeys({
    j: next(1),
    k: next(-1),
    ArrowDown: arrows(1),
    ArrowUp: arrows(-1),
    Home: () => (here() ? move(0) : false),
    End: () => (here() ? move(rows.list.length - 1) : false),
  });

  const open = (event, call) => {
    if (event.target.closest('a, button') || event.button !== 0 || !may(session, 'read')) return;
    if (!window.getSelection().isCollapsed) return;
    if (event.metaKey || event.ctrlKey) window.open(callAddress(call), '_blank', 'noopener');
    else navigate(callAddress(call));
  };
  const first = printing ? 0 : from;
  const last = printing ? Math.min(rows.list.length, 500) : Math.min(to, rows.list.length);
  const context = { zone, session, find };
  const shown = [];
  for (let i = first; i < last; i += 1) {
    const call = rows.list[i];
    shown.push(html`<tr key=${`${call.account_sid}/${call.call_sid}`} data-row=${i} aria-rowindex=${i + 2} onClick=${(event) => open(event, call)} onFocusIn=${() => focus.current || choose(i)}>
      ${narrow
        ? html`<td><${Card} call=${call} tab=${i === at} ...${context} /></td>`
        : columns.map((column) => html`<td key=${column.key} class="${column.num ? 'num' : ''} ${column.mono ? 'mono' : ''}">${column.cell(call, { ...context, tab: i === at })}</td>`)}
    </tr>`);
  }
  const before = first * height;
  const after = (rows.list.length - last) * height;
  const span = narrow ? 1 : columns.length;
  // Many columns are wider than the window: then they scroll by themselves.
  const sum = columns.reduce((all, column) => all + column.width, 0);
  const wide = !narrow && sum > WIDE;
  return html`<div class=${wide ? 'calls-scroll' : ''} tabindex=${wide ? 0 : undefined} role=${wide ? 'region' : undefined} aria-label=${wide ? 'Calls' : undefined}>
    <table style=${wide ? { minWidth: `${sum}rem` } : {}} class="calls ${narrow ? 'narrow' : ''} ${rows.loading ? 'old' : ''}" aria-label="Calls" aria-rowcount=${(total ?? rows.list.length) + 1} aria-busy=${rows.loading ? 'true' : 'false'}>
      ${!narrow && html`<colgroup>${columns.map((column) => html`<col key=${column.key} style=${{ width: `${(column.width / sum) * 100}%` }} />`)}</colgroup>`}
      <thead class=${narrow ? 'sr' : ''}><tr aria-rowindex="1">${narrow ? html`<th scope="col">Call</th>` : columns.map((column) => html`<th key=${column.key} scope="col" class=${column.num ? 'num' : ''}>${column.name}</th>`)}</tr></thead>
      <tbody ref=${body}>
        ${before > 0 && !printing && html`<tr key="before" class="space" aria-hidden="true"><td colspan=${span} style=${{ height: `${before}px` }}></td></tr>`}
        ${shown}
        ${after > 0 && !printing && html`<tr key="after" class="space" aria-hidden="true"><td colspan=${span} style=${{ height: `${after}px` }}></td></tr>`}
      </tbody>
    </table></div>
    <div class="calls-end" role="status">
      ${rows.moreError ? html`<span class="muted">${words(rows.moreError)}</span> <button type="button" class="link" onClick=${rows.retryMore}>Try again</button>` : rows.cursor ? html`<${Waiting} label="Older calls" />` : html`<span class="muted">${rows.list.length > 20 ? 'These are all.' : ''}</span>`}
    </div>`;
}

/** A call on a telephone: three short lines. */
function Card({ call, zone, find, tab, session }) {
  return html`<div class="call-card">
    <div class="line"><${CallLink} ...${{ call, session, tab }}><${When} value=${begun(call)} zone=${zone} /><//><${Status} status=${statusOf(call)} /></div>
    <div class="line numbers"><${Direction} direction=${call.direction} short /><span class="clip"><${Text} value=${call.from} find=${find} most=${60} /></span><span class="muted" aria-label="to" role="img">→</span><span class="clip"><${Text} value=${call.to} find=${find} most=${60} /></span></div>
    <div class="line muted small"><span class="clip"><${Text} value=${call.originating_sip_trunk_name ?? call.sip_reason ?? String(call.sip_status)} most=${60} /></span><span>${call.duration === undefined ? '' : duration(call.duration)}</span></div>
  </div>`;
}

/** Whether the page is being printed: then all rows that were read are drawn, 500 at most. */
function usePrinting() {
  const [printing, setPrinting] = useState(false);
  useEffect(() => {
    const media = window.matchMedia('print');
    const changed = () => setPrinting(media.matches);
    media.addEventListener('change', changed);
    return () => media.removeEventListener('change', changed);
  }, []);
  return printing;
}
