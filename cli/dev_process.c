/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Processes of the development mesh: fork and exec with an argument vector, never
 * a shell.  A process is known by its id and its start time; both must agree with
 * /proc before it is signalled.  Each runs in a session of its own, so that Ctrl-C
 * reaches only the command, which then stops them in order.
 *
 * Signals are blocked and waited for with the pauses of every wait, so that an
 * interrupted `dev up` always ends by cleaning up.
 */
#include "cli/dev.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/must.h"

enum { TAIL_BYTES = 2000, EXIT_NO_EXEC = 127 };

static void stopping_signals(sigset_t *signals)
{
	sigemptyset(signals);
	sigaddset(signals, SIGINT);
	sigaddset(signals, SIGTERM);
	sigaddset(signals, SIGHUP);
}

void dev_signals_block(void)
{
	sigset_t signals;

	stopping_signals(&signals);
	must(sigprocmask(SIG_BLOCK, &signals, NULL) == 0);
}

enum status dev_pause(void)
{
	struct timespec step = { 0, DEV_STEP_MS * 1000000L };
	sigset_t signals;

	stopping_signals(&signals);
	return sigtimedwait(&signals, NULL, &step) > 0 ? STATUS_DRAINING : STATUS_OK;
}

void dev_wait_for_end(void)
{
	sigset_t signals;
	int signal_number;

	stopping_signals(&signals);
	(void)sigwait(&signals, &signal_number);
}

/*
 * Start time in clock ticks since boot; 0 when there is no such process or it has ended.  A killed one is a zombie as
 * soon as its first thread has gone; while there are others it still holds its locks.
 */
static uint64_t start_time(pid_t pid)
{
	char path[64], text[1024];
	unsigned long long started = 0;
	long threads = 0;
	ssize_t size;
	char state;
	int file;

	snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
	file = open(path, O_RDONLY | O_CLOEXEC);
	if (file < 0)
		return 0;
	size = read(file, text, sizeof(text) - 1);
	close(file);
	if (size <= 0)
		return 0;
	text[size] = '\0';
	/* The name, in parentheses, may hold anything; what follows the last one is fields 3 and up. */
	char *at = strrchr(text, ')');
	if (at == NULL ||
		sscanf(at + 1, " %c %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %*s %ld %*s %llu",
			&state, &threads, &started) != 3)
		return 0;
	return state == 'Z' && threads <= 1 ? 0 : started;
}

bool dev_process_is_alive(const struct dev_process *process)
{
	if (process->pid <= 0)
		return false;
	(void)waitpid(process->pid, NULL, WNOHANG); /* reaps it when it is a child of ours */
	return start_time(process->pid) == process->started && process->started != 0;
}

void dev_process_signal(const struct dev_process *process, int signal_number)
{
	if (dev_process_is_alive(process))
		(void)kill(process->pid, signal_number);
}

static void sleep_step(void)
{
	struct timespec step = { 0, DEV_STEP_MS * 1000000L };

	(void)nanosleep(&step, NULL);
}

void dev_process_end(struct dev_process *process, int64_t timeout_ms)
{
	int64_t end_ms = clock_monotonic_ms(clock_system()) + timeout_ms;

	while (dev_process_is_alive(process) && clock_monotonic_ms(clock_system()) < end_ms)
		sleep_step();
	if (dev_process_is_alive(process)) {
		(void)kill(process->pid, SIGCONT);
		(void)kill(process->pid, SIGKILL);
		while (dev_process_is_alive(process))
			sleep_step();
	}
	*process = (struct dev_process){ .pid = 0 };
}

enum status dev_own_program(char program_out[DEV_PROGRAM_SIZE], struct strbuf *why)
{
	ssize_t size = readlink("/proc/self/exe", program_out, DEV_PROGRAM_SIZE - 1);

	if (size <= 0) {
		strbuf_adds(why, "/proc/self/exe cannot be read");
		return STATUS_IO;
	}
	program_out[size] = '\0';
	return STATUS_OK;
}

