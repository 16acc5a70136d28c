// What the events of a call tell: its states with their times, what came late or twice, and gaps.

import { isFinal } from './status.js';

const RANK = { queued: 0, trying: 1, ringing: 2, alerting: 2, 'early-media': 2, 'in-progress': 3, completed: 4, failed: 4, busy: 4, 'no-answer': 4 };

/** Seconds without an event that are worth a word. */
export const GAP = 30;

const ms = (text) => {
  const at = Date.parse(text ?? '');
  return Number.isNaN(at) ? undefined : at;
};

/**
 * The story of one leg: `{events, spans, gaps, start, end, final}`, times in milliseconds.
 *
 * `events` are those of the API with `ms` and `mark`: 'late' (further states were known before, by the
 * times of the events), 'again' (the same state once more), or undefined. A span is `{status, from, to,
 * derived}`; `derived`: known from the times of the call and no event. `end` is undefined while the call
 * is active; `now` ends its last span.
 */
export function story(call, entries, now) {
  let reached = -1;
  let state;
  const events = entries.map((entry) => {
    const rank = RANK[entry.call_status];
    const what = `${entry.call_status} ${entry.sip_status}`;
    let mark;
    if (rank !== undefined) {
      if (rank < reached) mark = 'late';
      else if (what === state) mark = 'again';
      else if (rank === 4 && reached === 4) mark = 'late';
      else state = what;
      if (entry.at) reached = Math.max(reached, rank);
    }
    return { ...entry, ms: ms(entry.at), mark };
  });

  // Where each state begins.
  const steps = events
    .filter((event) => event.ms !== undefined && event.call_status && !event.mark)
    .map((event) => ({ status: event.call_status, at: event.ms }));
  const add = (status, text, unless) => {
    const at = ms(text);
    if (at !== undefined && !steps.some(unless)) steps.push({ status, at, derived: true });
  };
  const attempted = ms(call.attempted_at);
  add('trying', call.attempted_at, (step) => step.at <= attempted + 1);
  add('in-progress', call.answered_at, (step) => step.status === 'in-progress');
  if (isFinal(call.call_status)) add(call.call_status, call.terminated_at, (step) => isFinal(step.status));
  steps.sort((a, b) => a.at - b.at || RANK[a.status] - RANK[b.status]);

  const final = steps.find((step) => isFinal(step.status));
  const swept = call.stale ? events.findLast((event) => event.source === 'sweep')?.ms : undefined;
  const active = !final && !call.stale && !isFinal(call.call_status);
  const last = Math.max(...steps.map((step) => step.at), ...events.map((event) => event.ms ?? -Infinity));
  const until = final?.at ?? swept ?? (active ? Math.max(now, last) : last);
  const spans = [];
  for (let i = 0; i < steps.length; i += 1) {
    const { status, at, derived } = steps[i];
    if (isFinal(status)) break;
    const to = steps[i + 1]?.at ?? until;
    spans.push({ status, from: at, to: Math.min(to, until), derived });
  }

  const times = [...events.map((event) => event.ms), ...(final ? [final.at] : [])].filter((at) => at !== undefined).sort((a, b) => a - b);
  if (active && times.length) times.push(until);
  const gaps = [];
  for (let i = 1; i < times.length; i += 1) {
    const seconds = (times[i] - times[i - 1]) / 1000;
    if (seconds >= GAP) gaps.push({ from: times[i - 1], to: times[i], seconds, open: active && i === times.length - 1 });
  }
  const start = steps[0]?.at ?? times[0];
  return { events, spans, gaps, start, end: active ? undefined : until, until, final, swept };
}

/**
 * The legs of a family in the order in which they are shown, each with its `depth` below the first:
 * every B leg stands below its A leg, the earlier one first.
 */
export function ordered(legs) {
  const known = new Set(legs.map((leg) => leg.call_sid));
  const begin = (leg) => leg.attempted_at ?? leg.answered_at ?? leg.terminated_at ?? '';
  const below = (sid) => legs.filter((leg) => leg.parent_call_sid === sid && leg.call_sid !== sid).sort((a, b) => begin(a).localeCompare(begin(b)));
  const found = [];
  const walk = (leg, depth) => {
    if (found.some((one) => one.call === leg)) return;
    found.push({ call: leg, depth });
    for (const child of below(leg.call_sid)) walk(child, depth + 1);
  };
  for (const leg of legs) {
    if (!leg.parent_call_sid || !known.has(leg.parent_call_sid)) walk(leg, 0);
  }
  // A circle of parents has no first leg.
  for (const leg of legs) walk(leg, 0);
  let letter = 0;
  return found.map((one) => {
    const name = one.depth === 0 ? 'A' : `B${(letter += 1)}`;
    return { ...one, name };
  });
}

/**
 * A scale from milliseconds to pixels. True to scale, it is linear; else each stretch between two of
 * `times` gets a width that grows more slowly than its length, so that the seconds before an answer
 * are seen beside an hour of talk.
 */
export function scale(times, from, to, width, linear) {
  const marks = [...new Set([from, ...times.filter((at) => at > from && at < to), to])].sort((a, b) => a - b);
  if (to <= from) return () => 0;
  if (linear) return (at) => ((Math.min(Math.max(at, from), to) - from) / (to - from)) * width;
  const weights = marks.slice(1).map((at, i) => 0.25 + Math.sqrt((at - marks[i]) / 1000));
  const whole = weights.reduce((sum, one) => sum + one, 0);
  const places = [0];
  for (const one of weights) places.push(places.at(-1) + (one / whole) * width);
  return (at) => {
    if (at <= from) return 0;
    if (at >= to) return width;
    const i = marks.findIndex((mark) => mark > at) - 1;
    const part = (at - marks[i]) / (marks[i + 1] - marks[i]);
    return places[i] + part * (places[i + 1] - places[i]);
  };
}
