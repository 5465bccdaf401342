// SPDX-License-Identifier: Apache-2.0
// Reads the golden events as typed objects and writes them again.  quicktype's Kotlin is for the compiler plugin of
// kotlinx.serialization, which Debian has not: its annotations are declared in Annotations.kt and obeyed here through Gson.
package dev.homeward.roundtrip

import com.google.gson.*
import com.google.gson.reflect.TypeToken
import com.google.gson.stream.JsonReader
import com.google.gson.stream.JsonWriter
import dev.homeward.events.SessionCompleted
import kotlinx.serialization.SerialName

class ByValue : TypeAdapterFactory {
	override fun <T> create(gson: Gson, type: TypeToken<T>): TypeAdapter<T>? {
		val constants = type.rawType.enumConstants ?: return null
		val field = type.rawType.getDeclaredField("value")
		field.isAccessible = true
		return object : TypeAdapter<T>() {
			override fun write(out: JsonWriter, value: T?) {
				if (value == null) out.nullValue() else out.value(field.get(value) as String)
			}

			@Suppress("UNCHECKED_CAST")
			override fun read(reader: JsonReader): T {
				val text = reader.nextString()
				return constants.first { field.get(it) == text } as T
			}
		}
	}
}

fun energy(session: SessionCompleted): Long = session.energyWh

fun main() {
	val gson = GsonBuilder().disableHtmlEscaping().registerTypeAdapterFactory(ByValue())
		.setFieldNamingStrategy { it.getAnnotation(SerialName::class.java)?.value ?: it.name }.create()
	generateSequence(::readLine).forEach { line ->
		val case = JsonParser.parseString(line).asJsonObject
		val type = Class.forName("dev.homeward.events." + case["title"].asString)
		val typed = gson.fromJson<Any>(case["data"], type)
		if (typed is SessionCompleted) check(energy(typed) == case["data"].asJsonObject["energy_wh"].asLong)
		case.add("data", gson.toJsonTree(typed))
		println(gson.toJson(case))
	}
}
