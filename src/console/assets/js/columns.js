// The columns that lists of calls can have.

import { html } from './html.js';
import { may } from './api.js';
import { callAddress } from './url.js';
import { clock, duration, full, monthDay } from './time.js';
import { Direction, Status, statusOf } from './status.js';
import { None, shortSid, Text, visible } from './text.js';
import { accountName } from './account.js';

/** When a call began, as far as that is known. */
export function begun(call) {
  return call.attempted_at ?? call.answered_at ?? call.terminated_at;
}

/** What opens a call, for those who may see more of it than a list has; it takes the focus for all. */
export function CallLink({ call, session, tab = true, children }) {
  const [index, opens] = [tab ? 0 : -1, may(session, 'read')];
  return opens ? html`<a class="row-link" href=${callAddress(call)} tabindex=${index}>${children}</a>` : html`<span class="row-link" tabindex=${index}>${children}</span>`;
}

/** A time in a list: the day is quieter than the hour. */
export function When({ value, zone }) {
  if (!value) return html`<span class="muted" title="Imported without any time">unknown</span>`;
  return html`<time datetime=${value} title=${full(value, zone)}><span class="muted">${monthDay(value, zone)}</span> ${clock(value, zone)}</time>`;
}

const text = (key, name, width, more = {}) => ({
  key,
  name,
  width,
  cell: (call, { find }) => html`<${Text} value=${call[key]} find=${more.find ? find : undefined} most=${120} />`,
  ...more,
});

/** `key`, `name`, `width` in rem, `cell(call, {zone, find, session, tab})`. */
export const COLUMNS = [
  {
    key: 'time',
    name: 'Time',
    width: 9.5,
    cell: (call, { zone, tab, session }) => html`<${CallLink} ...${{ call, session, tab }}><${When} value=${begun(call)} zone=${zone} /><//>`,
  },
  { key: 'status', name: 'Status', width: 8.25, cell: (call) => html`<${Status} status=${statusOf(call)} />` },
  { key: 'direction', name: 'Direction', width: 8.5, cell: (call) => html`<${Direction} direction=${call.direction} />${call.parent_call_sid && html` <span class="badge" title="B leg: dialled by another call">B</span>`}` },
  text('from', 'From', 11, { find: true }),
  text('to', 'To', 11, { find: true }),
  {
    key: 'duration',
    name: 'Duration',
    width: 5.5,
    num: true,
    cell: (call) => (call.duration === undefined ? html`<${None} />` : html`<span title=${`${call.duration} s`}>${duration(call.duration)}</span>`),
  },
  {
    key: 'sip',
    name: 'SIP',
    width: 4.5,
    num: true,
    cell: (call) => html`<span title=${call.sip_reason ?? ''}>${call.sip_status}</span>`,
  },
  text('originating_sip_trunk_name', 'Trunk', 8.5, {
    cell: (call) => html`<${Text} value=${call.originating_sip_trunk_name ?? call.trunk} most=${120} />`,
  }),
  {
    key: 'account',
    name: 'Account',
    width: 10,
    cell: (call, { session }) => html`<span title=${call.account_sid}><${Text} value=${shortSid(accountName(session, call.account_sid))} /></span>`,
  },
  text('application_sid', 'Application', 10, {
    mono: true,
    cell: ({ application_sid: sid }) => html`<span title=${visible(sid ?? '')}><${Text} value=${shortSid(sid ?? '')} most=${120} /></span>`,
  }),
  text('caller_name', 'Caller name', 9),
  text('sip_reason', 'SIP reason', 10),
  text('call_termination_by', 'Ended by', 6),
  { key: 'answered_at', name: 'Answered', width: 9.5, cell: (call, { zone }) => (call.answered_at ? html`<${When} value=${call.answered_at} zone=${zone} />` : html`<${None} />`) },
  { key: 'terminated_at', name: 'Ended', width: 9.5, cell: (call, { zone }) => (call.terminated_at ? html`<${When} value=${call.terminated_at} zone=${zone} />` : html`<${None} />`) },
  text('call_sid', 'Call sid', 18, { mono: true, find: true }),
  text('call_id', 'SIP Call-ID', 14, { mono: true, find: true }),
  text('parent_call_sid', 'A leg', 18, { mono: true }),
  text('trace_id', 'Trace', 16, { mono: true }),
];

const DEFAULT = ['time', 'status', 'direction', 'from', 'to', 'duration', 'sip', 'originating_sip_trunk_name'];

/** The keys that are shown where nothing was chosen. */
export function defaultColumns(session, account) {
  const many = session.scope !== 'account' && !account && (session.accounts?.length ?? 2) > 1;
  return many ? [...DEFAULT, 'account'] : DEFAULT;
}
