/** The members of next-auth's `account` that are kept. Any other may be, or contain, a token of the provider. */
const OPEN_MEMBERS = ["provider", "type", "providerAccountId", "userId", "scope", "token_type", "expires_at"];

/**
 * Returns the account of a sign-in for the app's own `jwt` callback, without tokens of the provider. A member that is
 * null stays: the account of a passkey is a row of the database, in which each token is null.
 */
export function withoutTokens(account: object): object {
  const empty = Object.entries(account).filter(([, value]) => value === null);
  return { ...Object.fromEntries(empty), ...JSON.parse(JSON.stringify(account, OPEN_MEMBERS)) };
}
