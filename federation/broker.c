/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The broker connection.  Every return is looked at: librabbitmq opens a socket
 * although key and certificate do not match, reports a publish as done although
 * the peer is gone, and waits for ever where no timeout is set.
 *
 * Channel 1 consumes, channel 2 publishes; they share the connection's thread.
 * A basic.return is followed by its message's content, which must be read before
 * the confirmation that comes after it.
 */
#include "federation/broker.h"

#include <amqp.h>
#include <amqp_framing.h>
#include <amqp_ssl_socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "federation/event.h"

#define CONSUMING 1
#define PUBLISHING 2
#define CHANNELS_MAX 2
#define FRAME_BYTES 131072
#define TRANSIENT 1
#define PERSISTENT 2
#define PASSING_MS "30000" /* longer than canaries are apart, also to a region that is not heard of */
#define DEFAULT_TLS_PORT 5671
#define UNUSED_IDENTITY "homeward" /* the certificate names the user; but the library fails on an empty text */

struct broker {
	amqp_connection_state_t connection;
	pthread_mutex_t lock; /* of fd, for broker_interrupt() */
	int fd;
	bool is_blocked;
};

static struct timeval to_timeval(int64_t ms)
{
	return (struct timeval){ .tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000 };
}

static amqp_bytes_t to_bytes(const char *text)
{
	return amqp_cstring_bytes(text);
}

static void copy_bytes(char *text, size_t size, amqp_bytes_t bytes)
{
	size_t length = bytes.len < size ? bytes.len : size - 1;

	if (length > 0)
		memcpy(text, bytes.bytes, length);
	text[length] = '\0';
}

static enum status fail(struct strbuf *why, const char *doing, int code)
{
	strbuf_addf(why, "%s: %s", doing, amqp_error_string2(code));
	return code == AMQP_STATUS_TIMEOUT ? STATUS_DEADLINE : STATUS_UNREACHABLE;
}

static enum status check_reply(struct strbuf *why, const char *doing, amqp_rpc_reply_t reply)
{
	switch (reply.reply_type) {
	case AMQP_RESPONSE_NORMAL:
		return STATUS_OK;
	case AMQP_RESPONSE_LIBRARY_EXCEPTION:
		return fail(why, doing, reply.library_error);
	case AMQP_RESPONSE_SERVER_EXCEPTION:
		break;
	case AMQP_RESPONSE_NONE:
	default:
		strbuf_addf(why, "%s: no answer", doing);
		return STATUS_UNREACHABLE;
	}
	if (reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD) {
		const amqp_connection_close_t *close = reply.reply.decoded;
		strbuf_addf(why, "%s: %d %.*s", doing, close->reply_code, (int)close->reply_text.len,
			(const char *)close->reply_text.bytes);
	} else if (reply.reply.id == AMQP_CHANNEL_CLOSE_METHOD) {
		const amqp_channel_close_t *close = reply.reply.decoded;
		strbuf_addf(why, "%s: %d %.*s", doing, close->reply_code, (int)close->reply_text.len,
			(const char *)close->reply_text.bytes);
	} else {
		strbuf_addf(why, "%s: refused", doing);
	}
	return STATUS_UNREACHABLE;
}

/* ---- opening ---- */

/* Takes a copy apart; text must live as long as info is used. */
static const char *read_url(char *text, struct amqp_connection_info *info)
{
	if (strncmp(text, "amqps://", 8) != 0)
		return "amqps://HOST[:PORT]/VHOST: plain connections are not made";
	if (strchr(text, '@') != NULL)
		return "no user: the certificate is the credential";
	if (amqp_parse_url(text, info) != AMQP_STATUS_OK || info->host == NULL || info->host[0] == '\0' ||
		info->vhost == NULL || info->vhost[0] == '\0')
		return "amqps://HOST[:PORT]/VHOST";
	return NULL;
}

const char *broker_url_check(const char *url)
{
	struct amqp_connection_info info;
	char *text = strdup(url);
	const char *wrong = text != NULL ? read_url(text, &info) : "out of memory";

	free(text);
	return wrong;
}

