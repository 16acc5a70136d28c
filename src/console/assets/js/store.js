// What the viewer prefers, kept in the browser; it never holds anything of calls or of the session.

/** A preference; undefined where there is none, or the browser keeps nothing. */
export function preference(key) {
  try {
    return localStorage.getItem(`rollcall-${key}`) ?? undefined;
  } catch {
    return undefined;
  }
}

export function prefer(key, value) {
  try {
    if (value === undefined) localStorage.removeItem(`rollcall-${key}`);
    else localStorage.setItem(`rollcall-${key}`, value);
  } catch {
    // Then it counts for this page only.
  }
}
