/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Asks URLs that are suspect or down (and, rarely, idle ones) for their health,
 * on the control loop.  What is due is decided by router/peer_state.c; this file
 * only ticks and sends.
 *
 * Any HTTP answer counts as life: the certificate has named the right region by
 * then, and a region that says 503 answers lookups as quickly as it says that.
 */
#include "router/peers.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TICK_MS 50            /* how late a probe may be; a walk over a few entries */
#define PROBE_TIMEOUT_MS 1000 /* health answers from memory; also how long a frozen peer stays undetected */
#define PROBES_A_TICK_MAX 16

struct peers_prober {
	struct peers *peers;
	struct loop *loop;
	struct http_client *client;
	struct loop_timer timer;
	struct probe *first; /* under way */
};

struct probe {
	struct peers_prober *prober; /* NULL once the prober is gone */
	struct probe *next, **link;
	struct peer_probe_target target;
	struct http_client_call *call;
};

static void unlink_probe(struct probe *probe)
{
	*probe->link = probe->next;
	if (probe->next != NULL)
		probe->next->link = probe->link;
}

static void on_answer(void *arg, const struct http_client_result *result)
{
	struct probe *probe = arg;

	if (probe->prober != NULL) {
		unlink_probe(probe);
		peers_report_probe(probe->prober->peers, &probe->target, result->error, result->duration_ms);
	}
	free(probe);
}

static void send_probe(struct peers_prober *prober, const struct peer_probe_target *target)
{
	struct probe *probe = calloc(1, sizeof(*probe));
	char url[PEER_URL_SIZE + 32];
	struct http_client_request request = { .method = "GET",
		.url = url,
		.deadline_ms = loop_now_ms(prober->loop) + PROBE_TIMEOUT_MS,
		.connect_timeout_ms = PROBE_TIMEOUT_MS,
		.response_bytes_max = 64 * 1024,
		.peer_region = strncmp(target->url, "https:", 6) == 0 ? target->region : NULL };

	if (probe == NULL) {
		peers_report_probe(prober->peers, target, HTTP_CLIENT_CANCELLED, 0);
		return;
	}
	snprintf(url, sizeof(url), "%s/peer/v1/health", target->url);
	probe->prober = prober;
	probe->target = *target;
	probe->link = &prober->first;
	probe->next = prober->first;
	if (prober->first != NULL)
		prober->first->link = &probe->next;
	prober->first = probe;
	if (http_client_send(prober->client, &request, on_answer, probe, &probe->call) != STATUS_OK) {
		unlink_probe(probe);
		free(probe);
		peers_report_probe(prober->peers, target, HTTP_CLIENT_CANCELLED, 0);
	}
}

static void on_tick(void *arg)
{
	struct peers_prober *prober = arg;
	struct peer_probe_target targets[PROBES_A_TICK_MAX];
	size_t count = peers_take_due(prober->peers, targets, PROBES_A_TICK_MAX);

	for (size_t i = 0; i < count; i++)
		send_probe(prober, &targets[i]);
	loop_timer_start(&prober->timer, TICK_MS);
}

enum status peers_probe(struct peers *peers, struct loop *loop, struct http_client *client)
{
	struct peers_prober *prober = calloc(1, sizeof(*prober));
	enum status status;

	if (prober == NULL)
		return STATUS_NO_MEMORY;
	prober->peers = peers;
	prober->loop = loop;
	prober->client = client;
	status = loop_timer_init(loop, &prober->timer, on_tick, prober);
	if (status != STATUS_OK) {
		free(prober);
		return status;
	}
	*peers_prober_slot(peers) = prober;
	loop_timer_start(&prober->timer, TICK_MS);
	return STATUS_OK;
}

void peers_probe_stop(struct peers *peers)
{
	struct peers_prober *prober = peers != NULL ? *peers_prober_slot(peers) : NULL;

	if (prober == NULL)
		return;
	/* The client still owes each of them its end. */
	for (struct probe *probe = prober->first; probe != NULL; probe = probe->next)
		probe->prober = NULL;
	loop_timer_release(&prober->timer);
	free(prober);
	*peers_prober_slot(peers) = NULL;
}
