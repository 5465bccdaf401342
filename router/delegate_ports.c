/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Fits the delegate to the real transport and the real gate.  Apart from it, so that
 * its tests can be linked without either.
 */
#include "router/delegate.h"

static enum status send_http(void *arg, const struct http_client_request *request, http_client_done *done,
	void *done_arg, struct http_client_call **call_out)
{
	return http_client_send(arg, request, done, done_arg, call_out);
}

static void cancel_http(void *arg, struct http_client_call *call)
{
	http_client_cancel(arg, call);
}

enum status delegate_create(struct loop *loop, struct http_client *client, struct peers *peers,
	const struct delegate_settings *settings, struct delegate **delegate_out)
{
	const struct delegate_ports ports = { send_http, cancel_http, client, policy_release_covers,
		policy_release_destroy };

	return delegate_create_with(loop, &ports, peers, settings, delegate_out);
}
