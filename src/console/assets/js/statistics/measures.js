// What is measured of calls, and how it is written.

import { duration, isolated, number } from '../time.js';

export const ratio = (part, all) => (all ? part / all : null);

// Making a formatter takes far longer than its use.
const formatter = (options) => {
  const format = new Intl.NumberFormat(undefined, options);
  return (value) => isolated(format.format(value));
};
const tenthOfPercent = formatter({ style: 'percent', minimumFractionDigits: 1, maximumFractionDigits: 1 });
const wholePercent = formatter({ style: 'percent' });
const tenth = formatter({ minimumFractionDigits: 1, maximumFractionDigits: 1 });
const compact = formatter({ notation: 'compact', maximumFractionDigits: 1 });
export const percent = (value) => (value === null || value === undefined ? '–' : tenthOfPercent(value));
export const short = (value) => (value < 1000 ? number(Math.round(value)) : compact(value));

export const minutesOf = ({ seconds }) => Math.round(seconds / 6) / 10;
/** Seconds of a call that was answered and has ended, on average; null where there is none. */
export const mean = (figures) => {
  const completed = (figures.groups ?? []).find(({ status }) => status === 'completed');
  return completed ? ratio(completed.seconds, completed.calls) : null;
};

/** What is measured: of an answer of CallStats grouped by status, as a whole or of an hour or day. */
export const MEASURES = {
  __proto__: null,
  calls: {
    name: 'Calls', of: ({ calls }) => calls, text: number, change: relative,
    about: 'Each counts once, in the hour in which it was first heard of.',
  },
  answered: {
    name: 'Answered', of: ({ answered, calls }) => ratio(answered, calls), text: percent, tickFormat: wholePercent, most: 1,
    note: ({ answered, calls }) => `${number(answered)} of ${number(calls)}`,
    change: (now, then) => points(now, then), about: 'Answered calls of all calls (ASR).',
  },
  mean: {
    name: 'Mean duration', of: mean, text: (value) => (value === null || value === undefined ? '–' : duration(Math.round(value))),
    change: relative, about: 'Of calls that were answered and have ended (ACD).',
  },
  minutes: {
    name: 'Minutes', of: minutesOf, text: tenth, tile: (value) => number(Math.round(value)), tickFormat: number, change: relative,
    about: 'The durations of all calls together.',
  },
  peak: {
    name: 'At the same time', of: ({ peak }) => peak, text: number, change: relative,
    about: 'The most calls that were up at once, answered or not.',
  },
};

function relative(now, then) {
  if (!then) return now ? ['up', 'none before'] : ['same', 'none before'];
  const change = now / then - 1;
  if (change >= 9) return ['up', `${number(Math.round(now / then))} times`];
  const text = isolated(Math.abs(change).toLocaleString(undefined, { style: 'percent', maximumFractionDigits: Math.abs(change) < 0.1 ? 1 : 0 }));
  return Math.abs(change) < 0.0005 ? ['same', 'as before'] : [change > 0 ? 'up' : 'down', text];
}

function points(now, then) {
  if (then === null || then === undefined || now === null) return ['same', 'none before'];
  const change = Math.round((now - then) * 1000) / 10;
  return change === 0 ? ['same', 'as before'] : [change > 0 ? 'up' : 'down', `${number(Math.abs(change))} ${Math.abs(change) === 1 ? 'point' : 'points'}`];
}
