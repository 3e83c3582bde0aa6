// @ts-check
/**
 * SQLite databases with the tables of the libraries: by Drizzle for next-auth and Auth.js, by Kysely for better-auth.
 *
 * libSQL is SQLite with its binaries in npm's registry. `better-sqlite3` and Prisma download theirs from elsewhere.
 */
import { DrizzleAdapter } from "@auth/drizzle-adapter";
import { createClient } from "@libsql/client";
import { LibsqlDialect } from "@libsql/kysely-libsql";
import { drizzle } from "drizzle-orm/libsql";

/** The tables of Auth.js's adapter for Drizzle, as its documentation has them. */
const TABLES = [
  `CREATE TABLE "user" (id TEXT PRIMARY KEY, name TEXT, email TEXT UNIQUE, emailVerified INTEGER, image TEXT)`,
  `CREATE TABLE account (
    userId TEXT NOT NULL REFERENCES "user"(id) ON DELETE CASCADE, type TEXT NOT NULL, provider TEXT NOT NULL,
    providerAccountId TEXT NOT NULL, refresh_token TEXT, access_token TEXT, expires_at INTEGER, token_type TEXT, scope TEXT,
    id_token TEXT, session_state TEXT, PRIMARY KEY (provider, providerAccountId)
  )`,
  `CREATE TABLE session (
    sessionToken TEXT PRIMARY KEY, userId TEXT NOT NULL REFERENCES "user"(id) ON DELETE CASCADE, expires INTEGER NOT NULL
  )`,
  "CREATE TABLE verificationToken (identifier TEXT NOT NULL, token TEXT NOT NULL, expires INTEGER NOT NULL, PRIMARY KEY (identifier, token))",
  `CREATE TABLE authenticator (
    credentialID TEXT NOT NULL UNIQUE, userId TEXT NOT NULL REFERENCES "user"(id) ON DELETE CASCADE,
    providerAccountId TEXT NOT NULL, credentialPublicKey TEXT NOT NULL, counter INTEGER NOT NULL,
    credentialDeviceType TEXT NOT NULL, credentialBackedUp INTEGER NOT NULL, transports TEXT, PRIMARY KEY (userId, credentialID)
  )`,
];

/** @typedef {{ rows: () => Promise<Record<string, Record<string, unknown>[]>>, close: () => void }} Database */

/**
 * Opens a database for next-auth or Auth.js.
 * @param {string} file
 */
export async function withDrizzle(file) {
  const { client, rows, close } = open(file);
  for (const table of TABLES) await client.execute(table);
  return { adapter: DrizzleAdapter(drizzle(client)), rows, close };
}

/**
 * Opens a database for better-auth, which creates the tables itself.
 * @param {string} file
 */
export function withKysely(file) {
  const { client, rows, close } = open(file);
  return { database: { dialect: new LibsqlDialect({ client }), type: /** @type {const} */ ("sqlite") }, rows, close };
}

/** @param {string} file */
function open(file) {
  const client = createClient({ url: `file:${file}` });
  return {
    client,
    close: () => client.close(),
    /** Returns the rows of each table. */
    async rows() {
      const tables = await client.execute("SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name");
      /** @type {Record<string, Record<string, unknown>[]>} */
      const content = {};
      for (const { name } of tables.rows) content[String(name)] = (await client.execute(`SELECT * FROM "${name}"`)).rows.map((row) => ({ ...row }));
      return content;
    },
  };
}
