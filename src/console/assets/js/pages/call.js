import { html } from '../html.js';

export function Call() {
  return html`<div class="page"><h1>Call</h1></div>`;
}