static enum status open_socket(struct broker *broker, const struct broker_settings *settings,
	const struct amqp_connection_info *info, struct strbuf *why)
{
	struct timeval timeout = to_timeval(settings->timeout_ms);
	unsigned silence_ms = (unsigned)settings->heartbeat_s * 2000u;
	amqp_socket_t *socket = amqp_ssl_socket_new(broker->connection);
	int code;

	if (socket == NULL)
		return STATUS_NO_MEMORY;
	amqp_ssl_socket_set_verify_peer(socket, 1);
	amqp_ssl_socket_set_verify_hostname(socket, 1);
	code = amqp_ssl_socket_set_ssl_versions(socket, AMQP_TLSv1_2, AMQP_TLSvLATEST);
	if (code != AMQP_STATUS_OK)
		return fail(why, "TLS versions", code);
	code = amqp_ssl_socket_set_cacert(socket, settings->ca);
	if (code != AMQP_STATUS_OK)
		return fail(why, settings->ca, code);
	code = amqp_ssl_socket_set_key(socket, settings->certificate, settings->key);
	if (code != AMQP_STATUS_OK)
		return fail(why, "certificate and key do not fit or cannot be read", code);
	code = amqp_set_handshake_timeout(broker->connection, &timeout);
	if (code == AMQP_STATUS_OK)
		code = amqp_set_rpc_timeout(broker->connection, &timeout);
	if (code == AMQP_STATUS_OK)
		code = amqp_socket_open_noblock(socket, info->host, info->port, &timeout);
	if (code != AMQP_STATUS_OK)
		return fail(why, "connect", code);
	broker->fd = amqp_get_sockfd(broker->connection);
	/* A peer that is gone without a word ends a blocked write too. */
	if (setsockopt(broker->fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &silence_ms, sizeof(silence_ms)) != 0) {
		strbuf_adds(why, "connect: no write timeout");
		return STATUS_IO;
	}
	return STATUS_OK;
}

static enum status log_in(struct broker *broker, const struct broker_settings *settings,
	const struct amqp_connection_info *info, struct strbuf *why)
{
	amqp_table_entry_t can[] = {
		{ .key = to_bytes("connection.blocked"),
			.value = { .kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = 1 } },
		{ .key = to_bytes("publisher_confirms"),
			.value = { .kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = 1 } },
		{ .key = to_bytes("consumer_cancel_notify"),
			.value = { .kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = 1 } },
		{ .key = to_bytes("authentication_failure_close"),
			.value = { .kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = 1 } },
	};
	amqp_table_entry_t about[] = {
		{ .key = to_bytes("product"),
			.value = { .kind = AMQP_FIELD_KIND_UTF8, .value.bytes = to_bytes("homeward") } },
		{ .key = to_bytes("capabilities"),
			.value = { .kind = AMQP_FIELD_KIND_TABLE,
				.value.table = { .num_entries = sizeof(can) / sizeof(can[0]), .entries = can } } },
	};
	amqp_table_t properties = { .num_entries = 2, .entries = about };
	enum status status;

	status = check_reply(why, "log in",
		amqp_login_with_properties(broker->connection, info->vhost, CHANNELS_MAX, FRAME_BYTES,
			settings->heartbeat_s, &properties, AMQP_SASL_METHOD_EXTERNAL, UNUSED_IDENTITY));
	for (amqp_channel_t channel = CONSUMING; channel <= PUBLISHING && status == STATUS_OK; channel++) {
		amqp_channel_open(broker->connection, channel);
		status = check_reply(why, "channel", amqp_get_rpc_reply(broker->connection));
	}
	return status;
}

enum status broker_open(const struct broker_settings *settings, struct broker **broker_out, struct strbuf *why)
{
	struct amqp_connection_info info;
	struct broker *broker = calloc(1, sizeof(*broker));
	char *text = strdup(settings->url);
	enum status status = STATUS_NO_MEMORY;
	const char *wrong;

	*broker_out = NULL;
	if (broker == NULL || text == NULL)
		goto out;
	broker->fd = -1;
	pthread_mutex_init(&broker->lock, NULL);
	broker->connection = amqp_new_connection();
	if (broker->connection == NULL)
		goto out;
	wrong = read_url(text, &info);
	if (wrong != NULL) {
		strbuf_adds(why, wrong);
		status = STATUS_INVALID;
		goto out;
	}
	if (strstr(settings->url + 8, ":") == NULL)
		info.port = DEFAULT_TLS_PORT;
	status = open_socket(broker, settings, &info, why);
	if (status == STATUS_OK)
		status = log_in(broker, settings, &info, why);
	if (status != STATUS_OK)
		goto out;
	*broker_out = broker;
	broker = NULL;
out:
	free(text);
	broker_close(broker);
	return status;
}

