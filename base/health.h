/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Health: named checks behind /livez, /readyz and /startupz.  livez only says
 * that the process turns; startupz turns good once and stays; readyz runs every
 * check each time.  A peer that is away never makes this region unready.
 * `?verbose` lists the checks: "[+]database ok", "[-]routes no route table yet".
 */
#ifndef BASE_HEALTH_H
#define BASE_HEALTH_H

#include <stdbool.h>

#include "base/http_server.h"
#include "base/strbuf.h"

struct health;

/* True when good; otherwise one short line in `why`.  Called on HTTP threads. */
typedef bool health_check(void *arg, struct strbuf *why);

struct health *health_create(void);
void health_destroy(struct health *health);
/* Before the listener starts.  The name is a static string. */
void health_add(struct health *health, const char *name, health_check *check, void *arg);
/* Called when start-up is complete. */
void health_started(struct health *health);

void health_reply_live(struct health *health, struct http_request *request);
void health_reply_ready(struct health *health, struct http_request *request);
void health_reply_started(struct health *health, struct http_request *request);

#endif
