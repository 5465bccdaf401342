/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A mesh of regions on this machine, private to cli: one folder with everything
 * in it, described by mesh.json there.  What is started is written down before
 * anything else happens, with its process id and start time, so that `dev down`
 * stops exactly that and never a stranger who got the same id later.
 *
 *	DIR/mesh.json brokers.json pki/ <region>/{homeward.conf,policy.json,homeward.log,postgres.log,
 *	broker.log,ports.json,state/,tokens/<caller>,pg/,sock/,broker/}
 */
#ifndef CLI_DEV_H
#define CLI_DEV_H

#include <jansson.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/database.h"
#include "base/object_id.h"
#include "base/status.h"
#include "base/strbuf.h"

enum {
	DEV_REGIONS_MAX = 8, /* one laptop */
	DEV_FOLDER_MAX = 64, /* a unix socket's path may have 107 characters, and ours is below the folder */
	DEV_SEEDS = 20,      /* stations, drivers and tokens of each region */
	DEV_POSTGRES_MS = 30000,
	DEV_DAEMON_MS = 20000,
	DEV_BROKER_MS = 90000, /* Erlang compiles for a while at its first start */
	DEV_STOP_MS = 15000,
	DEV_STEP_MS = 20,
	DEV_DRAIN_MS = 3000
};

struct dev_process {
	pid_t pid;        /* 0: none */
	uint64_t started; /* clock ticks since boot, from /proc */
};

struct dev_region {
	char name[REGION_SIZE];
	int64_t api_port, peer_port, admin_port;                 /* 0 until the daemon told them */
	int64_t broker_port, management_port, distribution_port; /* 0: no broker */
	struct dev_process daemon, postgres, broker;
};

struct dev_mesh {
	char folder[DEV_FOLDER_MAX + 1];
	char trust_domain[64];
	char postgres_folder[256]; /* with initdb and postgres */
	int64_t engines;
	bool has_brokers;
	int64_t names_port; /* of the brokers' name server */
	struct dev_process names;
	char broker_password[40]; /* of the management user `operator` */
	uid_t user;               /* PostgreSQL runs as this one */
	gid_t group;
	struct dev_region regions[DEV_REGIONS_MAX];
	size_t region_count;
};

/* ---- dev_mesh.c: the folder and its description ---- */

/* "DIR/<region>/<name>"; region NULL for "DIR/<name>".  Resets `path`. */
const char *dev_path(
	const struct dev_mesh *mesh, const struct dev_region *region, const char *name, struct strbuf *path);
void dev_dsn(const struct dev_mesh *mesh, const struct dev_region *region, struct strbuf *dsn);
/* folder NULL: a new one in /tmp.  An existing folder must be empty. */
MUST_CHECK enum status dev_folder_make(struct dev_mesh *mesh, const char *folder, struct strbuf *why);
MUST_CHECK enum status dev_folder_remove(const struct dev_mesh *mesh, struct strbuf *why);
MUST_CHECK enum status dev_mesh_save(const struct dev_mesh *mesh, struct strbuf *why);
/* folder NULL: the last mesh of this user.  STATUS_NOT_FOUND: there is none. */
MUST_CHECK enum status dev_mesh_load(struct dev_mesh *mesh, const char *folder, struct strbuf *why);
json_t *dev_mesh_json(const struct dev_mesh *mesh);
/* Remembers this mesh as the user's last one; forgets it only if it is still that. */
void dev_mesh_remember(const struct dev_mesh *mesh);
void dev_mesh_forget(const struct dev_mesh *mesh);
struct dev_region *dev_mesh_region(struct dev_mesh *mesh, const char *name);

/* ---- dev_process.c: processes and waiting ---- */

/* SIGINT, SIGTERM and SIGHUP are blocked from here on and only seen by dev_pause and dev_wait_for_end. */
void dev_signals_block(void);
/* Sleeps a step; STATUS_DRAINING when a signal says to stop. */
MUST_CHECK enum status dev_pause(void);
void dev_wait_for_end(void);

#define DEV_PROGRAM_SIZE 4096
/* The path of this very program, for starting it again. */
MUST_CHECK enum status dev_own_program(char program_out[DEV_PROGRAM_SIZE], struct strbuf *why);

struct dev_spawn {
	const char *const *arguments; /* the program's path first, ended by NULL */
	const char *log_path;         /* its output is added there */
	uid_t user;                   /* changed to only when this process is root's */
	gid_t group;
};
MUST_CHECK enum status dev_process_start(
	const struct dev_spawn *spawn, struct dev_process *process_out, struct strbuf *why);
/* Runs to its end; STATUS_INTERNAL with the tail of its log when it fails. */
MUST_CHECK enum status dev_process_run(const struct dev_spawn *spawn, int64_t timeout_ms, struct strbuf *why);
bool dev_process_is_alive(const struct dev_process *process);
/* Nothing happens to a process that is not the one started. */
void dev_process_signal(const struct dev_process *process, int signal_number);
/* Waits until it is gone, then kills it; forgets it. */
void dev_process_end(struct dev_process *process, int64_t timeout_ms);
void dev_log_tail(const char *path, struct strbuf *text);

