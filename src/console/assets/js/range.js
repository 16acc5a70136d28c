// Time ranges. In the URL a preset is `range=24h`; a range of one's own is `start` and `end`.

import { now as present, startOfDay, iso } from './time.js';

const HOUR = 3_600_000;

/** Key, name, and the instants of each preset. */
export const PRESETS = [
  ['1h', 'Last hour', (now) => [new Date(now - HOUR)]],
  ['24h', 'Last 24 hours', (now) => [new Date(now - 24 * HOUR)]],
  ['today', 'Today', (now, zone) => [startOfDay(now, zone)]],
  ['yesterday', 'Yesterday', (now, zone) => [startOfDay(now, zone, -1), startOfDay(now, zone)]],
  ['7d', 'Last 7 days', (now, zone) => [startOfDay(now, zone, -6)]],
  ['30d', 'Last 30 days', (now, zone) => [startOfDay(now, zone, -29)]],
  ['90d', 'Last 90 days', (now, zone) => [startOfDay(now, zone, -89)]],
  ['month', 'This month', (now, zone) => [firstOfMonth(now, zone)]],
];

function firstOfMonth(now, zone) {
  const day = zone === 'utc' ? now.getUTCDate() : now.getDate();
  return startOfDay(now, zone, 1 - day);
}

/**
 * `{key, start, end}` of the parameters: RFC 3339 texts, undefined where there is no such bound.
 * `key` is that of a preset, 'own' or 'all'.
 */
export function range(params, zone, now = new Date(present())) {
  if (params.get('start') || params.get('end')) {
    return { key: 'own', start: params.get('start') ?? undefined, end: params.get('end') ?? undefined };
  }
  const preset = PRESETS.find(([key]) => key === params.get('range'));
  if (!preset) return { key: 'all' };
  const [start, end] = preset[2](now, zone);
  return { key: preset[0], start: iso(start), end: end && iso(end) };
}

/** The name of a preset. */
export function presetName(key) {
  return PRESETS.find(([preset]) => preset === key)?.[1];
}
