/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How entries get from loops to the writing thread and back: linked lists of the
 * callers' own items, so that nothing is allocated; one locking and at most one
 * wake-up each way for all that a round of a loop brought.
 *
 * A port that was destroyed while its delivery waits in the loop stays until that
 * has run, or until the writer is closed.
 */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "base/must.h"
#include "policy/log_writer_internal.h"

void log_items_init(struct log_items *items)
{
	items->first = NULL;
	items->last = &items->first;
	items->count = 0;
}

void log_items_add(struct log_items *items, struct log_item *item)
{
	item->next = NULL;
	*items->last = item;
	items->last = &item->next;
	items->count++;
}

void log_items_join(struct log_items *items, struct log_items *more)
{
	if (more->first == NULL)
		return;
	*items->last = more->first;
	items->last = more->last;
	items->count += more->count;
	log_items_init(more);
}

struct log_item *log_items_take(struct log_items *items)
{
	struct log_item *item = items->first;

	if (item != NULL) {
		items->first = item->next;
		items->count--;
		if (items->first == NULL)
			items->last = &items->first;
	}
	return item;
}

/* On the loop, under no lock. */
static void tell(struct log_items *items)
{
	struct log_item *item;

	while ((item = log_items_take(items)) != NULL)
		item->done(item, item->status);
}

void log_port_end(struct log_item *item, enum status status)
{
	struct log_port *port = item->port;

	item->status = status;
	atomic_fetch_sub_explicit(&port->writer->queue_bytes, (int64_t)item->size, memory_order_relaxed);
	must(port->in_flight > 0);
	port->in_flight--;
	log_items_add(&port->ended, item);
	if (port->loop != NULL && !port->will_deliver && !port->is_destroyed) {
		port->will_deliver = true;
		loop_post(port->loop, &port->deliver);
	}
}

static void unlink_port(struct log_port *port)
{
	struct log_port **at = &port->writer->ports;

	while (*at != port)
		at = &(*at)->next;
	*at = port->next;
}

static void deliver(struct loop_task *task)
{
	struct log_port *port = (struct log_port *)((char *)task - offsetof(struct log_port, deliver));
	struct log_writer *writer = port->writer;
	struct log_items ended;
	bool is_destroyed;

	log_items_init(&ended);
	pthread_mutex_lock(&writer->mutex);
	is_destroyed = port->is_destroyed;
	port->will_deliver = false;
	log_items_join(&ended, &port->ended);
	if (is_destroyed)
		unlink_port(port);
	pthread_mutex_unlock(&writer->mutex);
	tell(&ended);
	if (is_destroyed)
		free(port);
}

static void hand_over(struct log_port *port)
{
	struct log_writer *writer = port->writer;

	pthread_mutex_lock(&writer->mutex);
	port->in_flight += port->gathered.count;
	log_items_join(&writer->submitted, &port->gathered);
	if (writer->wake_at > 0 && writer->submitted.count >= writer->wake_at)
		pthread_cond_signal(&writer->work);
	pthread_mutex_unlock(&writer->mutex);
}

static void flush(struct loop_task *task)
{
	struct log_port *port = (struct log_port *)((char *)task - offsetof(struct log_port, flush));
	struct log_items refused;

	port->will_flush = false;
	log_items_init(&refused);
	log_items_join(&refused, &port->refused);
	if (port->gathered.first != NULL)
		hand_over(port);
	tell(&refused);
}

void log_port_append(struct log_port *port, struct log_item *item)
{
	struct log_writer *writer = port->writer;
	enum status status = STATUS_OK;

	item->port = port;
	item->index = 0;
	if (item->size == 0 || item->size > LOG_ITEM_BYTES_MAX)
		status = STATUS_TOO_LARGE;
	else if (log_writer_is_failed(writer))
		status = STATUS_IO;
	else if (atomic_fetch_add_explicit(&writer->queue_bytes, (int64_t)item->size, memory_order_relaxed) +
			 (int64_t)item->size >
		 writer->queue_bytes_max) {
		atomic_fetch_sub_explicit(&writer->queue_bytes, (int64_t)item->size, memory_order_relaxed);
		status = STATUS_OVERLOADED;
	}
	item->status = status;
	log_items_add(status == STATUS_OK ? &port->gathered : &port->refused, item);
	if (!port->will_flush) {
		port->will_flush = true;
		loop_defer(port->loop, &port->flush);
	}
}

void log_port_init(struct log_port *port, struct log_writer *writer, struct loop *loop)
{
	memset(port, 0, sizeof(*port));
	port->writer = writer;
	port->loop = loop;
	log_items_init(&port->gathered);
	log_items_init(&port->refused);
	log_items_init(&port->ended);
	port->flush.run = flush;
	port->deliver.run = deliver;
}

enum status log_port_create(struct log_writer *writer, struct loop *loop, struct log_port **port_out)
{
	struct log_port *port = malloc(sizeof(*port));

	*port_out = NULL;
	if (port == NULL)
		return STATUS_NO_MEMORY;
	log_port_init(port, writer, loop);
	pthread_mutex_lock(&writer->mutex);
	port->next = writer->ports;
	writer->ports = port;
	pthread_mutex_unlock(&writer->mutex);
	*port_out = port;
	return STATUS_OK;
}

/* Under the mutex: takes back what the writing thread has not begun with. */
static void take_back(struct log_port *port)
{
	struct log_writer *writer = port->writer;
	struct log_items others;
	struct log_item *item;

	log_items_init(&others);
	while ((item = log_items_take(&writer->submitted)) != NULL) {
		if (item->port == port)
			log_port_end(item, STATUS_DRAINING);
		else
			log_items_add(&others, item);
	}
	log_items_join(&writer->submitted, &others);
}

void log_port_destroy(struct log_port *port)
{
	struct log_writer *writer;
	struct log_items ended;
	struct log_item *item;
	bool is_free;

	if (port == NULL)
		return;
	writer = port->writer;
	loop_defer_cancel(port->loop, &port->flush);
	log_items_init(&ended);
	pthread_mutex_lock(&writer->mutex);
	port->is_destroyed = true;
	take_back(port);
	/* The writing thread reads the callers' text; a group takes as long as the disk. */
	while (port->in_flight > 0)
		pthread_cond_wait(&writer->ended, &writer->mutex);
	log_items_join(&ended, &port->ended);
	is_free = !port->will_deliver;
	if (is_free)
		unlink_port(port);
	pthread_mutex_unlock(&writer->mutex);
	while ((item = log_items_take(&port->gathered)) != NULL) {
		atomic_fetch_sub_explicit(&writer->queue_bytes, (int64_t)item->size, memory_order_relaxed);
		item->status = STATUS_DRAINING;
		log_items_add(&ended, item);
	}
	log_items_join(&ended, &port->refused);
	for (item = ended.first; item != NULL; item = item->next)
		item->status = STATUS_DRAINING;
	tell(&ended);
	if (is_free)
		free(port);
}

void log_ports_free(struct log_writer *writer)
{
	while (writer->ports != NULL) {
		struct log_port *port = writer->ports;

		must(port->is_destroyed);
		writer->ports = port->next;
		free(port);
	}
}
