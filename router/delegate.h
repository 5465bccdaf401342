/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Inside of the delegate: lookups that wait, batches under way, and the seam through
 * which it sends, so that tests can be the network and the gate.  Private to router.
 */
#ifndef ROUTER_DELEGATE_H
#define ROUTER_DELEGATE_H

#include "base/log.h"
#include "base/metrics.h"
#include "router/router.h"

#define DELEGATE_GATHERED 48 /* of this size a request's own cost is a twentieth of its lookups' */

struct delegate_ports {
	enum status (*send)(void *arg, const struct http_client_request *request, http_client_done *done,
		void *done_arg, struct http_client_call **call_out);
	void (*cancel)(void *arg, struct http_client_call *call);
	void *arg;
	bool (*covers)(const struct policy_release *release, const struct object_id *object, const char *peer);
	void (*drop_release)(struct policy_release *release);
};

/* As delegate_create, through other ports; copies them. */
MUST_CHECK enum status delegate_create_with(struct loop *loop, const struct delegate_ports *ports, struct peers *peers,
	const struct delegate_settings *settings, struct delegate **delegate_out);

struct delegated { /* one lookup; waiting, or in a batch */
	const struct lookup_question *question;
	struct policy_release *release;
	delegate_done *done;
	void *arg;
	struct delegate_lane *lane;
	struct delegate_batch *batch; /* NULL while waiting */
	size_t batch_index, heap_index;
	int64_t deadline_ms, queued_ms;
	struct delegated *next, *previous; /* among those waiting */
};

struct delegate_lane { /* what goes to one peer */
	struct delegate *delegate;
	struct delegate_lane *next;
	char region[REGION_SIZE];
	struct delegated *first, *last; /* waiting, oldest first */
	int64_t waiting, under_way;
	struct loop_timer linger;
	bool is_due; /* on the delegate's list of lanes to look at after this round */
	struct delegate_lane *next_due;
	struct metric_series *lookups, *requests, *retries;
	struct log_limit request_failed, answer_refused;
};

struct delegate_batch {             /* one request */
	struct delegate_lane *lane; /* NULL once the delegate is gone */
	struct delegate_batch *next, **link;
	struct delegated **lookups; /* NULL where a deadline ended one */
	size_t count, live;
	int attempts;
	char url[PEER_URL_SIZE];
	struct strbuf body;
	struct http_client_call *call;
};

struct delegate_deadlines { /* a heap, the soonest first */
	struct delegated **entries;
	size_t count, capacity;
};
MUST_CHECK enum status delegate_deadlines_add(struct delegate_deadlines *deadlines, struct delegated *lookup);
void delegate_deadlines_remove(struct delegate_deadlines *deadlines, struct delegated *lookup);

struct delegate {
	struct loop *loop;
	struct peers *peers;
	struct delegate_ports ports;
	struct delegate_settings settings;
	struct delegate_lane *lanes, *due;
	struct delegate_batch *batches;
	struct delegate_deadlines deadlines;
	struct loop_timer deadline_timer;
	int64_t armed_ms; /* when deadline_timer fires; INT64_MAX: not set */
	struct loop_task after_round, after_refusals;
	bool is_after_round_set;
	struct refusal *refused, **refused_tail;
	struct metric *lookups_metric, *requests_metric, *retries_metric;
};

/* Takes a share of the waiting lookups, at most batch_max, and sends them; a connection must be free; they end with a reason when that cannot be done. */
void delegate_batch_send(struct delegate_lane *lane);
/* Ends one lookup: out of every list, release dropped, done called; `answer` keeps what done did not take. */
void delegated_end(struct delegated *lookup, struct lookup_answer *answer, enum http_client_error failure);
/* Looks at the lane again after this round. */
void delegate_lane_wake(struct delegate_lane *lane);

#endif
