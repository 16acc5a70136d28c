// The statuses of calls: names, shapes, and what they mean. The colours are in app.css (--st-…).

import { html } from './html.js';

/** All statuses in the order of a call's life, and 'stale', which replaces the status of a call. */
export const STATUSES = [
  'queued',
  'trying',
  'ringing',
  'alerting',
  'early-media',
  'in-progress',
  'completed',
  'no-answer',
  'busy',
  'failed',
  'stale',
];

export const ACTIVE = ['queued', 'trying', 'ringing', 'alerting', 'early-media', 'in-progress'];
export const FINAL = ['completed', 'no-answer', 'busy', 'failed'];

const NAMES = {
  __proto__: null,
  queued: 'Queued',
  trying: 'Trying',
  ringing: 'Ringing',
  alerting: 'Alerting',
  'early-media': 'Early media',
  'in-progress': 'In progress',
  completed: 'Completed',
  'no-answer': 'No answer',
  busy: 'Busy',
  failed: 'Failed',
  stale: 'Stale',
};

const MEANINGS = {
  __proto__: null,
  queued: 'Waiting to be dialled',
  trying: 'The call was accepted and is on its way',
  ringing: 'The called party rings',
  alerting: 'The called party is alerted',
  'early-media': 'Sound before the answer, such as an announcement',
  'in-progress': 'Answered, and people talk',
  completed: 'Answered, and ended',
  'no-answer': 'Nobody answered, or the caller gave up',
  busy: 'The called party was busy',
  failed: 'The call could not be made',
  stale: 'No event for a long time: nobody knows how it ended',
};

/** A status in words. */
export function statusName(status) {
  return NAMES[status] ?? String(status ?? '');
}

/** What a status means, in one sentence. */
export function statusMeaning(status) {
  return MEANINGS[status] ?? '';
}

/** The status of a call as it is shown: stale ones have none of their own. */
export function statusOf(call) {
  return call.stale ? 'stale' : call.call_status;
}

export function isFinal(status) {
  return FINAL.includes(status);
}

export function isActive(call) {
  return !call.stale && ACTIVE.includes(call.call_status);
}

// A shape for each, so that colour is not all there is.
const SHAPES = {
  __proto__: null,
  queued: html`<circle cx="6" cy="6" r="4" fill="none" stroke-dasharray="2 1.8" />`,
  trying: html`<circle cx="6" cy="6" r="4" fill="none" />`,
  ringing: html`<circle cx="6" cy="6" r="4.4" fill="none" /><circle class="solid" cx="6" cy="6" r="1.8" />`,
  alerting: html`<path d="M6 1.6 10.6 10H1.4Z" fill="none" />`,
  'early-media': html`<circle cx="6" cy="6" r="4.2" fill="none" /><path class="solid" d="M6 1.8a4.2 4.2 0 0 1 0 8.4Z" />`,
  'in-progress': html`<circle class="solid" cx="6" cy="6" r="4.4" />`,
  completed: html`<path d="m1.8 6.4 2.8 2.9L10.2 3" fill="none" />`,
  'no-answer': html`<circle cx="6" cy="6" r="4.2" fill="none" /><path d="m3.2 8.8 5.6-5.6" />`,
  busy: html`<rect class="solid" x="1.6" y="4.2" width="8.8" height="3.6" rx="1" />`,
  failed: html`<path d="m2.4 2.4 7.2 7.2m0-7.2-7.2 7.2" fill="none" />`,
  stale: html`<path d="M3 1.6h6L3 10.4h6Z" fill="none" />`,
};

/** The shape of a status, without text. */
export function StatusIcon({ status }) {
  return html`<svg class="st-icon st-${status}" viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">
    ${SHAPES[status] ?? SHAPES.trying}
  </svg>`;
}

/** A status: shape and words. */
export function Status({ status }) {
  return html`<span class="status st-${status}" title=${statusMeaning(status)}>
    <${StatusIcon} status=${status} /><span class="st-name">${statusName(status)}</span>
  </span>`;
}

/** The direction of a call: an arrow and words. */
export function Direction({ direction, short = false }) {
  const inbound = direction === 'inbound';
  const known = inbound || direction === 'outbound';
  return html`<span class="direction" title=${known ? (inbound ? 'Inbound: to us' : 'Outbound: from us') : ''}>
    <svg viewBox="0 0 12 12" width="12" height="12" aria-hidden="true">
      <path d=${inbound ? 'M10 2 2.5 9.5M2.5 4v5.5H8' : 'M2 10l7.5-7.5M4 2.5h5.5V8'} fill="none" />
    </svg>
    <span class=${short ? 'sr' : ''}>${direction}</span>
  </span>`;
}
