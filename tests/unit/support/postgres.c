/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server is our child; a second child, the caretaker, holds the reading end
 * of a pipe whose writing end is ours alone.  When this program ends, in whatever
 * way, the caretaker reads the end of file, stops the server and removes the folder.
 */
#include "tests/unit/support/postgres.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <libpq-fe.h>
#include <pwd.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/database.h"
#include "base/schema.h"
#include "tests/unit/support/scratch.h"

#define START_ATTEMPTS 600 /* of 50 ms: a loaded machine under a sanitizer */
#define CHILDREN_MAX 256
#define SESSION_MS 30000

struct test_postgres {
	char folder[32];
	char data[48];
	char dsn[96];
	char binaries[64];
	pid_t pid, caretaker;
	int pipe;
};

static struct test_postgres only;

static void nap(void)
{
	nanosleep(&(struct timespec){ .tv_nsec = 50000000 }, NULL);
}

static _Noreturn void give_up(const char *what)
{
	fprintf(stderr, "test postgres: %s: %s\n", what, strerror(errno));
	exit(1);
}

static void find_binaries(struct test_postgres *server)
{
	for (int version = 20; version >= 13; version--) {
		snprintf(server->binaries, sizeof(server->binaries), "/usr/lib/postgresql/%d/bin", version);
		if (access(server->binaries, X_OK) == 0)
			return;
	}
	errno = ENOENT;
	give_up("no /usr/lib/postgresql/*/bin");
}

static void become_postgres(void)
{
	const struct passwd *user = geteuid() == 0 ? getpwnam("postgres") : NULL;

	if (user != NULL && (setgroups(0, NULL) != 0 || setgid(user->pw_gid) != 0 || setuid(user->pw_uid) != 0))
		_exit(126);
}

/*
 * Runs a program of PostgreSQL's with its output in a file of the folder.  Its name becomes a full path, by which
 * initdb finds its neighbours: Debian keeps them out of PATH.
 */
static pid_t run(const struct test_postgres *server, const char *program, const char **arguments)
{
	char path[128], log[96];
	pid_t pid = fork();
	int fd;

	if (pid != 0)
		return pid;
	snprintf(path, sizeof(path), program[0] == '/' ? "%.0s%s" : "%.63s/%s", server->binaries, program);
	snprintf(log, sizeof(log), "%.31s/log", server->folder);
	become_postgres();
	fd = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
	if (fd < 0 || chdir(server->folder) != 0)
		_exit(126);
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	unsetenv("LD_PRELOAD");
	arguments[0] = path;
	execv(path, (char *const *)(const void *)arguments);
	_exit(127);
}

/* The processes whose parent is `pid`. */
static int children_of(pid_t pid, pid_t children[CHILDREN_MAX])
{
	DIR *processes = opendir("/proc");
	struct dirent *entry;
	int count = 0;

	while (processes != NULL && (entry = readdir(processes)) != NULL) {
		char path[300], line[512];
		const char *after;
		FILE *file;
		int parent = 0;

		snprintf(path, sizeof(path), "/proc/%s/stat", entry->d_name);
		if (entry->d_name[0] < '0' || entry->d_name[0] > '9' || (file = fopen(path, "re")) == NULL)
			continue;
		after = fgets(line, sizeof(line), file) != NULL ? strrchr(line, ')') : NULL;
		if (after != NULL && sscanf(after + 1, " %*c %d", &parent) == 1 && parent == pid &&
			count < CHILDREN_MAX)
			children[count++] = (pid_t)strtol(entry->d_name, NULL, 10);
		fclose(file);
	}
	if (processes != NULL)
		closedir(processes);
	return count;
}

void test_postgres_signal(struct test_postgres *server, int signal)
{
	pid_t children[CHILDREN_MAX];
	int count;

	if (signal != SIGCONT)
		kill(server->pid, signal == SIGKILL ? SIGSTOP : signal); /* so that it makes no more of them */
	count = children_of(server->pid, children);
	for (int i = 0; i < count; i++)
		kill(children[i], signal);
	kill(server->pid, signal);
}

void test_postgres_kill(struct test_postgres *server)
{
	test_postgres_signal(server, SIGKILL);
	waitpid(server->pid, NULL, 0);
	server->pid = 0;
}

static bool is_running(const struct test_postgres *server)
{
	PGconn *connection = PQconnectdb(server->dsn);
	bool is_up = PQstatus(connection) == CONNECTION_OK;

	PQfinish(connection);
	return is_up;
}

void test_postgres_restart(struct test_postgres *server)
{
	const char *arguments[] = { "postgres", "-D", server->data, "-k", server->folder, "-c",
		"listen_addresses=", "-c", "max_connections=50", "-c", "shared_buffers=16MB", "-c", "fsync=off", "-c",
		"dynamic_shared_memory_type=mmap", NULL };

	/* After a kill the old processes may hold the shared memory for a moment, and the server refuse to start. */
	for (int i = 0; i < START_ATTEMPTS; i++) {
		if (server->pid > 0 && waitpid(server->pid, NULL, WNOHANG) == server->pid)
			server->pid = 0;
		if (server->pid == 0)
			server->pid = run(server, "postgres", arguments);
		if (is_running(server))
			return;
		nap();
	}
	give_up("the server does not come up");
}

