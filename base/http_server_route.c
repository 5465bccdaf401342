/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Endpoints: from the raw request target to a route and its parameters.  The
 * target is cut at '/', '?' and '&' before anything is decoded, and each piece is
 * decoded exactly once, so an encoded delimiter can never move a boundary.  The
 * table is sorted once, literals before parameters, so that the first match is
 * the most specific one.  Pure: no I/O, no locks, no allocation per request.
 */
#include <stdlib.h>
#include <string.h>

#include "base/http_server_internal.h"

static bool is_control(unsigned char c)
{
	return c < 0x20 || c == 0x7f;
}

/* Decodes in place; false for a bad escape or an encoded control character. */
static bool percent_decode(char *text, bool plus_is_space)
{
	char *to = text;
	for (const char *from = text; *from != '\0'; from++) {
		char c = *from;
		if (c == '%') {
			int high = hex_digit(from[1]);
			int low = high < 0 ? -1 : hex_digit(from[2]);
			if (low < 0)
				return false;
			c = (char)(high * 16 + low);
			if (is_control((unsigned char)c))
				return false;
			from += 2;
		} else if (c == '+' && plus_is_space) {
			c = ' ';
		}
		*to++ = c;
	}
	*to = '\0';
	return true;
}

/* Printable ASCII that no parser along the way takes for something else; one step a character on the hot path. */
static bool target_is_plain(const char *uri)
{
	for (const char *at = uri; *at != '\0'; at++) {
		unsigned char c = (unsigned char)*at;
		if (c <= 0x20 || c >= 0x7f || c == '\\' || c == '#' || c == '"' || c == '<' || c == '>')
			return false;
	}
	return true;
}

static enum status parse_query(char *query, struct parsed_uri *parsed, const char **why)
{
	char *rest = query;
	while (rest != NULL && *rest != '\0') {
		char *argument = rest;
		rest = strchr(rest, '&');
		if (rest != NULL)
			*rest++ = '\0';
		if (*argument == '\0')
			continue;
		if (parsed->query_count == QUERY_ARGS_MAX) {
			*why = "too many query arguments";
			return STATUS_INVALID;
		}
		char *value = strchr(argument, '=');
		if (value != NULL)
			*value++ = '\0';
		else
			value = argument + strlen(argument);
		if (!percent_decode(argument, true) || !percent_decode(value, true)) {
			*why = "a bad percent escape in the query";
			return STATUS_INVALID;
		}
		parsed->query[parsed->query_count].name = argument;
		parsed->query[parsed->query_count].value = value;
		parsed->query_count++;
	}
	return STATUS_OK;
}

static enum status parse_segments(char *path, struct parsed_uri *parsed, const char **why)
{
	char *rest = path;
	while (rest != NULL) {
		char *segment = rest;
		rest = strchr(rest, '/');
		if (rest != NULL)
			*rest++ = '\0';
		if (parsed->segment_count == SEGMENTS_MAX) {
			*why = "too many path segments";
			return STATUS_INVALID;
		}
		if (!percent_decode(segment, false)) {
			*why = "a bad percent escape in the path";
			return STATUS_INVALID;
		}
		if (*segment == '\0' || strcmp(segment, ".") == 0 || strcmp(segment, "..") == 0) {
			*why = "an empty or dot segment in the path";
			return STATUS_INVALID;
		}
		parsed->segments[parsed->segment_count++] = segment;
	}
	return STATUS_OK;
}

enum status uri_parse(char *uri, bool strict_path, struct parsed_uri *parsed_out, const char **why_out)
{
	parsed_out->segment_count = 0;
	parsed_out->query_count = 0;
	*why_out = NULL;
	if (uri[0] != '/') {
		*why_out = "the request target must be a path";
		return STATUS_INVALID;
	}
	if (!target_is_plain(uri)) {
		*why_out = "a character in the request target that must be percent-encoded";
		return STATUS_INVALID;
	}
	char *query = strchr(uri, '?');
	if (query != NULL)
		*query++ = '\0';
	if (strict_path && strchr(uri, '%') != NULL) {
		*why_out = "percent escapes are not accepted in this listener's paths";
		return STATUS_INVALID;
	}
	if (uri[1] != '\0') {
		enum status status = parse_segments(uri + 1, parsed_out, why_out);
		if (status != STATUS_OK)
			return status;
	}
	return query == NULL ? STATUS_OK : parse_query(query, parsed_out, why_out);
}

/* ---- the table ---- */

