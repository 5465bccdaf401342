/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log keys of the other regions: who may sign which log, and whose
 * cosignature counts.  Replaced as a whole when settings are read again.  Any
 * thread; a mutex held for a copy.
 */
#ifndef POLICY_LOG_PEERS_H
#define POLICY_LOG_PEERS_H

#include "base/object_id.h"
#include "policy/note.h"

#define LOG_PEERS_MAX 64 /* regions of one company */

struct log_peer {
	char region[REGION_SIZE];
	struct note_verifier key; /* of its own log */
};

struct log_peers;

struct log_peers *log_peers_create(void);
void log_peers_destroy(struct log_peers *peers);
/* Copies; at most LOG_PEERS_MAX. */
void log_peers_define(struct log_peers *peers, const struct log_peer *all, size_t count);
/* False: that region's key is not known here. */
bool log_peers_find(struct log_peers *peers, const char *region, struct note_verifier *key_out);
/* All of them, at most LOG_PEERS_MAX; returns how many. */
size_t log_peers_copy(struct log_peers *peers, struct log_peer all_out[LOG_PEERS_MAX]);

#endif
