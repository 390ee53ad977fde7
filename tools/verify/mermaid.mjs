// Reads [{at, text}] from stdin and prints a line for each diagram that Mermaid
// does not parse: where it is and, joined into that line, Mermaid's complaint.
import { readFileSync } from "node:fs";
import { JSDOM } from "jsdom";

globalThis.window = new JSDOM("").window; // Labels are cleaned with a browser's means.
globalThis.document = window.document;
const { default: mermaid } = await import("mermaid");
for (const { at, text } of JSON.parse(readFileSync(0, "utf8"))) {
  try {
    await mermaid.parse(text);
  } catch (error) {
    console.log(`${at}: ${error.message.replace(/\s*\n\s*/g, " | ")}`);
  }
}
