/* SPDX-License-Identifier: Apache-2.0 */
/* Unit tests for cli/dev_*.c: policy, ids, the folder and processes.  No database. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/must.h"
#include "cli/dev.h"
#include "policy/policy.h"

static struct dev_mesh three_regions(void)
{
	struct dev_mesh mesh = { .region_count = 3, .engines = 1, .postgres_folder = "/usr/bin" };

	memcpy(mesh.regions[0].name, "na", 3);
	memcpy(mesh.regions[1].name, "eu", 3);
	memcpy(mesh.regions[2].name, "moon", 5);
	return mesh;
}

static void policy_passes_its_own_tests(void **state)
{
	(void)state;
	struct dev_mesh mesh = three_regions();

	for (size_t count = 1; count <= 3; count++) {
		mesh.region_count = count;
		for (size_t i = 0; i < count; i++) {
			json_t *json = dev_policy_json(&mesh, &mesh.regions[i]);
			struct strbuf why = STRBUF_INIT;
			struct policy *policy = NULL;
			char *text;

			assert_non_null(json);
			text = json_dumps(json, 0);
			enum status status = policy_parse("policy.json", text, strlen(text), &policy, &why);
			assert_string_equal(why.data, "");
			assert_int_equal(status, STATUS_OK);
			assert_string_equal(policy_home(policy), mesh.regions[i].name);
			assert_int_equal(policy_test_count(policy), 5);
			policy_release_reference(policy);
			free(text);
			json_decref(json);
			strbuf_release(&why);
		}
	}
}

static void ids_are_valid_and_never_shared(void **state)
{
	(void)state;
	struct dev_mesh mesh = three_regions();
	struct strbuf id = STRBUF_INIT, other = STRBUF_INIT;
	struct object_id object;

	for (int i = 0; i < DEV_SEEDS; i++) {
		dev_driver_id(&mesh, &mesh.regions[0], i, &id);
		/* The canonical form drops a check digit only when it is right. */
		assert_int_equal(
			object_id_make("driver", id.data, id.length, ID_FORMAT_EMAID, &object, NULL), STATUS_OK);
		assert_int_equal(strlen(object.id), 14);
		dev_token_id(&mesh, &mesh.regions[0], i, &id);
		assert_int_equal(
			object_id_make("token", id.data, id.length, ID_FORMAT_RFID_UID, &object, NULL), STATUS_OK);
		dev_token_id(&mesh, &mesh.regions[1], i, &other);
		assert_string_not_equal(id.data, other.data);
	}
	dev_station_id(&mesh, &mesh.regions[1], 0, &id);
	assert_string_equal(id.data, "DE*HWD*E0001");
	dev_station_id(&mesh, &mesh.regions[2], 0, &id);
	assert_string_equal(id.data, "XC*HWD*E0001");
	strbuf_release(&id);
	strbuf_release(&other);
}

static void mesh_is_found_again_and_only_where_it_is(void **state)
{
	(void)state;
	struct dev_mesh mesh = three_regions(), read;
	struct strbuf why = STRBUF_INIT, path = STRBUF_INIT;
	struct stat info;

	assert_int_equal(dev_folder_make(&mesh, NULL, &why), STATUS_OK);
	mesh.regions[1].api_port = 1234;
	mesh.regions[1].daemon = (struct dev_process){ 77, 88 };
	assert_int_equal(dev_mesh_save(&mesh, &why), STATUS_OK);
	assert_int_equal(dev_mesh_load(&read, mesh.folder, &why), STATUS_OK);
	assert_int_equal(read.region_count, 3);
	assert_int_equal(read.regions[1].api_port, 1234);
	assert_int_equal(read.regions[1].daemon.pid, 77);
	assert_int_equal(read.regions[1].daemon.started, 88);
	assert_string_equal(read.trust_domain, mesh.trust_domain);

	/* A folder that holds something is not taken. */
	assert_int_equal(dev_folder_make(&read, mesh.folder, &why), STATUS_CONFLICT);

	/* A description that names another folder must not lead there. */
	struct dev_mesh forged = mesh;
	dev_path(&mesh, NULL, "mesh.json", &path);
	snprintf(forged.folder, sizeof(forged.folder), "/usr");
	json_t *json = dev_mesh_json(&forged);
	assert_int_equal(json_dump_file(json, path.data, 0), 0);
	json_decref(json);
	assert_int_equal(dev_mesh_load(&read, mesh.folder, &why), STATUS_INVALID);

	assert_int_equal(dev_folder_remove(&mesh, &why), STATUS_OK);
	assert_int_equal(stat(mesh.folder, &info), -1);
	assert_int_equal(dev_mesh_load(&read, mesh.folder, &why), STATUS_NOT_FOUND);
	strbuf_release(&why);
	strbuf_release(&path);
}

