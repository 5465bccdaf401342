/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reading entries: by the index, by auditors' commands and by whoever gets a
 * region's log.  Strict in the simplest way: what was read is written again and
 * must be the same text, so that order, spelling and escapes need no rules here.
 *
 * Pure; any thread.
 */
#include <string.h>

#include "base/base64.h"
#include "base/json_scan.h"
#include "policy/entry.h"

static const char *const member_names[] = { "v", "t", "k", "x", "me", "peer", "ot", "sub", "op", "pur", "cal", "dec",
	"rul", "pol", "fld", "ttl", "out", "rh", "msg", "n", "s" };
enum member { V, T, K, X, ME, PEER, OT, SUB, OP, PUR, CAL, DEC, RUL, POL, FLD, TTL, OUT, RH, MSG, N, S, MEMBER_COUNT };

#define NEEDED (1U << V | 1U << T | 1U << K | 1U << S)

/* They come in their order, so the one wanted is `next` or a few further on. */
static enum member find_member(const char *key, enum member next)
{
	for (int i = 0; i < MEMBER_COUNT; i++) {
		enum member member = (enum member)((next + i) % MEMBER_COUNT);

		if (strcmp(key, member_names[member]) == 0)
			return member;
	}
	return MEMBER_COUNT;
}

static void read_text(struct json_scan *scan, char *text, size_t size)
{
	if (json_scan_string(scan, text, size) && text[0] != '\0')
		return;
	if (!json_scan_failed(scan))
		json_scan_fail(scan, "a member is empty or too long");
}

/* One of a closed list, or it fails. */
static void read_word(struct json_scan *scan, char *text, size_t size, const char *const *allowed, const char *what)
{
	read_text(scan, text, size);
	while (*allowed != NULL && strcmp(text, *allowed) != 0)
		allowed++;
	if (*allowed == NULL && !json_scan_failed(scan))
		json_scan_fail(scan, what);
}

static void read_list(struct json_scan *scan, char *list, size_t size)
{
	char name[ENTRY_FIELDS_SIZE];
	size_t length = 0;

	if (!json_scan_array(scan))
		return;
	while (json_scan_element(scan)) {
		size_t name_length;

		read_text(scan, name, sizeof(name));
		name_length = strlen(name);
		if (length + name_length + 2 > size || strchr(name, ',') != NULL) {
			json_scan_fail(scan, "a list is too long, or a name in it has a comma");
			return;
		}
		if (length > 0)
			list[length++] = ',';
		memcpy(list + length, name, name_length + 1);
		length += name_length;
	}
}

static void read_count(struct json_scan *scan, int64_t *value)
{
	if (json_scan_integer(scan, value) && *value < 0)
		json_scan_fail(scan, "a number is negative");
}

static void read_bytes(struct json_scan *scan, uint8_t *bytes, size_t size)
{
	char text[64];
	size_t decoded;

	if (!json_scan_string(scan, text, sizeof(text)) || strlen(text) != BASE64_SIZE(size)) {
		json_scan_fail(scan, "base64 of another length");
		return;
	}
	if (base64_decode(text, strlen(text), bytes, size, &decoded) != STATUS_OK || decoded != size)
		json_scan_fail(scan, "no base64");
}

static bool all_in(const char *text, size_t length, const char *allowed)
{
	return strspn(text, allowed) == length && strlen(text) == length;
}

static void read_subject(struct json_scan *scan, char *subject)
{
	const char *hash = subject + 3;

	read_text(scan, subject, ENTRY_SUBJECT_SIZE);
	if (json_scan_failed(scan))
		return;
	if (strncmp(subject, "u1.", 3) == 0) {
		size_t digits = strspn(hash, "0123456789");

		hash += digits;
		if (digits == 0 || digits > 9 || subject[3] == '0' || *hash++ != '.')
			json_scan_fail(scan, "no subject");
	} else if (strncmp(subject, "p1.", 3) != 0) {
		json_scan_fail(scan, "no subject");
	}
	if (!json_scan_failed(scan) && !all_in(hash, 32, "0123456789abcdef"))
		json_scan_fail(scan, "no subject");
}

static void read_kind(struct json_scan *scan, enum entry_kind *kind)
{
	char name[16];
	int found = 0;

	read_text(scan, name, sizeof(name));
	while (found < ENTRY_KIND_COUNT && strcmp(name, entry_kind_name((enum entry_kind)found)) != 0)
		found++;
	if (found == ENTRY_KIND_COUNT)
		json_scan_fail(scan, "no kind of entry");
	else
		*kind = (enum entry_kind)found;
}

