// Reads the book in a browser: every page, and what a reader does with it. Prints a line for
// each thing that is wrong, and then ends with 1. Argument: the folder of the book.
import { execSync } from "node:child_process";
import { readFileSync, readdirSync } from "node:fs";
import { createServer } from "node:http";
import { createRequire } from "node:module";
import { extname, join } from "node:path";
import { pathToFileURL } from "node:url";
import { stripVTControlCharacters } from "node:util";
import { chromium } from "playwright-core";

const [, folder] = process.argv;
const axe = readFileSync(createRequire(join(process.cwd(), "x.js")).resolve("axe-core/axe.min.js"), "utf8");
const wrong = (what) => {
  process.exitCode = 1;
  console.log(stripVTControlCharacters(what));
};

// `print.html` is all pages once more, and `toc.html` a frame for browsers without scripts.
const pages = readdirSync(folder).filter((file) => file.endsWith(".html") && !["404.html", "print.html", "toc.html"].includes(file));
const chapters = pages.filter((page) => readFileSync(join(folder, page), "utf8").includes('class="question"'));
const types = { ".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".png": "image/png", ".woff2": "font/woff2" };
const server = createServer((request, response) => {
  const path = decodeURIComponent(new URL(request.url, "http://x").pathname);
  try {
    const file = readFileSync(join(folder, path));
    response.writeHead(200, { "content-type": types[extname(path)] ?? "application/octet-stream" }).end(file);
  } catch {
    response.writeHead(404).end();
  }
});
await new Promise((listening) => server.listen(0, "127.0.0.1", listening));
const served = `http://127.0.0.1:${server.address().port}`;
const opened = pathToFileURL(folder).href;

const browser = await chromium.launch({
  executablePath: execSync("command -v chromium", { encoding: "utf8" }).trim(),
  // No name and no proxy leads anywhere.
  args: ["--disable-gpu", "--no-proxy-server", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
});

// A tab whose faults are reported.
async function tab(base, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  context.setDefaultTimeout(60_000);
  const page = await context.newPage();
  page.on("request", (request) => {
    const url = request.url();
    if (!url.startsWith(`${base}/`) && !url.startsWith("data:")) wrong(`${page.url()} asks for ${url}`);
  });
  page.on("websocket", (socket) => wrong(`${page.url()} opens a WebSocket: ${socket.url()}`));
  page.on("pageerror", (error) => wrong(`${page.url()}: a script fails: ${error.message}`));
  page.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) wrong(`${page.url()}: the console says: ${message.text()}`);
  });
  page.open = async (name) => {
    await page.goto(`${base}/${name}`);
    await page.waitForFunction(() => [...document.querySelectorAll(".diagram")].every((it) => it.querySelector("svg")));
  };
  return page;
}

async function judge(page, state) {
  await page.evaluate(axe);
  const violations = await page.evaluate(async () => {
    const found = await axe.run(document, { resultTypes: ["violations"], preload: false });
    return found.violations.map(({ id, help, nodes }) => `${id}: ${help}: ${nodes.length} times, first ${nodes[0].html.slice(0, 150)} ${nodes[0].failureSummary}`);
  });
  for (const violation of violations) wrong(`${page.url().split("/").pop()} ${state}: axe-core: ${violation.replace(/\s+/g, " ")}`);
}

// What sticks out at the side and cannot be scrolled in itself.
async function fits(page) {
  const out = await page.evaluate(() => {
    const scrolls = (it) => it && it.tagName !== "MAIN" && (["auto", "scroll", "hidden"].includes(getComputedStyle(it).overflowX) || scrolls(it.parentElement));
    const outside = [...document.querySelectorAll("main *")].filter((it) => it.getBoundingClientRect().right > innerWidth + 1 && !scrolls(it.parentElement));
    const wide = document.documentElement.scrollWidth > innerWidth;
    return outside.slice(0, 3).map((it) => it.outerHTML.slice(0, 120)).concat(wide ? ["the page"] : []);
  });
  const { width } = page.viewportSize();
  for (const what of out) wrong(`${page.url()} at ${width} pixels: wider than the window: ${what}`);
}

