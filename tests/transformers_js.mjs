// Answers of a student by transformers.js: node transformers_js.mjs PACKAGE FOLDER DTYPE TASK < texts as JSON
import { readFileSync } from "node:fs";
import { basename, dirname } from "node:path";

const [library, folder, dtype, task] = process.argv.slice(2);
const { env, pipeline } = await import(library);
env.allowRemoteModels = false;
env.localModelPath = dirname(folder) + "/";
const answer = await pipeline(task, basename(folder), { dtype });
console.log(JSON.stringify(await answer(JSON.parse(readFileSync(0, "utf8")))));
