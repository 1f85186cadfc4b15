// Writes cjs/, the same modules as CommonJS: Node before 20.19 cannot `require` ES modules.
import { copyFileSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from "node:fs";
import ts from "typescript";

const compilerOptions = { module: ts.ModuleKind.CommonJS, target: ts.ScriptTarget.ES2022 };

mkdirSync("cjs", { recursive: true });
for (const name of readdirSync("src").filter((each) => each.endsWith(".js"))) {
  const source = readFileSync(`src/${name}`, "utf8");
  writeFileSync(`cjs/${name}`, ts.transpileModule(source, { compilerOptions }).outputText);
}
// With this, Node and TypeScript read the files of cjs/, also the types, as CommonJS.
writeFileSync("cjs/package.json", '{ "type": "commonjs" }\n');
copyFileSync("src/index.d.ts", "cjs/index.d.ts");
