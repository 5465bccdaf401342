/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a settings file: either settings come out, equal to themselves and
 * with every value shown, or at least one error that names a place.
 */
#include "base/must.h"
#include "base/settings.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_row(void *arg, const struct settings_row *row)
{
	(void)arg;
	must(row->key[0] != '\0' && row->value != NULL && row->source != NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct strbuf errors = STRBUF_INIT, applied = STRBUF_INIT, restart = STRBUF_INIT;
	struct settings *settings;

	if (settings_parse("f/x", (const char *)data, size, &settings, &errors) == STATUS_OK) {
		must(errors.length == 0);
		settings_compare(settings, settings, &applied, &restart);
		must(applied.length == 0 && restart.length == 0);
		settings_each(settings, check_row, NULL);
		settings_destroy(settings);
	} else {
		must(settings == NULL && strncmp(errors.data, "f/x:", 4) == 0);
		must(errors.data[errors.length - 1] == '\n');
	}
	strbuf_release(&errors);
	strbuf_release(&applied);
	strbuf_release(&restart);
	return 0;
}
