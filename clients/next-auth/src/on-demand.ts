/** The parts of the core that are loaded when they are first needed, as one chunk of a bundle. */
export { read, sendable } from "./access-tokens.js";
export { withoutTokens } from "./account.js";
export { refusal } from "./refusals.js";
export { markNewUser } from "./requests.js";
export { shorten } from "./shorten.js";
export { grantOf, signIn } from "./sign-in.js";
