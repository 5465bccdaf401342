/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Header guard: refuses every request that two HTTP parsers could read in two
 * ways, before an endpoint or a body sees it.  libmicrohttpd 0.9.75 hides bare
 * line feeds, folded lines and NULs by parsing them away, but its strings point
 * into the read buffer, where CR and LF each became a NUL: so the distance from
 * the end of one field to the start of the next says what stood between them, and
 * the header section's size says how it ended.  Anything but exactly CR LF does
 * not add up.  Stateless; runs on the connection's HTTP thread.
 */
#include <string.h>
#include <strings.h>

#include "base/http_server_internal.h"

#define CONTENT_LENGTH_DIGITS_MAX 15

struct guard {
	struct guarded_headers *headers;
	const char *why;      /* the first rule broken */
	const char *expected; /* where the next field must start */
	int fields;
	int hosts;
	int content_types;
	int authorizations;
	int expects;
	int own_count;
	const char *own[OWN_HEADERS_MAX];
};

/* A bit for each of the 128 ASCII characters that RFC 9110 lets a token hold. */
static bool is_token_char(unsigned char c)
{
	static const uint64_t set[2] = { 0x03ff6cfa00000000, 0x57ffffffc7fffffe };
	return c < 128 && (set[c >> 6] >> (c & 63) & 1) != 0;
}

static bool is_token(const char *text, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		if (!is_token_char((unsigned char)text[i]))
			return false;
	}
	return size > 0;
}

static bool value_is_clean(const char *value, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		unsigned char c = (unsigned char)value[i];
		if ((c < 0x20 && c != '\t') || c == 0x7f)
			return false;
	}
	return true;
}

static bool host_is_clean(const char *value, size_t size)
{
	for (size_t i = 0; i < size; i++) {
		unsigned char c = (unsigned char)value[i];
		if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
			    (c != '\0' && strchr(".-_:[]", c) != NULL)))
			return false;
	}
	return size > 0;
}

static const char *check_content_length(struct guard *guard, const char *value, size_t size)
{
	if (guard->headers->has_content_length)
		return "content_length_twice";
	if (size == 0 || size > CONTENT_LENGTH_DIGITS_MAX)
		return "content_length";
	size_t length = 0;
	for (size_t i = 0; i < size; i++) {
		if (value[i] < '0' || value[i] > '9')
			return "content_length";
		length = length * 10 + (size_t)(value[i] - '0');
	}
	guard->headers->has_content_length = true;
	guard->headers->content_length = length;
	return NULL;
}

static const char *check_own(struct guard *guard, const char *key)
{
	for (int i = 0; i < guard->own_count; i++) {
		if (strcasecmp(guard->own[i], key) == 0)
			return "own_header_twice";
	}
	if (guard->own_count == OWN_HEADERS_MAX)
		return "own_headers";
	guard->own[guard->own_count++] = key;
	return NULL;
}

static const char *check_known(struct guard *guard, const char *key, size_t key_size, const char *value, size_t size)
{
	switch (key_size) {
	case 4:
		if (strcasecmp(key, "Host") == 0) {
			if (++guard->hosts > 1)
				return "host_twice";
			return host_is_clean(value, size) ? NULL : "host";
		}
		break;
	case 6:
		if (strcasecmp(key, "Expect") == 0) {
			if (++guard->expects > 1 || strcasecmp(value, "100-continue") != 0)
				return "expect";
			guard->headers->expects_continue = true;
		}
		break;
	case 12:
		if (strcasecmp(key, "Content-Type") == 0 && ++guard->content_types > 1)
			return "content_type_twice";
		break;
	case 13:
		if (strcasecmp(key, "Authorization") == 0 && ++guard->authorizations > 1)
			return "authorization_twice";
		break;
	case 14:
		if (strcasecmp(key, "Content-Length") == 0)
			return check_content_length(guard, value, size);
		break;
	case 17:
		if (strcasecmp(key, "Transfer-Encoding") == 0)
			return "transfer_encoding";
		break;
	default:
		break;
	}
	return key_size > 9 && strncasecmp(key, "Homeward-", 9) == 0 ? check_own(guard, key) : NULL;
}

static const char *check_field(struct guard *guard, const char *key, size_t key_size, const char *value, size_t size)
{
	if (++guard->fields > HEADERS_MAX)
		return "too_many_headers";
	if (key != guard->expected)
		return "line_ending";
	if (!is_token(key, key_size))
		return "header_name";
	if (value == NULL || value <= key + key_size || !value_is_clean(value, size))
		return "header_value";
	for (const char *between = key + key_size + 1; between < value; between++) {
		if (*between != ' ' && *between != '\t')
			return "header_value";
	}
	guard->expected = value + size + 2;
	return check_known(guard, key, key_size, value, size);
}

static enum MHD_Result on_field(
	void *arg, enum MHD_ValueKind kind, const char *key, size_t key_size, const char *value, size_t value_size)
{
	struct guard *guard = arg;
	(void)kind;
	guard->why = check_field(guard, key, key_size, value, value_size);
	return guard->why == NULL ? MHD_YES : MHD_NO;
}

static const char *check_request_line(const struct http_request *request, const char *version)
{
	size_t method_length = strlen(request->method);
	if (!is_token(request->method, method_length))
		return "method";
	if (request->raw_uri != request->method + method_length + 1)
		return "request_line";
	if (version != request->raw_uri + request->uri_length + 1)
		return "request_line";
	if (strcmp(version, "HTTP/1.1") != 0 && strcmp(version, "HTTP/1.0") != 0)
		return "version";
	return request->uri_length > URI_SIZE_MAX ? "uri_too_long" : NULL;
}

enum status http_guard(const struct http_request *request, const char *version, struct guarded_headers *headers_out,
	const char **why_out)
{
	memset(headers_out, 0, sizeof *headers_out);
	*why_out = check_request_line(request, version);
	if (*why_out != NULL)
		return STATUS_INVALID;
	struct guard guard = { .headers = headers_out, .expected = version + strlen(version) + 2 };
	struct MHD_Connection *mhd = request->connection->mhd;
	MHD_get_connection_values_n(mhd, MHD_HEADER_KIND, on_field, &guard);
	if (guard.why == NULL && guard.hosts == 0)
		guard.why = "no_host";
	if (guard.why == NULL) {
		const union MHD_ConnectionInfo *info = MHD_get_connection_info(
			mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
		if (info == NULL || request->method + info->header_size != guard.expected + 2)
			guard.why = "line_ending";
	}
	*why_out = guard.why;
	return guard.why == NULL ? STATUS_OK : STATUS_INVALID;
}
