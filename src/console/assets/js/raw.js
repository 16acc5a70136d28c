// JSON as it came: numbers keep every digit, which JSON.parse does not promise.

// The tokens of a valid JSON text.
const TOKENS = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;

/** A JSON text with line breaks and indents. */
export function pretty(text) {
  let out = '';
  let depth = 0;
  const tokens = text.match(TOKENS) ?? [];
  const line = () => `\n${'  '.repeat(depth)}`;
  tokens.forEach((token, i) => {
    const next = tokens[i + 1];
    if (token === '{' || token === '[') {
      depth += 1;
      out += token;
      if (next !== '}' && next !== ']') out += line();
    } else if (token === '}' || token === ']') {
      depth -= 1;
      const before = tokens[i - 1];
      if (before !== '{' && before !== '[') out += line();
      out += token;
    } else if (token === ',') out += `,${line()}`;
    else if (token === ':') out += ': ';
    else out += token;
  });
  return out;
}

/** The members of a JSON object: [key, text of the value] each, in their order. */
export function members(text) {
  const found = [];
  const tokens = text.match(TOKENS) ?? [];
  let depth = 0;
  let key;
  let value = '';
  const end = () => {
    if (key !== undefined) found.push([key, value]);
    key = undefined;
    value = '';
  };
  for (const token of tokens) {
    if (token === '}' || token === ']') depth -= 1;
    if (depth === 0 && token === '}') end();
    else if (depth === 1 && token === ',' ) end();
    else if (depth === 1 && key === undefined && token.startsWith('"')) key = JSON.parse(token);
    else if (depth === 1 && value === '' && token === ':') value = '';
    else if (depth >= 1) value += token;
    if (token === '{' || token === '[') depth += 1;
  }
  return found;
}