void broker_close(struct broker *broker)
{
	if (broker == NULL)
		return;
	pthread_mutex_lock(&broker->lock);
	broker->fd = -1;
	pthread_mutex_unlock(&broker->lock);
	/* No goodbye: the state of the stream is not known here, and the broker requeues what was not acknowledged. */
	if (broker->connection != NULL)
		amqp_destroy_connection(broker->connection);
	pthread_mutex_destroy(&broker->lock);
	free(broker);
}

void broker_interrupt(struct broker *broker)
{
	pthread_mutex_lock(&broker->lock);
	if (broker->fd >= 0)
		shutdown(broker->fd, SHUT_RDWR);
	pthread_mutex_unlock(&broker->lock);
}

enum status broker_confirm(struct broker *broker, struct strbuf *why)
{
	amqp_confirm_select(broker->connection, PUBLISHING);
	return check_reply(why, "confirm.select", amqp_get_rpc_reply(broker->connection));
}

enum status broker_consume(struct broker *broker, const char *queue, int prefetch, struct strbuf *why)
{
	enum status status;

	amqp_basic_qos(broker->connection, CONSUMING, 0, (uint16_t)prefetch, 0);
	status = check_reply(why, "basic.qos", amqp_get_rpc_reply(broker->connection));
	if (status != STATUS_OK)
		return status;
	amqp_basic_consume(broker->connection, CONSUMING, to_bytes(queue), amqp_empty_bytes, 0, 0, 0, amqp_empty_table);
	return check_reply(why, queue, amqp_get_rpc_reply(broker->connection));
}

enum status broker_acknowledge(struct broker *broker, uint64_t tag, struct strbuf *why)
{
	int code = amqp_basic_ack(broker->connection, CONSUMING, tag, 1);

	return code == AMQP_STATUS_OK ? STATUS_OK : fail(why, "basic.ack", code);
}

enum status broker_publish(struct broker *broker, const struct broker_message *message, struct strbuf *why)
{
	amqp_basic_properties_t properties = {
		._flags = AMQP_BASIC_CONTENT_TYPE_FLAG | AMQP_BASIC_DELIVERY_MODE_FLAG | AMQP_BASIC_MESSAGE_ID_FLAG |
			  AMQP_BASIC_CORRELATION_ID_FLAG,
		.content_type = to_bytes(
			message->content_type != NULL ? message->content_type : "application/cloudevents+json"),
		.delivery_mode = message->is_passing ? TRANSIENT : PERSISTENT,
		.message_id = to_bytes(message->id),
		.correlation_id = to_bytes(message->mark),
		.expiration = to_bytes(PASSING_MS),
	};
	amqp_bytes_t body = { .len = message->body_size, .bytes = (void *)(uintptr_t)message->body };
	int code;

	if (message->is_passing)
		properties._flags |= AMQP_BASIC_EXPIRATION_FLAG;
	code = amqp_basic_publish(broker->connection, PUBLISHING, to_bytes(message->exchange), to_bytes(message->key),
		message->is_mandatory, 0, &properties, body);

	return code == AMQP_STATUS_OK ? STATUS_OK : fail(why, "basic.publish", code);
}

/* ---- what the broker says ---- */

/* x-received-from[0], which the federation link puts in front. */
static void read_hop(const amqp_field_value_t *hops, struct broker_news *news)
{
	const amqp_table_t *hop;

	if (hops->kind != AMQP_FIELD_KIND_ARRAY || hops->value.array.num_entries < 1 ||
		hops->value.array.entries[0].kind != AMQP_FIELD_KIND_TABLE)
		return;
	hop = &hops->value.array.entries[0].value.table;
	for (int i = 0; i < hop->num_entries; i++) {
		const amqp_field_value_t *value = &hop->entries[i].value;
		char name[32];

		if (value->kind != AMQP_FIELD_KIND_UTF8)
			continue;
		copy_bytes(name, sizeof(name), hop->entries[i].key);
		if (strcmp(name, "cluster-name") == 0)
			copy_bytes(news->link_cluster, sizeof(news->link_cluster), value->value.bytes);
		else if (strcmp(name, "uri") == 0)
			copy_bytes(news->link_uri, sizeof(news->link_uri), value->value.bytes);
	}
}

