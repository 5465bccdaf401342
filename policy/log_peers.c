/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A table of a few regions, copied in and out: it is read once a minute and for
 * each cosigning request, and changes when an operator edits settings.
 */
#include "policy/log_peers.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"

struct log_peers {
	pthread_mutex_t mutex;
	size_t count;
	struct log_peer all[LOG_PEERS_MAX];
};

struct log_peers *log_peers_create(void)
{
	struct log_peers *peers = calloc(1, sizeof(*peers));

	if (peers != NULL)
		must(pthread_mutex_init(&peers->mutex, NULL) == 0);
	return peers;
}

void log_peers_destroy(struct log_peers *peers)
{
	if (peers == NULL)
		return;
	pthread_mutex_destroy(&peers->mutex);
	free(peers);
}

void log_peers_define(struct log_peers *peers, const struct log_peer *all, size_t count)
{
	must(count <= LOG_PEERS_MAX);
	pthread_mutex_lock(&peers->mutex);
	if (count > 0)
		memcpy(peers->all, all, count * sizeof(*all));
	peers->count = count;
	pthread_mutex_unlock(&peers->mutex);
}

bool log_peers_find(struct log_peers *peers, const char *region, struct note_verifier *key_out)
{
	bool is_found = false;

	memset(key_out, 0, sizeof(*key_out));
	pthread_mutex_lock(&peers->mutex);
	for (size_t i = 0; i < peers->count && !is_found; i++) {
		is_found = strcmp(peers->all[i].region, region) == 0;
		if (is_found)
			*key_out = peers->all[i].key;
	}
	pthread_mutex_unlock(&peers->mutex);
	return is_found;
}

size_t log_peers_copy(struct log_peers *peers, struct log_peer all_out[LOG_PEERS_MAX])
{
	size_t count;

	pthread_mutex_lock(&peers->mutex);
	count = peers->count;
	memcpy(all_out, peers->all, count * sizeof(*all_out));
	pthread_mutex_unlock(&peers->mutex);
	return count;
}
