// Compiles every schema in Ajv's default, strict mode, and validates the golden samples of its type; compiles those of OpenAPI too.
const { readdirSync, readFileSync } = require("node:fs");
const { join } = require("node:path");
const Ajv = require("ajv/dist/2020").default;
const addFormats = require("ajv-formats").default;

const [schemas, samples, openapi] = process.argv.slice(2);
const read = (path) => JSON.parse(readFileSync(path, "utf8"));
let seen = 0;
for (const type of readdirSync(schemas)) {
  for (const file of readdirSync(join(schemas, type))) {
    const ajv = new Ajv();
    addFormats(ajv);
    const validate = ajv.compile(read(join(schemas, type, file)));
    const folder = join(samples, type, file.replace(".json", ""));
    for (const sample of readdirSync(folder)) {
      if (!validate(read(join(folder, sample)))) throw new Error(`${type}/${sample}: ${ajv.errorsText(validate.errors)}`);
      seen += 1;
    }
  }
}
const $defs = JSON.parse(readFileSync(openapi, "utf8").replaceAll("#/components/schemas/", "#/$defs/")).components.schemas;
for (const name of Object.keys($defs)) {
  const ajv = new Ajv();
  addFormats(ajv);
  ajv.compile({ $defs, $ref: `#/$defs/${name}` });
  seen += 1;
}
console.log(seen);