static void read_headers(const amqp_basic_properties_t *properties, struct broker_news *news)
{
	const amqp_table_t *headers = &properties->headers;

	if ((properties->_flags & AMQP_BASIC_HEADERS_FLAG) == 0)
		return;
	for (int i = 0; i < headers->num_entries; i++) {
		char name[32];

		copy_bytes(name, sizeof(name), headers->entries[i].key);
		if (strcmp(name, "traceparent") == 0 && headers->entries[i].value.kind == AMQP_FIELD_KIND_UTF8)
			copy_bytes(news->traceparent, sizeof(news->traceparent), headers->entries[i].value.value.bytes);
		if (strcmp(name, "x-received-from") != 0 || news->is_from_link)
			continue;
		/* Also where it cannot be read: that must not pass for "published here". */
		news->is_from_link = true;
		read_hop(&headers->entries[i].value, news);
	}
}

/* What no attribute can be is null, and refused with the envelope. */
static json_t *read_value(const amqp_field_value_t *value)
{
	switch (value->kind) {
	case AMQP_FIELD_KIND_UTF8:
	case AMQP_FIELD_KIND_BYTES:
		return json_stringn(value->value.bytes.bytes, value->value.bytes.len);
	case AMQP_FIELD_KIND_BOOLEAN:
		return json_boolean(value->value.boolean);
	case AMQP_FIELD_KIND_I8:
		return json_integer(value->value.i8);
	case AMQP_FIELD_KIND_I16:
		return json_integer(value->value.i16);
	case AMQP_FIELD_KIND_I32:
		return json_integer(value->value.i32);
	case AMQP_FIELD_KIND_I64:
		return json_integer(value->value.i64);
	default:
		return json_null();
	}
}

/* Headers of CloudEvents in binary mode; JMS and AMQP 1.0 clients that may not write a colon write '_'. */
static enum status read_attributes(const amqp_basic_properties_t *properties, struct broker_news *news)
{
	static const char prefix[] = "cloudEvents";
	const amqp_table_t *headers = &properties->headers;

	if ((properties->_flags & AMQP_BASIC_CONTENT_TYPE_FLAG) != 0)
		copy_bytes(news->content_type, sizeof(news->content_type), properties->content_type);
	for (int i = 0; (properties->_flags & AMQP_BASIC_HEADERS_FLAG) != 0 && i < headers->num_entries; i++) {
		char name[64];
		const char *attribute = name + sizeof(prefix);
		json_t *value;

		copy_bytes(name, sizeof(name), headers->entries[i].key);
		if (strncmp(name, prefix, sizeof(prefix) - 1) != 0 ||
			(name[sizeof(prefix) - 1] != ':' && name[sizeof(prefix) - 1] != '_'))
			continue;
		if (news->attributes == NULL)
			news->attributes = json_object();
		value = read_value(&headers->entries[i].value);
		if (value == NULL) /* a text that is none */
			value = json_null();
		/* A name that is no UTF-8 is refused as one that is empty. */
		if (json_object_set_new(news->attributes, attribute, value) != 0 &&
			json_object_set_new(news->attributes, "", json_null()) != 0)
			return STATUS_NO_MEMORY;
	}
	return STATUS_OK;
}

static enum status read_delivery(
	struct broker *broker, const amqp_basic_deliver_t *deliver, struct broker_news *news, struct strbuf *why)
{
	amqp_message_t message;
	enum status status;

	news->happening = BROKER_DELIVERED;
	news->tag = deliver->delivery_tag;
	strbuf_add(&news->key, deliver->routing_key.bytes, deliver->routing_key.len);
	copy_bytes(news->exchange, sizeof(news->exchange), deliver->exchange);
	status = check_reply(why, "read", amqp_read_message(broker->connection, CONSUMING, &message, 0));
	if (status != STATUS_OK)
		return status;
	/* The broker refuses a message that names another user than its connection's. */
	if ((message.properties._flags & AMQP_BASIC_USER_ID_FLAG) != 0)
		copy_bytes(news->user, sizeof(news->user), message.properties.user_id);
	read_headers(&message.properties, news);
	status = read_attributes(&message.properties, news);
	strbuf_add(&news->body, message.body.bytes, message.body.len);
	amqp_destroy_message(&message);
	return strbuf_ok(&news->key) && strbuf_ok(&news->body) ? status : STATUS_NO_MEMORY;
}

