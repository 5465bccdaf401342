// SPDX-License-Identifier: Apache-2.0
// generate.mjs SCHEMAS OUT: writes typed event libraries, one file for each language, with quicktype.
// Times stay text: a JavaScript Date would round them to milliseconds.
import fs from "node:fs";
import path from "node:path";
import { FetchingJSONSchemaStore, InputData, JSONSchemaInput, quicktypeMultiFile } from "quicktype-core";

const [schemas, out] = process.argv.slice(2);

const LANGUAGES = [
	["typescript", "events.ts", { "runtime-typecheck": "true", "acronym-style": "camel", "prefer-unions": "true" }],
	["python", "events.py", { "python-version": "3.7" }],
	["php", "events.php", {}],
	["kotlin", "Events.kt", { framework: "kotlinx", package: "dev.homeward.events" }],
	["cjson", "events.h", { "hashtable-size": "64", "enumerator-style": "upper-underscore-case" }],
];

function withoutTimes(schema) {
	if (Array.isArray(schema)) {
		return schema.map(withoutTimes);
	}
	if (schema === null || typeof schema !== "object") {
		return schema;
	}
	return Object.fromEntries(Object.entries(schema)
		.filter(([key, value]) => !(key === "format" && value === "date-time"))
		.map(([key, value]) => [key, withoutTimes(value)]));
}

// quicktype has no "any" in PHP and C: there the envelope comes without its data, which is of another class anyway.
const ANY_IS_UNKNOWN = ["php", "cjson"];

async function read(lang) {
	const names = [];
	const input = new JSONSchemaInput(new FetchingJSONSchemaStore());
	for (const file of fs.readdirSync(schemas).sort()) {
		if (!file.endsWith(".json") || file === "published.json") {
			continue;
		}
		const schema = JSON.parse(fs.readFileSync(path.join(schemas, file), "utf8"));
		const name = schema.title + (schema["x-version"] > 1 ? `V${schema["x-version"]}` : "");
		names.push(name);
		delete schema.$id;
		if (ANY_IS_UNKNOWN.includes(lang)) {
			schema.properties = Object.fromEntries(Object.entries(schema.properties).filter(([, field]) => field.type));
		}
		await input.addSource({ name, schema: JSON.stringify(withoutTimes(schema)) });
	}
	const inputData = new InputData();
	inputData.addInput(input);
	if (lang === "cjson") {
		fs.writeFileSync(path.join(out, lang, "types.h"), `#define TYPES(T) ${names.map((name) => `T(${name})`).join(" ")}\n`);
	}
	return inputData;
}

// quicktype's PHP warns of an optional field that is absent, and writes it as null, which no schema allows.
const MENDED = {
	php: (text) => text
		.replace(/\(\$obj->\{('[^']+')\}\)/g, "($obj->{$1} ?? null)")
		.replace(/return \$out;/g, "return (object) array_filter((array) $out, fn($value) => !is_null($value));"),
};

for (const [lang, file, rendererOptions] of LANGUAGES) {
	const folder = path.join(out, lang);
	fs.mkdirSync(folder, { recursive: true });
	const made = await quicktypeMultiFile({
		inputData: await read(lang), lang, rendererOptions, outputFilename: file,
		combineClasses: false, inferMaps: false, inferEnums: false, inferUuids: false, inferDateTimes: false,
		inferIntegerStrings: false, inferBooleanStrings: false,
	});
	for (const [name, text] of made) {
		const written = MENDED[lang] ? MENDED[lang](text.lines.join("\n")) : text.lines.join("\n");
		fs.writeFileSync(path.join(folder, name === "stdout" ? file : name), written);
	}
}