/* ---- dev_postgres.c ---- */

MUST_CHECK enum status dev_postgres_find(struct dev_mesh *mesh, struct strbuf *why);
/* One initdb, then copies: every region's database cluster is ready to be started. */
MUST_CHECK enum status dev_postgres_make(const struct dev_mesh *mesh, struct strbuf *why);
MUST_CHECK enum status dev_postgres_start(const struct dev_mesh *mesh, struct dev_region *region, struct strbuf *why);
MUST_CHECK enum status dev_postgres_wait(const struct dev_mesh *mesh, struct dev_region *region, struct strbuf *why);
/* Database `homeward`, schema, seeds. */
MUST_CHECK enum status dev_postgres_fill(const struct dev_mesh *mesh, struct dev_region *region, struct strbuf *why);

/* ---- dev_broker.c ---- */

#define DEV_BROKERS_FILE "brokers.json" /* the mesh file of `homeward mesh` */

bool dev_broker_is_installed(void);
/* Starts the name server and every broker; dev_brokers_join waits for them, and makes them a mesh whose links are green. */
MUST_CHECK enum status dev_brokers_begin(struct dev_mesh *mesh, struct strbuf *why);
MUST_CHECK enum status dev_brokers_join(const struct dev_mesh *mesh, struct strbuf *why);
/* One of them, again. */
MUST_CHECK enum status dev_broker_start(const struct dev_mesh *mesh, struct dev_region *region, struct strbuf *why);
MUST_CHECK enum status dev_broker_wait(
	const struct dev_mesh *mesh, const struct dev_region *region, struct strbuf *why);
MUST_CHECK enum status dev_broker_write_mesh(const struct dev_mesh *mesh, struct strbuf *why);
void dev_broker_tell(const struct dev_region *region, int signal_number);
void dev_broker_end(struct dev_region *region, int64_t timeout_ms);

/* ---- dev_daemon.c ---- */

/* Writes the settings: with fixed ports and peers once they are known, else with port 0 and no peers. */
MUST_CHECK enum status dev_settings_write(
	const struct dev_mesh *mesh, const struct dev_region *region, struct strbuf *why);
MUST_CHECK enum status dev_daemon_start(const struct dev_mesh *mesh, struct dev_region *region, struct strbuf *why);
/* Until the daemon wrote its ports. */
MUST_CHECK enum status dev_daemon_wait_ports(
	const struct dev_mesh *mesh, struct dev_region *region, struct strbuf *why);
MUST_CHECK enum status dev_daemon_wait_ready(
	const struct dev_mesh *mesh, const struct dev_region *region, struct strbuf *why);
/* Makes it read its settings again and says why when it refuses them. */
MUST_CHECK enum status dev_daemon_reload(const struct dev_region *region, struct strbuf *why);
bool dev_daemon_is_ready(const struct dev_region *region);

/* ---- dev_policy.c, dev_seed.c ---- */

json_t *dev_policy_json(const struct dev_mesh *mesh, const struct dev_region *home);
/* The country of a region's ids: US, DE, JP, or made up. */
void dev_country(const struct dev_mesh *mesh, const struct dev_region *region, char country_out[3]);
/* Ids as people write them; i from 0. */
void dev_token_id(const struct dev_mesh *mesh, const struct dev_region *region, int i, struct strbuf *id);
void dev_station_id(const struct dev_mesh *mesh, const struct dev_region *region, int i, struct strbuf *id);
void dev_driver_id(const struct dev_mesh *mesh, const struct dev_region *region, int i, struct strbuf *id);
MUST_CHECK enum status dev_seed(const struct dev_mesh *mesh, const struct dev_region *region,
	struct database_session *session, struct strbuf *why);
/* The tokens of these are told apart by dev_seed. */
enum { DEV_SEED_RESTRICTED = 16, DEV_SEED_CONSENTED = 17, DEV_SEED_BLOCKED = 18, DEV_SEED_EXPIRED = 19 };

/* ---- dev_up.c ---- */

MUST_CHECK enum status dev_up(struct dev_mesh *mesh, struct strbuf *why);
enum dev_parts { DEV_DATABASE = 1, DEV_DAEMON = 2, DEV_BROKER = 4 };
/* Stops what runs of one region, or (NULL) of all. */
void dev_stop(struct dev_mesh *mesh, struct dev_region *only, int parts);
/* Starts what does not run of these, and waits: for readiness only when both are to run. */
MUST_CHECK enum status dev_start(struct dev_mesh *mesh, struct dev_region *region, int parts, struct strbuf *why);
void dev_print_story(const struct dev_mesh *mesh);

#endif
