/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `homeward policy keygen|sign|verify`: who may say what the gate does.  The
 * signing key belongs to whoever answers for the data and not on a region's
 * machine, which needs only its public half, in policy.keys.
 */
#include <stdio.h>
#include <string.h>

#include "cli/policy_command.h"

enum { OPTION_NAME = COMMAND_ID_FIRST, OPTION_KEY, OPTION_KEYS };

static int fail(enum status status, struct strbuf *why)
{
	strbuf_trim_end(why, "\n");
	if (status == STATUS_INVALID)
		return command_fail(EXIT_CODE_CONFIGURATION, "%s", why->data);
	return command_fail(
		status == STATUS_FORBIDDEN || status == STATUS_CONFLICT ? EXIT_CODE_FAILED : command_exit_code(status),
		"%s", why->length > 0 ? why->data : status_name(status));
}

int policy_run_keygen(int argc, char **argv)
{
	static const struct command_option options[] = {
		{ OPTION_NAME, "name", "NAME", "whose key it is; shown by whoever checks a signature" },
		COMMAND_OPTION_END
	};
	static const struct command_usage usage = { "homeward policy keygen", "FILE --name NAME",
		"Makes an Ed25519 key that signs policies: FILE (keep it secret, away from the regions) and FILE.pub,\n"
		"whose line goes into the setting policy.keys of every process of the region.",
		options, "homeward policy keygen policy.key --name eu-privacy-office\n" };
	struct strbuf vkey = STRBUF_INIT, why = STRBUF_INIT;
	struct command_line line;
	const char *name = NULL;
	int exit_code = EXIT_CODE_OK;
	enum status status;

	command_line_begin(&line, &usage, argc, argv);
	for (int id; (id = command_line_next(&line)) != COMMAND_LINE_END;)
		name = line.value;
	if (!command_line_expect(&line, 1, 1))
		return line.exit_code;
	if (name == NULL)
		return command_line_wrong(&line, "--name is needed");
	status = policy_key_make(line.arguments[0], name, &vkey, &why);
	if (status == STATUS_OK)
		fputs(vkey.data, stdout);
	else
		exit_code = fail(status, &why);
	strbuf_release(&vkey);
	strbuf_release(&why);
	return exit_code;
}

int policy_run_sign(int argc, char **argv)
{
	static const struct command_option options[] = {
		{ OPTION_KEY, "key", "FILE", "the key, as made by `homeward policy keygen`" }, COMMAND_OPTION_END
	};
	static const struct command_usage usage = { "homeward policy sign", "FILE --key KEY",
		"Checks a policy file, as `homeward policy check` does, and signs it: FILE.sig goes with it from then "
		"on.\n"
		"A second key's signature is added to the first's.",
		options, "homeward policy sign policy.json --key policy.key\n" };
	struct policy_load load;
	struct strbuf why = STRBUF_INIT;
	struct command_line line;
	const char *key = NULL;
	int exit_code = EXIT_CODE_OK;
	enum status status;

	command_line_begin(&line, &usage, argc, argv);
	for (int id; (id = command_line_next(&line)) != COMMAND_LINE_END;)
		key = line.value;
	if (!command_line_expect(&line, 1, 1))
		return line.exit_code;
	if (key == NULL)
		return command_line_wrong(&line, "--key is needed");
	status = policy_sign(line.arguments[0], key, &load, &why);
	if (status == STATUS_OK)
		printf("signed by %s: version %lld, SHA-256 %s\n", load.signer, (long long)load.version, load.hash);
	else
		exit_code = fail(status, &why);
	strbuf_release(&why);
	return exit_code;
}

int policy_run_verify(int argc, char **argv)
{
	static const struct command_option options[] = { COMMAND_OPTION_CONFIG,
		{ OPTION_KEYS, "keys", "VKEYS",
			"keys to believe, spaces between (default: the settings' policy.keys)" },
		COMMAND_OPTION_END };
	static const struct command_usage usage = { "homeward policy verify", "[FILE] [--keys VKEYS]",
		"Checks a policy file and its signature FILE.sig (default: the settings' file and keys).\n"
		"Exit code 0: signed by one of the keys; 1: not; 78: the file is no policy.",
		options, "homeward policy verify policy.json --keys \"$(cat policy.key.pub)\"\n" };
	struct settings *settings = NULL;
	struct policy_load load;
	struct strbuf why = STRBUF_INIT;
	struct command_line line;
	const char *keys = NULL, *path;
	int exit_code = EXIT_CODE_OK;

	command_line_begin(&line, &usage, argc, argv);
	for (int id; (id = command_line_next(&line)) != COMMAND_LINE_END;)
		keys = line.value;
	if (!command_line_expect(&line, 0, 1))
		return line.exit_code;
	path = line.argument_count == 1 ? line.arguments[0] : NULL;
	if (keys == NULL || path == NULL)
		exit_code = command_settings(line.config, &settings);
	if (exit_code == EXIT_CODE_OK) {
		enum status status = policy_verify(path != NULL ? path : settings->policy.file,
			keys != NULL ? keys : settings->policy.keys, &load, &why);

		if (status == STATUS_OK)
			printf("good: signed by %s: version %lld, SHA-256 %s\n", load.signer, (long long)load.version,
				load.hash);
		else
			exit_code = fail(status, &why);
	}
	strbuf_release(&why);
	settings_destroy(settings);
	return exit_code;
}
