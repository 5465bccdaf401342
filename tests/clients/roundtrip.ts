// SPDX-License-Identifier: Apache-2.0
// Reads the golden events as typed objects and writes them again.
import * as fs from "node:fs";
import { Convert, SessionCompleted } from "./events";

type Converters = Record<string, (value: any) => any>;

// Typed use, for the compiler to look at.
function energy(session: SessionCompleted): number {
	return session.energy_wh;
}

for (const line of fs.readFileSync(0, "utf8").split("\n").filter((text) => text !== "")) {
	const { title, data } = JSON.parse(line);
	const converters = Convert as unknown as Converters;
	const typed = converters[`to${title}`](JSON.stringify(data));
	if (title === "SessionCompleted" && energy(typed) !== data.energy_wh) {
		throw new Error("energy_wh");
	}
	const name = title.charAt(0).toLowerCase() + title.slice(1);
	console.log(JSON.stringify({ title, data: JSON.parse(converters[`${name}ToJson`](typed)) }));
}
