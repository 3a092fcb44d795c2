// Khronos' glTF validator: files on the command line, one line of JSON with their issues on stdout.
const validator = require("gltf-validator");
const fs = require("fs");
const path = require("path");

async function validate(file) {
  const report = await validator.validateBytes(new Uint8Array(fs.readFileSync(file)), {
    uri: path.basename(file),
    maxIssues: 1000,
    externalResourceFunction: (uri) => fs.promises.readFile(path.join(path.dirname(file), decodeURIComponent(uri))),
  });
  return { file, ...report.issues, info: report.info };
}

Promise.all(process.argv.slice(2).map(validate)).then((reports) => console.log(JSON.stringify(reports)));
