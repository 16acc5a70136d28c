// Charts of plain SVG. A picture is one path for each series, however many hours it has. Above it lies
// one link, over the bar that the pointer or the arrow keys have chosen: it says the numbers and leads to
// the calls.

import { html, useEffect, useId, useMemo, useRef, useState } from './html.js';
import { Text, visible } from './text.js';
import { minute, number, shortDay } from './time.js';
import { useWidth } from './window.js';

const TOP = 8;
const BOTTOM = 22;
const HOUR = 3_600_000;

/** A line of numbers, of which `label` says in words what they are. */
export function Sparkline({ values, label, width = 120, height = 28 }) {
  const most = Math.max(1, ...values);
  const step = values.length > 1 ? (width - 2) / (values.length - 1) : 0;
  const at = (value, n) => `${(1 + n * step).toFixed(1)},${(height - 2 - (value / most) * (height - 4)).toFixed(1)}`;
  const points = values.map(at).join(' ');
  return html`<svg class="sparkline" role="img" aria-label=${label} width=${width} height=${height}
      viewBox="0 0 ${width} ${height}">
    <title>${label}</title>
    ${values.length > 1 && html`
      <polygon points=${`1,${height - 1} ${points} ${width - 1},${height - 1}`} />
      <polyline points=${points} />`}
  </svg>`;
}

/**
 * Bars over time, of one or more series one on top of the other.
 *
 * `buckets` are `{start, end, name, values, href}`: Dates, the name of the time, a number for each key of
 * `series`, and a function from such a key, or none, to the address of those calls. `series` are
 * `{key, label}`, the lowest first. `interval` is hour or day. `tickFormat` writes the numbers of the axis.
 */
export function StackedBars({ buckets, series, format = number, totals = true, ...frame }) {
  const sums = buckets.map(({ values }) => series.reduce((sum, { key }) => sum + (values[key] ?? 0), 0));
  const draw = ({ x, y, step }) => {
    const gap = step > 12 ? 3 : step > 5 ? 1.5 : step > 2.5 ? 0.6 : 0;
    const width = Math.min(step - gap, 48);
    const below = new Float64Array(buckets.length);
    return series.map(({ key }) => {
      let path = '';
      for (let n = 0; n < buckets.length; n += 1) {
        const value = buckets[n].values[key];
        if (!value) continue;
        const left = x(n) + (step - width) / 2;
        const bottom = y(below[n]);
        below[n] += value;
        const top = Math.min(y(below[n]), bottom - 0.5);
        path += `M${left.toFixed(1)} ${bottom.toFixed(1)}V${top.toFixed(1)}h${width.toFixed(1)}V${bottom.toFixed(1)}z`;
      }
      return path && html`<path key=${key} class=${`fill st-${key}`} d=${path} />`;
    });
  };
  const rows = (n) => {
    const parts = series.filter(({ key }) => buckets[n].values[key]).reverse();
    const shown = parts.map(({ key, label }) => ({ key, label, text: format(buckets[n].values[key]) }));
    if (totals) shown.push({ key: null, label: 'Total', text: format(sums[n]) });
    else if (shown.length === 0) shown.push({ key: null, label: series[0].label, text: format(0) });
    return shown;
  };
  /** The series at a height of a bar. */
  const hit = (n, value) => {
    let sum = 0;
    for (const { key } of series) {
      sum += buckets[n].values[key] ?? 0;
      if (value < sum) return key;
    }
    return null;
  };
  return html`<${Frame} ...${frame} buckets=${buckets} most=${Math.max(0, ...sums)} format=${format}
    draw=${draw} rows=${rows} hit=${hit} keys=${(n) => rows(n).map(({ key }) => key)} />`;
}

