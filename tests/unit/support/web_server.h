/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A tiny HTTP server for testing clients, plain or with OpenSSL as mutual TLS,
 * with a thread for each connection.  Paths: /hello, /echo (method, headers and body as they
 * came), /slow (no answer), /large (100,000 bytes), /close (no answer, closed),
 * /part (less than promised), /connection (its number, from 1).
 */
#ifndef TESTS_SUPPORT_WEB_SERVER_H
#define TESTS_SUPPORT_WEB_SERVER_H

struct web_server;

/* Plain when certificate is NULL; files are PEM.  Failures end the test program. */
struct web_server *web_server_start(const char *certificate, const char *key, const char *ca);
void web_server_stop(struct web_server *server);
int web_server_port(const struct web_server *server);
int web_server_connections(const struct web_server *server);

#endif
