// SPDX-License-Identifier: Apache-2.0
package kotlinx.serialization.encoding

interface Unused