static enum status read_return(
	struct broker *broker, const amqp_basic_return_t *back, struct broker_news *news, struct strbuf *why)
{
	amqp_message_t message;
	enum status status;

	news->happening = BROKER_RETURNED;
	copy_bytes(news->reason, sizeof(news->reason), back->reply_text);
	status = check_reply(why, "read", amqp_read_message(broker->connection, PUBLISHING, &message, 0));
	if (status != STATUS_OK)
		return status;
	if ((message.properties._flags & AMQP_BASIC_CORRELATION_ID_FLAG) != 0)
		copy_bytes(news->mark, sizeof(news->mark), message.properties.correlation_id);
	amqp_destroy_message(&message);
	return STATUS_OK;
}

static enum status read_method(
	struct broker *broker, const amqp_method_t *method, struct broker_news *news, struct strbuf *why)
{
	amqp_rpc_reply_t closed = { .reply_type = AMQP_RESPONSE_SERVER_EXCEPTION, .reply = *method };

	switch (method->id) {
	case AMQP_BASIC_ACK_METHOD: {
		const amqp_basic_ack_t *ack = method->decoded;
		news->happening = BROKER_CONFIRMED;
		news->tag = ack->delivery_tag;
		news->is_multiple = ack->multiple != 0;
		return STATUS_OK;
	}
	case AMQP_BASIC_NACK_METHOD: {
		const amqp_basic_nack_t *nack = method->decoded;
		news->happening = BROKER_REFUSED;
		news->tag = nack->delivery_tag;
		news->is_multiple = nack->multiple != 0;
		return STATUS_OK;
	}
	case AMQP_BASIC_DELIVER_METHOD:
		return read_delivery(broker, method->decoded, news, why);
	case AMQP_BASIC_RETURN_METHOD:
		return read_return(broker, method->decoded, news, why);
	case AMQP_CONNECTION_BLOCKED_METHOD: {
		const amqp_connection_blocked_t *blocked = method->decoded;
		news->happening = BROKER_BLOCKED;
		broker->is_blocked = true;
		copy_bytes(news->reason, sizeof(news->reason), blocked->reason);
		return STATUS_OK;
	}
	case AMQP_CONNECTION_UNBLOCKED_METHOD:
		news->happening = BROKER_UNBLOCKED;
		broker->is_blocked = false;
		return STATUS_OK;
	case AMQP_BASIC_CANCEL_METHOD:
		strbuf_adds(why, "the queue is gone");
		return STATUS_UNREACHABLE;
	case AMQP_CONNECTION_CLOSE_METHOD:
	case AMQP_CHANNEL_CLOSE_METHOD:
		return check_reply(why, "closed by the broker", closed);
	default:
		strbuf_addf(why, "unexpected method %08x", (unsigned)method->id);
		return STATUS_UNREACHABLE;
	}
}

enum status broker_wait(struct broker *broker, int64_t timeout_ms, struct broker_news *news_out, struct strbuf *why)
{
	struct timeval timeout = to_timeval(timeout_ms);
	amqp_frame_t frame;
	int code;

	memset(news_out, 0, sizeof(*news_out));
	strbuf_init(&news_out->key);
	strbuf_init(&news_out->body);
	amqp_maybe_release_buffers(broker->connection);
	code = amqp_simple_wait_frame_noblock(broker->connection, &frame, &timeout);
	if (code == AMQP_STATUS_TIMEOUT)
		return STATUS_OK;
	if (code != AMQP_STATUS_OK)
		return fail(why, "wait", code);
	/* Heartbeats are the library's; anything else that is not a method is content without its beginning. */
	if (frame.frame_type == AMQP_FRAME_HEARTBEAT)
		return STATUS_OK;
	if (frame.frame_type != AMQP_FRAME_METHOD) {
		strbuf_adds(why, "content out of place");
		return STATUS_UNREACHABLE;
	}
	return read_method(broker, &frame.payload.method, news_out, why);
}

bool broker_is_blocked(const struct broker *broker)
{
	return broker->is_blocked;
}

void broker_news_release(struct broker_news *news)
{
	strbuf_release(&news->key);
	strbuf_release(&news->body);
	json_decref(news->attributes);
	news->attributes = NULL;
}
