// Names of accounts.

/** The name of an account, or its sid. */
export function accountName(session, sid) {
  return session.accounts?.find((one) => one.account_sid === sid)?.name || sid;
}
