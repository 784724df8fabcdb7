// Khronos glTF validator over every .glb under a folder.
//
//   MESHKILN_TOOLS=DIR node validate.mjs FOLDER
//
// Prints one JSON object a file; exits 1 when a file has an error, a warning, an
// info or a hint that is not expected, or when there is no file at all.
import { readdirSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join, resolve } from "node:path";

const validator = createRequire(resolve(process.env.MESHKILN_TOOLS, "package.json"))("gltf-validator");

const EXPECTED = [
  // The validator does not look into compressed meshes and textures.
  "UNSUPPORTED_EXTENSION",
];
/** KHR_texture_basisu allows what this version of the validator does not know. */
const isKtx2 = (m) =>
  /image\/ktx2/.test(m.message) ||
  m.code === "IMAGE_UNRECOGNIZED_FORMAT" ||
  (m.code === "UNUSED_OBJECT" && m.pointer.startsWith("/images/"));

const folder = process.argv[2];
const files = readdirSync(folder, { recursive: true })
  .filter((name) => name.toLowerCase().endsWith(".glb"))
  .map((name) => join(folder, name))
  .sort();

let failed = files.length === 0;
if (failed) console.error(`no .glb under ${folder}`);

for (const path of files) {
  const line = { tool: "gltf-validator", file: path };
  try {
    const report = await validator.validateBytes(new Uint8Array(readFileSync(path)), { maxIssues: 100 });
    const { numErrors, numWarnings, numInfos, numHints, messages } = report.issues;
    const unexpected = messages.filter((m) => !EXPECTED.includes(m.code) && !(path.includes("ktx2") && isKtx2(m)));
    line.passed = numErrors + unexpected.length === 0;
    Object.assign(line, { errors: numErrors, warnings: numWarnings, infos: numInfos, hints: numHints });
    if (!line.passed) line.messages = unexpected.map((m) => `${m.code} ${m.pointer ?? ""}: ${m.message}`);
  } catch (error) {
    line.passed = false;
    line.messages = [String(error)];
  }
  failed ||= !line.passed;
  console.log(JSON.stringify(line));
}
process.exit(failed ? 1 : 0);
