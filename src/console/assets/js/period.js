// The time that statistics are of: whole hours or days by the zone's clock, which the store counts
// fastest, and the time before that they are compared with.

import { bounds, PRESETS } from './range.js';
import { now as present, startOfDay } from './time.js';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** Key and name of each: those that have more than one bar. */
export const PERIODS = PRESETS.filter(([key]) => key !== '1h');

const USUAL = '7d';

/**
 * `{key, start, end, until, before}` of the parameters of the URL. `until` is the end, or now where that
 * comes first; `before` is `{start, end}` of as much time before, up to the same time of day.
 */
export function period(params, zone, now = new Date(present())) {
  const own = [params.get('start'), params.get('end')].map((text) => text && new Date(text));
  const isTime = (at) => at && !Number.isNaN(at.getTime());
  if (own.some(isTime)) {
    const end = isTime(own[1]) ? own[1] : new Date(Math.ceil(now / HOUR) * HOUR);
    const start = isTime(own[0]) ? own[0] : startOfDay(end, zone, -6);
    return compared('own', start, end, now, (at) => earlier(at, start, end, zone));
  }
  const given = params.get('range');
  const key = PERIODS.some(([known]) => known === given) ? given : USUAL;
  if (key === '24h') {
    const [start, end] = bounds(key, new Date(Math.ceil(now / HOUR) * HOUR), zone);
    return compared(key, start, end, now, (at) => new Date(at - DAY));
  }
  const [start, end] = bounds(key, now, zone);
  if (key === 'month' || key === 'last-month') {
    // A month that is shorter has ended by then.
    const ended = (at) => new Date(Math.min(monthBefore(at, zone), start));
    const found = compared(key, start, end, now, ended);
    if (key === 'last-month') found.before.end = start;
    return found;
  }
  return compared(key, start, end, now, (at) => shifted(at, zone, Math.round((start - end) / DAY)));
}

function compared(key, start, end, now, shift) {
  const minute = new Date(Math.floor(now / 60_000) * 60_000);
  const until = end > minute && start < minute ? minute : end;
  return { key, start, end, until, before: { start: shift(start), end: shift(until) } };
}

/** An instant as long before as the time from `start` to `end` takes: by days where it is of whole ones. */
function earlier(at, start, end, zone) {
  const isWhole = [start, end].every((edge) => startOfDay(edge, zone).getTime() === edge.getTime());
  return isWhole ? shifted(at, zone, -Math.round((end - start) / DAY)) : new Date(at - (end - start));
}

/** The same time of day, so many days later. */
function shifted(at, zone, days) {
  if (zone === 'utc') return new Date(at.getTime() + days * DAY);
  const moved = new Date(at);
  moved.setDate(moved.getDate() + days);
  return moved;
}

/** The same day and time of the month before; where it has no such day, one of the next. */
function monthBefore(at, zone) {
  const moved = new Date(at);
  if (zone === 'utc') moved.setUTCMonth(moved.getUTCMonth() - 1);
  else moved.setMonth(moved.getMonth() - 1);
  return moved;
}

/** Hours and days that may be chosen for a time, and the usual one. */
export function intervals({ start, end }) {
  const hours = (end - start) / HOUR;
  return { usual: hours <= 8 * 24 ? 'hour' : 'day', hour: hours <= 93 * 24, day: hours > 24 };
}
