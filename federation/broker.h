/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One connection to the region's RabbitMQ: mutual TLS with the broker's name
 * checked, SASL EXTERNAL, two channels.  The only user of librabbitmq.  One
 * thread at a time, but for broker_interrupt().  After any failure the
 * connection is good for nothing but broker_close().
 *
 * Nothing happens in the background: call broker_wait() at least every few
 * seconds, or the heartbeats stop and the broker hangs up.
 */
#ifndef FEDERATION_BROKER_H
#define FEDERATION_BROKER_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"
#include "base/strbuf.h"

struct broker;

struct broker_settings {
	const char *url; /* amqps://HOST[:PORT]/VHOST; HOST is a name in the broker's certificate */
	const char *certificate, *key, *ca;
	int64_t timeout_ms; /* of connecting, of each handshake and of each question to the broker */
	int heartbeat_s;
};

/* NULL, or what is wrong with it. */
const char *broker_url_check(const char *url);

MUST_CHECK enum status broker_open(
	const struct broker_settings *settings, struct broker **broker_out, struct strbuf *why);
/* Accepts NULL. */
void broker_close(struct broker *broker);
/* From any thread, while the broker is open: what blocks in it fails soon. */
void broker_interrupt(struct broker *broker);

/* Every later broker_publish is confirmed or refused, by tags that count from 1. */
MUST_CHECK enum status broker_confirm(struct broker *broker, struct strbuf *why);
/* Deliveries come by broker_wait, at most `prefetch` without an acknowledgement. */
MUST_CHECK enum status broker_consume(struct broker *broker, const char *queue, int prefetch, struct strbuf *why);
/* The deliveries up to and including this tag. */
MUST_CHECK enum status broker_acknowledge(struct broker *broker, uint64_t tag, struct strbuf *why);

struct broker_message {
	const char *exchange, *key, *id, *mark; /* mark comes back with a return, and crosses with the message */
	const char *body;
	size_t body_size;
	const char *content_type; /* NULL: one event in structured mode */
	bool is_mandatory;        /* returned when no queue takes it */
	bool is_passing;          /* not kept over a broker's restart, and gone from any queue after half a minute */
};
/* Persistent, unless it is passing.  STATUS_OK means only that it was written to the socket. */
MUST_CHECK enum status broker_publish(struct broker *broker, const struct broker_message *message, struct strbuf *why);

enum broker_happening {
	BROKER_NOTHING, /* the time is up */
	BROKER_CONFIRMED,
	BROKER_REFUSED,
	BROKER_RETURNED, /* comes before the message's confirmation */
	BROKER_DELIVERED,
	BROKER_BLOCKED, /* memory or disk alarm: publish nothing until BROKER_UNBLOCKED */
	BROKER_UNBLOCKED
};
struct broker_news {
	enum broker_happening happening;
	uint64_t tag;     /* confirmed, refused, delivered */
	bool is_multiple; /* confirmed, refused: all tags up to this one */
	char mark[64];    /* returned */
	char reason[128]; /* returned, blocked */
	/* Delivered; the caller's to release. */
	struct strbuf key, body;
	char traceparent[64];   /* the header; "" none, or it is no text */
	char content_type[128]; /* "" unknown */
	char exchange[64];      /* it was published to */
	char user[64];          /* who said so and was believed by the broker; "" nobody did */
	json_t *attributes;     /* of the headers cloudEvents:NAME, without that; NULL: there are none */
	bool is_from_link;      /* else it was published at this broker */
	char link_cluster[64];  /* what the far broker calls itself; "" unknown */
	char link_uri[512];     /* where our broker fetched it, without credentials; "" unknown */
};
/* STATUS_UNREACHABLE when the connection is gone. */
MUST_CHECK enum status broker_wait(
	struct broker *broker, int64_t timeout_ms, struct broker_news *news_out, struct strbuf *why);
bool broker_is_blocked(const struct broker *broker);
void broker_news_release(struct broker_news *news);

#endif
