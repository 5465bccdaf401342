/* SPDX-License-Identifier: Apache-2.0 */
/* quicktype includes c-hashtable always; no schema here has maps, so nothing of it is called. */
