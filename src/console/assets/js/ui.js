// Small components that all pages use.

import { html, useCallback, useEffect, useId, useLayoutEffect, useRef, useState } from './html.js';
import { onState, words } from './api.js';
import { now as present } from './time.js';

const ICONS = {
  live: 'M8 3a5 5 0 1 0 0 10A5 5 0 0 0 8 3Zm0 3.2a1.8 1.8 0 1 1 0 3.6 1.8 1.8 0 0 1 0-3.6Z',
  history: 'M2.5 4h11M2.5 8h11M2.5 12h7',
  statistics: 'M3 13V8m5 5V3m5 10V6',
  operation: 'M2.5 5h6m3 0h2M2.5 11h2m3 0h6M10 3.2v3.6M6 9.2v3.6',
  search: 'M7 2.5a4.5 4.5 0 1 1 0 9 4.5 4.5 0 0 1 0-9Zm3.4 7.9 3.3 3.3',
  close: 'm4 4 8 8m0-8-8 8',
  check: 'm3 8.5 3.3 3.4L13 4.5',
  copy: 'M5.5 5.5v-3h8v8h-3m0-5h-8v8h8Z',
  download: 'M8 2.5v8m-3.2-3L8 10.7l3.2-3.2M3 13.5h10',
  columns: 'M2.5 3h11v10h-11Zm4 0v10m4-10v10',
  sun: 'M8 5.2a2.8 2.8 0 1 1 0 5.6 2.8 2.8 0 0 1 0-5.6ZM8 1v1.6m0 10.8V15M1 8h1.6m10.8 0H15M3 3l1.2 1.2m7.6 7.6L13 13m0-10-1.2 1.2M4.2 11.8 3 13',
  moon: 'M13.2 9.8A5.6 5.6 0 0 1 6.2 2.8a5.6 5.6 0 1 0 7 7Z',
  help: 'M8 1.8a6.2 6.2 0 1 1 0 12.4A6.2 6.2 0 0 1 8 1.8Zm-1.8 4.6c0-2.4 3.7-2.3 3.7-.2C9.9 7.6 8 7.6 8 9.3m0 2v.2',
  out: 'M6.5 2.5h-4v11h4M6 8h7.5m-3-3 3 3-3 3',
  more: 'M3.5 8h.01M8 8h.01M12.500 8h.01',
  chevron: 'm4 6 4 4 4-4',
  back: 'M9.500 3.500 5 8l4.500 4.500',
  alert: 'M8 2.200 14.500 13.500H1.500ZM8 6.500v3.200m0 1.700v.2',
  info: 'M8 1.800a6.200 6.200 0 1 1 0 12.400A6.200 6.200 0 0 1 8 1.800ZM8 7.300v4m0-6.400v.2',
  print: 'M4.500 6V2.500h7V6m-7 6h-2V6h11v6h-2m-7-2.500h7v4h-7Z',
  up: 'M8 13V3.500m-4 4 4-4 4 4',
  down: 'M8 3v9.500m-4-4 4 4 4-4',
  phone: 'M4 2.500h2.300l1 3-1.500 1.200a8 8 0 0 0 3.500 3.500l1.200-1.500 3 1V12c0 1-.8 1.700-1.700 1.500A11.200 11.200 0 0 1 2.500 4.200C2.400 3.300 3 2.500 4 2.500Z',
  hangup: 'M1.4 9.9c0-1.2.4-1.900 1.300-2.500 3-1.900 7.600-1.900 10.600 0 .9.600 1.300 1.300 1.300 2.500 0 .7-.5 1-1.100.9l-2.400-.5c-.5-.1-.8-.5-.8-1V8.200a8.500 8.500 0 0 0-4.600 0v1.100c0 .5-.3.9-.8 1l-2.400.5c-.6.1-1.100-.2-1.100-.9Z',
  mute: 'M6 3.500a2 2 0 0 1 4 0v4a2 2 0 0 1-4 0Zm-2.500 3.800a4.500 4.500 0 0 0 9 0M8 12v2M2.500 2.500l11 11',
  hold: 'M5.500 3v10m5-10v10',
  plus: 'M8 3v10M3 8h10',
  trash: 'M3 4.500h10M6.500 4V2.500h3V4M4.500 4.500l.6 9h5.800l.6-9M6.800 7v4m2.400-4v4',
  zone: 'M8 1.800a6.200 6.200 0 1 1 0 12.400A6.200 6.200 0 0 1 8 1.800ZM8 4.500V8l2.300 1.500',
};