/** A line over time for each series. A value that is null or undefined leaves a gap. The rest as [StackedBars]. */
export function Lines({ buckets, series, format = number, most, ...frame }) {
  const all = buckets.flatMap(({ values }) => series.map(({ key }) => values[key] ?? 0));
  const draw = ({ x, y, step }) => series.map(({ key }) => {
    let path = '';
    let pen = 'M';
    const single = [];
    buckets.forEach(({ values }, n) => {
      const value = values[key];
      if (value === null || value === undefined) {
        pen = 'M';
        return;
      }
      const point = `${(x(n) + step / 2).toFixed(1)} ${y(value).toFixed(1)}`;
      path += pen + point;
      const next = buckets[n + 1]?.values[key];
      if (pen === 'M' && (next === null || next === undefined)) single.push(point);
      pen = 'L';
    });
    return html`<g key=${key} class=${`line st-${key}`}>
      <path d=${path} />
      ${single.map((point) => html`<circle key=${point} cx=${point.split(' ')[0]} cy=${point.split(' ')[1]} r="1.5" />`)}
    </g>`;
  });
  const text = (value) => (value === null || value === undefined ? 'none' : format(value));
  const rows = (n) => series.map(({ key, label }) => ({ key, label, text: text(buckets[n].values[key]) }));
  const top = most ?? all.reduce((a, b) => Math.max(a, b), 0);
  return html`<${Frame} ...${frame} buckets=${buckets} most=${top} format=${format} draw=${draw} rows=${rows}
    hit=${() => null} keys=${() => [null]} dots=${(n) => series.map(({ key }) => [key, buckets[n].values[key]])} />`;
}

