// Time ranges. In the URL a preset is `range=24h`; a range of one's own is `start` and `end`.

import { now as present, startOfDay, iso } from './time.js';

const HOUR = 3_600_000;

/** Key and name of each preset. */
export const PRESETS = [
  ['1h', 'Last hour'],
  ['24h', 'Last 24 hours'],
  ['today', 'Today'],
  ['yesterday', 'Yesterday'],
  ['7d', 'Last 7 days'],
  ['last-week', 'Last week'],
  ['30d', 'Last 30 days'],
  ['90d', 'Last 90 days'],
  ['month', 'This month'],
  ['last-month', 'Last month'],
];

/** `[start, end]` of a preset, two Dates; undefined for another key. The end of what goes on is still to come. */
export function bounds(key, now, zone) {
  if (key === '1h' || key === '24h') return [new Date(now - parseInt(key, 10) * HOUR), now];
  if (key === 'month') return [firstOfMonth(now, zone, 0), firstOfMonth(now, zone, 1)];
  if (key === 'last-month') return [firstOfMonth(now, zone, -1), firstOfMonth(now, zone, 0)];
  // Days since Monday.
  const weekday = ((zone === 'utc' ? now.getUTCDay() : now.getDay()) + 6) % 7;
  const days = {
    today: [0, 1], yesterday: [-1, 0], '7d': [-6, 1], 'last-week': [-weekday - 7, -weekday], '30d': [-29, 1], '90d': [-89, 1],
  };
  return Object.hasOwn(days, key) ? days[key].map((day) => startOfDay(now, zone, day)) : undefined;
}

function firstOfMonth(at, zone, months) {
  if (zone === 'utc') return new Date(Date.UTC(at.getUTCFullYear(), at.getUTCMonth() + months, 1));
  return new Date(at.getFullYear(), at.getMonth() + months, 1);
}

/**
 * `{key, start, end}` of the parameters: RFC 3339 texts, undefined where there is no such bound.
 * `key` is that of a preset, 'own' or 'all'.
 */
export function range(params, zone, now = new Date(present())) {
  if (params.get('start') || params.get('end')) {
    return { key: 'own', start: params.get('start') ?? undefined, end: params.get('end') ?? undefined };
  }
  const key = params.get('range');
  const found = bounds(key, now, zone);
  if (!found) return { key: 'all' };
  const [start, end] = found;
  return { key, start: iso(start), end: end < now ? iso(end) : undefined };
}

/** The name of a preset. */
export function presetName(key) {
  return PRESETS.find(([preset]) => preset === key)?.[1];
}
