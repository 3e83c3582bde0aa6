import type { User } from "./index.js";

/** The bytes that the tokens, the name and the address may have together, without a picture. */
const ROOM = 2_360;
/** The bytes of a name that stay in any case. A name of 256 characters has at most 1,024. */
const NAME = 900;

/**
 * Leaves out what does not fit into a cookie: the picture, and then the end of a very long name. Roles stay.
 *
 * @param length The bytes of the tokens, the name, the address and the picture.
 */
export function shorten(user: Omit<User, "identities">, length: number): void {
  const bytes = (text: unknown) => new TextEncoder().encode(`${text}`).length;
  const tooLong = length - bytes(user.picture) - ROOM;
  user.picture = null;
  if (!user.name || tooLong <= 0) return;
  let room = Math.max(bytes(user.name) - tooLong, NAME);
  let name = "";
  // By characters, so that none is cut.
  for (const character of user.name) {
    room -= bytes(character);
    if (room < 0) break;
    name += character;
  }
  user.name = name;
}
