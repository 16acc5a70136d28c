// Texts of calls, which anybody may have written: isolated, and with what is invisible made visible.

import { html } from './html.js';

// What is drawn as nothing, and marks that turn the direction of what follows. What joins letters, or chooses
// their form, is seen where it stands behind one that it can change, and nowhere else.
const SEEN = '(?<=(?![\\0-\\x7f])[\\p{L}\\p{M}\\p{Extended_Pictographic}\\p{Emoji_Modifier}])[\\u180b-\\u180d\\u180f\\u200c\\u200d\\ufe00-\\ufe0f\\u{e0100}-\\u{e01ef}]|\\ufe0f\\u20e3';
const HIDDEN = new RegExp(`(?!${SEEN})[\\p{Cc}\\p{Default_Ignorable_Code_Point}\\u2028\\u2029\\ufff9-\\ufffb]`, 'gu');

/** A text with every invisible character as its code point; with `lines`, the ends of lines stay. */
export function visible(text, lines = false) {
  return String(text).replace(HIDDEN, (c) => lines && c === '\n' ? c : `⟨U+${c.codePointAt(0).toString(16).toUpperCase().padStart(4, '0')}⟩`);
}

const UUID = /^[0-9a-f]{8}-(?:[0-9a-f]{4}-){3}[0-9a-f]{12}$/i;

/** A sid where there is no room for all of it: its begin and its end, which tell it from others. */
export function shortSid(text) {
  return UUID.test(text) ? `${text.slice(0, 6)}…${text.slice(-6)}` : text;
}

/** What is not there. */
export function None() {
  return html`<span class="none"><span aria-hidden="true">–</span><span class="sr">none</span></span>`;
}

/** A text of a call; `find` is marked where it is a part of it, as searches compare. */
export function Text({ value, find, most = 300 }) {
  if (value === undefined || value === null || value === '') return html`<${None} />`;
  const whole = visible(typeof value === 'string' ? value : JSON.stringify(value));
  const shown = whole.length > most ? `${whole.slice(0, most)}…` : whole;
  const at = find ? part(shown, find) : undefined;
  if (!at) return html`<bdi>${shown}</bdi>`;
  return html`<bdi>${shown.slice(0, at[0])}<mark>${shown.slice(at[0], at[1])}</mark>${shown.slice(at[1])}</bdi>`;
}

const folded = (text) => text.toLowerCase().replace(/[^\p{L}\p{N}]/gu, '');

/** Where `find` stands in a text if only letters and digits count: [from, to). */
export function part(text, find) {
  const needle = folded(find);
  if (!needle) return undefined;
  let all = '';
  const places = [];
  for (let i = 0; i < text.length; i += 1) {
    const letter = folded(text[i]);
    for (let n = 0; n < letter.length; n += 1) places.push(i);
    all += letter;
  }
  const at = all.indexOf(needle);
  return at < 0 ? undefined : [places[at], places[at + needle.length - 1] + 1];
}
