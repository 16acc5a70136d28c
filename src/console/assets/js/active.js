// The calls that are active now, kept up to date by the change feed.

import { isActive } from './status.js';
import { now as present } from './time.js';

/** How long a call stays after its end, and how long it then fades, in milliseconds. */
export const STAYS = 60_000;
export const FADES = 1_500;

/** Since when a call talks, or rings, in milliseconds; NaN where that is unknown. */
export function lastsSince(call) {
  return Date.parse(call.answered_at ?? call.attempted_at ?? '');
}

/** The calls of the page. Nothing here knows how they are drawn. */
export class ActiveCalls {
  // From call sid to `{call, since, ended}`: when it was first seen here, and when its end was heard of.
  #all = new Map();
  // How many were ever taken in, so that those of one list keep its order.
  #turn = 0;
  // Calls that stay until they may go: their rows are being looked at.
  #standing = new Set();

  /** Begins anew with a list of active calls, newest first. */
  reset(calls, now) {
    const before = this.#all;
    this.#all = new Map();
    for (const call of [...calls].reverse()) {
      const known = before.get(call.call_sid);
      this.#all.set(call.call_sid, { call, since: known?.since ?? 0, turn: known?.turn ?? (this.#turn += 1) });
    }
    // What had ended before stays for its minute; what is in the list no longer, and was not, is gone.
    for (const [sid, entry] of before) {
      const stays = entry.ended && (now - entry.ended < STAYS + FADES || this.#standing.has(sid));
      if (stays && !this.#all.has(sid)) this.#all.set(sid, entry);
    }
  }

  /** Takes a change of the feed. */
  change({ type, call }, now) {
    const known = this.#all.get(call.call_sid);
    if (type === 'deleted') {
      this.#all.delete(call.call_sid);
      return;
    }
    if (isActive(call)) {
      this.#all.set(call.call_sid, { call, since: known?.since ?? now, turn: known?.turn ?? (this.#turn += 1) });
    } else if (known) {
      this.#all.set(call.call_sid, { ...known, call, ended: known.ended ?? now });
    } else if (present() - Date.parse(call.terminated_at ?? '') < STAYS) {
      // It began and ended between two looks.
      this.#all.set(call.call_sid, { call, since: now, ended: now, turn: (this.#turn += 1) });
    }
  }

  /** Keeps the calls of these sids after their end, as long as they are named here. */
  stand(sids) {
    this.#standing = new Set(sids);
  }

  /** Drops what has faded. True where something was dropped. */
  sweep(now) {
    let swept = false;
    for (const [sid, entry] of this.#all) {
      if (entry.ended && now - entry.ended > STAYS + FADES && !this.#standing.has(sid)) {
        this.#all.delete(sid);
        swept = true;
      }
    }
    return swept;
  }

  get(sid) {
    return this.#all.get(sid);
  }

  /** The active call that has lasted longest; undefined where there is none. */
  longest() {
    let longest;
    for (const { call, ended } of this.#all.values()) {
      const since = !ended && lastsSince(call);
      if (since && !(since >= lastsSince(longest ?? {}))) longest = call;
    }
    return longest;
  }

  /** How many are active by status. */
  counts() {
    const counts = {};
    for (const { call, ended } of this.#all.values()) {
      if (!ended) counts[call.call_status] = (counts[call.call_status] ?? 0) + 1;
    }
    return counts;
  }

  /**
   * `{sid, depth}` of each call, families together: the newest family first, and below an A leg its B
   * legs, the earlier one first. `fits` chooses calls; a family is shown where one of its legs fits.
   */
  order(fits = () => true) {
    const below = new Map();
    const roots = [];
    for (const [sid, entry] of this.#all) {
      const parent = entry.call.parent_call_sid;
      if (parent && parent !== sid && this.#all.has(parent)) {
        if (!below.has(parent)) below.set(parent, []);
        below.get(parent).push(sid);
      } else roots.push(sid);
    }
    const turn = (sid) => this.#all.get(sid).turn;
    const seen = new Set();
    const familyOf = (root) => {
      const family = [];
      const walk = (sid, depth) => {
        if (seen.has(sid)) return;
        seen.add(sid);
        family.push({ sid, depth });
        for (const child of (below.get(sid) ?? []).sort((a, b) => turn(a) - turn(b))) walk(child, depth + 1);
      };
      walk(root, 0);
      return family;
    };
    const families = roots.map(familyOf);
    // A circle of parents has no first leg.
    for (const sid of this.#all.keys()) {
      if (!seen.has(sid)) families.push(familyOf(sid));
    }
    families.sort(([a], [b]) => turn(b.sid) - turn(a.sid));
    const rows = [];
    for (const family of families) {
      if (family.some(({ sid }) => fits(this.#all.get(sid).call))) rows.push(...family);
    }
    return rows;
  }
}
