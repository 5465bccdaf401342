/* SPDX-License-Identifier: Apache-2.0 */
/*
 * HTTP threads.  Each runs a libmicrohttpd daemon of its own on the shared
 * listening socket, and waits outside of the library for two reasons.  Its own
 * thread waits again before it handles what it has when exactly 128 connections
 * (or a multiple) are ready at once, which under steady load is for ever.  And
 * answers from engines are collected and resumed together, once a round: a resume
 * makes the library walk all its suspended connections.
 *
 * Invariant: a connection is resumed only on its own HTTP thread, so a request
 * stays valid until then.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/http_server_internal.h"
#include "base/must.h"

#define THREAD_NAME_SIZE 16 /* the kernel's bound, with the NUL */

static void wake(struct http_loop *loop)
{
	uint64_t one = 1;
	/* It can only fail when the counter is full, and then the thread is awake. */
	while (write(loop->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
		continue;
}

void http_loop_answered(struct http_request *request)
{
	struct http_loop *loop = request->connection->loop;
	struct http_request *first = atomic_load_explicit(&loop->answered, memory_order_relaxed);
	do {
		request->next_answered = first;
	} while (!atomic_compare_exchange_weak_explicit(
		&loop->answered, &first, request, memory_order_release, memory_order_relaxed));
	if (first == NULL)
		wake(loop);
}

static void resume_answered(struct http_loop *loop)
{
	struct http_request *request = atomic_exchange_explicit(&loop->answered, NULL, memory_order_acquire);
	while (request != NULL) {
		struct http_request *next = request->next_answered;
		MHD_resume_connection(request->connection->mhd);
		request = next;
	}
}

static int wait_ms(struct http_loop *loop)
{
	MHD_UNSIGNED_LONG_LONG timeout_ms = 0;
	if (MHD_get_timeout(loop->daemon, &timeout_ms) != MHD_YES)
		return -1;
	return timeout_ms > 1000 ? 1000 : (int)timeout_ms;
}

static void *loop_run(void *arg)
{
	struct http_loop *loop = arg;
	struct pollfd ready[] = { { .fd = loop->epoll_fd, .events = POLLIN },
		{ .fd = loop->wake_fd, .events = POLLIN } };
	bool must_stop = false;
	while (!must_stop) {
		uint64_t count;
		must(poll(ready, 2, wait_ms(loop)) >= 0 || errno == EINTR);
		/* Taken before the list is: what is added later wakes the thread anew. */
		if ((ready[1].revents & POLLIN) && read(loop->wake_fd, &count, sizeof count) < 0)
			must(errno == EAGAIN || errno == EINTR);
		must_stop = atomic_load(&loop->must_stop);
		resume_answered(loop);
		MHD_run(loop->daemon);
	}
	return NULL;
}

enum status http_loop_start(struct http_loop *loop, struct http_server *server)
{
	char name[THREAD_NAME_SIZE];
	loop->server = server;
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (loop->wake_fd < 0)
		return STATUS_IO;
	loop->daemon = http_daemon_start(loop);
	if (loop->daemon == NULL)
		goto failed;
	loop->epoll_fd = MHD_get_daemon_info(loop->daemon, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd;
	if (pthread_create(&loop->thread, NULL, loop_run, loop) != 0) {
		MHD_quiesce_daemon(loop->daemon);
		MHD_stop_daemon(loop->daemon);
		goto failed;
	}
	snprintf(name, sizeof name, "http-%.9s", server->name);
	pthread_setname_np(loop->thread, name);
	return STATUS_OK;
failed:
	close(loop->wake_fd);
	return STATUS_IO;
}

/* The daemon no longer accepts, and no handler owes an answer. */
void http_loop_stop(struct http_loop *loop)
{
	atomic_store(&loop->must_stop, true);
	wake(loop);
	pthread_join(loop->thread, NULL);
	MHD_stop_daemon(loop->daemon);
	close(loop->wake_fd);
}
