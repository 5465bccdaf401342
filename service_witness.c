/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What regions sign for each other: this region's memory of the others' logs, its
 * own log's files shown to them, and the asking for their cosignatures.  All of
 * it lives on the control loop; here it is only made and taken down.
 */
#include <stdlib.h>
#include <string.h>

#include "service.h"

enum status service_define_log_peers(struct service *service, const struct settings *settings, struct strbuf *why)
{
	struct log_peer *all = calloc(LOG_PEERS_MAX, sizeof(*all));
	struct strbuf reason = STRBUF_INIT;
	enum status status;
	size_t count = 0;

	if (service->log_peers == NULL)
		service->log_peers = log_peers_create();
	status = all != NULL && service->log_peers != NULL ? STATUS_OK : STATUS_NO_MEMORY;
	for (size_t i = 0; status == STATUS_OK && i < settings->peer_count && count < LOG_PEERS_MAX; i++) {
		const struct settings_peer *peer = &settings->peers[i];

		if (peer->log_key == NULL)
			continue;
		memcpy(all[count].region, peer->region, sizeof(all[count].region));
		status = note_verifier_parse(peer->log_key, &all[count].key, &reason);
		if (status == STATUS_OK && all[count].key.type != NOTE_ED25519) {
			strbuf_adds(&reason, "it is a cosigner's key, not a log's");
			status = STATUS_INVALID;
		}
		if (status != STATUS_OK)
			strbuf_addf(why, "peers.%s.log_key: %s", peer->region, reason.data);
		count++;
	}
	if (status == STATUS_OK)
		log_peers_define(service->log_peers, all, count);
	strbuf_release(&reason);
	free(all);
	return status;
}

enum status service_witness_open(struct service *service, struct strbuf *why)
{
	const struct settings *settings = service->settings;
	struct log_service_settings log = { service->control, settings->access_log.directory, NULL, clock_system(),
		{ service_peer_log_alarmed, service } };
	struct note_signer *signer = NULL;
	struct strbuf folder = STRBUF_INIT;
	enum status status;

	strbuf_addf(&folder, "%s/witnessed", settings->state_dir);
	status = strbuf_ok(&folder) ? note_signer_load(settings->access_log.signing_key_file,
					      settings->access_log.origin, false, &signer, why)
				    : STATUS_NO_MEMORY;
	if (status == STATUS_OK)
		status = witness_create(folder.data, signer, service->log_peers, &service->witness, why);
	log.witness = service->witness;
	if (status == STATUS_OK)
		status = log_service_create(&log, &service->log_service);
	strbuf_release(&folder);
	return status;
}

enum status service_cosigning_start(struct service *service)
{
	const struct settings *settings = service->settings;
	struct cosigning_settings cosigning = { .loop = service->control,
		.client = service->control_client,
		.peers = service->peers,
		.log_peers = service->log_peers,
		.directory = settings->access_log.directory,
		.own = *witness_key(service->witness),
		.interval_ms = settings->access_log.cosign_interval_ms };

	return cosigning_create(&cosigning, &service->cosigning);
}

void service_witness_close(struct service *service)
{
	cosigning_destroy(service->cosigning);
	log_service_destroy(service->log_service);
	witness_destroy(service->witness);
	log_peers_destroy(service->log_peers);
}
