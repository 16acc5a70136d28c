// The figures of the whole time, each beside that of the time before.

import { html } from '../html.js';
import { dayAndMinute } from '../time.js';
import { Icon } from '../ui.js';
import { MEASURES } from './measures.js';

export function Tiles({ value, earlier, time, zone, measure, set }) {
  const when = `${dayAndMinute(time.before.start, zone)} to ${dayAndMinute(time.before.end, zone)}`;
  return html`<ul class="tiles" aria-label="Figures of the whole time">
    ${Object.entries(MEASURES).map(([key, { name, of, text, tile = text, note, change, about }]) => {
      const now = of(value);
      const then = earlier && of(earlier);
      const [way, by] = earlier ? change(now, then) : ['same', ''];
      const said = way === 'up' ? 'up' : way === 'down' ? 'down' : '';
      return html`<li key=${key}><button type="button" class="tile" aria-pressed=${key === measure ? 'true' : 'false'}
          title=${about} onClick=${() => set({ measure: key === 'calls' ? '' : key })}>
        <span class="tile-name">${name}</span>
        <span class="tile-value">${tile(now)}${note && html` <small>${note(value)}</small>`}</span>
        <span class="tile-change" title=${earlier ? `${tile(then)} from ${when}` : ''}>
          ${said && html`<${Icon} name=${way} /><span class="sr">${said} by</span>`} ${by}
          ${earlier && by !== 'none before' && html`<span class="tile-then"> ${by === 'as before' ? '' : 'from '}${by === 'as before' ? '' : tile(then)}</span>`}
        </span>
      </button></li>`;
    })}
  </ul>
  <p class="compared">Compared with ${when}.</p>`;
}
