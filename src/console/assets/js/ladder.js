// A call as one picture: its legs as lanes, their states as spans of time.

import { html } from './html.js';
import { scale } from './story.js';
import { StatusIcon, statusName, statusOf, Status } from './status.js';
import { callAddress } from './url.js';
import { clock, full, span } from './time.js';
import { Text } from './text.js';
import { useWidth } from './window.js';

const BAR = 24;
const AXIS = 30;
const LETTER = 6.7;

/** `legs`: of `story.js`, each `{call, depth, name, story}`; `sid` is the leg that the page is about. */
export function Ladder({ legs, sid, linear, zone, now }) {
  const [box, width] = useWidth();
  const timed = legs.filter((leg) => leg.story.start !== undefined);
  return html`<div class="ladder" ref=${box}>
    ${width > 0 && timed.length > 0 && html`<${Picture} ...${{ legs: timed, sid, linear, zone, width, now }} />`}
    ${timed.length === 0 && html`<p class="muted">No time of this call is known, so there is nothing to draw.</p>`}
  </div>`;
}

function Picture({ legs, sid, linear, zone, width, now }) {
  const narrow = width < 680;
  const gutter = narrow ? 0 : Math.min(250, width * 0.24);
  const inner = Math.max(width - gutter - 34, 80);
  const from = Math.min(...legs.map((leg) => leg.story.start));
  const to = Math.max(...legs.map((leg) => leg.story.until), ...legs.flatMap((leg) => leg.story.events.map((event) => event.ms ?? -Infinity)), from + 1);
  const times = legs.flatMap(({ story }) => [...story.spans.flatMap((one) => [one.from, one.to]), ...story.events.map((event) => event.ms).filter((at) => at !== undefined)]);
  const place = scale(times, from, to, inner, linear);
  const x = (at) => gutter + 8 + place(at);

  const label = narrow ? 30 : 0;
  let y = AXIS;
  const lanes = legs.map((leg) => {
    const marked = leg.story.events.some((event) => event.mark);
    const height = label + 10 + BAR + 24 + (marked ? 14 : 0) + 6;
    const lane = { ...leg, y, bar: y + label + 10, height };
    y += height;
    return lane;
  });
  const height = y + 4;
  const ticks = axis(legs, from, to, x, linear, inner);
  const active = legs.some((leg) => leg.story.end === undefined);

  return html`
    <svg class="ladder-picture" width=${width} height=${height} viewBox=${`0 0 ${width} ${height}`} role="img" aria-label=${summary(legs)}>
      ${lanes.map((lane) => lane.call.call_sid === sid && legs.length > 1 && html`<rect class="lane-here" x="0" y=${lane.y} width=${width} height=${lane.height} rx="4" />`)}
      <g class="axis">
        ${ticks.map((tick) => html`<line x1=${tick.x} x2=${tick.x} y1=${AXIS - 6} y2=${height - 4} /><text x=${tick.x} y=${AXIS - 13} text-anchor=${tick.anchor}>${tick.at === from ? clock(from, zone) : tick.text}</text>`)}
      </g>
      ${lanes.map((lane) => {
        const parent = lanes.find((one) => one.call.call_sid === lane.call.parent_call_sid);
        if (!parent || parent === lane) return null;
        const at = x(lane.story.start);
        return html`<path class="branch" d=${`M${at} ${parent.bar + BAR}V${lane.bar + BAR / 2}`} /><circle class="branch-end" cx=${at} cy=${parent.bar + BAR} r="2.5" />`;
      })}
      ${lanes.map((lane) => html`<${Lane} key=${lane.call.call_sid} lane=${lane} x=${x} zone=${zone} narrow=${narrow} />`)}
      ${active && html`<g class="now"><line x1=${x(now)} x2=${x(now)} y1=${AXIS - 6} y2=${height - 4} /></g>`}
    </svg>
    ${lanes.map((lane) => html`<div key=${lane.call.call_sid} class="lane-label ${narrow ? 'above' : ''}" style=${{ top: `${lane.y + (narrow ? 4 : 6)}px`, width: narrow ? '100%' : `${gutter}px`, paddingLeft: `${0.5 + lane.depth * 0.9}rem` }}>
      <div class="lane-line"><span class="leg">${lane.name}</span>
        ${lane.call.call_sid === sid ? html`<b class="clip"><${Text} value=${other(lane)} most=${40} /></b>` : html`<a class="clip" href=${callAddress(lane.call)}><${Text} value=${other(lane)} most=${40} /></a>`}
      </div>
      <div class="lane-line small"><${Status} status=${statusOf(lane.call)} />${!narrow && html`<span class="muted">${lane.call.sip_status}</span>`}</div>
    </div>`)}
  `;
}

// The number by which a leg is known: the one that is not ours.
const other = ({ call, depth }) => (depth === 0 && call.direction === 'inbound' ? call.from : call.to);

