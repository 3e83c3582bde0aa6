/**
 * The runtime: imports a handler (`node bootstrap.mjs dist/me.mjs`), and serves the events of the Lambda runtime API.
 *
 * Lambda's own runtime for Node does the same with more around it, so the bench flatters Node a little.
 */

import { Agent, request } from "node:http";
import { resolve } from "node:path";
import { pathToFileURL } from "node:url";

const [host, port] = (process.env.AWS_LAMBDA_RUNTIME_API ?? "").split(":");
const agent = new Agent({ keepAlive: true, maxSockets: 1 });

/**
 * @param {string} method @param {string} path @param {string} [body]
 * @returns {Promise<{ id: string, body: string }>}
 */
const call = (method, path, body) =>
  new Promise((done, fail) => {
    const headers = body === undefined ? {} : { "content-type": "application/json", "content-length": Buffer.byteLength(body) };
    const sent = request({ agent, host, port, method, path: `/2018-06-01/runtime/${path}`, headers }, (answer) => {
      /** @type {Buffer[]} */
      const chunks = [];
      answer.on("data", (chunk) => chunks.push(chunk));
      answer.on("end", () => done({ id: String(answer.headers["lambda-runtime-aws-request-id"]), body: Buffer.concat(chunks).toString() }));
    });
    sent.on("error", fail);
    sent.end(body);
  });

const { handler } = await import(pathToFileURL(resolve(process.argv[2])).href);
for (;;) {
  const event = await call("GET", "invocation/next");
  try {
    await call("POST", `invocation/${event.id}/response`, JSON.stringify(await handler(JSON.parse(event.body))));
  } catch (error) {
    await call("POST", `invocation/${event.id}/error`, JSON.stringify({ errorType: "Error", errorMessage: String(error) }));
  }
}
