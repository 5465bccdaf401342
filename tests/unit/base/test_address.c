/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests for base/address.c: the address in a URL, and which addresses are private. */
#include "base/address.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static void urls_are_taken_apart(void **state)
{
	static const struct {
		const char *url, *host, *rest;
		int port;
		bool is_bracketed, has_user;
	} good[] = {
		{ "https://a.example", "a.example", "", 0, false, false },
		{ "https://a.example:1", "a.example", "", 1, false, false },
		{ "amqps://a.example:65535/vhost", "a.example", "/vhost", 65535, false, false },
		{ "https://a.example:00443/", "a.example", "/", 443, false, false },
		{ "https://a.example/x:1/y@z", "a.example", "/x:1/y@z", 0, false, false },
		{ "https://a.example?to=b@c:9", "a.example", "?to=b@c:9", 0, false, false },
		{ "https://a.example#:80", "a.example", "#:80", 0, false, false },
		{ "http://127.0.0.1:8080/", "127.0.0.1", "/", 8080, false, false },
		{ "http://[::1]", "::1", "", 0, true, false },
		{ "http://[2001:db8::7]:7443/x", "2001:db8::7", "/x", 7443, true, false },
		{ "https://user@a.example:9/x", "a.example", "/x", 9, false, true },
		{ "https://user:secret@[::1]:9", "::1", "", 9, true, true },
		{ "https://user@evil@a.example", "a.example", "", 0, false, true },
	};

	(void)state;
	for (size_t i = 0; i < COUNT(good); i++) {
		struct address_url address;

		if (!address_of_url(good[i].url, &address))
			fail_msg("%s is one", good[i].url);
		assert_string_equal(address.host, good[i].host);
		assert_string_equal(address.rest, good[i].rest);
		assert_int_equal(address.port, good[i].port);
		assert_int_equal(address.is_bracketed, good[i].is_bracketed);
		assert_int_equal(address.has_user, good[i].has_user);
	}
}

static void what_names_no_host_is_refused(void **state)
{
	static const char *const bad[] = { "", "a.example", "a.example:80", "https:", "https:/", "https://",
		"https:///path", "https://:80", "https://?x", "https://user@", "https://user@:80/", "https://[]",
		"https://[]:80", "https://[", "https://[::1", "https://[::1/x]", "https://[::1]80", "https://[::1]x:80",
		"https://a:", "https://a:/x", "https://a:0", "https://a:0000", "https://a:65536",
		"https://a:99999999999999", "https://a:-1", "https://a:+1", "https://a: 1", "https://a:8o",
		"https://a:80:90", "https://::1" };
	char longest[ADDRESS_HOST_SIZE + 16] = "https://";
	struct address_url address;

	(void)state;
	for (size_t i = 0; i < COUNT(bad); i++)
		if (address_of_url(bad[i], &address))
			fail_msg("%s is none", bad[i]);
	memset(longest + 8, 'a', ADDRESS_HOST_SIZE - 1);
	assert_true(address_of_url(longest, &address));
	assert_int_equal(strlen(address.host), ADDRESS_HOST_SIZE - 1);
	longest[8 + ADDRESS_HOST_SIZE - 1] = 'a';
	assert_false(address_of_url(longest, &address));
}

static void an_origin_is_scheme_host_and_port(void **state)
{
	static const char *const good[] = { "https://a-b.example", "https://a_b:1", "https://[2001:DB8::7]:7443" };
	static const char *const bad[] = { "http://a", "https://a/", "https://a?x", "https://a#x", "https://u@a",
		"https://a b", "https://a%41", "https://[::g]", "https://[fe80::1%25eth0]", "xhttps://a", "httpsx://a",
		"https://a:0", "HTTPS://a", "" };
	struct address_url address;

	(void)state;
	for (size_t i = 0; i < COUNT(good); i++)
		if (!address_of_origin(good[i], "https", &address))
			fail_msg("%s is one", good[i]);
	for (size_t i = 0; i < COUNT(bad); i++)
		if (address_of_origin(bad[i], "https", &address))
			fail_msg("%s is none", bad[i]);
}

static void private_and_public_addresses(void **state)
{
	static const char *const public[] = { "8.8.8.8", "172.32.0.1", "192.169.0.1", "11.0.0.1", "169.254.169.254",
		"2001:db8::1", "fe80::1", "::ffff:8.8.8.8" };
	static const char *const private[] = { "127.0.0.1", "127.9.9.9", "10.0.0.1", "172.16.0.1", "172.31.255.255",
		"192.168.1.1", "::1", "fc00::1", "fd12::1", "::ffff:10.0.0.1" };
	const struct sockaddr local = { .sa_family = AF_UNIX };

	(void)state;
	for (size_t i = 0; i < COUNT(public); i++)
		if (!address_text_is_public(public[i]))
			fail_msg("%s is public", public[i]);
	for (size_t i = 0; i < COUNT(private); i++)
		if (address_text_is_public(private[i]))
			fail_msg("%s is private", private[i]);
	assert_false(address_text_is_public("a.example")); /* not known to be one */
	assert_false(address_is_private(&local));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(urls_are_taken_apart),
		cmocka_unit_test(what_names_no_host_is_refused),
		cmocka_unit_test(an_origin_is_scheme_host_and_port),
		cmocka_unit_test(private_and_public_addresses),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
