// The URL is the whole state: which page, which account, every filter. Parameters of calls have the
// names that the API gives them.

const ROOT = '/console/';

// Kept from page to page: what the viewer looks at, and by which clock.
const KEPT = ['account', 'zone'];

/** `{page, parts, params, path, href}` of a location. `parts` are the segments behind the page. */
export function read(location) {
  const path = location.pathname.replace(/\/+$/, '');
  const parts = path.startsWith('/console') ? path.slice('/console'.length).split('/').filter(Boolean) : [];
  return {
    page: parts[0] ?? 'live',
    parts: parts.slice(1).map(decoded),
    params: new URLSearchParams(location.search),
    path: location.pathname,
    href: location.pathname + location.search,
  };
}

function decoded(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/**
 * The address of a page, with what is kept of the present one. `params` is an object; null, undefined
 * and '' leave a parameter out, an array repeats it as one list with commas.
 */
export function address(page, params = {}) {
  const kept = new URLSearchParams(window.location.search);
  const query = new URLSearchParams();
  for (const key of KEPT) {
    if (kept.has(key)) query.set(key, kept.get(key));
  }
  assign(query, params);
  return ROOT + page + text(query);
}

/** The address of one call. */
export function callAddress(call) {
  return address(`calls/${encodeURIComponent(call.account_sid)}/${encodeURIComponent(call.call_sid)}`);
}

/** The present address with other values of some parameters. */
export function changed(url, params) {
  const query = new URLSearchParams(url.params);
  assign(query, params);
  return url.path + text(query);
}

function assign(query, params) {
  for (const [key, value] of Object.entries(params)) {
    const given = Array.isArray(value) ? value.join(',') : value;
    if (given === null || given === undefined || given === '') query.delete(key);
    else query.set(key, String(given));
  }
}

// Commas, colons and a plus as they are read, where the query allows it.
function text(query) {
  const written = query.toString().replaceAll('%2C', ',').replaceAll('%3A', ':');
  return written === '' ? '' : `?${written}`;
}

/** The values of a parameter that is a list with commas. */
export function list(params, key) {
  return (params.get(key) ?? '').split(',').filter(Boolean);
}
