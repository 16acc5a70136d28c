// The filters of History: their names, what they are in words, and what the API is asked.

import { list } from './url.js';
import { range, presetName } from './range.js';
import { dayAndMinute, span } from './time.js';
import { statusName } from './status.js';

const yes = (value) => (value === 'true' ? 'yes' : value === 'false' ? 'no' : value);
const plain = (values) => values.join(' or ');

/**
 * Every filter but the search and the time. `kind`: 'set' (some of `options`), 'one' (one of
 * `options`), 'text' (values with commas) or 'seconds'. `group`: what of CallStats knows its values.
 */
export const FILTERS = [
  { key: 'callStatus', name: 'Status', kind: 'status', show: (values) => values.map(statusName).join(' or ') },
  { key: 'direction', name: 'Direction', kind: 'one', options: [['inbound', 'Inbound'], ['outbound', 'Outbound']], show: plain },
  { key: 'answered', name: 'Answered', kind: 'one', options: [['true', 'Answered'], ['false', 'Not answered']], show: (values) => values.map(yes).join(' or ') },
  { key: 'trunk', name: 'Trunk', kind: 'text', hint: 'The name of a SIP trunk', group: 'trunk', show: plain },
  { key: 'application_sid', name: 'Application', kind: 'text', hint: 'The sid of an application', group: 'application', show: plain },
  { key: 'duration_min', name: 'Duration at least', kind: 'seconds', hint: 'Seconds', place: '60', show: ([value]) => seconds(value) },
  { key: 'duration_max', name: 'Duration at most', kind: 'seconds', hint: 'Seconds', place: '3600', show: ([value]) => seconds(value) },
  { key: 'sip_status', name: 'SIP status', kind: 'text', hint: 'A code or a class: 486, 5xx', place: '486, 5xx', show: plain },
  { key: 'termination', name: 'Ended by', kind: 'one', options: [['caller', 'Caller'], ['callee', 'Called party']], show: plain },
  { key: 'number', name: 'Number', kind: 'text', hint: 'From or to exactly this number', place: '+15551230001', show: plain },
  { key: 'from', name: 'From', kind: 'text', hint: 'Exactly this caller', place: '+15551230001', group: 'from', show: plain },
  { key: 'to', name: 'To', kind: 'text', hint: 'Exactly this called number', place: '+18005550100', group: 'to', show: plain },
  { key: 'from_prefix', name: 'From begins with', kind: 'text', hint: 'As the numbers are written', place: '+1555', show: plain },
  { key: 'to_prefix', name: 'To begins with', kind: 'text', hint: 'As the numbers are written', place: '+44', show: plain },
  { key: 'number_contains', name: 'Number has', kind: 'text', hint: 'At least 3 letters or digits', place: '555 123', show: plain },
  { key: 'from_contains', name: 'From has', kind: 'text', hint: 'At least 3 letters or digits', place: '555 123', show: plain },
  { key: 'to_contains', name: 'To has', kind: 'text', hint: 'At least 3 letters or digits', place: 'carol', show: plain },
  { key: 'stale', name: 'Stale', kind: 'one', options: [['true', 'Only stale calls'], ['false', 'No stale calls']], show: (values) => values.map(yes).join(' or ') },
  { key: 'call_id', name: 'SIP Call-ID', kind: 'text', place: '3c26b8a0@10.0.0.5', show: plain },
  { key: 'sbc_callid', name: 'Call-ID beyond the SBC', kind: 'text', show: plain },
  { key: 'trace_id', name: 'Trace', kind: 'text', show: plain },
  { key: 'parent_call_sid', name: 'B legs of', kind: 'text', hint: 'The sid of an A leg', show: plain },
];

function seconds(value) {
  const given = Number(value);
  return Number.isFinite(given) ? span(given) : value;
}

// A token that sees numbers masked may not ask for parts of them.
const OF_PARTS = ['from_prefix', 'to_prefix', 'from_contains', 'to_contains', 'number_contains'];

/** The filters that a session may use. */
export function filtersFor(session) {
  return session.role === 'read-masked' ? FILTERS.filter((filter) => !OF_PARTS.includes(filter.key)) : FILTERS;
}

export const filterOf = (key) => FILTERS.find((filter) => filter.key === key);

/** The values of a filter in the URL. Texts that may have commas of their own stay whole. */
export function values(params, filter) {
  if (filter.kind === 'status' || filter.kind === 'one') return list(params, filter.key);
  const given = params.get(filter.key);
  return given ? [given] : [];
}

/** The filters that are set, search and time apart. */
export function active(params) {
  return FILTERS.filter((filter) => params.get(filter.key));
}

/** Parameters that clear every filter, the search and the time. */
export function cleared() {
  return Object.fromEntries([...FILTERS.map((filter) => filter.key), 'q', 'range', 'start', 'end'].map((key) => [key, null]));
}

/** The time range in words. */
export function rangeWords(params, zone) {
  const { key, start, end } = range(params, zone);
  if (key === 'all') return 'Any time';
  if (key !== 'own') return presetName(key);
  if (start && end) return `${dayAndMinute(start, zone)} – ${dayAndMinute(end, zone)}`;
  return start ? `From ${dayAndMinute(start, zone)}` : `Until ${dayAndMinute(end, zone)}`;
}

/** How many letters and digits a text has, as a search counts them. */
export function lettersAndDigits(text) {
  return (text.match(/[\p{L}\p{N}]/gu) ?? []).length;
}

/** The search of the URL; '' where it is too short to be one. */
export function search(params) {
  const q = (params.get('q') ?? '').trim();
  return lettersAndDigits(q) >= 3 ? q : '';
}

/** What the API is asked for the URL's filters: URLSearchParams without limit and cursor. */
export function query(params, zone, now) {
  const asked = new URLSearchParams();
  const q = search(params);
  if (q) asked.set('q', q);
  for (const { key } of FILTERS) {
    const value = params.get(key);
    if (value) asked.set(key, value);
  }
  const { start, end } = range(params, zone, now);
  if (start) asked.set('start', start);
  if (end) asked.set('end', end);
  return asked;
}

/** A path with a query. */
export function withQuery(path, params) {
  const text = params.toString();
  return text ? `${path}?${text}` : path;
}