/** Axes, the chosen bar and what is said of it. */
function Frame({ label, buckets, most, format, tickFormat = format, draw, rows, hit, keys, dots, interval, zone, height = 240, whole = true }) {
  const [box, width] = useWidth();
  const [chosen, setChosen] = useState(null);
  const [said, setSaid] = useState('');
  const help = useId();
  // Other buckets are other bars.
  useEffect(() => setChosen(null), [buckets.length, buckets[0]?.start.getTime(), interval]);
  const ticks = scale(most, whole);
  const left = Math.max(...ticks.map((tick) => tickFormat(tick).length)) * 6.6 + 10;
  const plot = { width: Math.max(0, width - left - 4), height: height - TOP - BOTTOM };
  const top = ticks.at(-1) || 1;
  const step = buckets.length ? plot.width / buckets.length : 0;
  const x = (n) => left + n * step;
  const y = (value) => TOP + plot.height * (1 - value / top);
  // Not again for each move of the pointer.
  const drawn = useMemo(() => draw({ x, y, step }), [buckets, width, height, label]);
  const at = Math.min(chosen?.n ?? buckets.length - 1, buckets.length - 1);
  const key = chosen?.key ?? null;

  const point = (event) => {
    const place = box.current.getBoundingClientRect();
    const n = Math.floor((event.clientX - place.left - left) / step);
    if (n < 0 || n >= buckets.length) {
      setChosen(null);
      return false;
    }
    const value = top * (1 - (event.clientY - place.top - TOP) / plot.height);
    const over = hit(n, Math.max(0, value));
    const isOther = chosen?.n !== n || chosen.key !== over;
    if (isOther) setChosen({ n, key: over });
    return isOther;
  };
  // The first touch says the numbers, the second one follows the link.
  const touched = useRef(false);
  const press = (event) => {
    touched.current = point(event) && event.pointerType === 'touch';
  };
  const follow = (event) => {
    if (touched.current) event.preventDefault();
    touched.current = false;
  };
  const leave = (event) => event.pointerType !== 'touch' && setChosen(null);
  useEffect(() => {
    if (!chosen) return undefined;
    const elsewhere = (event) => !box.current?.contains(event.target) && setChosen(null);
    document.addEventListener('pointerdown', elsewhere);
    return () => document.removeEventListener('pointerdown', elsewhere);
  }, [!chosen]);
  const choose = (n, series) => {
    const there = Math.max(0, Math.min(buckets.length - 1, n));
    const kept = keys(there).includes(series) ? series : null;
    setChosen({ n: there, key: kept });
    setSaid(sentence(there, kept));
  };
  const move = (event) => {
    const by = { ArrowLeft: -1, ArrowRight: 1, PageUp: -24, PageDown: 24, Home: -Infinity, End: Infinity }[event.key];
    if (by !== undefined && !event.altKey && !event.ctrlKey && !event.metaKey) {
      event.preventDefault();
      choose(at + by, key);
    } else if (event.key === 'ArrowUp' || event.key === 'ArrowDown') {
      const all = keys(at);
      const place = all.indexOf(key) + (event.key === 'ArrowUp' ? -1 : 1);
      event.preventDefault();
      if (all.length > 1) choose(at, all[(place + all.length) % all.length]);
    } else if (event.key === 'Escape') {
      setChosen(null);
    }
  };
  const sentence = (n, series) => {
    const all = rows(n).filter((row) => series === null || row.key === series);
    return `${buckets[n].name}: ${all.map((row) => `${row.label} ${row.text}`).join(', ')}`;
  };

  const chosenBar = chosen && buckets[at] && html`<div class=${`chart-tip ${at > buckets.length / 2 ? 'before' : 'after'}`}
      style=${at > buckets.length / 2 ? { right: `${width - x(at) + 8}px` } : { left: `${x(at) + step + 8}px` }}>
    <strong>${buckets[at].name}</strong>
    <table><tbody>${rows(at).map((row) => html`<tr key=${row.key} class=${row.key !== null && row.key === key ? 'on' : ''}>
      <td>${row.key !== null && html`<i class=${`swatch st-${row.key}`}></i>`}${row.label}</td><td>${row.text}</td>
    </tr>`)}</tbody></table>
  </div>`;
  return html`<div class="chart" ref=${box} onPointerMove=${point} onPointerDown=${press} onPointerLeave=${leave}
      style=${{ height: `${height}px` }}>
    ${width > 0 && html`<svg role="img" aria-label=${label} width=${width} height=${height}>
      <title>${label}</title>
      <g class="grid">${ticks.map((tick) => html`<g key=${tick}>
        <line x1=${left} x2=${width - 4} y1=${Math.round(y(tick)) + 0.5} y2=${Math.round(y(tick)) + 0.5} />
        <text x=${left - 8} y=${y(tick) + 4} text-anchor="end">${tickFormat(tick)}</text>
      </g>`)}</g>
      <g class="axis">${marks(buckets, interval, zone, plot.width).filter(([n]) => x(n) + 62 < width).map(([n, text]) => html`<g key=${n}>
        <line x1=${x(n) + 0.5} x2=${x(n) + 0.5} y1=${TOP + plot.height} y2=${TOP + plot.height + 5} />
        <text x=${interval === 'day' ? x(n) + step / 2 : x(n) + 3} y=${height - 5}
          text-anchor=${interval === 'day' ? 'middle' : 'start'}>${text}</text>
      </g>`)}</g>
      ${chosen && html`<rect class="chart-band" x=${x(at)} y=${TOP} width=${Math.max(step, 1)} height=${plot.height} />`}
      ${drawn}
      ${chosen && dots && buckets[at] && dots(at).map(([series, value]) => typeof value === 'number'
        && html`<circle key=${series} class=${`fill st-${series}`} cx=${x(at) + step / 2} cy=${y(value)} r="4" />`)}
    </svg>
    ${buckets[at] && html`<a class=${`chart-bar ${chosen ? 'on' : ''}`} href=${buckets[at].href?.(key)}
      aria-label=${sentence(at, key)} aria-describedby=${help}
      style=${{ left: `${x(at)}px`, width: `${Math.max(step, 3)}px`, top: `${TOP}px`, height: `${plot.height}px` }}
      onKeyDown=${move} onClick=${follow} onFocus=${(event) => event.target.matches(':focus-visible') && choose(at, key)}
      onBlur=${() => setChosen(null)}></a>`}
    ${chosenBar}
    <div class="sr" id=${help}>Arrow keys choose another time or status, Enter shows the calls.</div>
    <div class="sr" aria-live="polite">${said}</div>`}
  </div>`;
}

