/** A failure that the user can repair. The message says what is wrong and what to do, and is all that is printed. */
export class UserError extends Error {
  override name = "UserError";
}
