// SPDX-License-Identifier: Apache-2.0
package kotlinx.serialization.descriptors

interface Unused