/* In the child: only async-signal-safe calls, but for initgroups, and there are no threads to hold its locks. */
static void become(const struct dev_spawn *spawn, int log_file, int pipe_file)
{
	sigset_t none;
	int null_file = open("/dev/null", O_RDONLY);
	int error;

	sigemptyset(&none);
	(void)sigprocmask(SIG_SETMASK, &none, NULL);
	(void)setsid();
	if (null_file >= 0 && dup2(null_file, STDIN_FILENO) >= 0 && dup2(log_file, STDOUT_FILENO) >= 0 &&
		dup2(log_file, STDERR_FILENO) >= 0 &&
		(geteuid() != 0 || spawn->user == 0 ||
			(setgroups(1, &spawn->group) == 0 && setgid(spawn->group) == 0 && setuid(spawn->user) == 0)) &&
		chdir("/") == 0) {
		/* execv promises not to write to the strings. */
		union {
			const char *const *given;
			char *const *wanted;
		} arguments = { .given = spawn->arguments };

		execv(spawn->arguments[0], arguments.wanted);
	}
	error = errno;
	(void)!write(pipe_file, &error, sizeof(error));
	_exit(EXIT_NO_EXEC);
}

enum status dev_process_start(const struct dev_spawn *spawn, struct dev_process *process_out, struct strbuf *why)
{
	int log_file = open(spawn->log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	int ends[2] = { -1, -1 }, error = 0;
	enum status status = STATUS_IO;
	pid_t pid = -1;

	*process_out = (struct dev_process){ .pid = 0 };
	if (log_file < 0 || pipe2(ends, O_CLOEXEC) != 0) {
		strbuf_addf(why, "%s: %s", spawn->log_path, strerror(errno));
		goto out;
	}
	fflush(stdout);
	pid = fork();
	if (pid == 0)
		become(spawn, log_file, ends[1]);
	close(ends[1]);
	ends[1] = -1;
	if (pid < 0) {
		strbuf_addf(why, "fork: %s", strerror(errno));
		goto out;
	}
	/* Nothing comes when exec succeeds, for it closes the pipe. */
	if (read(ends[0], &error, sizeof(error)) == (ssize_t)sizeof(error)) {
		(void)waitpid(pid, NULL, 0);
		strbuf_addf(why, "%s: %s", spawn->arguments[0], strerror(error));
		goto out;
	}
	process_out->pid = pid;
	process_out->started = start_time(pid);
	status = STATUS_OK;
out:
	if (log_file >= 0)
		close(log_file);
	if (ends[0] >= 0)
		close(ends[0]);
	if (ends[1] >= 0)
		close(ends[1]);
	return status;
}

enum status dev_process_run(const struct dev_spawn *spawn, int64_t timeout_ms, struct strbuf *why)
{
	int64_t end_ms = clock_monotonic_ms(clock_system()) + timeout_ms;
	struct dev_process process;
	enum status status = dev_process_start(spawn, &process, why);
	int result = 0;

	if (status != STATUS_OK)
		return status;
	while (waitpid(process.pid, &result, WNOHANG) == 0) {
		status = dev_pause();
		if (status == STATUS_OK && clock_monotonic_ms(clock_system()) >= end_ms)
			status = STATUS_DEADLINE;
		if (status != STATUS_OK) {
			dev_process_end(&process, 0);
			strbuf_addf(why, "%s was stopped: %s", spawn->arguments[0], status_name(status));
			return status;
		}
	}
	if (WIFEXITED(result) && WEXITSTATUS(result) == 0)
		return STATUS_OK;
	strbuf_addf(why, "%s failed:\n", spawn->arguments[0]);
	dev_log_tail(spawn->log_path, why);
	return STATUS_INTERNAL;
}

void dev_log_tail(const char *path, struct strbuf *text)
{
	char bytes[TAIL_BYTES];
	int file = open(path, O_RDONLY | O_CLOEXEC);
	off_t size;
	ssize_t got;

	if (file < 0)
		return;
	size = lseek(file, 0, SEEK_END);
	got = pread(file, bytes, sizeof(bytes), size > TAIL_BYTES ? size - TAIL_BYTES : 0);
	close(file);
	strbuf_addf(text, "--- the end of %s ---\n", path);
	if (got > 0)
		strbuf_add(text, bytes, (size_t)got);
}
