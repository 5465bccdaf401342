/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reaper: ends what takes too long.  libmicrohttpd's own timeout is one of
 * inactivity, which a byte a second defeats; so each connection carries an
 * absolute deadline and one thread looks at all of them five times a second and
 * shuts down the sockets that are late.  The HTTP thread then sees the end of the
 * stream and closes in its own time.  A global, since it serves every server of
 * the process; one mutex, held while walking and while a connection joins or
 * leaves.  A socket is listed strictly within its life, so its number is its own.
 */
#include <pthread.h>
#include <sys/socket.h>
#include <time.h>

#include "base/http_server_internal.h"
#include "base/must.h"

#define REAPER_TICK_MS 200 /* the resolution of every deadline; the walk over 10,000 connections costs a few per cent */

static struct {
	pthread_mutex_t mutex;
	pthread_cond_t stopping;
	pthread_t thread;
	int servers;
	bool must_stop;
	struct http_connection *connections;
} reaper = { .mutex = PTHREAD_MUTEX_INITIALIZER };

/* Held by start and stop, so that the thread of one life is gone before the next begins. */
static pthread_mutex_t reaper_life = PTHREAD_MUTEX_INITIALIZER;

int64_t http_now_us(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

int64_t http_now_ms(void)
{
	return http_now_us() / 1000;
}

static void reap(void)
{
	int64_t now_ms = http_now_ms();
	for (struct http_connection *at = reaper.connections; at != NULL; at = at->next) {
		if (atomic_load_explicit(&at->deadline_ms, memory_order_relaxed) > now_ms)
			continue;
		shutdown(at->fd, SHUT_RDWR);
		atomic_store_explicit(&at->deadline_ms, INT64_MAX, memory_order_relaxed);
	}
}

static void *reaper_run(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&reaper.mutex);
	while (!reaper.must_stop) {
		struct timespec until;
		clock_gettime(CLOCK_MONOTONIC, &until);
		until.tv_nsec += REAPER_TICK_MS * 1000000L;
		if (until.tv_nsec >= 1000000000L) {
			until.tv_sec++;
			until.tv_nsec -= 1000000000L;
		}
		pthread_cond_timedwait(&reaper.stopping, &reaper.mutex, &until);
		reap();
	}
	pthread_mutex_unlock(&reaper.mutex);
	return NULL;
}

enum status http_reaper_acquire(void)
{
	enum status status = STATUS_OK;
	pthread_mutex_lock(&reaper_life);
	if (reaper.servers == 0) {
		pthread_condattr_t attributes;
		pthread_condattr_init(&attributes);
		pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
		pthread_cond_init(&reaper.stopping, &attributes);
		pthread_condattr_destroy(&attributes);
		reaper.must_stop = false;
		if (pthread_create(&reaper.thread, NULL, reaper_run, NULL) != 0) {
			pthread_cond_destroy(&reaper.stopping);
			status = STATUS_NO_MEMORY;
		}
	}
	if (status == STATUS_OK)
		reaper.servers++;
	pthread_mutex_unlock(&reaper_life);
	return status;
}

void http_reaper_release(void)
{
	pthread_mutex_lock(&reaper_life);
	must(reaper.servers > 0);
	if (--reaper.servers == 0) {
		pthread_mutex_lock(&reaper.mutex);
		reaper.must_stop = true;
		pthread_cond_signal(&reaper.stopping);
		pthread_mutex_unlock(&reaper.mutex);
		pthread_join(reaper.thread, NULL);
		pthread_cond_destroy(&reaper.stopping);
	}
	pthread_mutex_unlock(&reaper_life);
}

void http_reaper_add(struct http_connection *connection)
{
	pthread_mutex_lock(&reaper.mutex);
	connection->previous = NULL;
	connection->next = reaper.connections;
	if (reaper.connections != NULL)
		reaper.connections->previous = connection;
	reaper.connections = connection;
	pthread_mutex_unlock(&reaper.mutex);
}

void http_reaper_remove(struct http_connection *connection)
{
	pthread_mutex_lock(&reaper.mutex);
	if (connection->previous != NULL)
		connection->previous->next = connection->next;
	else
		reaper.connections = connection->next;
	if (connection->next != NULL)
		connection->next->previous = connection->previous;
	pthread_mutex_unlock(&reaper.mutex);
}