static void stop_leftover(const struct test_postgres *server)
{
	char path[96], line[32] = "";
	FILE *file;
	pid_t pid;

	snprintf(path, sizeof(path), "%.47s/postmaster.pid", server->data);
	file = fopen(path, "re");
	if (file == NULL)
		return;
	pid = fgets(line, sizeof(line), file) != NULL ? (pid_t)strtol(line, NULL, 10) : 0;
	fclose(file);
	if (pid <= 1)
		return;
	kill(pid, SIGCONT);
	kill(pid, SIGQUIT);
	for (int i = 0; i < 100 && access(path, F_OK) == 0; i++)
		nap();
}

static _Noreturn void take_care(struct test_postgres *server, int fd)
{
	char byte;

	setsid();
	while (read(fd, &byte, 1) > 0)
		continue;
	stop_leftover(server);
	(void)scratch_remove(server->folder);
	_exit(0);
}

static void start_caretaker(struct test_postgres *server)
{
	int fds[2];

	if (pipe2(fds, O_CLOEXEC) != 0)
		give_up("pipe");
	server->caretaker = fork();
	if (server->caretaker < 0)
		give_up("fork");
	if (server->caretaker == 0) {
		close(fds[1]);
		/* Nobody may wait for our end through an inherited pipe of theirs. */
		close(STDIN_FILENO);
		close(STDOUT_FILENO);
		close(STDERR_FILENO);
		take_care(server, fds[0]);
	}
	close(fds[0]);
	server->pipe = fds[1];
}

static void stop(void)
{
	if (only.pid > 0) {
		test_postgres_signal(&only, SIGCONT);
		kill(only.pid, SIGQUIT);
		waitpid(only.pid, NULL, 0);
	}
	close(only.pipe);
	waitpid(only.caretaker, NULL, 0);
}

static bool run_to_end(const struct test_postgres *server, const char *program, const char **arguments)
{
	pid_t pid = run(server, program, arguments);
	int status = 0;

	return pid > 0 && waitpid(pid, &status, 0) == pid && status == 0;
}

/*
 * A copy of the cluster that tests/run_unit.sh makes for all test programs of a run, when it says that it is ready:
 * a fifth of what making one costs.  False: there is none.
 */
static bool copy_cluster(struct test_postgres *server)
{
	const char *folder = getenv("HOMEWARD_TEST_CLUSTER");
	char ready[160], data[160];
	const char *arguments[] = { "cp", "-a", data, server->data, NULL };

	if (folder == NULL)
		return false;
	snprintf(ready, sizeof(ready), "%.127s/ready", folder);
	snprintf(data, sizeof(data), "%.127s/data", folder);
	for (int i = 0; i < START_ATTEMPTS && access(ready, F_OK) != 0; i++)
		nap();
	return run_to_end(server, "/bin/cp", arguments);
}

struct test_postgres *test_postgres_start(void)
{
	struct test_postgres *server = &only;
	const char *arguments[] = { "initdb", "-N", "-A", "trust", "-U", "postgres", "-E", "UTF8", "--locale=C", "-D",
		server->data, NULL };
	const struct passwd *user = geteuid() == 0 ? getpwnam("postgres") : NULL;

	find_binaries(server);
	snprintf(server->folder, sizeof(server->folder), "%s/homeward-pg-XXXXXX", scratch_place());
	if (mkdtemp(server->folder) == NULL)
		give_up("mkdtemp");
	if (user != NULL && chown(server->folder, user->pw_uid, user->pw_gid) != 0)
		give_up("chown");
	snprintf(server->data, sizeof(server->data), "%.31s/data", server->folder);
	snprintf(server->dsn, sizeof(server->dsn), "host=%.31s user=postgres dbname=postgres", server->folder);
	start_caretaker(server);
	atexit(stop);
	if (!copy_cluster(server) && !run_to_end(server, "initdb", arguments))
		give_up("initdb failed");
	test_postgres_restart(server);
	return server;
}

const char *test_postgres_dsn(const struct test_postgres *server)
{
	return server->dsn;
}

static struct database_session *open_session(const struct test_postgres *server)
{
	struct database_session *session = NULL;
	struct strbuf why = STRBUF_INIT;

	if (database_session_open(server->dsn, SESSION_MS, &session, &why) != STATUS_OK)
		give_up(why.data);
	strbuf_release(&why);
	return session;
}

void test_postgres_migrate(const struct test_postgres *server)
{
	struct database_session *session = open_session(server);
	struct strbuf why = STRBUF_INIT;
	int applied;

	if (schema_migrate(session, &applied, &why) != STATUS_OK)
		give_up(why.data);
	database_session_close(session);
	strbuf_release(&why);
}

void test_postgres_script(const struct test_postgres *server, const char *sql)
{
	struct database_session *session = open_session(server);
	struct strbuf why = STRBUF_INIT;

	if (database_session_script(session, sql, SESSION_MS, &why) != STATUS_OK)
		give_up(why.data);
	database_session_close(session);
	strbuf_release(&why);
}

void test_postgres_ask(const struct test_postgres *server, const char *sql, char *answer, size_t size)
{
	struct database_session *session = open_session(server);
	struct strbuf why = STRBUF_INIT;
	PGresult *rows = NULL;

	if (database_session_query(session, sql, NULL, 0, SESSION_MS, &rows, &why) != STATUS_OK)
		give_up(why.data);
	snprintf(answer, size, "%s", PQntuples(rows) > 0 ? PQgetvalue(rows, 0, 0) : "");
	PQclear(rows);
	database_session_close(session);
	strbuf_release(&why);
}