/** An icon of 16 by 16, drawn with the colour of the text. It says nothing to a screen reader. */
export function Icon({ name }) {
  return html`<svg class="icon icon-${name}" viewBox="0 0 16 16" width="16" height="16" aria-hidden="true"><path d=${ICONS[name]} /></svg>`;
}

/** A button. `kind`: undefined, 'primary', 'danger' or 'quiet'. Without children `label` is read. */
export function Button({ kind, icon, label, children, small, class: more = '', ...rest }) {
  const alone = !children;
  return html`<button
    type="button"
    class="button ${kind ?? ''} ${small ? 'small' : ''} ${alone ? 'alone' : ''} ${more}"
    aria-label=${alone ? label : undefined}
    title=${alone ? label : undefined}
    ...${rest}
  >
    ${icon && html`<${Icon} name=${icon} />`}${children}
  </button>`;
}

/** Something in progress. Shown after a moment, so that quick answers do not flicker. */
export function Waiting({ label = 'Loading' }) {
  return html`<p class="waiting" role="status"><span class="dots" aria-hidden="true"><i /><i /><i /></span>${label}…</p>`;
}

/** An error, with what to do about it. */
export function ErrorNote({ error, again }) {
  return html`<div class="note bad" role="alert">
    <${Icon} name="alert" />
    <div>${words(error)}${again && html` <button type="button" class="link" onClick=${again}>Try again</button>`}</div>
  </div>`;
}

/** A remark. `kind`: 'info', 'warn' or 'good'. */
export function Note({ kind = 'info', children }) {
  return html`<div class="note ${kind}">
    <${Icon} name=${kind === 'warn' ? 'alert' : kind === 'good' ? 'check' : 'info'} /><div>${children}</div>
  </div>`;
}

/** An empty state: what is missing, and what to do. */
export function Empty({ title, children, icon }) {
  return html`<div class="empty">
    ${icon && html`<div class="empty-icon"><${Icon} name=${icon} /></div>`}
    <h2>${title}</h2>
    ${children}
  </div>`;
}

/** A field of a form with its label, and a hint. `children` is a function of the id. */
export function Field({ label, hint, error, children }) {
  const id = useId();
  const about = hint || error ? `${id}-about` : undefined;
  return html`<div class="field ${error ? 'wrong' : ''}">
    <label for=${id}>${label}</label>
    ${children({ id, 'aria-describedby': about, 'aria-invalid': error ? 'true' : undefined })}
    ${(hint || error) && html`<p class="hint" id=${about} role=${error ? 'alert' : undefined}>${error || hint}</p>`}
  </div>`;
}

/** A dialog over the page; Escape and its cross call `close`. */
export function Dialog({ title, close, children, wide }) {
  const dialog = useRef();
  const id = useId();
  useLayoutEffect(() => {
    const before = document.activeElement;
    dialog.current.showModal();
    return () => {
      if (before?.isConnected) before.focus();
    };
  }, []);
  return html`<dialog
    ref=${dialog}
    class="dialog ${wide ? 'wide' : ''}"
    aria-labelledby=${id}
    onCancel=${(event) => {
      event.preventDefault();
      close();
    }}
    onMouseDown=${(event) => event.target === dialog.current && close()}
  >
    <div class="dialog-body">
      <header><h2 id=${id}>${title}</h2><${Button} kind="quiet" icon="close" label="Close" onClick=${close} /></header>
      ${children}
    </div>
  </dialog>`;
}

