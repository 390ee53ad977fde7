// Opens the page /docs of a service in a browser and tries `POST /book` out there. Prints a
// line for each thing that is wrong, and then ends with 1. Arguments: the service's URL, and the folder for the
// screenshots docs.png and post-book.png.
import { execSync } from "node:child_process";
import { stripVTControlCharacters } from "node:util";
import { chromium } from "playwright-core";

const [, url, folder] = process.argv;
// A page from 127.0.0.1 leaves out a request that it makes elsewhere: the one to swagger.io's
// validator. So the browser knows the service by a name.
const service = url.replace("127.0.0.1", "market.test");
const wrong = (what) => {
  process.exitCode = 1;
  console.log(stripVTControlCharacters(what));
};
let browser;
try {
  browser = await chromium.launch({
    executablePath: execSync("command -v chromium", { encoding: "utf8" }).trim(),
    // No other name and no proxy leads anywhere.
    args: ["--no-proxy-server", "--host-resolver-rules=MAP market.test 127.0.0.1, MAP * ~NOTFOUND"],
  });
  const page = await browser.newPage({ viewport: { width: 1200, height: 1000 } });
  page.setDefaultTimeout(20_000);
  const called = [];
  page.on("request", (request) => {
    const url = new URL(request.url());
    if (url.protocol.startsWith("http") && url.origin !== service) {
      wrong(`the page asks another host: ${request.method()} ${url}`);
    }
    if (request.resourceType() === "fetch") called.push(`${request.method()} ${url.pathname}`);
  });
  page.on("websocket", (socket) => wrong(`the page opens a WebSocket: ${socket.url()}`));
  page.on("pageerror", (error) => wrong(`a script of the page fails: ${error.message}`));
  page.on("console", (message) => {
    if (message.type() === "error") wrong(`the browser's console: ${message.text()} (${message.location().url})`);
  });

  await page.goto(`${service}/docs`);
  const operation = page.locator('.opblock-post:has([data-path="/book"])');
  await operation.waitFor();
  await page.waitForLoadState("networkidle");
  await page.screenshot({ path: `${folder}/docs.png`, fullPage: true });

  await operation.locator(".opblock-summary-control").click();
  await operation.getByRole("button", { name: "Try it out" }).click();
  called.length = 0;
  await operation.getByRole("button", { name: "Execute" }).click();
  const status = await operation.locator(".live-responses-table tbody .response-col_status").innerText();
  await operation.screenshot({ path: `${folder}/post-book.png` });
  if (called.join() !== "POST /book") wrong(`"Execute" of POST /book sends ${called.join(", ") || "nothing"}`);
  if (status.trim() !== "201") wrong(`"Execute" of POST /book shows ${status.replace(/\s+/g, " ")}, not 201`);
} catch (error) {
  wrong(error.message.split("\n").slice(0, 8).join("\n"));
} finally {
  await browser?.close();
}
