// The change feed as an event stream: it resumes where it was, and says when it cannot.

import { onState, tell } from './api.js';

// The server sends its position while nothing changes.
const SILENCE = 60_000;
// A page that nobody sees gives its connection back: a browser has few of them for all its tabs.
const UNSEEN = 30_000;

/**
 * Follows the feed at `path` from now on until the returned function is called.
 *
 * `open()` is called each time the stream stands: what the feed says from then on misses nothing that
 * a list asked afterwards has. `change({type, call})` is called for each change, `gone()` where the
 * position is known no longer (the feed then begins anew from now, and `open` follows), `closed()` when
 * the connection was lost, `back()` when the feed goes on where it was, and `failed(status, message)` where
 * it will not be tried again.
 */
export function follow(path, { open, change, gone, closed, back, failed }) {
  const stop = new AbortController();
  let position;
  let wait = 500;
  let timer;
  let reading;
  let hidden;
  let paused = false;

  const seen = () => {
    clearTimeout(hidden);
    if (document.hidden) {
      hidden = setTimeout(() => {
        paused = true;
        clearTimeout(timer);
        timer = undefined;
        reading?.abort();
      }, UNSEEN);
    } else if (paused) {
      // A list says what has become of it all.
      paused = false;
      position = undefined;
      gone?.();
      read();
    }
  };
  document.addEventListener('visibilitychange', seen);

  const again = (least = 0) => {
    if (stop.signal.aborted || paused) return;
    timer = setTimeout(read, Math.max(wait, least) * (0.75 + Math.random() / 2));
    wait = Math.min(wait * 2, 15_000);
  };
  // Something else has reached the server: there is nothing to wait for.
  const off = onState((state) => {
    if (state !== 'back' || timer === undefined || paused) return;
    clearTimeout(timer);
    read();
  });

  async function read() {
    timer = undefined;
    const headers = { accept: 'text/event-stream' };
    if (position) headers['last-event-id'] = position;
    const resumed = Boolean(position);
    // One try, which silence ends as well.
    const once = new AbortController();
    reading = once;
    const end = () => once.abort();
    stop.signal.addEventListener('abort', end);
    let quiet = setTimeout(end, SILENCE);
    try {
      const answer = await fetch(resumed ? path : `${path}?after=now`, { headers, signal: once.signal, cache: 'no-store' });
      if (!answer.ok) {
        await refused(answer);
        return;
      }
      tell('back');
      wait = 500;
      if (resumed) back?.();
      else open();
      const lines = answer.body.pipeThrough(new TextDecoderStream()).getReader();
      let rest = '';
      for (;;) {
        const { value, done } = await lines.read();
        if (done) break;
        clearTimeout(quiet);
        quiet = setTimeout(end, SILENCE);
        const events = (rest + value).replaceAll('\r\n', '\n').split('\n\n');
        rest = events.pop();
        for (const event of events) take(event);
      }
      closed?.();
      again();
    } catch {
      if (stop.signal.aborted || paused || reading !== once) return;
      tell('lost');
      closed?.();
      again();
    } finally {
      clearTimeout(quiet);
      stop.signal.removeEventListener('abort', end);
    }
  }

  function take(event) {
    let data = '';
    for (const line of event.split('\n')) {
      if (line.startsWith('id:')) position = line.slice(3).trim();
      else if (line.startsWith('data:')) data += line.slice(5).trim();
    }
    if (!data) return;
    const said = JSON.parse(data);
    if (said.type === 'call' || said.type === 'deleted') change(said);
  }

  async function refused(answer) {
    if (answer.status === 410) {
      position = undefined;
      gone?.();
      again();
    } else if (answer.status === 401) tell('over');
    else if (answer.status === 429 || answer.status >= 500) {
      closed?.();
      again(1000 * (Number(answer.headers.get('retry-after')) || 0));
    } else {
      if (answer.status === 403) tell('refused');
      const body = await answer.json().catch(() => ({}));
      failed?.(answer.status, body.msg ?? `The server answered ${answer.status}.`);
    }
  }

  read();
  return () => {
    off();
    document.removeEventListener('visibilitychange', seen);
    clearTimeout(hidden);
    clearTimeout(timer);
    stop.abort();
  };
}
