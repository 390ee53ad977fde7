#!/usr/bin/env bash
# Takes book.png and api.png, the two pages in the README: a question of the book that a
# reader has answered, and the page that describes the service's API. Needs chromium, node,
# npm, curl and a network.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
work=$(mktemp -d)
trap 'kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT
npm install --prefix "$work" --silent --no-audit --no-fund playwright-core@1.65.1

index=$(./run.sh book --no-open)
export MARKETSVC_ADDR=127.0.0.1:9399 DATABASE_URL=sqlite://$work/market.sqlite
./run.sh run >"$work/log" 2>&1 &
service=http://$MARKETSVC_ADDR
curl --silent --output /dev/null --retry 120 --retry-connrefused --retry-delay 1 "$service/readyz"

cat >"$work/take.mjs" <<'END'
import { execSync } from "node:child_process";
import { chromium } from "playwright-core";

const [, , chapter, docs, folder] = process.argv;
const browser = await chromium.launch({
  executablePath: execSync("command -v chromium", { encoding: "utf8" }).trim(),
});
const page = await browser.newPage({ viewport: { width: 1200, height: 720 }, colorScheme: "light" });
await page.goto(chapter);
const question = page.locator(".question").first();
await question.locator("input").nth(1).check();
await question.locator("button").first().click();
await question.scrollIntoViewIfNeeded();
await question.evaluate((it) => window.scrollTo(0, it.offsetTop - 70));
await page.waitForTimeout(500);
await page.screenshot({ path: `${folder}/book.png` });
await page.goto(docs);
await page.locator('.opblock-post:has([data-path="/api/add_new_order"]) .opblock-summary-control').click();
await page.locator(".opblock-body").waitFor();
await page.locator('.opblock-post:has([data-path="/api/add_new_order"])').evaluate((it) => it.scrollIntoView());
await page.waitForTimeout(500);
await page.screenshot({ path: `${folder}/api.png` });
await browser.close();
END
node "$work/take.mjs" "file://${index%index.html}04-orders-total.html" "$service/docs" "$PWD/book/pictures"
