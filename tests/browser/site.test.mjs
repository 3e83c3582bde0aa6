// @ts-check
/** The site of the pages, as `make docs` builds it: its first page, with the diagram, and nothing from elsewhere. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after } from "node:test";
import { pathToFileURL } from "node:url";
import { chromium } from "playwright-core";
import { CHROMIUM, OUTPUT, ROOT, run, scenario, stopAll } from "./harness.mjs";

after(stopAll);

scenario("the site draws the diagram of the README and loads nothing from elsewhere", async () => {
  const site = join(OUTPUT, "site");
  await run("site.build", join(ROOT, ".venv/bin/python"), [join(ROOT, "docs/site/build_site.py"), site], { timeout: 60_000 });
  const browser = await chromium.launch(CHROMIUM);
  try {
    const page = await browser.newPage();
    /** @type {string[]} */
    const loaded = [];
    page.on("request", (request) => loaded.push(request.url()));

    await page.goto(pathToFileURL(join(site, "index.html")).href);
    await page.locator("pre.mermaid svg").getByText("POST /token with the refresh token").waitFor();
    await page.getByRole("link", { name: "Troubleshooting" }).first().click();
    await page.getByRole("heading", { name: "Troubleshooting", level: 1 }).waitFor();

    assert.deepEqual(
      loaded.filter((url) => !/^(file|data|blob):/.test(url)),
      [],
    );
  } finally {
    await browser.close();
  }
});