// Mermaid was there when the book was built, and draws.
async function diagrams() {
  const page = await tab(opened);
  await page.open(pages.find((name) => name.startsWith("part-")));
  if (!(await page.locator("main .diagram svg").count())) wrong("no diagram is drawn");
  await page.context().close();
}

// Pages with questions are judged when these are answered.
async function everyPage(base, width, colorScheme) {
  const page = await tab(base, { viewport: { width, height: 900 }, colorScheme });
  for (const name of pages) {
    await page.open(name);
    await fits(page);
    if (!chapters.slice(1).includes(name)) await judge(page, colorScheme);
  }
  await page.context().close();
}

// What a reader does, with the keyboard where it matters.
async function reads(base) {
  const page = await tab(base);
  const theme = () => page.evaluate(() => document.documentElement.className.includes("navy"));
  const name = chapters[0];
  await page.open(name);

  await page.keyboard.press("Tab");
  const skip = await page.evaluate(() => document.activeElement.className);
  await page.keyboard.press("Enter");
  const at = await page.evaluate(() => document.activeElement.tagName);
  if (skip !== "skip-link" || at !== "MAIN") wrong(`${base}: the first key Tab reaches ${skip}, and Enter then ${at}`);

  await page.locator("#mdbook-search-toggle").click();
  await page.keyboard.type("backpressure");
  const found = page.locator("#mdbook-searchresults li a");
  await found.first().waitFor();
  if (!(await page.locator("#mdbook-searchresults").innerText()).includes("backpressure")) wrong(`${base}: the search does not find backpressure`);
  await judge(page, "with search results");
  await page.keyboard.press("Escape");

  await page.locator("#mdbook-theme-toggle").click();
  await judge(page, "with the list of themes");
  await page.locator("#mdbook-theme-navy").click();
  if (!(await theme())) wrong(`${base}: the theme does not become dark`);
  await page.open(name);
  if (!(await theme())) wrong(`${base}: the dark theme is not kept`);
  await page.locator("#mdbook-theme-toggle").click();
  await page.locator("#mdbook-theme-light").click();
  if (await theme()) wrong(`${base}: the theme does not become light`);

  await page.setViewportSize({ width: 375, height: 900 });
  await page.open(name);
  const contents = page.locator("#mdbook-sidebar a").first();
  if (await contents.isVisible()) wrong(`${base}: on a phone, the list of pages is open`);
  await page.locator("#mdbook-sidebar-toggle").press("Enter");
  await contents.waitFor();
  await contents.click();
  if (!page.url().endsWith("/index.html")) wrong(`${base}: the list of pages leads to ${page.url()}`);
  await page.context().close();
}

