// @ts-check
/**
 * Makes the pictures of the README: the local page in the light and the dark scheme, a recording of the first minute,
 * and the lines of the terminal. `make screenshots` runs it.
 */
import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import upng from "@pdf-lib/upng";
import { chromium } from "playwright-core";
import { answers, buildCambio, cambioCommand, CHROMIUM, freePort, freshBrowser, ROOT, start, stopAll } from "./harness.mjs";

/** @typedef {import("playwright-core").Page} Page */

// The package's types do not name the member in which Node finds its functions.
const { default: UPNG } = /** @type {{ default: typeof upng }} */ (/** @type {unknown} */ (upng));

const { values } = parseArgs({ options: { output: { type: "string", default: join(ROOT, "docs") } } });

const SCHEMES = /** @type {const} */ (["light", "dark"]);
/** The largest size of a picture, in bytes. */
const MAX_BYTES = 400_000;
/** The pictures that are larger. @type {string[]} */
const tooLarge = [];
/** The number of colours of a picture. */
const COLOURS = 64;
const SIZE = { width: 780, height: 640 };

/** @param {"light" | "dark"} colorScheme */
async function pictures(colorScheme) {
  // A server for each scheme, so that both show the first sign-in.
  const local = await startAtTerminal(`screenshots-${colorScheme}`);
  const context = await freshBrowser(browser, { viewport: SIZE, colorScheme, locale: "en-GB" });
  const page = await context.newPage();
  const recording = new Recording(page);
  const button = (/** @type {string} */ name) => page.getByRole("button", { name, exact: true });

  await page.goto(local.url);
  await page.getByRole("link", { name: "Sign in with GitHub" }).focus();
  await recording.frame(1800);
  await page.keyboard.press("Enter");
  await page.getByRole("button", { name: "octocat" }).focus();
  await recording.frame(1800);
  await page.keyboard.press("Enter");
  await page.getByText("The Octocat", { exact: true }).waitFor();
  await page.getByText("made a new user").waitFor();
  await page.getByRole("listitem").filter({ hasText: "this one" }).waitFor();
  await recording.frame(2500);
  await scrollTo(page, "#token-step");
  await recording.frame(2500);

  await button("GET /me").focus();
  await page.keyboard.press("Enter");
  await says(page, "The API verified the access token");
  await scrollTo(page, "#use-step");
  await recording.frame(2500);
  await page.getByText("Try what goes wrong").click();
  await button("Let the token expire").focus();
  await page.keyboard.press("Enter");
  await says(page, "The access token expired an hour ago");
  await button("GET /me").focus();
  await page.keyboard.press("Enter");
  await says(page, "The access token is no longer valid");
  await recording.frame(3000);
  await button("Lose the next answer").focus();
  await page.keyboard.press("Enter");
  await says(page, "The next answer of POST /token will be lost");
  await recording.frame(3500);
  await button("Refresh").focus();
  await page.keyboard.press("Enter");
  await says(page, "its answer was lost");
  await recording.frame(4000);
  await page.keyboard.press("Enter");
  await says(page, "the same refresh token as the lost answer");
  await recording.frame(4000);
  await page.getByText("answer lost", { exact: true }).waitFor();
  const lost = page.getByRole("row").filter({ hasText: "answer lost" });
  await lost.locator("xpath=following-sibling::tr[1]").getByText("1 item changed").click();
  await page.evaluate(() => /** @type {HTMLElement} */ (document.activeElement)?.blur());
  await scrollTo(page, "#requests-heading");
  await recording.frame(5000);
  await button("Rotate the keys").focus();
  await page.keyboard.press("Enter");
  await says(page, "The next key signs now");
  await scrollTo(page, "#use-step");
  await recording.frame(4000);
  await recording.save(`first-minute${suffix(colorScheme)}.png`);

  // The picture begins with the page and ends with the claims.
  await page.evaluate(() => /** @type {HTMLElement} */ (document.activeElement)?.blur());
  await page.evaluate(() => window.scrollTo(0, 0));
  const token = await page.locator("#token-step").boundingBox();
  assert.ok(token);
  const clip = { x: 0, y: 0, width: SIZE.width, height: token.y + token.height + 16 };
  save(`local-page${suffix(colorScheme)}.png`, [await page.screenshot({ fullPage: true, clip })], []);
  await scrollTo(page, "#requests-heading");
  const requests = page.locator("section").filter({ has: page.locator("#requests-table") });
  save(`local-page-requests${suffix(colorScheme)}.png`, [await requests.screenshot()], []);
  await context.close();
  return local.output();
}

/**
 * Starts `cargo run` at a pseudo-terminal, on its own ports if they are free. Returns its URL, and a function that
 * returns the text of the terminal.
 * @param {string} name
 */
