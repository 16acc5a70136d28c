// Times as the viewer's locale has them, by the viewer's clock or UTC; ISO where programs read.

const cache = new Map();

// Clocks of viewers that are as wrong as that, in milliseconds, are set right.
const WRONG = 30_000;

let ahead = 0;

/** Takes the `Date` of an answer: a viewer's clock may be hours off. */
export function heard(text) {
  const by = Date.parse(text ?? '') - Date.now();
  if (!Number.isNaN(by)) ahead = Math.abs(by) < WRONG ? 0 : by;
}

/** Milliseconds since 1970 by the server's clock. */
export function now() {
  return Date.now() + ahead;
}

// Letters and digits that would trade places with what stands beside them in an English sentence.
const RIGHT_TO_LEFT = /[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc]/;

/** A text of the viewer's locale that keeps its place, whatever direction it has. Not for [Text], which shows marks. */
export function isolated(text) {
  return RIGHT_TO_LEFT.test(text) ? `\u2068${text}\u2069` : text;
}

function format(zone, options) {
  const key = zone + JSON.stringify(options);
  let found = cache.get(key);
  if (!found) {
    const timeZone = zone === 'utc' ? 'UTC' : undefined;
    const made = new Intl.DateTimeFormat(undefined, { timeZone, ...options });
    found = (at) => isolated(made.format(at));
    cache.set(key, found);
  }
  return found;
}

const DAY = { year: 'numeric', month: 'short', day: 'numeric' };
const SECOND = { hour: '2-digit', minute: '2-digit', second: '2-digit' };
const MINUTE = { hour: '2-digit', minute: '2-digit' };

/** The name of the viewer's zone, or UTC. */
export function zoneName(zone) {
  if (zone === 'utc') return 'UTC';
  return Intl.DateTimeFormat().resolvedOptions().timeZone ?? 'local time';
}

/** The zone as the API's `time_zone` takes it. */
export const zoneParam = zoneName;

function date(value) {
  const at = value instanceof Date ? value : new Date(value);
  return Number.isNaN(at.getTime()) ? undefined : at;
}

/** Day and time to the second. What is no time is shown as it is. */
export function full(value, zone) {
  const at = date(value);
  return at ? format(zone, { ...DAY, ...SECOND })(at) : String(value ?? '');
}

/** Day and time to the minute. */
export function dayAndMinute(value, zone) {
  const at = date(value);
  return at ? format(zone, { ...DAY, ...MINUTE })(at) : String(value ?? '');
}

/** The day. */
export function day(value, zone) {
  const at = date(value);
  return at ? format(zone, DAY)(at) : String(value ?? '');
}

/** The day without its year. */
export function shortDay(value, zone) {
  const at = date(value);
  return at ? format(zone, { weekday: 'short', month: 'short', day: 'numeric' })(at) : String(value ?? '');
}

/** The day without its year, where that is the present one. */
export function monthDay(value, zone) {
  const at = date(value);
  if (!at) return String(value ?? '');
  const yearOf = (one) => (zone === 'utc' ? one.getUTCFullYear() : one.getFullYear());
  const year = yearOf(at) === yearOf(new Date(now())) ? {} : { year: '2-digit' };
  return format(zone, { month: 'short', day: '2-digit', ...year })(at);
}

/** The time of day to the second. */
export function clock(value, zone) {
  const at = date(value);
  return at ? format(zone, SECOND)(at) : String(value ?? '');
}

/** The time of day to the minute. */
export function minute(value, zone) {
  const at = date(value);
  return at ? format(zone, MINUTE)(at) : String(value ?? '');
}

/** The time of day to the millisecond. */
export function millis(value, zone) {
  const at = date(value);
  return at ? format(zone, { ...SECOND, fractionalSecondDigits: 3 })(at) : String(value ?? '');
}

/** RFC 3339 in UTC, without milliseconds where there are none. */
export function iso(value) {
  const at = date(value);
  return at ? at.toISOString().replace('.000Z', 'Z') : '';
}

/** Seconds as 8 s, 1:32, 2:01:05. */
export function duration(seconds) {
  if (seconds === undefined || seconds === null || Number.isNaN(seconds)) return '';
  const all = Math.max(0, Math.floor(seconds));
  const h = Math.floor(all / 3600);
  const m = Math.floor((all % 3600) / 60);
  const s = all % 60;
  const two = (n) => String(n).padStart(2, '0');
  if (h > 0) return `${h}:${two(m)}:${two(s)}`;
  return `${m}:${two(s)}`;
}

/** Seconds in words: 8 s, 1 min 32 s, 2 h 1 min. */
export function span(seconds) {
  if (seconds < 0.0995) return `${Math.round(seconds * 1000)} ms`;
  if (seconds < 10) return `${Math.round(seconds * 10) / 10} s`;
  const all = Math.round(seconds);
  if (all < 60) return `${all} s`;
  if (all < 3600) return all % 60 ? `${Math.floor(all / 60)} min ${all % 60} s` : `${all / 60} min`;
  const minutes = Math.round(all / 60);
  if (minutes < 1440) return minutes % 60 ? `${Math.floor(minutes / 60)} h ${minutes % 60} min` : `${minutes / 60} h`;
  const hours = Math.round(all / 3600);
  return hours % 24 ? `${Math.floor(hours / 24)} d ${hours % 24} h` : `${hours / 24} d`;
}

/** "3 min ago", "in 2 h". */
export function ago(value) {
  const at = date(value);
  if (!at) return String(value ?? '');
  const seconds = (now() - at.getTime()) / 1000;
  if (Math.abs(seconds) < 1) return 'now';
  return seconds > 0 ? `${span(seconds)} ago` : `in ${span(-seconds)}`;
}

/** A whole number with the separators of the viewer's locale. */
export function number(value) {
  return typeof value === 'number' ? isolated(value.toLocaleString()) : String(value ?? '');
}

/**
 * The first instant of the day, by the zone's clock, that is `days` days from that of `at`.
 * A Date.
 */
export function startOfDay(at, zone, days = 0) {
  if (zone === 'utc') return new Date(Date.UTC(at.getUTCFullYear(), at.getUTCMonth(), at.getUTCDate() + days));
  return new Date(at.getFullYear(), at.getMonth(), at.getDate() + days);
}

/** The value of an `<input type="datetime-local">` for a time. */
export function toInput(value, zone) {
  const at = date(value);
  if (!at) return '';
  const shift = zone === 'utc' ? 0 : at.getTimezoneOffset() * 60_000;
  return new Date(at.getTime() - shift).toISOString().slice(0, 16);
}

/** The time of an `<input type="datetime-local">`, RFC 3339; '' where there is none. */
export function fromInput(value, zone) {
  if (!value) return '';
  const at = new Date(zone === 'utc' ? `${value}Z` : value);
  return Number.isNaN(at.getTime()) ? '' : iso(at);
}