// Each question of each chapter asks before it answers, and keeps what was answered.
async function quizzes(base, names) {
  const page = await tab(base);
  for (const name of names) {
    await page.open(name);
    const questions = await page.locator(".question").all();
    for (const [index, question] of questions.entries()) {
      const answer = question.locator("> details");
      const where = `${base}/${name}, question ${index + 1}`;
      if (await answer.isVisible()) wrong(`${where}: the answer is shown before it was asked`);
      await question.locator("button[type=submit]").click();
      if (await answer.isVisible()) wrong(`${where}: the answer is shown although none was given`);
      const inputs = question.locator("input");
      const right = (await question.getAttribute("data-right")).split(" ").filter(Boolean);
      if (right.length) {
        // Every second question is answered wrongly.
        const wanted = index % 2 ? right : [right[0] === "a" ? "b" : "a"];
        for (const letter of wanted) {
          await inputs.nth(letter.charCodeAt(0) - 97).focus();
          await page.keyboard.press("Space");
        }
        await page.keyboard.press("Enter");
        const verdict = await question.locator(".verdict").innerText();
        if (verdict.startsWith("✓") !== index % 2 > 0) wrong(`${where}: ${wanted} is judged: ${verdict}`);
      } else if (index % 2) {
        await question.locator("textarea").fill("Because.");
        await question.locator("button[type=submit]").click();
        await question.getByRole("button", { name: "Yes" }).click();
      } else {
        await question.getByRole("button", { name: "I have an answer in mind" }).click();
      }
      if (!(await answer.locator("p").first().isVisible())) wrong(`${where}: the answer is not shown`);
      await question.getByRole("button", { name: "Answer again" }).waitFor();
    }
    await page.evaluate(() => document.querySelectorAll("main details").forEach((it) => (it.open = true)));
    for (const theme of ["dark", "light"]) {
      await page.emulateMedia({ colorScheme: theme });
      await page.waitForFunction((theme) => [...document.querySelectorAll(".diagram")].every((it) => it.dataset.theme === theme), theme);
      await judge(page, `with answers, ${theme}`);
    }
    const progress = () => page.locator(".quiz-progress").innerText();
    const before = await progress();
    if (!before.startsWith(`Questions: ${questions.length} of ${questions.length} answered`)) wrong(`${name} says after all answers: ${before}`);
    await page.open(name);
    if ((await progress()) !== before) wrong(`${name} says after a reload: ${await progress()}`);
    if (!(await page.locator(".question > details").first().isVisible())) wrong(`${name}: an answer is forgotten after a reload`);
    if (name !== names[0]) continue;
    await page.getByRole("button", { name: "Forget my answers" }).click();
    await page.open(name);
    if (await page.locator(".question > details").first().isVisible()) wrong(`${name}: an answer is not forgotten`);
  }
  await page.context().close();
}

// On paper and without scripts, every answer can be read: in black on white, whatever the theme.
async function paper() {
  const page = await tab(opened, { colorScheme: "dark" });
  for (const name of [chapters[0], "print.html"]) {
    await page.open(name);
    await page.emulateMedia({ media: "print" });
    const closed = await page.evaluate(() => [...document.querySelectorAll("main details > p")].filter((it) => !it.checkVisibility({ contentVisibilityAuto: true }) || !it.getBoundingClientRect().height).length);
    const answers = await page.locator("main details > p").count();
    const colours = await page.evaluate(() =>
      ["html", "main p", "main h2 a", "main code.hljs", "main code"].map((it) => {
        const { color, backgroundColor } = getComputedStyle(document.querySelector(it));
        return `${it}: ${color} on ${backgroundColor}`;
      }),
    );
    for (const colour of colours) {
      if (!/: rgb\(0, 0, 0\) on rgba?\((0, 0, 0, 0|2\d\d, 2\d\d, 2\d\d)\)$/.test(colour)) wrong(`${name} is printed with ${colour}`);
    }
    if (closed || !answers) wrong(`${name}: ${closed} of ${answers} paragraphs of answers are not printed`);
  }
  await page.context().close();
  const plain = await tab(opened, { javaScriptEnabled: false });
  await plain.goto(`${opened}/${chapters[0]}`);
  const answer = plain.locator(".question > details").first();
  if (await answer.locator("p").first().isVisible()) wrong("without scripts an answer is not folded");
  await answer.locator("summary").click();
  if (!(await answer.locator("p").first().isVisible())) wrong("without scripts an answer does not open");
  await plain.context().close();
}

try {
  // Two tabs at a time.
  const half = Math.ceil(chapters.length / 2);
  await diagrams();
  await Promise.all([everyPage(opened, 1440, "light"), everyPage(served, 375, "dark")]);
  await Promise.all([quizzes(served, chapters.slice(0, half)), quizzes(opened, chapters.slice(half))]);
  await Promise.all([reads(served), reads(opened)]);
  await paper();
} catch (error) {
  wrong(error.message.split("\n").slice(0, 8).join("\n"));
} finally {
  await browser.close();
  server.close();
}
