// Whether all is well: checks with advice, figures, disk, backups, certificates.

import { html } from '../html.js';
import { Text } from '../text.js';
import { ago, dayAndMinute, full, isolated, now, number, span } from '../time.js';
import { Icon } from '../ui.js';
import { Nodes } from './nodes.js';
import { Said } from './said.js';

const LEVELS = {
  failed: { rank: 0, icon: 'close', name: 'Failed' },
  warning: { rank: 1, icon: 'alert', name: 'Warning' },
  unknown: { rank: 2, icon: 'info', name: 'Not known' },
  ok: { rank: 3, icon: 'check', name: 'Fine' },
};

export function Overview({ operation, zone }) {
  const { status = {}, checks = [] } = operation;
  const disk = operation.disk ?? {
    free_bytes: status.disk_free_bytes, journal_bytes: status.journal_bytes, index_bytes: status.index_bytes,
    least_bytes: status.disk_least_bytes, low: status.disk_low,
  };
  const lastEvent = operation.events?.last_at ?? status.last_event_at;
  return html`<${Checks} checks=${checks} problems=${status.problems ?? []} />
    <dl class="status-facts">
      <${Fact} name="Calls" value=${number(status.calls)} note=${`${number(status.live_calls)} active`} />
      <${Fact} name="Last event" value=${lastEvent ? ago(lastEvent) : 'none yet'} note=${lastEvent && full(lastEvent, zone)} />
      <${Fact} name="Running for" value=${span(status.uptime_seconds ?? 0)} note=${status.started_at && `since ${dayAndMinute(status.started_at, zone)}`} />
      <${Fact} name="Release" value=${status.version} note=${`process ${status.pid}`} />
      <${Fact} name="Last backup" ...${backup(operation, status, zone)} />
      ${operation.console?.sessions !== undefined && html`<${Fact} name="Signed in" value=${number(operation.console.sessions)}
        note=${operation.console.sessions === 1 ? 'session' : 'sessions'} />`}
    </dl>
    ${status.cluster && html`<${Nodes} cluster=${status.cluster} />`}
    <div class="pair">
      <${Disk} disk=${disk} />
      <${Certificates} certificates=${operation.certificates ?? status.certificates ?? []} zone=${zone} />
    </div>`;
}

function Fact({ name, value, note }) {
  return html`<div class="status-fact"><dt>${name}</dt><dd>${value}${note && html`<small><${Said} text=${note} /></small>`}</dd></div>`;
}

function backup(operation, status, zone) {
  const last = operation.backup?.last_at ?? status.last_backup?.at ?? status.last_backup;
  if (!last || typeof last !== 'string') {
    return { value: 'none known', note: operation.backup?.advice ?? '`rollcall backup DIR` makes one while the server runs' };
  }
  return { value: ago(last), note: full(last, zone) };
}

function Checks({ checks, problems }) {
  const sorted = [...checks].sort((a, b) => levelOf(a).rank - levelOf(b).rank);
  const bad = sorted.filter((check) => check.ok !== 'ok');
  const fine = sorted.filter((check) => check.ok === 'ok');
  const worst = bad[0] ? levelOf(bad[0]) : LEVELS.ok;
  const more = problems.filter((problem) => typeof problem === 'string');
  const is = (level) => bad.filter((check) => levelOf(check) === LEVELS[level]).length;
  const said = [[is('failed'), 'problem', 'problems'], [is('warning'), 'warning', 'warnings'], [is('unknown'), 'thing not known', 'things not known']]
    .filter(([n]) => n > 0).map(([n, one, many]) => `${n} ${n === 1 ? one : many}`).join(', ');
  return html`<section class="card checks-card" aria-label="Checks">
    <header><h2 class=${`level ${bad.length || more.length ? levelName(worst) : 'ok'}`}>
      <${Icon} name=${more.length && !bad.length ? 'alert' : worst.icon} />${bad.length ? said : more.length ? 'Something is wrong' : 'All is well'}</h2></header>
    ${(bad.length > 0 || more.length > 0) && html`<ul class="checklist">
      ${more.map((problem) => html`<li key=${problem} class="level warning"><${Icon} name="alert" /><div><${Said} text=${problem} /></div></li>`)}
      ${bad.map((check) => html`<${Check} key=${check.name + check.text} check=${check} />`)}
    </ul>`}
    ${fine.length > 0 && html`<details class="fine"><summary>${fine.length} ${fine.length === 1 ? 'check is' : 'checks are'} fine</summary>
      <ul class="checklist">${fine.map((check) => html`<${Check} key=${check.name + check.text} check=${check} />`)}</ul></details>`}
  </section>`;
}