static enum status compile_route(const struct http_route *route, struct compiled_route *compiled, struct strbuf *why)
{
	compiled->route = route;
	const char *rest = route->pattern;
	if (*rest != '/')
		goto bad;
	while (*rest == '/' && rest[1] != '\0') {
		const char *text = ++rest;
		rest = strchrnul(rest, '/');
		size_t length = (size_t)(rest - text);
		if (length == 0 || compiled->segment_count == SEGMENTS_MAX || compiled->takes_rest)
			goto bad;
		struct route_segment *segment = &compiled->segments[compiled->segment_count++];
		segment->is_param = text[0] == '{';
		if (segment->is_param) {
			if (length < 3 || text[length - 1] != '}')
				goto bad;
			text++;
			length -= 2;
			if (text[length - 1] == '*') {
				compiled->takes_rest = true;
				length--;
			}
		}
		segment->text = text;
		segment->length = length;
	}
	return STATUS_OK;
bad:
	if (why != NULL)
		strbuf_addf(why, "route pattern %s is malformed", route->pattern);
	return STATUS_INVALID;
}

static int segment_rank(const struct compiled_route *route, size_t i)
{
	if (i >= route->segment_count)
		return 3;
	if (!route->segments[i].is_param)
		return 0;
	return route->takes_rest && i + 1 == route->segment_count ? 2 : 1;
}

static int compare_routes(const void *a, const void *b)
{
	const struct compiled_route *left = a;
	const struct compiled_route *right = b;
	for (size_t i = 0; i < SEGMENTS_MAX; i++) {
		int difference = segment_rank(left, i) - segment_rank(right, i);
		if (difference != 0)
			return difference;
	}
	return left->route < right->route ? -1 : left->route > right->route;
}

enum status route_table_build(
	const struct http_route *routes, size_t count, struct route_table *table_out, struct strbuf *why)
{
	table_out->count = count;
	table_out->routes = calloc(count == 0 ? 1 : count, sizeof *table_out->routes);
	if (table_out->routes == NULL)
		return STATUS_NO_MEMORY;
	for (size_t i = 0; i < count; i++) {
		enum status status = compile_route(&routes[i], &table_out->routes[i], why);
		if (status != STATUS_OK) {
			route_table_release(table_out);
			return status;
		}
	}
	qsort(table_out->routes, count, sizeof *table_out->routes, compare_routes);
	return STATUS_OK;
}

void route_table_release(struct route_table *table)
{
	free(table->routes);
	table->routes = NULL;
	table->count = 0;
}

static bool segments_match(const struct compiled_route *route, const struct parsed_uri *parsed)
{
	size_t fixed = route->takes_rest ? route->segment_count - 1 : route->segment_count;
	if (route->takes_rest ? parsed->segment_count <= fixed : parsed->segment_count != fixed)
		return false;
	for (size_t i = 0; i < fixed; i++) {
		const struct route_segment *segment = &route->segments[i];
		if (segment->is_param)
			continue;
		if (strncmp(parsed->segments[i], segment->text, segment->length) != 0 ||
			parsed->segments[i][segment->length] != '\0')
			return false;
	}
	return true;
}

/* Joins the rest of the path again; the pieces only ever shrank, so there is room. */
static bool join_rest(struct parsed_uri *parsed, size_t first)
{
	char *end = parsed->segments[first];
	for (size_t i = first; i < parsed->segment_count; i++) {
		size_t length = strlen(parsed->segments[i]);
		if (memchr(parsed->segments[i], '/', length) != NULL)
			return false;
		if (i > first)
			*end++ = '/';
		memmove(end, parsed->segments[i], length);
		end += length;
	}
	*end = '\0';
	return true;
}

static bool method_fits(const char *route_method, const char *method)
{
	return strcmp(route_method, method) == 0 || (strcmp(method, "HEAD") == 0 && strcmp(route_method, "GET") == 0);
}

enum status route_match(const struct route_table *table, const char *method, struct parsed_uri *parsed,
	struct compiled_route **route_out, struct strbuf *allowed)
{
	*route_out = NULL;
	bool some_match = false;
	for (size_t i = 0; i < table->count; i++) {
		struct compiled_route *route = &table->routes[i];
		if (!segments_match(route, parsed))
			continue;
		if (method_fits(route->route->method, method)) {
			if (route->takes_rest && !join_rest(parsed, route->segment_count - 1))
				return STATUS_NOT_FOUND;
			*route_out = route;
			return STATUS_OK;
		}
		if (some_match)
			strbuf_adds(allowed, ", ");
		strbuf_adds(allowed, route->route->method);
		if (strcmp(route->route->method, "GET") == 0)
			strbuf_adds(allowed, ", HEAD");
		some_match = true;
	}
	return some_match ? STATUS_INVALID : STATUS_NOT_FOUND;
}