function Lane({ lane, x, zone, narrow }) {
  const { story, bar, call } = lane;
  const middle = bar + BAR / 2;
  const below = bar + BAR + 13;
  return html`<g class="lane">
    ${story.spans.map((one, i) => {
      const left = x(one.from);
      const wide = Math.max(x(one.to) - left, 2);
      const name = statusName(one.status);
      const long = span((one.to - one.from) / 1000);
      const room = (wide - 24) / LETTER;
      const text = room >= name.length + long.length + 1 ? html`${name} <tspan class="long">${long}</tspan>` : room >= name.length ? name : '';
      const open = story.end === undefined && i === story.spans.length - 1;
      return html`<g key=${i} class="span st-${one.status} ${one.derived ? 'derived' : ''} ${open ? 'open' : ''}">
        <title>${`${name}: ${long}, from ${full(one.from, zone)}${one.derived ? ' (as the times of the call say)' : ''}`}</title>
        <rect x=${left} y=${bar} width=${wide} height=${BAR} rx="3" />
        <rect class="edge" x=${left} y=${bar} width="3" height=${BAR} rx="1.5" />
        ${text && html`<text x=${left + 11} y=${middle + 4}>${text}</text>`}
      </g>`;
    })}
    ${story.final && html`<g class="final st-${story.final.status}" transform=${`translate(${x(story.final.at)} ${middle})`}>
      <title>${`${statusName(story.final.status)}: ${full(story.final.at, zone)}`}</title>
      <line y1=${-BAR / 2 - 3} y2=${BAR / 2 + 3} /><g transform="translate(5 -6)"><${StatusIcon} status=${story.final.status} /></g>
    </g>`}
    ${call.stale && story.swept !== undefined && html`<g class="final st-stale" transform=${`translate(${x(story.swept)} ${middle})`}><title>${`Given up: ${full(story.swept, zone)}`}</title><line y1=${-BAR / 2 - 3} y2=${BAR / 2 + 3} /><g transform="translate(5 -6)"><${StatusIcon} status="stale" /></g></g>`}
    ${story.gaps.map((gap, i) => {
      const left = x(gap.from) + 7;
      const wide = x(gap.to) - left - 7;
      const long = span(gap.seconds);
      const whole = `no event for ${long}`;
      const text = wide > whole.length * 5.9 + 12 ? whole : wide > long.length * 5.9 + 12 ? long : '';
      if (wide < 8) return null;
      const half = (text.length * 5.9) / 2 + 6;
      const mid = left + wide / 2;
      return html`<g key=${`gap${i}`} class="gap">
        <title>${gap.open ? `No event since ${full(gap.from, zone)}` : `No event for ${long}`}</title>
        ${text ? html`<path d=${`M${left} ${below}H${mid - half}M${mid + half} ${below}H${left + wide}`} /><text x=${mid} y=${below + 3.5} text-anchor="middle">${text}</text>` : html`<path d=${`M${left} ${below}h${wide}`} />`}
      </g>`;
    })}
    ${marks(story.events, x).map(({ event, at, text }, i) => html`<g key=${`event${i}`} class="event ${event.mark ?? ''}" transform=${`translate(${at - 6} ${below - 6})`}>
      <title>${`${event.call_status ? statusName(event.call_status) : event.source === 'sweep' ? 'Given up as stale' : 'Event'} ${event.sip_status}, ${full(event.ms, zone)}${event.mark === 'late' ? ': further states came before it' : event.mark === 'again' ? ': the same state once more' : ''}`}</title>
      <rect width="12" height="12" fill="transparent" />
      <${StatusIcon} status=${event.call_status ?? (event.source === 'sweep' ? 'stale' : 'trying')} />
      ${text && html`<text x="6" y="24" text-anchor="middle">${text}</text>`}
    </g>`)}
  </g>`;
}

// Where the events stand, and which of them say what is strange about them: not over each other.
function marks(events, x) {
  let free = -Infinity;
  return events
    .filter((event) => event.ms !== undefined)
    .map((event) => {
      const at = x(event.ms);
      const text = event.mark === 'late' ? 'late' : event.mark === 'again' ? 'again' : '';
      if (!text || at - free < 16) return { event, at, text: '' };
      free = at + 16;
      return { event, at, text };
    });
}

/** The times along the top: where states begin, or round ones where the picture is to scale. */
function axis(legs, from, to, x, linear, width) {
  const all = linear ? round(from, to, width) : legs.flatMap(({ story }) => [...story.spans.map((one) => one.from), ...(story.final ? [story.final.at] : [])]);
  const end = x(to);
  const ticks = [{ at: from, x: x(from), anchor: 'start', text: '' }];
  const last = { at: to, x: end, anchor: 'end', text: `+${span((to - from) / 1000)}` };
  let free = x(from) + 64;
  for (const at of [...new Set(all)].sort((a, b) => a - b)) {
    const here = x(at);
    const text = `+${span((at - from) / 1000)}`;
    const half = (text.length * LETTER) / 2;
    if (at <= from || here - half < free + 8 || here + half > end - last.text.length * LETTER - 12) continue;
    ticks.push({ at, x: here, anchor: 'middle', text });
    free = here + half;
  }
  if (end - last.text.length * LETTER > free) ticks.push(last);
  return ticks;
}

const STEPS = [0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400, 43200, 86400];

function round(from, to, width) {
  const seconds = (to - from) / 1000;
  const step = STEPS.find((one) => (one / seconds) * width >= 80) ?? 86400;
  const found = [];
  for (let at = step; at < seconds && found.length < 100; at += step) found.push(from + at * 1000);
  return found;
}

function summary(legs) {
  const one = ({ name, call, story }) => {
    const states = story.spans.map((part) => `${statusName(part.status)} for ${span((part.to - part.from) / 1000)}`);
    if (story.final) states.push(statusName(story.final.status));
    else if (call.stale) states.push('no event since');
    return `Leg ${name}, ${call.direction}: ${states.join(', then ')}`;
  };
  return `${legs.map(one).join('. ')}. All events are in the table below.`;
}