function Check({ check }) {
  const level = levelOf(check);
  return html`<li class=${`level ${levelName(level)}`}><${Icon} name=${level.icon} />
    <div><b><span class="sr">${level.name}: </span>${check.name}</b> <span><${Said} text=${check.text} /></span>
      ${check.advice && html`<p class="advice"><${Said} text=${check.advice} /></p>`}</div></li>`;
}

function levelOf(check) {
  return LEVELS[check.ok] ?? LEVELS.unknown;
}

function levelName(level) {
  return Object.keys(LEVELS).find((key) => LEVELS[key] === level);
}

/** Bytes as a person says them. */
export function size(bytes) {
  if (typeof bytes !== 'number') return '–';
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let value = bytes;
  let unit = 0;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  return `${isolated(value.toLocaleString(undefined, { maximumFractionDigits: unit && value < 100 ? 1 : 0 }))} ${units[unit]}`;
}

function Disk({ disk }) {
  const { free_bytes: free, journal_bytes: journal = 0, index_bytes: index = 0, total_bytes: total, least_bytes: least, low } = disk;
  const whole = total ?? (free ?? 0) + journal + index;
  const part = (bytes) => ({ width: `${whole ? Math.max(bytes ? 0.4 : 0, (bytes / whole) * 100) : 0}%` });
  const others = total === undefined || free === undefined ? 0 : Math.max(0, total - free - journal - index);
  const used = total && free !== undefined ? isolated(((total - free) / total).toLocaleString(undefined, { style: 'percent' })) : undefined;
  return html`<section class="card" aria-label="Disk"><header><h2>Disk</h2>${used && html`<span>${used} of ${size(total)} used</span>`}${low && html`<span class="level failed"><${Icon} name="alert" />Nearly full: events are refused</span>`}</header>
    <div class="card-body">
      <div class="disk" role="img" aria-label=${`Journal ${size(journal)}, index ${size(index)}, free ${size(free)}`}>
        <i class="journal" style=${part(journal)}></i><i class="index" style=${part(index)}></i>${others > 0 && html`<i class="others" style=${part(others)}></i>`}
      </div>
      <ul class="disk-legend">
        <li><i class="journal"></i>Journal <b>${size(journal)}</b></li>
        <li><i class="index"></i>Index <b>${size(index)}</b></li>
        ${others > 0 && html`<li><i class="others"></i>Others <b>${size(others)}</b></li>`}
        <li><i></i>Free <b>${size(free)}</b></li>
      </ul>
      ${least > 0 && html`<p class="hint">Events are refused below ${size(least)} of free space.</p>`}
    </div></section>`;
}

function Certificates({ certificates, zone }) {
  return html`<section class="card" aria-label="Certificates"><header><h2>Certificates</h2></header>
    ${certificates.length === 0 ? html`<p class="card-body muted">None: this server does not speak HTTPS itself.</p>` : html`<div class="scroll"><table class="table">
      <thead><tr><th scope="col">For</th><th scope="col">Names</th><th scope="col">Ends</th></tr></thead>
      <tbody>${certificates.map((one) => html`<tr key=${one.part + one.file}>
        <td>${one.part}${one.made && html`<small class="below">made by rollcall</small>`}</td>
        <td class="names"><${Text} value=${one.names?.length ? one.names.join(', ') : one.subject} /></td>
        <td><${Ends} certificate=${one} zone=${zone} /></td>
      </tr>`)}</tbody></table></div>`}
  </section>`;
}

function Ends({ certificate, zone }) {
  const days = certificate.days_left ?? Math.floor((new Date(certificate.not_after) - now()) / 86_400_000);
  const level = days < 3 ? 'failed' : days < 21 ? 'warning' : '';
  const text = days < 0 ? 'has ended' : `in ${number(days)} ${days === 1 ? 'day' : 'days'}`;
  return html`<span class=${level && `level ${level}`}>${level && html`<${Icon} name="alert" />`}${text}</span>
    <small class="below">${dayAndMinute(certificate.not_after, zone)}</small>`;
}