static void process_is_ended_and_no_stranger_is(void **state)
{
	(void)state;
	static const char *const arguments[] = { "/bin/sleep", "60", NULL };
	static const char *const missing[] = { "/nonexistent/program", NULL };
	struct dev_spawn spawn = { arguments, "/dev/null", geteuid(), getegid() };
	struct dev_process process, stranger;
	struct strbuf why = STRBUF_INIT;

	assert_int_equal(dev_process_start(&spawn, &process, &why), STATUS_OK);
	assert_true(dev_process_is_alive(&process));
	stranger = process;
	stranger.started++;
	assert_false(dev_process_is_alive(&stranger));
	dev_process_end(&stranger, 0);
	assert_true(dev_process_is_alive(&process));
	dev_process_end(&process, 0);
	assert_int_equal(process.pid, 0);
	assert_false(dev_process_is_alive(&process));

	spawn.arguments = missing;
	assert_int_equal(dev_process_start(&spawn, &process, &why), STATUS_IO);
	assert_non_null(strstr(why.data, "/nonexistent/program"));
	assert_int_equal(process.pid, 0);
	strbuf_release(&why);
}

/* What this program does when it is told ONE_THREAD_LEFT: its first thread ends and another does not. */
#define ONE_THREAD_LEFT "one-thread-left"

static void *stay(void *arg)
{
	for (;;)
		(void)pause();
	return arg;
}

static _Noreturn void leave_one_thread(void)
{
	pthread_t thread;

	must(pthread_create(&thread, NULL, stay, NULL) == 0);
	pthread_exit(NULL);
}

static bool is_zombie(pid_t pid)
{
	char path[64], state = '?';
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%ld/stat", (long)pid);
	file = fopen(path, "re");
	must(file != NULL);
	must(fscanf(file, "%*d %*s %c", &state) == 1);
	fclose(file);
	return state == 'Z';
}

static void process_lives_as_long_as_any_thread(void **state)
{
	(void)state;
	static const char *const arguments[] = { "/proc/self/exe", ONE_THREAD_LEFT, NULL };
	struct dev_spawn spawn = { arguments, "/dev/null", geteuid(), getegid() };
	struct dev_process process;
	struct strbuf why = STRBUF_INIT;

	assert_int_equal(dev_process_start(&spawn, &process, &why), STATUS_OK);
	for (int i = 0; i < 3000 && !is_zombie(process.pid); i++)
		nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
	assert_true(is_zombie(process.pid));
	assert_true(dev_process_is_alive(&process));
	dev_process_end(&process, 0);
	assert_false(dev_process_is_alive(&process));
	strbuf_release(&why);
}

static void failing_program_shows_its_log(void **state)
{
	(void)state;
	static const char *const arguments[] = { "/bin/ls", "/nonexistent/file", NULL };
	char log[] = "/tmp/homeward-log-XXXXXX";
	int file = mkstemp(log);
	struct dev_spawn spawn = { arguments, log, geteuid(), getegid() };
	struct strbuf why = STRBUF_INIT;

	must(file >= 0);
	close(file);
	assert_int_equal(dev_process_run(&spawn, 10000, &why), STATUS_INTERNAL);
	assert_non_null(strstr(why.data, "/nonexistent/file"));
	unlink(log);
	strbuf_release(&why);
}

int main(int argc, char **argv)
{
	if (argc == 2 && strcmp(argv[1], ONE_THREAD_LEFT) == 0)
		leave_one_thread();

	const struct CMUnitTest tests[] = {
		cmocka_unit_test(policy_passes_its_own_tests),
		cmocka_unit_test(ids_are_valid_and_never_shared),
		cmocka_unit_test(mesh_is_found_again_and_only_where_it_is),
		cmocka_unit_test(process_is_ended_and_no_stranger_is),
		cmocka_unit_test(process_lives_as_long_as_any_thread),
		cmocka_unit_test(failing_program_shows_its_log),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