/**
 * The largest of something, as a table with bars. `rows` are `{key, name, title, note, values, href}`, or `rest` in place of a name; `columns`
 * are `{label, text, title, wide}` with a function from `values`, and whether there must be room for it; the bar shows `size(values)`.
 */
export function HBars({ label, head, rows, columns, size, largest }) {
  const most = largest ?? rows.reduce((a, row) => Math.max(a, size(row.values)), 0);
  return html`<table class="hbars">
    <caption class="sr">${label}</caption>
    <thead><tr><th scope="col">${head}</th>${columns.map((column) => html`<th scope="col" class=${`number ${column.wide ? 'wide' : ''}`} key=${column.label}
      title=${column.title}>${column.label}</th>`)}</tr></thead>
    <tbody>${rows.map((row) => html`<tr key=${row.key}>
      <th scope="row">
        ${size(row.values) > 0 && html`<span class="hbar" aria-hidden="true" style=${{ width: `${(size(row.values) / most) * 100}%` }}></span>`}
        ${row.href ? html`<a href=${row.href} title=${visible(row.title ?? '')}><${Text} value=${row.name} /></a>` : html`<span>${row.rest ?? html`<${Text} value=${row.name} />`}</span>`}
        ${row.note && html`<small>${row.note}</small>`}
      </th>
      ${columns.map((column) => html`<td class=${`number ${column.wide ? 'wide' : ''}`} key=${column.label}>${column.text(row.values)}</td>`)}
    </tr>`)}</tbody>
  </table>`;
}

/** The names of series with their colours. */
export function Legend({ series }) {
  return html`<ul class="legend">${series.map(({ key, label, text }) => html`<li key=${key}>
    <i class=${`swatch st-${key}`}></i>${label}${text !== undefined && html` <b>${text}</b>`}
  </li>`)}</ul>`;
}

/** Round numbers from 0 to at least `most`, five steps or so. */
export function scale(most, whole = true) {
  if (!(most > 0)) return [0, 1];
  const raw = most / 5;
  const power = 10 ** Math.floor(Math.log10(raw));
  let step = [1, 2, 2.5, 5, 10].map((n) => n * power).find((n) => n >= raw);
  if (whole) step = Math.max(1, Math.ceil(step));
  const ticks = [0];
  while (ticks.at(-1) < most) ticks.push(Number((ticks.length * step).toPrecision(12)));
  return ticks;
}

/** Which buckets are named on the axis, and how. */
function marks(buckets, interval, zone, width) {
  if (buckets.length === 0) return [];
  const room = Math.max(2, Math.floor(width / 84));
  const isMidnight = ({ start }) => (zone === 'utc' ? start.getUTCHours() + start.getUTCMinutes()
    : start.getHours() + start.getMinutes()) === 0;
  const hours = (buckets.at(-1).end - buckets[0].start) / HOUR;
  if (interval === 'hour' && hours / 12 < room) {
    const every = [1, 2, 3, 6, 12].find((n) => hours / n <= room) ?? 12;
    const hourOf = ({ start }) => (zone === 'utc' ? start.getUTCHours() : start.getHours());
    return buckets.flatMap((bucket, n) => {
      if (hourOf(bucket) % every !== 0) return [];
      return [[n, isMidnight(bucket) ? shortDay(bucket.start, zone) : minute(bucket.start, zone)]];
    });
  }
  const days = buckets.flatMap((bucket, n) => (interval === 'day' || isMidnight(bucket) ? [n] : []));
  const every = [1, 2, 3, 7, 14, 28, 56, 91, 182, 364].find((n) => days.length / n <= room) ?? 728;
  return days.filter((_, n) => n % every === 0).map((n) => [n, shortDay(buckets[n].start, zone)]);
}
