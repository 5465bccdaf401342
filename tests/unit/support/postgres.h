/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A private PostgreSQL for one test program: in a folder of its own under /tmp,
 * on a unix socket only, run as user postgres when we are root.  It goes away
 * with its folder when the program ends, however it ends.
 */
#ifndef TESTS_SUPPORT_POSTGRES_H
#define TESTS_SUPPORT_POSTGRES_H

#include <stddef.h>

struct test_postgres;

/* Aborts with the reason when it cannot; call before making threads. */
struct test_postgres *test_postgres_start(void);
const char *test_postgres_dsn(const struct test_postgres *server);
/* To the server and all its processes: SIGSTOP, SIGCONT. */
void test_postgres_signal(struct test_postgres *server, int signal);
/* kill -9 of all its processes, and its return on the same socket. */
void test_postgres_kill(struct test_postgres *server);
void test_postgres_restart(struct test_postgres *server);
/* Each in a session of its own; give up with the reason when they cannot. */
void test_postgres_migrate(const struct test_postgres *server);
void test_postgres_script(const struct test_postgres *server, const char *sql);
/* The first value of the first row, cut to the size; "" when there is none. */
void test_postgres_ask(const struct test_postgres *server, const char *sql, char *answer, size_t size);

#endif
