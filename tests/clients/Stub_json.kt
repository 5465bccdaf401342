// SPDX-License-Identifier: Apache-2.0
package kotlinx.serialization.json

typealias JsonElement = com.google.gson.JsonElement