/**
 * A button that opens a panel below it. `children` is a function of `close`. Escape, a click
 * elsewhere and leaving it with Tab close it.
 */
export function Popover({ label, icon, text, kind = '', end = false, class: more = '', active = false, children }) {
  const [open, setOpen] = useState(false);
  const root = useRef();
  const button = useRef();
  const id = useId();
  const close = useCallback((focus = true) => {
    setOpen(false);
    if (focus) button.current?.focus();
  }, []);
  useEffect(() => {
    if (!open) return undefined;
    const outside = (event) => !root.current.contains(event.target) && setOpen(false);
    document.addEventListener('pointerdown', outside);
    document.addEventListener('focusin', outside);
    const first = root.current.querySelector('.panel :is(input, button, select, a[href], [tabindex="0"])');
    first?.focus({ preventScroll: true });
    return () => {
      document.removeEventListener('pointerdown', outside);
      document.removeEventListener('focusin', outside);
    };
  }, [open]);
  // The panel stays within the window.
  useLayoutEffect(() => {
    if (!open) return;
    const panel = root.current.querySelector('.panel');
    panel.style.translate = '';
    const box = panel.getBoundingClientRect();
    panel.style.maxHeight = `${Math.max(240, window.innerHeight - box.top - 12)}px`;
    const room = document.documentElement.clientWidth - 8;
    if (box.right > room) panel.style.translate = `${Math.max(room - box.right, 8 - box.left)}px 0`;
    else if (box.left < 8) panel.style.translate = `${8 - box.left}px 0`;
  }, [open]);
  const keys = (event) => {
    if (event.key === 'Escape' && open) {
      event.stopPropagation();
      close();
    }
  };
  // A press on what takes no focus of its own, such as the words beside a box, leaves it in here.
  return html`<div class="popover ${more}" ref=${root} tabindex="-1" onKeyDown=${keys}>
    <button
      type="button"
      ref=${button}
      class="button ${kind} ${text === undefined ? 'alone' : ''} ${active ? 'active' : ''}"
      aria-label=${text === undefined ? label : undefined}
      title=${text === undefined ? label : undefined}
      aria-expanded=${open ? 'true' : 'false'}
      aria-controls=${open ? id : undefined}
      onClick=${() => setOpen(!open)}
    >
      ${icon && html`<${Icon} name=${icon} />`}${text !== undefined && text !== label && html`<span class="sr">${label}: </span>`}${text}
      ${text !== undefined && html`<span class="chevron"><${Icon} name="chevron" /></span>`}
    </button>
    ${open && html`<div class="panel ${end ? 'end' : ''}" id=${id} role="group" aria-label=${label}>${children(close)}</div>`}
  </div>`;
}

/** A set of choices of which one counts, as a row of buttons. `options`: [value, label] each. */
export function Choice({ label, value, options, onChange }) {
  return html`<div class="choice" role="radiogroup" aria-label=${label}>
    ${options.map(
      ([option, text]) => html`<label key=${option} class=${option === value ? 'on' : ''}>
        <input type="radio" checked=${option === value} onChange=${() => onChange(option)} name=${label} />${text}
      </label>`,
    )}
  </div>`;
}

async function toClipboard(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    // Without the permission, or not over HTTPS.
    const area = document.createElement('textarea');
    area.value = text;
    area.className = 'sr';
    (document.querySelector('dialog[open]') ?? document.body).append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    return done;
  }
}

/** Copies a text, and says so. `text` may be a function. */
export function Copy({ text, label = 'Copy', children, kind = 'quiet', small = true }) {
  const [done, setDone] = useState('');
  const timer = useRef();
  useEffect(() => () => clearTimeout(timer.current), []);
  const copy = async () => {
    const ok = await toClipboard(typeof text === 'function' ? text() : text);
    setDone(ok ? 'Copied' : 'Not copied: the browser does not allow it');
    clearTimeout(timer.current);
    timer.current = setTimeout(() => setDone(''), 1600);
  };
  return html`<span class="copy">
    <${Button} kind=${kind} small=${small} icon=${done === 'Copied' ? 'check' : 'copy'} label=${done || label} onClick=${copy}>${children}<//>
    <span class="sr" role="status">${done}</span>
  </span>`;
}

