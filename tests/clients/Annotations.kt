// SPDX-License-Identifier: Apache-2.0
package kotlinx.serialization

@Target(AnnotationTarget.CLASS)
annotation class Serializable

@Target(AnnotationTarget.FIELD)
@Retention(AnnotationRetention.RUNTIME)
annotation class SerialName(val value: String)
