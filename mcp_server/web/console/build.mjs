// Bundles the page into the folder that is given: index.html, console.js, console.css, and the licences of what is in them.
import { copyFile, mkdir, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";

const here = dirname(fileURLToPath(import.meta.url));
const out = process.argv[2];

await rm(out, { recursive: true, force: true });
await mkdir(out, { recursive: true });
const { metafile } = await build({
  absWorkingDir: here,
  entryPoints: { console: "src/main.ts" },
  outdir: await realpath(out),
  bundle: true,
  minify: true,
  format: "iife",
  target: ["chrome123", "firefox124", "safari17.5"],
  charset: "utf8",
  legalComments: "none", // licenses.txt has them whole
  metafile: true,
  logLevel: "warning",
});
for (const name of ["index.html", "icon.svg"]) await copyFile(join(here, "src", name), join(out, name));
await writeFile(join(out, "licenses.txt"), await licences(Object.keys(metafile.inputs)));

/** The licence of each package that a file of the bundle comes from. */
async function licences(inputs) {
  const packages = new Set();
  for (const input of inputs) {
    const found = /node_modules\/((?:@[^/]+\/)?[^/]+)\//.exec(input);
    if (found) packages.add(found[1]);
  }
  let text = "console.js and console.css contain these packages.\n";
  for (const name of [...packages].sort()) {
    const folder = join(here, "node_modules", name);
    const { version, license } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
    text += `\n${"=".repeat(80)}\n${name} ${version}: ${license}\n\n`;
    const file = await firstOf(folder, ["LICENSE", "LICENSE.md", "LICENSE.txt", "license"]);
    text += file ?? "";
  }
  return text;
}

async function firstOf(folder, names) {
  for (const name of names) {
    try {
      return await readFile(join(folder, name), "utf8");
    } catch (error) {
      if (error.code !== "ENOENT") throw error;
    }
  }
  return undefined;
}