let toasts = () => {};

/** Says something in the corner of the page for a moment. `kind`: 'info', 'good' or 'bad'. */
export function toast(text, kind = 'info') {
  toasts({ text, kind, id: Math.random() });
}

/** Where the messages of [toast] appear. */
export function Toasts() {
  const [list, setList] = useState([]);
  useEffect(() => {
    toasts = (item) => {
      setList((all) => [...all.slice(-3), item]);
      setTimeout(() => setList((all) => all.filter((one) => one !== item)), item.kind === 'bad' ? 9000 : 5000);
    };
    return () => {
      toasts = () => {};
    };
  }, []);
  return html`<div class="toasts" role="status" aria-live="polite">
    ${list.map((item) => html`<div key=${item.id} class="toast ${item.kind}">${item.text}</div>`)}
  </div>`;
}

/** The time of now in milliseconds by the server's clock, anew each `every` milliseconds while the page is seen. */
export function useNow(every = 1000) {
  const [now, setNow] = useState(present);
  useEffect(() => {
    let timer;
    const tick = () => {
      setNow(present());
      timer = setTimeout(tick, every - (Date.now() % every));
    };
    const seen = () => {
      clearTimeout(timer);
      if (!document.hidden) tick();
    };
    seen();
    document.addEventListener('visibilitychange', seen);
    return () => {
      clearTimeout(timer);
      document.removeEventListener('visibilitychange', seen);
    };
  }, [every]);
  return now;
}

/**
 * What `load(signal)` gives, anew when `inputs` change: `{value, error, loading, again}`. An older
 * answer never replaces a newer one, and what nobody waits for any more is cancelled. The value stays
 * while the next one loads. Without a `load` it waits until there is one. Another `tick` asks once more, but
 * where an answer is still awaited, however long that takes.
 */
export function useLoad(load, inputs, tick) {
  const [state, setState] = useState({ loading: true });
  const [round, setRound] = useState(0);
  const again = useCallback(() => setRound((n) => n + 1), []);
  useEffect(() => {
    const abort = new AbortController();
    setState((before) => ({ ...before, loading: true }));
    load?.(abort.signal).then(
      (value) => !abort.signal.aborted && setState({ value, loading: false }),
      (error) => !abort.signal.aborted && setState((before) => ({ value: before.value, error, loading: false })),
    );
    return () => abort.abort();
  }, [...inputs, round, !load]);
  const asked = useRef(tick);
  useEffect(() => {
    if (asked.current === tick) return;
    asked.current = tick;
    if (!state.loading) again();
  }, [tick]);
  // What a lost connection has kept away is asked for once there is one.
  const isAway = state.error?.status === 0;
  useEffect(() => (isAway ? onState((change) => change === 'back' && again()) : undefined), [isAway]);
  return { ...state, again };
}

/** Whether a key was meant for a field, or with a modifier for the browser. */
function isTyping(event) {
  const at = event.target;
  if (event.ctrlKey || event.metaKey || event.altKey) return true;
  // A box or a choice takes no letters.
  return at instanceof HTMLElement && (at.isContentEditable || (at.matches('input, textarea, select') && !at.matches('[type=checkbox], [type=radio]')));
}

/** Handles keys of the page: an object from key to function. Not while somebody types. */
export function useKeys(keys) {
  const latest = useRef();
  latest.current = keys;
  useEffect(() => {
    const handle = (event) => {
      if (event.defaultPrevented || isTyping(event) || document.querySelector('dialog[open]')) return;
      const action = latest.current[event.key];
      if (action && action(event) !== false) event.preventDefault();
    };
    document.addEventListener('keydown', handle);
    return () => document.removeEventListener('keydown', handle);
  }, []);
}