static void read_exchange(struct json_scan *scan, struct entry *entry)
{
	char text[EXCHANGE_ID_TEXT_SIZE];

	read_text(scan, text, sizeof(text));
	if (!json_scan_failed(scan) && exchange_id_parse(text, &entry->exchange) != STATUS_OK)
		json_scan_fail(scan, "no exchange id");
	entry->has_exchange = true;
}

static void read_head(struct json_scan *scan, enum member member, struct entry *entry)
{
	int64_t version = 0;

	switch (member) {
	case V:
		if (json_scan_integer(scan, &version) && version != 1)
			json_scan_fail(scan, "a version not known here");
		break;
	case T:
		read_count(scan, &entry->at_us);
		break;
	case K:
		read_kind(scan, &entry->kind);
		break;
	case X:
		read_exchange(scan, entry);
		break;
	case ME:
		read_text(scan, entry->me, sizeof(entry->me));
		break;
	case PEER:
		read_text(scan, entry->peer, sizeof(entry->peer));
		break;
	case OT:
		read_text(scan, entry->type, sizeof(entry->type));
		break;
	default:
		read_subject(scan, entry->subject);
	}
}

static void read_rest(struct json_scan *scan, enum member member, struct entry *entry)
{
	static const char *const operations[] = { "ask", "serve", "local", "send", "receive", NULL };
	static const char *const decisions[] = { "permit", "deny", NULL };

	switch (member) {
	case OP:
		read_word(scan, entry->operation, sizeof(entry->operation), operations, "no operation");
		break;
	case PUR:
		read_text(scan, entry->purpose, sizeof(entry->purpose));
		break;
	case CAL:
		read_text(scan, entry->caller, sizeof(entry->caller));
		break;
	case DEC:
		read_word(scan, entry->decision, sizeof(entry->decision), decisions, "no decision");
		break;
	case RUL:
		read_list(scan, entry->rules, sizeof(entry->rules));
		break;
	case POL:
		read_text(scan, entry->policy, sizeof(entry->policy));
		break;
	case FLD:
		read_list(scan, entry->fields, sizeof(entry->fields));
		break;
	case TTL:
		read_count(scan, &entry->ttl_s);
		break;
	case OUT:
		read_text(scan, entry->outcome, sizeof(entry->outcome));
		break;
	case RH:
		read_bytes(scan, entry->record_hash, sizeof(entry->record_hash));
		entry->has_record_hash = true;
		break;
	case MSG:
		read_text(scan, entry->message, sizeof(entry->message));
		break;
	case N:
		read_count(scan, &entry->count);
		break;
	default:
		read_bytes(scan, entry->salt, sizeof(entry->salt));
	}
}

static void read_members(struct json_scan *scan, struct entry *entry)
{
	char key[JSON_SCAN_KEY_SIZE];
	unsigned int seen = 0;
	enum member member = V;

	json_scan_object(scan);
	while (json_scan_member(scan, key)) {
		member = find_member(key, member);

		if (member == MEMBER_COUNT) {
			json_scan_fail(scan, "a member not known here");
			return;
		}
		seen |= 1U << member;
		if (member <= SUB)
			read_head(scan, member, entry);
		else
			read_rest(scan, member, entry);
	}
	if ((seen & NEEDED) != NEEDED)
		json_scan_fail(scan, "v, t, k and s are needed");
}

enum status entry_read(const char *text, size_t size, struct entry *entry_out, const char **what_out)
{
	struct strbuf again = STRBUF_INIT;
	enum status status = STATUS_INVALID;
	struct json_scan scan;

	memset(entry_out, 0, sizeof(*entry_out));
	entry_out->ttl_s = entry_out->count = -1;
	json_scan_init(&scan, text, size);
	read_members(&scan, entry_out);
	if (json_scan_end(&scan)) {
		status = entry_write(entry_out, &again);
		if (status == STATUS_OK && (again.length != size || memcmp(again.data, text, size) != 0)) {
			status = STATUS_INVALID;
			json_scan_fail(&scan, "not in the one form an entry has");
		}
	}
	if (what_out != NULL)
		*what_out = status == STATUS_OK ? NULL : scan.what != NULL ? scan.what : "it is too large";
	strbuf_release(&again);
	return status;
}
