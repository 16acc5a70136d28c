import { html } from '../html.js';

export function Operation() {
  return html`<div class="page"><h1>Operation</h1></div>`;
}
