/* SPDX-License-Identifier: Apache-2.0 */
/*
 * homeward: `serve` runs a region until it is told to stop; every other command
 * is cli's.
 *
 * Signals are blocked before any thread exists and waited for here, on the main
 * thread, so that no handler ever interrupts other code.  TERM and INT drain (a
 * second one ends at once), HUP reloads.
 */
#include <errno.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/log.h"
#include "cli/cli.h"
#include "service.h"

#define FILES_WANTED 65536 /* two listeners full of connections, and room */
#define DRAIN_CHECK_MS 20  /* how often the drain looks whether the last answer has left */

static int usage(FILE *to, int code)
{
	fputs("usage: homeward serve --config FILE [--ports-file FILE]\n"
	      "\n"
	      "Runs one region's service in the foreground.\n"
	      "\n"
	      "  --config FILE      settings (default /etc/homeward/homeward.conf)\n"
	      "  --ports-file FILE  once listening, write the ports as JSON (for listeners on port 0)\n"
	      "\n"
	      "Signals: TERM or INT drains and stops, a second one stops at once, HUP reloads.\n"
	      "Exit codes: 0 stopped as asked, 1 failed, 64 usage, 78 configuration.\n",
		to);
	return code;
}

static void block_signals(sigset_t *signals)
{
	sigemptyset(signals);
	sigaddset(signals, SIGTERM);
	sigaddset(signals, SIGINT);
	sigaddset(signals, SIGHUP);
	pthread_sigmask(SIG_BLOCK, signals, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* Thousands of connections may wait at once; the soft limit is often 1,024. */
static void raise_file_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max < FILES_WANTED ? limit.rlim_max : FILES_WANTED;
		if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
			LOG_WARN("file_limit_stays", "reason", strerror(errno));
	}
}

static enum status write_ports(const struct service *service, const char *path, struct strbuf *why)
{
	struct strbuf text = STRBUF_INIT;
	enum status status;

	strbuf_addf(&text, "{\"api\":%d,\"peer\":%d,\"admin\":%d}\n",
		service->api != NULL ? http_server_port(service->api) : 0,
		service->peer != NULL ? http_server_port(service->peer) : 0,
		service->admin != NULL ? http_server_port(service->admin) : 0);
	status = strbuf_ok(&text) ? file_replace(path, text.data, text.length, 0644, why) : STATUS_NO_MEMORY;
	strbuf_release(&text);
	return status;
}

static void reload(struct service *service)
{
	struct strbuf applied = STRBUF_INIT, restart = STRBUF_INIT, why = STRBUF_INIT;

	/* The outcome is logged by service_reload(); nobody waits for it here. */
	if (service_reload(service, &applied, &restart, &why) != STATUS_OK)
		fprintf(stderr, "homeward: reload refused, nothing changed\n%s\n", why.data);
	strbuf_release(&applied);
	strbuf_release(&restart);
	strbuf_release(&why);
}

static bool wait_until_idle(const struct service *service, const sigset_t *signals, int64_t end_ms)
{
	struct timespec step = { 0, DRAIN_CHECK_MS * 1000000L };

	while (service_in_flight(service) > 0) {
		int signal_number = sigtimedwait(signals, NULL, &step);
		if (signal_number == SIGTERM || signal_number == SIGINT)
			return false;
		if (clock_monotonic_ms(clock_system()) >= end_ms)
			return false;
	}
	return true;
}

/* True when everything in flight was answered in time. */
static bool drain(struct service *service, const sigset_t *signals)
{
	int64_t end_ms = clock_monotonic_ms(clock_system()) + service->settings->drain_timeout_ms;

	service_drain(service);
	LOG_INFO("draining", "in_flight", log_number(service_in_flight(service)));
	if (!wait_until_idle(service, signals, end_ms))
		return false;
	/* Idle connections may have brought new work since: from here on they cannot, so idle stays idle. */
	service_refuse(service);
	return wait_until_idle(service, signals, end_ms);
}

static void wait_for_end(struct service *service, const sigset_t *signals)
{
	for (;;) {
		int signal_number = 0;
		if (sigwait(signals, &signal_number) != 0)
			continue;
		if (signal_number != SIGHUP)
			return;
		reload(service);
	}
}

static int serve(const char *config, const char *ports_file)
{
	struct settings *settings = NULL;
	struct service *service = NULL;
	struct strbuf why = STRBUF_INIT;
	enum status status;
	sigset_t signals;
	int code = EXIT_CODE_FAILED;

	status = settings_read(config, &settings, &why);
	if (status != STATUS_OK) {
		fprintf(stderr, "%s\n", why.data);
		code = EXIT_CODE_CONFIGURATION;
		goto out;
	}
	log_configure(settings->log.level, settings->log.format);
	log_set_region(settings->region);
	block_signals(&signals);
	raise_file_limit();
	status = service_start(settings, &service, &why);
	if (status == STATUS_OK && ports_file != NULL)
		status = write_ports(service, ports_file, &why);
	if (status != STATUS_OK) {
		LOG_ERROR("start_failed", "status", status_name(status), "reason", why.data);
		code = status == STATUS_INVALID || status == STATUS_CONFLICT || status == STATUS_NOT_FOUND ||
				       status == STATUS_FORBIDDEN
			       ? EXIT_CODE_CONFIGURATION
			       : EXIT_CODE_FAILED;
		goto out;
	}
	LOG_INFO("started", "version", HOMEWARD_VERSION, "config", config, "api",
		log_number(service->api != NULL ? http_server_port(service->api) : 0), "peer",
		log_number(service->peer != NULL ? http_server_port(service->peer) : 0));
	wait_for_end(service, &signals);
	if (!drain(service, &signals)) {
		/* Threads still hold requests; taking the parts down under them would be worse than leaving. */
		LOG_WARN("drain_cut_short", "in_flight", log_number(service_in_flight(service)));
		_exit(EXIT_CODE_FAILED);
	}
	LOG_INFO("stopped");
	code = EXIT_CODE_OK;
out:
	if (service != NULL)
		service_stop(service);
	strbuf_release(&why);
	return code;
}

static int serve_command(int argc, char **argv)
{
	static const struct option options[] = { { "config", required_argument, NULL, 'c' },
		{ "ports-file", required_argument, NULL, 'p' }, { "help", no_argument, NULL, 'h' },
		{ NULL, 0, NULL, 0 } };
	const char *config = getenv("HOMEWARD_CONFIG"), *ports_file = NULL;
	int option;

	while ((option = getopt_long(argc, argv, "c:h", options, NULL)) != -1) {
		switch (option) {
		case 'c':
			config = optarg;
			break;
		case 'p':
			ports_file = optarg;
			break;
		case 'h':
			return usage(stdout, EXIT_CODE_OK);
		default:
			return usage(stderr, EXIT_CODE_USAGE);
		}
	}
	if (optind != argc)
		return usage(stderr, EXIT_CODE_USAGE);
	return serve(config != NULL ? config : "/etc/homeward/homeward.conf", ports_file);
}

int main(int argc, char **argv)
{
	if (argc >= 2 && strcmp(argv[1], "serve") == 0)
		return serve_command(argc - 1, argv + 1);
	return cli_main(argc - 1, argv + 1);
}
