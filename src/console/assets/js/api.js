// Requests to the server. The session is a cookie that scripts do not see.

import { heard } from './time.js';

/** An answer that is an error. `status` is 0 where there was none. */
export class ApiError extends Error {
  constructor(status, message, retryAfter) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter;
  }
}

const listeners = new Set();

/**
 * Calls `listener` with 'over' (the session has ended), 'refused' (it may not do what was asked: it may be that of
 * another token by now), 'lost' (the server cannot be reached) and 'back'. Returns what removes it.
 */
export function onState(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

let lost = false;

export function tell(state) {
  if (state === 'lost' && lost) return;
  if (state === 'back' && !lost) return;
  if (state === 'lost' || state === 'back') lost = state === 'lost';
  for (const listener of listeners) listener(state);
}

export function isLost() {
  return lost;
}

/**
 * The response of a request, whose status is below 400.
 *
 * `options`: `method`, `body` (a value, sent as JSON), `headers`, `signal`, and `quiet`, where a 401
 * does not end the session, and a 403 says nothing of it. Throws an [ApiError], or the AbortError of `signal`.
 */
export async function send(path, options = {}) {
  const { method = 'GET', body, headers = {}, signal, quiet = false } = options;
  const sent = { accept: 'application/json', ...headers };
  if (body !== undefined) sent['content-type'] = 'application/json';
  let response;
  try {
    response = await fetch(path, {
      method,
      headers: sent,
      body: body === undefined ? undefined : JSON.stringify(body),
      signal,
      credentials: 'same-origin',
      cache: 'no-store',
      redirect: 'error',
    });
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    tell('lost');
    throw new ApiError(0, 'The server cannot be reached.');
  }
  tell('back');
  heard(response.headers.get('date'));
  if (response.ok) return response;
  const message = await said(response);
  if (response.status === 401 && !quiet) tell('over');
  if (response.status === 403 && !quiet) tell('refused');
  throw new ApiError(response.status, message, Number(response.headers.get('retry-after')) || undefined);
}

/** The value of a JSON answer; undefined for an empty one. */
export async function json(path, options) {
  const response = await send(path, options);
  if (response.status === 204) return undefined;
  return parsed(response);
}

/** `{rows, total, cursor, headers}` of a page of a list. */
export async function page(path, options) {
  const response = await send(path, options);
  const total = response.headers.get('x-total-count');
  return {
    rows: await parsed(response),
    total: total === null ? undefined : Number(total),
    cursor: response.headers.get('x-next-cursor') ?? undefined,
  };
}

async function parsed(response) {
  let text;
  try {
    text = await response.text();
  } catch (error) {
    if (error.name === 'AbortError') throw error;
    tell('lost');
    throw new ApiError(0, 'The connection was lost in the middle of the answer.');
  }
  if (text === '') return undefined;
  try {
    return JSON.parse(text);
  } catch {
    throw new ApiError(response.status, 'The answer is not JSON. Is something between this page and rollcall?');
  }
}

async function said(response) {
  try {
    const value = await response.clone().json();
    if (typeof value?.msg === 'string') return value.msg;
  } catch {
    // What a proxy answers is not JSON.
  }
  return `The server answered ${response.status} ${response.statusText}`.trim();
}

/** What is said of an error, in words for people. */
export function words(error) {
  if (error instanceof ApiError && error.status === 429) {
    return `${sentence(error.message)} Try again ${error.retryAfter ? `in ${error.retryAfter} s` : 'later'}.`;
  }
  return sentence(error.message ?? String(error));
}

function sentence(text) {
  const end = /[.!?]$/.test(text) ? '' : '.';
  // The name of a field or a key stays as it is written.
  const isName = /^(?:\w*(?:[._]\w|[a-z][A-Z])|\w+:)/.test(text);
  return (isName ? text : text.charAt(0).toUpperCase() + text.slice(1)) + end;
}

/**
 * The paths of lists for what the viewer looks at: all that the session may see, or one account.
 * `{calls, stats, count, changes}`.
 */
export function paths(session, account) {
  const sid = session.scope === 'account' ? session.account_sid : account;
  let base = '/v1';
  if (sid) base = `/v1/Accounts/${encodeURIComponent(sid)}`;
  else if (session.scope === 'service_provider') {
    base = `/v1/ServiceProviders/${encodeURIComponent(session.service_provider_sid)}`;
  }
  return {
    calls: `${base}/Calls`,
    stats: `${base}/CallStats`,
    count: `${base}/CallCount`,
    changes: `${base}/Calls/changes`,
  };
}

/** The path of one call. */
export function callPath(account, call) {
  return `/v1/Accounts/${encodeURIComponent(account)}/Calls/${encodeURIComponent(call)}`;
}

/** Whether the session may do a thing: read, delete, control, export, operate. */
export function may(session, action) {
  if (action === 'control' && !session.control) return false;
  return (session.may ?? []).includes(action);
}
