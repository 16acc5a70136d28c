// The time that statistics are of: whole hours or days by the zone's clock, which the store counts
// fastest, and the time before that they are compared with.

import { now as present, startOfDay } from './time.js';

const HOUR = 3_600_000;
const DAY = 24 * HOUR;

/** Key and name of each. */
export const PERIODS = [
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
    const end = Math.ceil(now / HOUR) * HOUR;
    return compared(key, new Date(end - DAY), new Date(end), now, (at) => new Date(at - DAY));
  }
  if (key === 'month' || key === 'last-month') {
    const months = key === 'month' ? 0 : -1;
    const start = firstOfMonth(now, zone, months);
    // A month that is shorter has ended by then.
    const ended = (at) => new Date(Math.min(monthBefore(at, zone), start));
    const found = compared(key, start, firstOfMonth(now, zone, months + 1), now, ended);
    if (key === 'last-month') found.before.end = start;
    return found;
  }
  // Days since Monday.
  const weekday = ((zone === 'utc' ? now.getUTCDay() : now.getDay()) + 6) % 7;
  const days = {
    today: [0, 1], yesterday: [-1, 0], '7d': [-6, 1], 'last-week': [-weekday - 7, -weekday], '30d': [-29, 1], '90d': [-89, 1],
  };
  const [from, to] = days[key];
  const shift = (at) => shifted(at, zone, from - to);
  return compared(key, startOfDay(now, zone, from), startOfDay(now, zone, to), now, shift);
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

function firstOfMonth(at, zone, months) {
  if (zone === 'utc') return new Date(Date.UTC(at.getUTCFullYear(), at.getUTCMonth() + months, 1));
  return new Date(at.getFullYear(), at.getMonth() + months, 1);
}

/** Hours and days that may be chosen for a time, and the usual one. */
export function intervals({ start, end }) {
  const hours = (end - start) / HOUR;
  return { usual: hours <= 8 * 24 ? 'hour' : 'day', hour: hours <= 93 * 24, day: hours > 24 };
}