async function startAtTerminal(name) {
  const [port, githubPort] = [await freePort(9000), await freePort(9001)];
  const command = cambioCommand(["--in-memory", "--port", `${port}`, "--github-port", `${githubPort}`]);
  const { log } = start(name, "python3", ["-c", "import pty, sys; pty.spawn(sys.argv[1:])", ...command]);
  const url = `http://localhost:${port}`;
  await answers(url, 200);
  return { url, output: () => readFileSync(log, "utf8") };
}

/** The colours of the terminal's status codes. @type {Record<string, string>} */
const ANSI = { 31: "#ff8a7a", 32: "#6fd3a3", 33: "#f0c35e" };
/** The largest number of lines in the picture. */
const LINES = 14;

/** Draws the last request lines of the terminal, on its dark ground in both schemes. @param {string} output */
function saveTerminal(output) {
  const all = output.replaceAll("\r", "").split("\n");
  const isOfRequest = (/** @type {string} */ line) => /^\d\d:\d\d:\d\d {2}|^ {10}\w+: /.test(line);
  const lines = all.filter(isOfRequest).slice(-LINES);
  assert.ok(lines.length > 6, output);
  const escaped = (/** @type {string} */ text) => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");
  const coloured = (/** @type {string} */ line) =>
    // biome-ignore lint/suspicious/noControlCharactersInRegex: the colours of a terminal are control characters
    escaped(line).replace(/\u001b\[(\d+)m(.*?)\u001b\[0m/g, (_, colour, text) => `<tspan fill="${ANSI[colour]}">${text}</tspan>`);
  const [height, characters] = [20, Math.max(...lines.map((line) => line.length - (line.includes("\u001b") ? 9 : 0)))];
  const [width, total] = [Math.ceil(characters * 7.83) + 40, lines.length * height + 30];
  const texts = lines.map((line, nth) => `<text x="20" y="${30 + nth * height}" xml:space="preserve">${coloured(line)}</text>`);
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${total}" width="${width}" height="${total}">
<rect width="${width}" height="${total}" rx="10" fill="#13171a"/>
<g font-family="ui-monospace, 'SF Mono', Menlo, Consolas, 'DejaVu Sans Mono', monospace" font-size="13" fill="#d6dcde">
${texts.join("\n")}
</g>
</svg>
`;
  writeFileSync(join(values.output, "terminal.svg"), svg);
  console.log(`terminal.svg: ${width} × ${total}, ${Math.round(svg.length / 1000)} kB`);
}

/** Screenshots of one page with the time for which each is shown, in ms. */
class Recording {
  /** @param {Page} page */
  constructor(page) {
    this.page = page;
    /** @type {Buffer[]} */
    this.frames = [];
    /** @type {number[]} */
    this.times = [];
  }

  /** @param {number} time */
  async frame(time) {
    this.frames.push(await this.page.screenshot());
    this.times.push(time);
  }

  /** @param {string} name */
  async save(name) {
    save(name, this.frames, this.times);
  }
}

/**
 * Writes a PNG, animated if there are several frames.
 * @param {string} name @param {Buffer[]} frames @param {number[]} times
 */
function save(name, frames, times) {
  const images = frames.map((frame) => UPNG.decode(Uint8Array.from(frame).buffer));
  const { width, height } = images[0];
  const pixels = images.flatMap((image) => UPNG.toRGBA8(image));
  const picture = new Uint8Array(UPNG.encode(pixels, width, height, COLOURS, times));
  writeFileSync(join(values.output, name), picture);
  if (picture.length > MAX_BYTES) tooLarge.push(name);
  console.log(`${name}: ${width} × ${height}, ${frames.length} frames, ${Math.round(picture.length / 1000)} kB`);
}

/** @param {"light" | "dark"} colorScheme */
function suffix(colorScheme) {
  return colorScheme === "light" ? "" : "-dark";
}

/** @param {Page} page @param {string} text */
async function says(page, text) {
  await page.getByRole("status").filter({ hasText: text }).waitFor();
}

/** Scrolls an element to the top of the window. @param {Page} page @param {string} selector */
async function scrollTo(page, selector) {
  await page.locator(selector).evaluate((element) => window.scrollTo(0, element.getBoundingClientRect().top + window.scrollY - 16));
}

mkdirSync(values.output, { recursive: true });
const browser = await chromium.launch(CHROMIUM);
try {
  await buildCambio("screenshots");
  for (const scheme of SCHEMES) {
    const output = await pictures(scheme);
    if (scheme === "dark") saveTerminal(output);
    await stopAll();
  }
} finally {
  await browser.close();
  await stopAll();
}
assert.deepEqual(tooLarge, [], "these pictures are too large");
